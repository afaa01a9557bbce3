"""履约: merchants ship parcels, buyers receive them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update

from catalog import steps as catalog_steps
from kernel import audit
from kernel.db import db, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.sheets import Fault, Rows
from orders import queries
from orders import shipments as sheet
from orders.models import Order, OrderLine, Parcel, ParcelFault, ParcelPackage
from orders.queries import OrderView, ParcelView
from orders.queries import unions as union_queries
from orders.rules import Wanted, quantities_of, status_after_shipping
from orders.services import telling
from orders.shipments import Shipment


def ship(
    *,
    parcel: str,
    merchant_id: int | None,
    carrier: str,
    tracking_no: str,
    units: Mapping[int, int] | None = None,
    department: str | None = None,
    now: datetime,
) -> ParcelView:
    """A merchant ships one of its parcels, or `units` of it (by line number) in a package of their own.

    Where the union wants it by department, the package may be a `department`'s: all of its box, where no units are
    named. Raises NotFound for another's, StateConflict where it has left already, Invalid for more than is still to
    be sent.
    """
    found = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
    with transaction():
        _ship(
            found,
            merchant_id=merchant_id,
            carrier=carrier,
            tracking_no=tracking_no,
            units=units,
            department=department,
            now=now,
        )
    return queries.parcel_of_merchant(parcel, merchant_id=merchant_id, now=now)


def ship_by_sheet(*, merchant_id: int, rows: Rows, partial: bool, now: datetime) -> dict[str, Any]:
    """Ship the parcels that a spreadsheet's rows name: all of them or nothing, or the good rows only if asked.

    A row that says what is so already (the same carrier and number) is accepted and changes nothing, so a sheet may
    be sent again. Returns how many rows were accepted and rejected, and each fault with its row.
    """
    shipments, faults, total = sheet.check(rows)
    own = {one.id: one for one in queries.parcels_by_id([row.parcel for row in shipments], merchant_id=merchant_id)}
    done: list[dict[str, Any]] = []
    try:
        with transaction():
            # Orders are locked in the order of their ids, whatever the order of the rows.
            for row in sorted(shipments, key=lambda one: _order_of(own.get(one.parcel))):
                fault = _ship_row(own.get(row.parcel), row, merchant_id=merchant_id, now=now)
                if fault is None:
                    done.append({"row": row.row, "parcel_id": row.parcel})
                else:
                    faults.append(fault)
            if faults and not partial:
                raise _NothingOfIt
    except _NothingOfIt:
        done = []
    return {
        "accepted": len(done),
        "rejected": total - len(done),
        "errors": [fault.__dict__ for fault in sorted(faults, key=lambda fault: fault.row)],
        "rows": sorted(done, key=lambda one: int(one["row"])),
    }


class _NothingOfIt(Exception):
    """A row is wrong, so the whole sheet is rolled back."""


def _order_of(parcel: ParcelView | None) -> tuple[int, int]:
    return (parcel.order_id, parcel.parcel_no) if parcel is not None else (0, 0)


def _ship_row(parcel: ParcelView | None, row: Shipment, *, merchant_id: int, now: datetime) -> Fault | None:
    column = sheet.COLUMN_NAMES["parcel"]
    if parcel is None:
        return Fault(row.row, column, "没有这个包裹。")
    if (parcel.status, parcel.carrier, parcel.tracking_no) == ("shipped", row.carrier, row.tracking_no):
        return None
    try:
        _ship(parcel, merchant_id=merchant_id, carrier=row.carrier, tracking_no=row.tracking_no, units=None, now=now)
    except StateConflict as refused:
        return Fault(row.row, column, refused.message)
    return None


def _ship(
    found: ParcelView,
    *,
    merchant_id: int | None,
    carrier: str,
    tracking_no: str,
    units: Mapping[int, int] | None,
    department: str | None = None,
    told: bool = True,
    now: datetime,
) -> None:
    """Send what is still to be sent, or some of it, within the caller's transaction."""
    lock_order(found.order_id)
    # Read again under the lock: a refund may have taken units out meanwhile.
    fresh = queries.parcel_of_merchant(found.id, merchant_id=merchant_id)
    if fresh.status != "to_ship":
        raise StateConflict("这个包裹已经发货或已取消。")
    left = {line.line_no: line.to_send for line in fresh.lines if line.to_send > 0}
    if department is not None:
        box = next((one for one in fresh.boxes if one.department == department), None)
        if box is None:
            raise Invalid("这个包裹里没有这个部门的礼包。", errors={"department": ["这个包裹里没有这个部门的礼包。"]})
        if not box.to_send:
            raise StateConflict("这个部门的礼包已经发出。")
        left_for_it = dict(box.to_send)
        units = left_for_it if units is None else units
        if any(count > left_for_it.get(line_no, 0) for line_no, count in units.items()):
            raise Invalid("发出的份数超过了还没发的份数。", errors={"lines": ["发出的份数超过了还没发的份数。"]})
    sent = dict(left) if units is None else {line_no: count for line_no, count in units.items() if count > 0}
    if not sent or any(count > left.get(line_no, 0) for line_no, count in sent.items()):
        raise Invalid("发出的份数超过了还没发的份数。", errors={"lines": ["发出的份数超过了还没发的份数。"]})
    for line_no, count in sorted(sent.items()):
        db.session.execute(
            update(OrderLine)
            .where(OrderLine.order_id == fresh.order_id, OrderLine.line_no == line_no)
            .values(shipped=OrderLine.shipped + count),
            execution_options={"synchronize_session": False},
        )
    db.session.execute(
        insert(ParcelPackage).values(
            order_id=fresh.order_id,
            parcel_no=fresh.parcel_no,
            package_no=len(fresh.packages) + 1,
            carrier=carrier,
            tracking_no=tracking_no,
            units={str(line_no): count for line_no, count in sent.items()},
            shipped_at=now,
            department=department,
        )
    )
    whole = sent == left
    db.session.execute(
        update(Parcel)
        .where(Parcel.order_id == fresh.order_id, Parcel.parcel_no == fresh.parcel_no)
        .values(carrier=carrier, tracking_no=tracking_no, shipped_at=now, status="shipped" if whole else "to_ship")
    )
    move_order(fresh.order_id)
    if told:
        package_no = len(fresh.packages) + 1
        telling.shipped(fresh, package_no=package_no, carrier=carrier, tracking_no=tracking_no, now=now)
    packs = {line.line_no: line.pack_id for line in fresh.lines}
    catalog_steps.ship(quantities_of([Wanted(packs[line_no], count) for line_no, count in sent.items()]))
    after: dict[str, Any] = {"carrier": carrier, "tracking_no": tracking_no}
    if department is not None:
        after["department"] = department
    audit.record("parcel.ship", f"parcel:{fresh.id}", now=now, after=after if whole else after | {"units": sent})


def send_all(parcel: ParcelView, *, carrier: str, tracking_no: str, now: datetime) -> None:
    """Send all of a parcel that is still to be sent, into its buyer's own hands, within the caller's transaction."""
    _ship(
        parcel,
        merchant_id=parcel.merchant_id,
        carrier=carrier,
        tracking_no=tracking_no,
        units=None,
        told=False,
        now=now,
    )


def correct(
    *,
    parcel: str,
    merchant_id: int | None,
    carrier: str,
    tracking_no: str,
    package_no: int | None = None,
    now: datetime,
) -> ParcelView:
    """A merchant mends a package's carrier and number (the last one's where none is named).

    Raises NotFound for another's parcel or no such package, StateConflict before it has left and once it has arrived.
    """
    found = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
    with transaction():
        lock_order(found.order_id)
        fresh = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
        if fresh.status == "delivered" or not fresh.packages:
            raise StateConflict("这个包裹还没有发货，或已经签收，运单号不能改。")
        number = package_no or fresh.packages[-1].package_no
        old = next((one for one in fresh.packages if one.package_no == number), None)
        if old is None:
            raise NotFound("没有这个包裹。")
        values = {"carrier": carrier, "tracking_no": tracking_no}
        db.session.execute(
            update(ParcelPackage)
            .where(
                ParcelPackage.order_id == fresh.order_id,
                ParcelPackage.parcel_no == fresh.parcel_no,
                ParcelPackage.package_no == number,
            )
            .values(**values)
        )
        if number == fresh.packages[-1].package_no:
            own = (Parcel.order_id == fresh.order_id, Parcel.parcel_no == fresh.parcel_no)
            db.session.execute(update(Parcel).where(*own).values(**values))
        telling.shipped(fresh, package_no=number, carrier=carrier, tracking_no=tracking_no, now=now)
        before = {"carrier": old.carrier, "tracking_no": old.tracking_no}
        audit.record("parcel.correct", f"parcel:{fresh.id}", now=now, before=before, after=values)
    return queries.parcel_of_merchant(parcel, merchant_id=merchant_id, now=now)


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
        lock_order(order.id)
        _note_delivered(order.id, own.parcel_no, now=now)
        db.session.execute(
            delete(ParcelFault).where(ParcelFault.order_id == order.id, ParcelFault.parcel_no == own.parcel_no)
        )
        if rows:
            db.session.execute(insert(ParcelFault), rows)
        after = {row["line_no"]: [row["missing"], row["broken"]] for row in rows}
        audit.record("parcel.faults", f"parcel:{own.id}", now=now, after=after)
    return queries.order_of_union(number, union_id=union_id, now=now)


def receive_package(
    *,
    number: str,
    parcel: str,
    package_no: int,
    union_id: int | None,
    faults: Sequence[Mapping[str, Any]] = (),
    actor_id: int,
    now: datetime,
) -> OrderView:
    """A union has one package of a parcel, a department's box for example; with the last one it has the parcel.

    `faults` as for `receive_for_union`, of this package. Receiving it again changes nothing. Raises NotFound, and
    Invalid for more than the package held.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    with transaction():
        lock_order(order.id)
        # Read again under the lock: somebody else of the union may have received it meanwhile.
        order = queries.order_of_union(number, union_id=union_id, now=now)
        own = next((view for view in order.parcels if parcel in (view.id, str(view.parcel_no))), None)
        package = next((one for one in own.packages if one.package_no == package_no), None) if own else None
        if own is None or package is None:
            raise NotFound("没有这个包裹。")
        if package.received_at is not None:
            return order
        rows = _faults(own, faults, held=package.units or None, now=now)
        only = ParcelPackage.package_no == package_no
        _note_packages(order.id, own.parcel_no, only, actor_id=actor_id, now=now)
        said = {row.line_no: row for row in union_queries.faults_of(order.id)}
        for row in rows:
            # Another department's box may have come short of the same line before.
            before = said.get(row["line_no"])
            if before is not None:
                row |= {"missing": before.missing + row["missing"], "broken": before.broken + row["broken"]}
        line_nos = [row["line_no"] for row in rows]
        db.session.execute(
            delete(ParcelFault).where(ParcelFault.order_id == order.id, ParcelFault.line_no.in_(line_nos))
        )
        if rows:
            db.session.execute(insert(ParcelFault), rows)
        if own.status == "shipped" and all(one.received_at or one.package_no == package_no for one in own.packages):
            _note_delivered(order.id, own.parcel_no, now=now)
        after = {"package": package_no, "department": package.department, "faults": len(rows)}
        audit.record("package.receive", f"parcel:{own.id}", actor_id=actor_id, now=now, after=after)
    return queries.order_of_union(number, union_id=union_id, now=now)


def _faults(
    own: ParcelView, faults: Sequence[Mapping[str, Any]], *, held: Mapping[int, int] | None = None, now: datetime
) -> list[dict[str, Any]]:
    lines = {line.line_no: line for line in own.lines}
    rows: dict[int, dict[str, Any]] = {}
    for index, fault in enumerate(faults):
        line = lines.get(fault["line_id"])
        count = fault["missing"] + fault["broken"]
        if line is None or count > (line.left if held is None else held.get(line.line_no, 0)):
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
        lock_order(order.id)
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
    _note_packages(order_id, parcel_no, actor_id=None, now=now)
    move_order(order_id)


def _note_packages(
    order_id: int, parcel_no: int, *which: ColumnElement[bool], actor_id: int | None, now: datetime
) -> None:
    db.session.execute(
        update(ParcelPackage)
        .where(
            ParcelPackage.order_id == order_id,
            ParcelPackage.parcel_no == parcel_no,
            ParcelPackage.received_at.is_(None),
            *which,
        )
        .values(received_at=now, received_by=actor_id),
        execution_options={"synchronize_session": False},
    )


def lock_order(order_id: int) -> None:
    """Lock an order's row, as everybody does first."""
    db.session.execute(select(Order.id).where(Order.id == order_id).with_for_update())


def write_parcels(order_id: int, merchant_of: Mapping[int, int], *, delivery: Mapping[str, Any]) -> None:
    """Make an order's parcels, by number and merchant, to be sent to where it goes; in the caller's transaction."""
    station_id = delivery.get("station_id") if delivery.get("kind") == "pickup" else None
    db.session.execute(
        insert(Parcel).values(
            [
                {
                    "order_id": order_id,
                    "parcel_no": number,
                    "merchant_id": merchant_id,
                    "station_id": station_id,
                    "status": "to_ship",
                }
                for number, merchant_id in merchant_of.items()
            ]
        )
    )


def end_parcel(order_id: int, parcel_no: int) -> None:
    """Note that a parcel of which nothing is to be sent has left, or is cancelled; in the caller's transaction."""
    own = queries.lines_of_parcel(order_id, parcel_no)
    if all(line.to_send == 0 for line in own):
        left = any(line.shipped > 0 for line in own)
        db.session.execute(
            update(Parcel)
            .where(Parcel.order_id == order_id, Parcel.parcel_no == parcel_no, Parcel.status == "to_ship")
            .values(status="shipped" if left else "cancelled")
        )


def move_order(order_id: int) -> None:
    """Move an order on to what its parcels say, within the caller's transaction."""
    statuses = list(db.session.scalars(select(Parcel.status).where(Parcel.order_id == order_id)))
    db.session.execute(
        update(Order)
        .where(Order.id == order_id, Order.status.in_(("paid", "fulfilling")))
        .values(status=status_after_shipping(statuses))
    )
