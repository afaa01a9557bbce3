"""What messages say: each kind's words in Chinese and in English, what stands in them, and whom they are for.

The words here are what holds where no operator has written others (people.models.MessageTemplate). A figure or name
that changes stands in braces: {number}.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("zh", "en")
LONGEST = 500
HIDDEN = "••••••"
FIELD = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True)
class Kind:
    """One kind of message. Pairs are (Chinese, English).

    `examples` are what a preview fills in, and name what may stand in the words; `needed` must stand there. `hidden`
    values open something (a code, a link): no operator is shown them, and none is kept once the message has left.
    `urgent` ones do not wait for the morning; `news` is what a person may do without.
    """

    name: str
    label: tuple[str, str]
    whom: str
    subject: tuple[str, str]
    words: tuple[str, str]
    examples: Mapping[str, tuple[str, str]]
    needed: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    urgent: bool = False
    news: bool = False


MEMBER, OFFICER, MERCHANT, RECIPIENT, ANYONE = "member", "officer", "merchant", "recipient", "anyone"
_NUMBER = ("9043726419865600", "9043726419865600")
_PACK = ("安顺山货礼包", "Anshun mountain goods")
_UNTIL = ("2027-01-27 18:00", "2027-01-27 18:00")
_LINK = ("https://example.org/c/AbC123", "https://example.org/c/AbC123")
_MERCHANT = ("贵州乙", "Guizhou Yi")

_ALL = (
    Kind(
        "email.code",
        ("确认邮箱", "Confirm an e-mail address"),
        ANYONE,
        ("您的确认码", "Your confirmation code"),
        (
            "您的邮箱确认码是 {code}，15 分钟内有效。",
            "Your e-mail confirmation code is {code}. It works for 15 minutes.",
        ),
        {"code": ("314159", "314159")},
        needed=("code",),
        hidden=("code",),
        urgent=True,
    ),
    Kind(
        "order.paid",
        ("订单已付款", "Order paid"),
        MEMBER,
        ("订单已付款", "Your order is paid"),
        (
            "订单 {number} 已付款 {amount}，商户会尽快发货。",
            "Order {number} is paid ({amount}). The merchants will ship it soon.",
        ),
        {"number": _NUMBER, "amount": ("¥240", "¥240")},
        needed=("number",),
    ),
    Kind(
        "parcel.shipped",
        ("包裹已发出", "Parcel shipped"),
        MEMBER,
        ("包裹已发出", "Your parcel is on its way"),
        (
            "订单 {number} 的包裹已由“{merchant}”发出：{carrier} {tracking}。",
            "A parcel of order {number} was shipped by {merchant}: {carrier} {tracking}.",
        ),
        {
            "number": _NUMBER,
            "merchant": _MERCHANT,
            "carrier": ("顺丰速运", "SF Express"),
            "tracking": ("SF1234567890", "SF1234567890"),
        },
        needed=("number",),
    ),
    Kind(
        "parcel.to_station",
        ("包裹送往自提点", "Parcel on its way to a station"),
        MEMBER,
        ("包裹正送往自提点", "Your parcel is on its way to the station"),
        (
            "订单 {number} 的包裹已由“{merchant}”发往{station}：{carrier} {tracking}。"
            "到站后凭“我的订单”里的取货码领取。",
            "A parcel of order {number} was sent to {station} by {merchant}: {carrier} {tracking}. "
            "Collect it there with the pickup code shown with your order.",
        ),
        {
            "number": _NUMBER,
            "merchant": _MERCHANT,
            "station": ("海尔路自提点", "the Haier Road station"),
            "carrier": ("顺丰速运", "SF Express"),
            "tracking": ("SF1234567890", "SF1234567890"),
        },
        needed=("number", "station"),
    ),
    Kind(
        "parcel.at_station",
        ("包裹已到自提点", "Parcel at the station"),
        MEMBER,
        ("包裹已到自提点", "Your parcel is at the station"),
        (
            "订单 {number} 的包裹已到{station}，取货码 {code}，请尽快领取。",
            "A parcel of order {number} is at {station}. Your pickup code is {code}.",
        ),
        {
            "number": _NUMBER,
            "station": ("海尔路自提点", "the Haier Road station"),
            "code": ("12345674", "12345674"),
        },
        needed=("station", "code"),
        hidden=("code",),
    ),
    Kind(
        "refund.accepted",
        ("退款已同意", "Refund accepted"),
        MEMBER,
        ("退款已同意", "Your refund is accepted"),
        (
            "订单 {number} 的退款已同意：退现金 {cash}，退回福利优惠 {voucher}。现金按原支付方式退回。",
            "Your refund for order {number} is accepted: {cash} in cash, {voucher} of the saving. "
            "Cash goes back the way it was paid.",
        ),
        {"number": _NUMBER, "cash": ("¥120", "¥120"), "voucher": ("¥30", "¥30")},
        needed=("number",),
    ),
    Kind(
        "refund.declined",
        ("退款未同意", "Refund declined"),
        MEMBER,
        ("退款未同意", "Your refund was declined"),
        (
            "订单 {number} 的退款申请没有通过：{reason}。可在订单页查看详情。",
            "Your refund for order {number} was declined: {reason}. See the order's page for more.",
        ),
        {"number": _NUMBER, "reason": ("商品完好", "the goods are in order")},
        needed=("number",),
    ),
    Kind(
        "refund.asked",
        ("有退款申请", "A refund is asked for"),
        MERCHANT,
        ("有退款申请等您处理", "A refund waits for your answer"),
        (
            "订单 {number} 有退款申请，请在 {until} 前处理，逾期由运营处理。",
            "A refund is asked for order {number}. Please answer by {until}; after that the district union does.",
        ),
        {"number": _NUMBER, "until": _UNTIL},
        needed=("number",),
    ),
    Kind(
        "question.answered",
        ("提问已答复", "Question answered"),
        MEMBER,
        ("您的提问已答复", "Your question is answered"),
        ("您的提问“{question}”已有答复，请登录查看。", "Your question “{question}” is answered: sign in to read it."),
        {"question": ("保质期多久？", "How long does it keep?")},
    ),
    Kind(
        "question.asked",
        ("有人提问", "A question is asked"),
        MERCHANT,
        ("有提问等您答复", "A question waits for your answer"),
        (
            "有人提问：“{question}”，请在 {until} 前答复。",
            "Somebody asks: “{question}”. Please answer by {until}.",
        ),
        {"question": ("保质期多久？", "How long does it keep?"), "until": _UNTIL},
    ),
    Kind(
        "approval.asked",
        ("集采等您审批", "Approval asked"),
        OFFICER,
        ("集采订单等您审批", "A bulk order waits for your approval"),
        (
            "集采订单 {number}（{amount}）已提交，等您审批。",
            "Bulk order {number} ({amount}) was submitted and waits for your approval.",
        ),
        {"number": _NUMBER, "amount": ("¥12,130", "¥12,130")},
        needed=("number",),
    ),
    Kind(
        "approval.given",
        ("集采已审批", "Approval given"),
        OFFICER,
        ("集采订单已审批", "Your bulk order is approved"),
        (
            "集采订单 {number} 已审批，请在 {until} 前付款 {amount}。",
            "Bulk order {number} is approved. Please pay {amount} by {until}.",
        ),
        {"number": _NUMBER, "amount": ("¥12,130", "¥12,130"), "until": _UNTIL},
        needed=("number",),
    ),
    Kind(
        "approval.refused",
        ("集采被退回", "Approval refused"),
        OFFICER,
        ("集采订单被退回", "Your bulk order was sent back"),
        ("集采订单 {number} 被退回：{reason}。", "Bulk order {number} was sent back: {reason}."),
        {"number": _NUMBER, "reason": ("人数不符", "the head count is wrong")},
        needed=("number",),
    ),
    Kind(
        "payment.due",
        ("付款期限将到", "Payment term ends"),
        OFFICER,
        ("集采订单付款期限将到", "A bulk order's payment term ends"),
        (
            "集采订单 {number} 请在 {until} 前付款，否则库存和预算将释放。",
            "Please pay bulk order {number} by {until}; after that its stock and budget are released.",
        ),
        {"number": _NUMBER, "until": _UNTIL},
        needed=("number", "until"),
    ),
    Kind(
        "shortage.told",
        ("商户缺货", "A merchant is short"),
        OFFICER,
        ("集采订单有缺货", "Your bulk order is short of packs"),
        (
            "集采订单 {number}：商户“{merchant}”缺 {packs}。请换成同一档位的礼包，或申请退款。",
            "Bulk order {number}: {merchant} is short of {packs}. Please choose other packs of the tier, or ask for a "
            "refund.",
        ),
        {"number": _NUMBER, "merchant": _MERCHANT, "packs": ("“安顺山货礼包” × 3", "“Anshun mountain goods” × 3")},
        needed=("number", "packs"),
    ),
    Kind(
        "pack.replaced",
        ("礼包已替换", "Packs replaced"),
        OFFICER,
        ("集采订单换了礼包", "Packs of a bulk order were replaced"),
        (
            "集采订单 {number}：“{old}”{units} 份已换成同一档位的“{new}”，金额不变，您的审批继续有效。",
            "Bulk order {number}: {units} of “{old}” were replaced by “{new}” of the same tier. "
            "The amount is the same, and your approval stands.",
        ),
        {"number": _NUMBER, "old": _PACK, "units": ("3", "3"), "new": ("胶东海味礼包", "Jiaodong sea food")},
        needed=("number",),
    ),
    Kind(
        "choice.asked",
        ("请选礼包", "Choose a pack"),
        RECIPIENT,
        ("请选一份礼包", "Choose your pack"),
        ("工会请您选一份礼包：{link}", "Your union asks you to choose a pack: {link}"),
        {"link": _LINK},
        needed=("link",),
        hidden=("link",),
    ),
    Kind(
        "choice.again",
        ("请再选一份礼包", "Choose another pack"),
        RECIPIENT,
        ("请再选一份礼包", "Please choose another pack"),
        (
            "您选的礼包没有货了，请再选一份，不选就发工会换的那份：{link}",
            "The pack you chose has run out. Please choose another, or you get the one your union picked: {link}",
        ),
        {"link": _LINK},
        needed=("link",),
        hidden=("link",),
    ),
    Kind(
        "gift.ready",
        ("慰问品待确认", "A gift waits"),
        RECIPIENT,
        ("工会送您一份慰问品", "A gift from your union"),
        (
            "工会送您“{gift}”，请在 {until} 前登录确认收货方式。",
            "Your union sends you “{gift}”. Sign in by {until} to say where it should go.",
        ),
        {"gift": ("劳模慰问礼包", "Model workers' gift"), "until": _UNTIL},
        needed=("until",),
    ),
    Kind(
        "statement.ready",
        ("结算单已出", "Statement ready"),
        MERCHANT,
        ("结算单已出", "Your statement is ready"),
        (
            "{month} 的结算单已出，应付 {amount}，请登录核对确认。",
            "Your statement for {month} is ready: {amount}. Sign in to check and confirm it.",
        ),
        {"month": ("2026-12", "2026-12"), "amount": ("¥12,000", "¥12,000")},
        needed=("month",),
    ),
    Kind(
        "campaign.ending",
        ("活动即将结束", "Campaign ends soon"),
        MEMBER,
        ("您的福利券即将到期", "Your voucher ends soon"),
        (
            "您的福利券还有 {balance} 未用，“{campaign}”到 {until} 结束。",
            "Your voucher still has {balance}. “{campaign}” ends on {until}.",
        ),
        {
            "balance": ("¥140", "¥140"),
            "campaign": ("春节福利", "Spring Festival welfare"),
            "until": ("2027-01-27", "2027-01-27"),
        },
        needed=("until",),
        news=True,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


def in_language(pair: tuple[str, str], language: str) -> str:
    """Return the half of a pair that is in a language; Chinese for one there is not.

    >>> in_language(("是", "yes"), "en"), in_language(("是", "yes"), "fr")
    ('yes', '是')
    """
    return pair[1] if language == "en" else pair[0]


def filled(words: str, values: Mapping[str, str], *, hide: tuple[str, ...] = ()) -> str:
    """Return words with their values, each on one line; those of `hide` are not shown.

    >>> filled("{a}: {b}", {"a": "x\\ny", "b": "{a}"}), filled("{a}", {"a": "secret"}, hide=("a",))
    ('x y: {a}', '••••••')
    """

    def value(found: re.Match[str]) -> str:
        return HIDDEN if found[1] in hide else " ".join(values.get(found[1], "").split())

    return FIELD.sub(value, words)


def examples(kind: Kind, language: str) -> dict[str, str]:
    """Return the values a preview fills in."""
    return {name: in_language(pair, language) for name, pair in kind.examples.items()}


def parts(text: str) -> int:
    """Return how many text messages a text is billed as: 70 characters in one, 67 in each of several.

    >>> parts("字" * 70), parts("字" * 71), parts("字" * 135)
    (1, 2, 3)
    """
    length = len(text.encode("utf-16-le")) // 2
    return 1 if length <= 70 else -(-length // 67)
