"""购买凭证: what a member bought, paid and got back, to print or keep."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask_babel import get_locale, gettext

from finance.gateway.queries import PaymentView
from kernel import pdf
from kernel.clock import local
from kernel.money import yuan
from orders.queries import OrderView
from orders.rules import delivery_text

SETTLED = ("succeeded", "refunded")


def receipt(
    order: OrderView, *, payments: Sequence[PaymentView], sent_back: Sequence[Any], issuer: str, now: datetime
) -> bytes:
    """Return an order's receipt as a document: lines at full price, discount, what was paid and what went back."""
    zh = str(get_locale()).startswith("zh")
    lines = [[gettext("礼包"), gettext("商户"), gettext("单价"), gettext("数量"), gettext("优惠"), gettext("实付")]]
    for line in order.lines:
        lines.append(
            [
                line.pack_name if zh else (line.pack_name_en or line.pack_name),
                line.merchant_name if zh else (line.merchant_name_en or line.merchant_name),
                yuan(line.price_fen),
                str(line.quantity),
                yuan(line.discount_fen),
                yuan(line.amount_fen - line.discount_fen),
            ]
        )
    back_fen = sum(one.amount_fen for one in sent_back if one.status == "succeeded")
    sums = [
        [gettext("项目"), gettext("金额")],
        [gettext("商品金额"), yuan(order.subtotal_fen)],
        [gettext("福利券优惠"), f"-{yuan(order.discount_fen)}"],
        [gettext("应付"), yuan(order.payable_fen)],
        [gettext("已付"), yuan(sum(one.amount_fen for one in payments if one.status in SETTLED))],
        [gettext("已退回"), yuan(back_fen)],
    ]
    title = gettext("购买凭证 %(number)s", number=order.number)
    blocks: list[pdf.Block] = [
        pdf.Heading(title),
        pdf.Text(gettext("下单时间 %(at)s", at=_at(order.placed_at))),
        pdf.Text(gettext("付款时间 %(at)s", at=_at(order.paid_at))),
        pdf.Text(f"{order.delivery.get('name', '')}  {delivery_text(order.delivery)}"),
        pdf.Gap(),
        pdf.Table(lines, (4, 2.4, 1.3, 1, 1.3, 1.4), right=frozenset({2, 3, 4, 5})),
        pdf.Gap(),
        pdf.Table(sums, (3, 1), right=frozenset({1})),
        pdf.Gap(),
        pdf.Text(
            gettext("%(issuer)s。开具时间 %(at)s。本凭证不是发票；要发票请联系商户。", issuer=issuer, at=_at(now)),
            small=True,
        ),
    ]
    return pdf.document(blocks, title=title, footer=title)


def _at(moment: datetime | None) -> str:
    return local(moment).strftime("%Y-%m-%d %H:%M") if moment is not None else ""
