"""缺货与短少: what a merchant says it cannot send, and what it answers to what came short or broken."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, insert, update

from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.models import ParcelFault, Shortage
from orders.queries import ParcelView
from orders.queries import unions as union_queries
from orders.rules import UNION_BUYER
from orders.services.fulfilment import lock_order
from people import telling
from people.telling import Notice


def report(*, parcel: str, merchant_id: int | None, units: Mapping[int, int], note: str, now: datetime) -> ParcelView:
    """A merchant says how many units (by line number) of a union's parcel it cannot send; the officer is told.

    Said again, it takes the place of what was said before; the same again changes nothing.
    Raises NotFound for another's parcel, StateConflict for a member's and for one that has left, Invalid for more
    than is still to be sent.
    """
    found = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
    if found.buyer_kind != UNION_BUYER:
        raise StateConflict("只有集采订单可以报缺货；个人订单请联系买家退款。")
    with transaction():
        lock_order(found.order_id)
        # Read again under the lock: some of it may have been sent or refunded meanwhile.
        fresh = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
        if fresh.status != "to_ship":
            raise StateConflict("这个包裹已经发货或已取消。")
        lines = {line.line_no: line for line in fresh.lines}
        short = {line_no: count for line_no, count in units.items() if count > 0}
        if any(line_no not in lines or not 0 <= count <= lines[line_no].to_send for line_no, count in units.items()):
            raise Invalid("缺货的份数超过了还没发的份数。", errors={"lines": ["缺货的份数超过了还没发的份数。"]})
        known = {line_no: row.units for line_no, row in union_queries.shortages_of(fresh.order_id).items()}
        before = {line_no: count for line_no, count in known.items() if line_no in lines}
        if before == short:
            return fresh
        own = (Shortage.order_id == fresh.order_id, Shortage.line_no.in_(lines))
        db.session.execute(delete(Shortage).where(*own))
        if short:
            rows = [
                {"order_id": fresh.order_id, "line_no": line_no, "units": count, "note": note, "told_at": now}
                for line_no, count in short.items()
            ]
            db.session.execute(insert(Shortage), rows)
            packs = "、".join(f"“{lines[line_no].pack_name}” × {count}" for line_no, count in short.items())
            values = {"number": str(fresh.order_id), "merchant": fresh.merchant_name, "packs": packs}
            thing = f"{fresh.id}:{int(now.timestamp() * 1000)}"
            officer_id = union_queries.officer_of(fresh.order_id)
            telling.tell([Notice("shortage.told", thing, values, person_id=officer_id)], now=now)
        audit.record("parcel.shortage", f"parcel:{fresh.id}", now=now, before=_told(before), after=_told(short))
    return fresh


def _told(units: Mapping[int, int]) -> dict[str, int]:
    return {str(line_no): count for line_no, count in units.items()}


def answer(*, parcel: str, merchant_id: int | None, text: str, actor_id: int, now: datetime) -> None:
    """A merchant answers what a union said came short or broken of a parcel. Raises NotFound, StateConflict."""
    found = queries.parcel_of_merchant(parcel, merchant_id=merchant_id)
    with transaction():
        answered = rows_changed(
            update(ParcelFault)
            .where(
                ParcelFault.order_id == found.order_id,
                ParcelFault.parcel_no == found.parcel_no,
                ParcelFault.answered_at.is_(None),
            )
            .values(answer=text, answered_at=now)
        )
        if answered == 0:
            faults = [one for one in union_queries.faults_of(found.order_id) if one.parcel_no == found.parcel_no]
            if not faults:
                raise NotFound("这个包裹没有短少或破损。")
            raise StateConflict("已经答复过了。")
        after = {"answer": text}
        audit.record("parcel.faults.answer", f"parcel:{found.id}", actor_id=actor_id, now=now, after=after)
