"""帮助: short answers to what members ask. Chinese text, its own key of translation, with figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voices.rules import has_all


@dataclass(frozen=True)
class Article:
    """A question and its answer, paragraph by paragraph; `%(name)s` stands for a figure (FIGURES)."""

    slug: str
    title: str
    paragraphs: tuple[str, ...]


FIGURES = ("step", "save", "face", "twice", "ends", "wait", "reply", "answer")
"""What an article may name: the rule's amounts, the campaign's end, times to pay and to answer."""

ARTICLES = (
    Article(
        "saving",
        "福利券怎么用？每满多少减多少？",
        (
            "整笔订单每满 %(step)s，福利券就替您付 %(save)s。不同商户的礼包一起算："
            "两个礼包合计 %(twice)s，就算满了两次。",
            "不满 %(step)s 的部分不算。购物车会告诉您再买多少可以再省一次。",
            "福利券像一个钱包：面值 %(face)s，每次优惠从余额里扣，可以分几次订单用，用完为止。",
        ),
    ),
    Article(
        "no-saving",
        "为什么这次没有优惠？",
        (
            "可能是整笔订单不满 %(step)s，福利券余额已经用完，福利券已过期或被收回，或者活动预算已经用完。",
            "下单前的试算和订单页都写着原因。没有优惠时可以按原价购买，页面显示多少就付多少。",
        ),
    ),
    Article(
        "paying",
        "怎么付款？要在多久内付？",
        (
            "提交订单后请在 %(wait)s 分钟内付款，页面上有付款按钮。超过时间订单自动取消，福利券和库存都自动退回。",
            "付款后页面没有马上变化时请稍等再刷新，不需要再付一次。万一付了两次，多付的部分会原路退回。",
        ),
    ),
    Article(
        "cancelling",
        "取消订单会怎样？",
        (
            "没有付款的订单可以随时取消：没有扣款，占用的福利券马上回到余额。",
            "已经付款的订单不能取消，请申请退款。",
        ),
    ),
    Article(
        "refunds",
        "怎么退款？退多少？",
        (
            "在订单页点“申请退款”，选好要退的礼包和份数，确认前会看到退回多少钱、多少福利券。",
            "还没有发货的马上退；已经发货的由商户在 %(reply)s 天内答复，"
            "超过时间没有答复由工会处理。不同意商户的答复可以申诉。",
            "按实付退：每份礼包带着自己分到的优惠。钱原路退回，福利券退回余额；"
            "福利券那时已经过期的，这部分回到活动预算，确认前会告诉您。",
        ),
    ),
    Article(
        "expiry",
        "福利券什么时候过期？",
        (
            "福利券用到活动结束：%(ends)s。过期后没有用完的部分收回，不能再用。",
            "活动结束前提交的订单，在付款时间内仍然可以付款。",
        ),
    ),
    Article(
        "pickup",
        "怎么自提？去哪里领？",
        (
            "确认订单时选“自提点领取”，填街道或地名，离得近的自提点排在前面，也可以看地图。",
            "付款后订单页有取货码和二维码，领取时出示给工作人员，只能用一次。请在自提点的开放时间去。",
        ),
    ),
    Article(
        "delivery",
        "什么时候发货？怎么查快递？",
        (
            "商户发货后，订单页会出现快递公司和运单号，点一下可以查看到了哪里。一个订单有几个商户，就有几个包裹。",
            "收到后请点“确认收货”，之后就可以评价。",
        ),
    ),
    Article(
        "transfer",
        "福利券能给别人用吗？能换现金吗？",
        ("不能。福利券只能本人在本次活动里使用，不能转让，不能兑换现金，也不找零。",),
    ),
    Article(
        "sold-out",
        "礼包卖完了怎么办？",
        (
            "卖完的礼包会标明“已售完”，可以看看同档位的其他礼包。商户补货或有人取消后会重新可买。",
            "没有下单成功时，您的福利券不会被占用。",
        ),
    ),
    Article(
        "asking",
        "有问题问谁？",
        (
            "在礼包页或订单页都可以提问，商户或工会在 %(answer)s 小时内答复，超过时间会标为超时，由工会催办。",
            "商户看不到您的姓名和电话。关于礼包的问答，工会可以公开给大家看，不写是谁问的；关于订单的问答只有您、商户和工会看得到。",
        ),
    ),
    Article(
        "rating",
        "怎么评价？评价会马上显示吗？",
        (
            "收到礼包以后，在订单页给 1 到 5 颗星，也可以写几句话。"
            "每位会员对一个礼包评价一次，再买到同样的礼包时可以修改。",
            "星数马上计入，文字由工会看过以后再显示，不写是谁写的。不到 5 个评价时不显示平均分。",
        ),
    ),
    Article(
        "my-data",
        "我的个人信息怎么办？",
        (
            "在“我的账户”可以下载关于您的全部资料，包括订单、福利券、提问和评价。",
            "需要删除个人信息，请联系您的基层工会。账目保留，但不再写着您是谁。",
        ),
    ),
)

Translate = Callable[..., str]


def said(article: Article, *, translate: Translate, figures: Mapping[str, str]) -> Article:
    """Return an article in the reader's language, with its figures."""
    return Article(
        article.slug,
        translate(article.title),
        tuple(
            translate(paragraph) % figures if "%(" in paragraph else translate(paragraph)
            for paragraph in article.paragraphs
        ),
    )


def found(words: list[str], *, translate: Translate, figures: Mapping[str, str]) -> list[Article]:
    """Return the articles that have every word, in the reader's language or in Chinese; in the title first."""
    hits = []
    for article in ARTICLES:
        own = said(article, translate=translate, figures=figures)
        plain = said(article, translate=lambda text: text, figures=figures)
        titles = f"{own.title} {plain.title}"
        whole = " ".join((titles, *own.paragraphs, *plain.paragraphs))
        if has_all(whole, words):
            hits.append((not has_all(titles, words), own))
    return [article for _, article in sorted(hits, key=lambda hit: hit[0])]
