"""售后: give units of a paid order back, by line and in parts (rules.md, 'Life of a discount').

What has not left the merchant is given back at once; for what has, the merchant answers within a set time, and the
operator where the merchant did not or the buyer appeals. Whoever accepts, the money, the discount and the stock move
in that one transaction, and the provider is asked to send the money after its commit.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update

from catalog import steps as catalog_steps
from finance.gateway import steps as gateway_steps
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency
from kernel.db import after_commit, db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, OverLimit, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from orders import schemas
from orders.models import Order, OrderLine, OrderRefund, Parcel, RefundLine, RefundPart
from orders.queries import refunds as refund_queries
from orders.queries.refunds import PartView
from orders.rules import GRANTED, MEMBER_BUYER, REFUNDABLE, UNION_BUYER, GiveBack, give_back, status_after_shipping
from orders.services import telling
from orders.services.fulfilment import end_parcel
from orders.services.sending import send_refund
from voucher import steps as voucher_steps


@dataclass(frozen=True)
class Returned:
    """What a buyer wants to give back: units of a line."""

    line_id: int
    quantity: int


def ask(
    *,
    number: str,
    member_id: int | None = None,
    union_id: int | None = None,
    wanted: Sequence[Returned],
    reason: str,
    reply_seconds: int,
    once: Once,
    now: datetime,
) -> Answer:
    """Ask to give units of an own order back; what has not been shipped is given back in the same transaction.

    `reply_seconds` is how long a merchant may take to answer for what was shipped. Raises NotFound (also for
    another's order), StateConflict before payment, Invalid for an unknown line, OverLimit for more than was bought.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        own = Order.member_id == member_id if member_id is not None else Order.union_id == union_id
        order = _lock(Order.id == as_id(number), own)
        lines = _lines(order.id)
        units = _units(wanted, lines)
        if order.buyer_kind == GRANTED:
            raise StateConflict("慰问品不能退款，有问题请联系商户或工会。")
        if order.status == "refunded":
            raise OverLimit("整个订单已经全部退款。")
        if order.status not in REFUNDABLE:
            raise StateConflict("只有已付款的订单可以退款。")
        _reserve(order.id, units, lines)
        refund_id = new_id()
        db.session.execute(
            insert(OrderRefund).values(
                id=refund_id, order_id=order.id, asked_by=once.person_id, reason=reason, asked_at=now
            )
        )
        for part in _write_parts(refund_id, units, lines, due_at=now + timedelta(seconds=reply_seconds)):
            if not part.shipped:
                _accept(order, part, {}, decided_by=None, now=now)
            else:
                telling.refund_asked(part, now=now)
        return idempotency.finish(once, schemas.Refund().dump(refund_queries.refund(refund_id, now=now)))


def accept(
    *,
    refund: str,
    merchant_id: int | None,
    restock: Sequence[Returned] = (),
    actor_id: int,
    once: Once | None,
    now: datetime,
) -> Answer:
    """A merchant accepts its part of a refund, and says what of the goods that had left is sold again.

    What `restock` does not name is not: it stays with the buyer, or cannot be sold. Raises NotFound for another's,
    StateConflict where it is answered, Invalid for more than had left.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order, part = _lock_part(refund, merchant_id=merchant_id)
        if part.status != "requested":
            raise StateConflict("这个退款申请已经处理过。")
        restocked = _restocked(part, restock)
        _accept(order, part, restocked, decided_by=actor_id, now=now)
        _note("refund.accept", part, now=now, restocked={str(number): count for number, count in restocked.items()})
        return idempotency.finish(once, _said(part))


def decline(
    *,
    refund: str,
    merchant_id: int | None,
    reason: str,
    actor_id: int,
    once: Once | None,
    now: datetime,
    final: bool = False,
) -> Answer:
    """A merchant declines its part, with a reason; `final` is the operator's, after which there is no appeal."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order, part = _lock_part(refund, merchant_id=merchant_id)
        if part.final or not (part.status == "requested" or (final and part.appealed_at is not None)):
            raise StateConflict("这个退款申请已经处理过。")
        if part.status == "requested":
            _ask_less(order.id, part)
        db.session.execute(
            update(RefundPart)
            .where(RefundPart.refund_id == part.refund_id, RefundPart.merchant_id == part.merchant_id)
            .values(status="declined", decided_by=actor_id, decided_at=now, decline_reason=reason, final=final)
        )
        telling.refund_decided(part, reason=reason, now=now)
        _note("refund.decline", part, now=now, reason=reason)
        return idempotency.finish(once, _said(part))


def accept_for_operator(
    *,
    refund: str,
    merchant_id: int | None,
    restock: Sequence[Returned] = (),
    actor_id: int,
    once: Once,
    now: datetime,
) -> Answer:
    """An operator accepts a part the merchant did not answer in time, or declined and the buyer appealed.

    `restock` and what is raised are as in `accept`; StateConflict also for what is not an operator's to answer.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order, part = _lock_part(refund, merchant_id=merchant_id)
        if not _with_operator(part, now=now):
            raise StateConflict("这个退款申请不需要运营处理。")
        if part.status == "declined":
            lines = _lines(order.id)
            _reserve(order.id, _units_of(part), lines)
        restocked = _restocked(part, restock)
        _accept(order, part, restocked, decided_by=actor_id, now=now)
        _note("refund.accept", part, now=now, restocked={str(number): count for number, count in restocked.items()})
        return idempotency.finish(once, _said(part))


def appeal(*, number: str, refund: str, member_id: int | None, reason: str, now: datetime) -> None:
    """A member asks the operator to look at what merchants declined. Raises NotFound, StateConflict."""
    with transaction():
        order = _lock(Order.id == as_id(number), Order.member_id == member_id)
        asked = select(OrderRefund.id).where(OrderRefund.id == as_id(refund), OrderRefund.order_id == order.id)
        refund_id = db.session.scalar(asked)
        if refund_id is None:
            raise NotFound("没有这个退款申请。")
        appealed = rows_changed(
            update(RefundPart)
            .where(
                RefundPart.refund_id == refund_id,
                RefundPart.status == "declined",
                RefundPart.appealed_at.is_(None),
                RefundPart.final.is_(False),
            )
            .values(appealed_at=now, appeal_reason=reason)
        )
        if appealed == 0:
            raise StateConflict("这个退款申请现在不能申诉。")


def _lock(*conditions: Any) -> Any:
    order = db.session.execute(
        select(Order.id, Order.status, Order.campaign_id, Order.buyer_kind, Order.voucher_id)
        .where(*conditions)
        .with_for_update()
    ).one_or_none()
    if order is None:
        raise NotFound("没有这个订单。")
    return order


def _lock_part(refund: str, *, merchant_id: int | None) -> tuple[Any, PartView]:
    """Lock the order first, as everybody does, then read the part as it is under that lock."""
    order_id = db.session.scalar(
        select(OrderRefund.order_id)
        .join(RefundPart, RefundPart.refund_id == OrderRefund.id)
        .where(OrderRefund.id == as_id(refund), RefundPart.merchant_id == merchant_id)
    )
    if order_id is None:
        raise NotFound("没有这个退款申请。")
    order = _lock(Order.id == order_id)
    return order, refund_queries.part_of_merchant(refund, merchant_id=merchant_id)


def _with_operator(part: PartView, *, now: datetime) -> bool:
    late = part.status == "requested" and part.due_at is not None and part.due_at <= now
    return late or (part.status == "declined" and part.appealed_at is not None and not part.final)


def _lines(order_id: int) -> dict[int, OrderLine]:
    rows = db.session.scalars(
        select(OrderLine)
        .where(OrderLine.order_id == order_id)
        .order_by(OrderLine.line_no)
        .execution_options(populate_existing=True)
    )
    return {row.line_no: row for row in rows}


def _units(wanted: Sequence[Returned], lines: Mapping[int, OrderLine]) -> dict[int, int]:
    errors = {
        f"lines.{index}.line_id": ["订单里没有这一行。"] for index, one in enumerate(wanted) if one.line_id not in lines
    }
    if errors:
        raise Invalid(errors=errors)
    units: dict[int, int] = defaultdict(int)
    for one in wanted:
        units[one.line_id] += one.quantity
    return dict(units)


def _units_of(part: PartView) -> dict[int, int]:
    return {line.line_no: units for line, units in part.lines}


def _reserve(order_id: int, units: Mapping[int, int], lines: Mapping[int, OrderLine]) -> None:
    """Count units as asked back: what is asked twice is refused here."""
    for line_no, more in sorted(units.items()):
        line = lines[line_no]
        asked = rows_changed(
            update(OrderLine)
            .where(
                OrderLine.order_id == order_id,
                OrderLine.line_no == line_no,
                OrderLine.refund_asked + more <= OrderLine.quantity,
            )
            .values(refund_asked=OrderLine.refund_asked + more)
        )
        if asked == 0:
            left = line.quantity - line.refund_asked
            names: dict[str, Any] = {"name": line.pack_name, "name_en": line.pack_name_en}
            raise OverLimit("“%(name)s”最多还能退 %(left)s 份。", **names, left=left)


def _ask_less(order_id: int, part: PartView) -> None:
    for line_no, units in _units_of(part).items():
        db.session.execute(
            update(OrderLine)
            .where(OrderLine.order_id == order_id, OrderLine.line_no == line_no)
            .values(refund_asked=OrderLine.refund_asked - units),
            execution_options={"synchronize_session": False},
        )


def _write_parts(
    refund_id: int, units: Mapping[int, int], lines: Mapping[int, OrderLine], *, due_at: datetime
) -> list[PartView]:
    order_id = next(iter(lines.values())).order_id
    parcel_status = {
        number: status
        for number, status in db.session.execute(
            select(Parcel.parcel_no, Parcel.status).where(Parcel.order_id == order_id)
        )
    }
    by_merchant: dict[int, list[OrderLine]] = defaultdict(list)
    for line_no in sorted(units):
        by_merchant[lines[line_no].merchant_id].append(lines[line_no])
    for merchant_id, own in by_merchant.items():
        # Of a parcel that left in part, what is still with the merchant is given back at once, like any other.
        shipped = parcel_status[own[0].parcel_no] != "to_ship" or any(
            units[line.line_no] > line.quantity - line.shipped - line.withdrawn for line in own
        )
        backs = [_back(line, units[line.line_no]) for line in own]
        db.session.execute(
            insert(RefundPart).values(
                refund_id=refund_id,
                merchant_id=merchant_id,
                parcel_no=own[0].parcel_no,
                shipped=shipped,
                status="requested",
                cash_fen=sum(back.cash_fen for back in backs),
                voucher_fen=sum(back.voucher_fen for back in backs),
                due_at=due_at if shipped else None,
            )
        )
        db.session.execute(
            insert(RefundLine).values(
                [
                    {
                        "refund_id": refund_id,
                        "line_no": line.line_no,
                        "merchant_id": merchant_id,
                        "quantity": units[line.line_no],
                    }
                    for line in own
                ]
            )
        )
    return refund_queries.parts_of([refund_id])


def _back(line: OrderLine, units: int) -> GiveBack:
    return give_back(
        amount_fen=line.amount_fen,
        discount_fen=line.discount_fen,
        quantity=line.quantity,
        before=line.refunded,
        units=units,
    )


def _restocked(part: PartView, restock: Sequence[Returned]) -> dict[int, int]:
    """Return how many units of each line are sold again; raise Invalid for more than had left."""
    wanted: dict[int, int] = defaultdict(int)
    for index, one in enumerate(restock):
        wanted[one.line_id] += one.quantity
        if wanted[one.line_id] > part.gone.get(one.line_id, 0):
            raise Invalid(errors={f"restock.{index}.quantity": ["回到库存的份数不能多于退回的份数。"]})
    return {line_no: count for line_no, count in wanted.items() if count > 0}


def _accept(order: Any, part: PartView, restock: Mapping[int, int], *, decided_by: int | None, now: datetime) -> None:
    """Give a part back, in the caller's transaction, which holds the order's row: money, discount, stock, ledger."""
    lines, units = _lines(order.id), _units_of(part)
    backs = [_back(lines[line_no], more) for line_no, more in units.items()]
    cash_fen, voucher_fen = sum(back.cash_fen for back in backs), sum(back.voucher_fen for back in backs)
    # What has not left is not sent any more, and is available again; of what has left, what the merchant says.
    kept = {
        line_no: min(more, lines[line_no].quantity - lines[line_no].shipped - lines[line_no].withdrawn)
        for line_no, more in units.items()
    }
    for line_no, more in units.items():
        db.session.execute(
            update(OrderLine)
            .where(OrderLine.order_id == order.id, OrderLine.line_no == line_no)
            .values(refunded=OrderLine.refunded + more, withdrawn=OrderLine.withdrawn + kept[line_no]),
            execution_options={"synchronize_session": False},
        )
    db.session.execute(
        update(RefundPart)
        .where(RefundPart.refund_id == part.refund_id, RefundPart.merchant_id == part.merchant_id)
        .values(status="accepted", decided_by=decided_by, decided_at=now, cash_fen=cash_fen, voucher_fen=voucher_fen)
    )
    name = f"{part.refund_id}:{part.merchant_id}"
    if decided_by is not None:  # otherwise the buyer has just seen it
        telling.refund_decided(part, cash_fen=cash_fen, voucher_fen=voucher_fen, now=now)
    if cash_fen > 0:
        intent = gateway_steps.refund(
            order_id=order.id, amount_fen=cash_fen, cause=f"refund:{name}", reason="returned", now=now
        )
        after_commit(send_refund, refund_id=intent.id, now=now)
    owner = {"campaign_id": order.campaign_id, "merchant_id": part.merchant_id}
    postings = [
        Posting(ledger.MERCHANT_OWED, account, amount_fen, **owner)
        for account, amount_fen in ((ledger.REFUND_DUE, cash_fen), (ledger.SUBSIDY, voucher_fen))
        if amount_fen > 0
    ]
    postings += _take_discount_back(order, voucher_fen)
    for line_no, count in restock.items():
        db.session.execute(
            update(RefundLine)
            .where(RefundLine.refund_id == part.refund_id, RefundLine.line_no == line_no)
            .values(restocked=count),
            execution_options={"synchronize_session": False},
        )
    never_left, came_back = _by_pack(lines, kept), _by_pack(lines, restock)
    available_again = _by_pack(lines, {line_no: kept[line_no] + restock.get(line_no, 0) for line_no in kept})
    postings += catalog_steps.take_back_postings(available_again)
    ledger_steps.post(Cause("refund", name, order_id=order.id, actor_id=decided_by), postings, now=now)
    _move_on(order.id, part.parcel_no)
    of_union = order.buyer_kind == UNION_BUYER
    if never_left:
        catalog_steps.take_back(never_left, bulk=of_union)
    if came_back:
        catalog_steps.restock(came_back, bulk=of_union)


def _by_pack(lines: Mapping[int, OrderLine], units: Mapping[int, int]) -> dict[int, int]:
    total: dict[int, int] = defaultdict(int)
    for line_no, count in units.items():
        if count > 0:
            total[lines[line_no].pack_id] += count
    return dict(total)


def _take_discount_back(order: Any, amount_fen: int) -> list[Posting]:
    if order.buyer_kind != MEMBER_BUYER:
        return voucher_steps.take_back_bulk(campaign_id=order.campaign_id, amount_fen=amount_fen)
    if order.voucher_id is None:
        return []
    return voucher_steps.take_back(voucher_id=order.voucher_id, campaign_id=order.campaign_id, amount_fen=amount_fen)


def _move_on(order_id: int, parcel_no: int) -> None:
    """A parcel with nothing left to send is cancelled, or has left; an order of which all went back is refunded."""
    lines = _lines(order_id)
    end_parcel(order_id, parcel_no)
    statuses = list(db.session.scalars(select(Parcel.status).where(Parcel.order_id == order_id)))
    all_back = all(line.quantity == line.refunded for line in lines.values())
    status = "refunded" if all_back else status_after_shipping(statuses)
    db.session.execute(update(Order).where(Order.id == order_id, Order.status.in_(REFUNDABLE)).values(status=status))


def _said(part: PartView) -> dict[str, Any]:
    fresh = refund_queries.part_of_merchant(str(part.refund_id), merchant_id=part.merchant_id)
    dumped: dict[str, Any] = schemas.RefundPart().dump(fresh)
    return dumped


def _note(action: str, part: PartView, *, now: datetime, **more: Any) -> None:
    after = {"merchant_id": part.merchant_id, "cash_fen": part.cash_fen, "voucher_fen": part.voucher_fen}
    said = {name: value for name, value in more.items() if value}
    audit.record(action, f"refund:{part.refund_id}", now=now, after={**after, **said})
