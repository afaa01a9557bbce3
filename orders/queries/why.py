"""How amounts that were posted came about: figures from the ledger, put into sentences by orders.why."""

from collections.abc import Mapping, Sequence
from typing import Any

from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from orders.queries.orders import OrderView
from orders.queries.refunds import PartView, RefundView
from orders.rules import GRANTED, MEMBER_BUYER, Line, give_back
from orders.why import Sentence, sentence, why_discount, why_refund
from voucher.rules import Purse, SpendAndSave


def of_order(order: OrderView) -> list[Sentence]:
    """Return how an order's discount came about: its copied rule, and what the ledger says could be saved then."""
    if order.buyer_kind == GRANTED:
        return [sentence("这是工会的慰问，%(subtotal)s 全部由工会承担。", subtotal_fen=order.subtotal_fen)]
    offer = SpendAndSave(step_fen=order.step_fen, save_fen=order.save_fen)
    posted = ledger_queries.of_order(order.id)
    held = [row for row in posted if row.kind == "hold" and row.debit in (ledger.VOUCHER_BALANCE, ledger.BUDGET_BULK)]
    bulk = order.buyer_kind != MEMBER_BUYER
    discount_fen = held[-1].amount if held else order.discount_fen if bulk else 0
    purse = Purse("none")
    if held and held[-1].voucher_id is not None:
        purse = Purse("active", ledger_queries.voucher_balance_before(held[-1].voucher_id, held[-1].id))
    return why_discount(offer, order.lines, discount_fen=discount_fen, purse=purse, bulk=bulk)


def of_refunds(refunds: Sequence[RefundView], order: OrderView) -> dict[int, list[Sentence]]:
    """Return how what each of an order's refunds (all of them) brings back came about, by the refund's id.

    Of what is posted, what the ledger has.
    """
    if not refunds:
        return {}
    posted: dict[str, list[Any]] = {}
    for row in ledger_queries.of_order(order.id):
        posted.setdefault(row.entry, []).append(row)
    parts = [part for refund in refunds for part in refund.parts]
    return {
        refund.id: [step for part in refund.parts for step in _of_part(part, parts, posted, order)]
        for refund in refunds
    }


def _of_part(
    part: PartView, parts: Sequence[PartView], posted: Mapping[str, Sequence[Any]], order: OrderView
) -> list[Sentence]:
    if part.status == "declined":
        return []
    lines = {line.line_no: line for line in order.lines}
    said: list[Sentence] = []
    for line, units in part.lines:
        said += _steps(lines[line.line_no], before=_returned_before(part, parts, line.line_no), units=units)
    if rows := posted.get(f"refund:{part.refund_id}:{part.merchant_id}"):
        said.append(
            sentence(
                "账上：付款退回 %(cash)s，优惠退回 %(voucher)s。",
                cash_fen=sum(row.amount for row in rows if row.credit == ledger.REFUND_DUE),
                voucher_fen=sum(row.amount for row in rows if row.credit == ledger.SUBSIDY),
            )
        )
    return said


def of_units(order: OrderView, units: Sequence[tuple[Line, int]]) -> list[Sentence]:
    """Return what giving these units back now would bring, and how that comes about."""
    return [step for line, more in units for step in _steps(line, before=line.refunded, units=more)]


def _steps(line: Line, *, before: int, units: int) -> list[Sentence]:
    back = give_back(
        amount_fen=line.amount_fen, discount_fen=line.discount_fen, quantity=line.quantity, before=before, units=units
    )
    return why_refund(line, before=before, units=units, back=back)


def _returned_before(this: PartView, parts: Sequence[PartView], line_no: int) -> int:
    """Return how many units of a line had gone back when a part was accepted (or now, where it is not yet)."""
    accepted = [part for part in parts if part.status == "accepted" and part is not this]
    if this.status == "accepted" and this.decided_at is not None:
        at = (this.decided_at, this.refund_id)
        accepted = [part for part in accepted if part.decided_at and (part.decided_at, part.refund_id) < at]
    return sum(units for part in accepted for line, units in part.lines if line.line_no == line_no)
