"""履约: merchants ship parcels, buyers receive them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from catalog import steps as catalog_steps
from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.models import Order, OrderLine, Parcel, ParcelFault
from orders.queries import OrderView, ParcelView
from orders.rules import Wanted, quantities_of, status_after_shipping


def ship(*, parcel: str, merchant_id: int | None, carrier: str, tracking_no: str, now: datetime) -> ParcelView:
    """A merchant ships one of its parcels. Raises NotFound for another's, StateConflict where it has left already."""
    found = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
    with transaction():
        _lock(found.order_id)
        shipped = rows_changed(
            update(Parcel)
            .where(
                Parcel.order_id == found.order_id,
                Parcel.parcel_no == found.parcel_no,
                Parcel.merchant_id == merchant_id,
                Parcel.status == "to_ship",
            )
            .values(status="shipped", carrier=carrier, tracking_no=tracking_no, shipped_at=now)
        )
        if shipped == 0:
            raise StateConflict("这个包裹已经发货或已取消。")
        _move_order(found.order_id)
        rows = db.session.execute(
            select(OrderLine.pack_id, OrderLine.quantity - OrderLine.refunded).where(
                OrderLine.order_id == found.order_id,
                OrderLine.parcel_no == found.parcel_no,
                OrderLine.quantity > OrderLine.refunded,
            )
        )
        catalog_steps.ship(quantities_of([Wanted(pack_id, quantity) for pack_id, quantity in rows]))
        sent = {"carrier": carrier, "tracking_no": tracking_no}
        audit.record("parcel.ship", f"parcel:{found.id}", now=now, after=sent)
    return queries.parcel_of_merchant(parcel, merchant_id=merchant_id)


def receive(*, number: str, parcel: str, member_id: int | None, now: datetime) -> OrderView:
    """A member has a parcel. Receiving it twice changes nothing. Raises NotFound, StateConflict before it is sent."""
    order = queries.order_of_member(number, member_id=member_id, now=now)
    own = next((view for view in order.parcels if parcel in (view.id, str(view.parcel_no))), None)
    if own is None:
        raise NotFound("没有这个包裹。")
    return _received(order, own, now=now) or queries.order_of_member(number, member_id=member_id, now=now)


def receive_for_union(
    *, number: str, parcel: str, union_id: int | None, faults: Sequence[Mapping[str, Any]] = (), now: datetime
) -> OrderView:
    """A union has a parcel of its order, as `receive`; what came short or broken is told to the merchant with it.

    `faults` are lines of the parcel (`line_id`) with how many units are `missing` and `broken`, and a `note`. Said
    again, they take the place of what was said before. Raises Invalid for more than the parcel held.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    own = next((view for view in order.parcels if parcel in (view.id, str(view.parcel_no))), None)
    if own is None:
        raise NotFound("没有这个包裹。")
    if not faults:
        return _received(order, own, now=now) or queries.order_of_union(number, union_id=union_id, now=now)
    rows = _faults(own, faults, now=now)
    with transaction():
        _lock(order.id)
        _note_delivered(order.id, own.parcel_no, now=now)
        db.session.execute(
            delete(ParcelFault).where(ParcelFault.order_id == order.id, ParcelFault.parcel_no == own.parcel_no)
        )
        if rows:
            db.session.execute(insert(ParcelFault), rows)
        after = {row["line_no"]: [row["missing"], row["broken"]] for row in rows}
        audit.record("parcel.faults", f"parcel:{own.id}", now=now, after=after)
    return queries.order_of_union(number, union_id=union_id, now=now)


def _faults(own: ParcelView, faults: Sequence[Mapping[str, Any]], *, now: datetime) -> list[dict[str, Any]]:
    lines = {line.line_no: line for line in own.lines}
    rows: dict[int, dict[str, Any]] = {}
    for index, fault in enumerate(faults):
        line = lines.get(fault["line_id"])
        count = fault["missing"] + fault["broken"]
        if line is None or count > line.left:
            raise Invalid(errors={f"faults.{index}": ["缺少和破损的数量不能多于这个包裹里的数量。"]})
        if count > 0:
            rows[line.line_no] = {
                "order_id": own.order_id,
                "line_no": line.line_no,
                "parcel_no": own.parcel_no,
                "merchant_id": own.merchant_id,
                "missing": fault["missing"],
                "broken": fault["broken"],
                "note": fault["note"],
                "told_at": now,
            }
    return list(rows.values())


def _received(order: OrderView, own: ParcelView, *, now: datetime) -> OrderView | None:
    if own.status == "delivered":
        return order
    with transaction():
        _lock(order.id)
        _note_delivered(order.id, own.parcel_no, now=now)
    return None


def _note_delivered(order_id: int, parcel_no: int, *, now: datetime) -> None:
    status = db.session.scalar(select(Parcel.status).where(Parcel.order_id == order_id, Parcel.parcel_no == parcel_no))
    if status == "delivered":
        return
    if status != "shipped":
        raise StateConflict("这个包裹还没有发货。")
    db.session.execute(
        update(Parcel)
        .where(Parcel.order_id == order_id, Parcel.parcel_no == parcel_no)
        .values(status="delivered", delivered_at=now)
    )
    _move_order(order_id)


def _lock(order_id: int) -> None:
    db.session.execute(select(Order.id).where(Order.id == order_id).with_for_update())


def _move_order(order_id: int) -> None:
    statuses = list(db.session.scalars(select(Parcel.status).where(Parcel.order_id == order_id)))
    db.session.execute(
        update(Order)
        .where(Order.id == order_id, Order.status.in_(("paid", "fulfilling")))
        .values(status=status_after_shipping(statuses))
    )
