"""结算单 as a workbook and as a document to sign."""

from collections.abc import Sequence
from typing import Any

from flask_babel import get_locale, gettext

from finance.settlement.queries import LineView, total
from finance.settlement.rules import Figures
from kernel import pdf, sheets
from kernel.clock import local
from kernel.money import decimal_yuan, yuan
from orders.queries import statements as queries
from orders.queries.statements import NamedStatement, Sold

AT_ONCE = 1000
"""Of how many entries the packs are looked up together."""
LINES_ON_PAPER = 1000
"""More entries than this are left to the workbook."""


def status_words() -> dict[str, str]:
    """Return what a statement's status is called."""
    return {
        "open": gettext("本月未结"),
        "issued": gettext("待商户确认"),
        "disputed": gettext("商户有异议"),
        "confirmed": gettext("已确认，待付款"),
        "paid": gettext("已付款"),
    }


def kind_words() -> dict[str, str]:
    """Return what an entry's kind is called."""
    return {
        "paid": gettext("销售"),
        "gift": gettext("慰问"),
        "refund": gettext("退款"),
        "replace": gettext("换礼包"),
        "correct": gettext("更正"),
    }


def _figure_names() -> list[str]:
    return [
        gettext("商品金额"),
        gettext("买家支付"),
        gettext("工会补贴"),
        gettext("退款"),
        gettext("更正"),
        gettext("应付净额"),
    ]


def _amounts(figures: Figures) -> list[int]:
    return [
        figures.goods_fen,
        figures.paid_fen,
        figures.subsidy_fen,
        -figures.refunds_fen,
        figures.correction_fen,
        figures.net_fen,
    ]


def workbook(found: Sequence[NamedStatement]) -> bytes:
    """Return the statements of one merchant and month: their figures, and every entry, in yuan."""
    head = [
        gettext("活动"),
        gettext("月份"),
        gettext("状态"),
        *(f"{name}（{gettext('元')}）" for name in _figure_names()),
    ]
    summary: list[Sequence[Any]] = [head]
    summary += [
        [_campaign(one), one.statement.month, status_words()[one.statement.status], *_yuan(one.figures)]
        for one in found
    ]
    summary.append([gettext("合计"), "", "", *_yuan(total(one.statement for one in found))])
    return sheets.write_book(
        [
            sheets.Sheet(summary, (24, 10, 14, *[16] * 6), _title(found), gettext("结算单")),
            sheets.Sheet(_entries(found), (24, 18, 10, 22, 36, *[16] * 6, 30), None, gettext("明细")),
        ]
    )


def _entries(found: Sequence[NamedStatement]) -> Any:
    names = (f"{name}（{gettext('元')}）" for name in _figure_names())
    yield [
        gettext("活动"),
        gettext("时间"),
        gettext("事由"),
        gettext("订单号"),
        gettext("礼包"),
        *names,
        gettext("说明"),
    ]
    for one in found:
        lines = queries.lines(one)
        for begin in range(0, len(lines), AT_ONCE):
            some = lines[begin : begin + AT_ONCE]
            packs = queries.packs_of(some, merchant_id=one.statement.merchant_id)
            for line in some:
                sold = "、".join(_sold(pack) for pack in packs.get(line.order_id or 0, ()))
                yield [_campaign(one), *_facts(line), sold, *_yuan(line.figures), line.reason or ""]


def _sold(pack: Sold) -> str:
    return f"{pack.name if _chinese() else pack.name_en} × {pack.quantity}"


def _facts(line: LineView) -> list[str]:
    at = local(line.at).strftime("%Y-%m-%d %H:%M")
    return [at, kind_words().get(line.kind, line.kind), str(line.order_id or "")]


def _yuan(figures: Figures) -> list[Any]:
    return [decimal_yuan(amount) for amount in _amounts(figures)]


def _chinese() -> bool:
    return str(get_locale()).startswith("zh")


def _campaign(one: NamedStatement) -> str:
    return one.campaign_name if _chinese() else one.campaign_name_en


def _title(found: Sequence[NamedStatement]) -> str:
    merchant = found[0].merchant_name if _chinese() else found[0].merchant_name_en
    return gettext("%(merchant)s %(month)s 结算单", merchant=merchant, month=found[0].statement.month)


def document(found: Sequence[NamedStatement]) -> bytes:
    """Return the statements of one merchant and month as a document to print and sign."""
    blocks: list[pdf.Block] = [pdf.Heading(_title(found))]
    for one in found:
        blocks += _on_paper(one)
    blocks += [
        pdf.Gap(8),
        pdf.Text(gettext("商户（盖章）：____________________    日期：____________")),
        pdf.Gap(6),
        pdf.Text(gettext("工会（盖章）：____________________    日期：____________")),
    ]
    return pdf.document(blocks, title=_title(found), footer=_title(found))


def _on_paper(one: NamedStatement) -> list[pdf.Block]:
    lines = queries.lines(one, limit=LINES_ON_PAPER + 1)
    words = [status_words()[one.statement.status]]
    if one.statement.status == "open":
        words.append(gettext("月末之前还会变化，仅供参考。"))
    if one.statement.bank_reference:
        words.append(gettext("银行流水号 %(reference)s", reference=one.statement.bank_reference))
    figures = [[gettext("项目"), gettext("金额")]]
    figures += [list(pair) for pair in zip(_figure_names(), map(yuan, _amounts(one.figures)), strict=True)]
    head = [
        gettext("时间"),
        gettext("事由"),
        gettext("订单与礼包"),
        *(_figure_names()[index] for index in (1, 2, 3, 4, 5)),
    ]
    entries: list[list[str]] = [head]
    packs = queries.packs_of(lines[:LINES_ON_PAPER], merchant_id=one.statement.merchant_id)
    for line in lines[:LINES_ON_PAPER]:
        amounts = _amounts(line.figures)[1:]
        *when, number = _facts(line)
        sold = [_sold(pack) for pack in packs.get(line.order_id or 0, ())]
        what = "\n".join(filter(None, [number, *sold, line.reason]))
        entries.append([*when, what, *(yuan(amount) if amount else "" for amount in amounts)])
    blocks: list[pdf.Block] = [
        pdf.Heading(_campaign(one), level=2),
        pdf.Text("  ".join(words)),
        pdf.Table(figures, (2, 1), right=frozenset({1}), bold_last=True),
        pdf.Gap(),
        pdf.Table(entries, (2.2, 1.1, 3.4, 1.6, 1.5, 1.6, 1.4, 1.6), right=frozenset(range(3, 8))),
    ]
    if len(lines) > LINES_ON_PAPER:
        blocks.append(pdf.Text(gettext("其余明细见同一张结算单的表格文件。"), small=True))
    return [*blocks, pdf.Gap()]
