"""自提核销: a code of eight digits hands a parcel over, once, and only the right one."""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from kernel import audit, limits
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.models import Parcel, Pickup
from orders.queries import ParcelView
from orders.rules import is_pickup_code, pickup_code
from orders.services.fulfilment import lock_order, move_order, send_all
from people import queries as people_queries

OPEN = ("to_ship", "shipped")
OVER_THE_COUNTER = "自提"
TRIES, TRIES_SECONDS = 600, 600


def placed(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """Return a place of delivery as it is kept: a pickup station with its names of now. Raises Invalid for none."""
    if delivery["kind"] != "pickup":
        return dict(delivery)
    station = people_queries.station(delivery["station_id"])
    if station is None:
        raise Invalid("没有这个自提点。", errors={"delivery.station_id": ["没有这个自提点。"]})
    return {**delivery, "station_name": station.name, "station_name_en": station.name_en}


def code_for(*, number: str, parcel: str, member_id: int | None, now: datetime) -> str:
    """Return the code of a member's own parcel, made when it is first asked for.

    Raises NotFound for another's, StateConflict for a parcel that is not collected, or was already.
    """
    order = queries.order_of_member(number, member_id=member_id, now=now)
    own = next((one for one in order.parcels if parcel in (one.id, str(one.parcel_no))), None)
    if own is None:
        raise NotFound("没有这个包裹。")
    if order.delivery.get("kind") != "pickup" or own.status not in OPEN:
        raise StateConflict("这个包裹不用取货码，或者已经领取。")
    key = {"order_id": own.order_id, "parcel_no": own.parcel_no}
    made = select(Pickup.code).filter_by(**key)
    for _ in range(20):
        found = db.session.scalar(made)
        if found is not None:
            return found
        with transaction():
            insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
            code = pickup_code(secrets.randbelow(10**7))
            # Another tab may have made it, or another parcel may have this code: then nothing is written.
            db.session.execute(insert(Pickup).values(**key, code=code, made_at=now).on_conflict_do_nothing())
    raise AssertionError("twenty random codes were all taken")


def look_up(text: str, *, merchant_id: int | None, now: datetime) -> tuple[ParcelView, str]:
    """Return the parcel a code hands over, and the code itself, out of what was typed or scanned.

    `merchant_id` None is an operator's look, at any merchant's. Raises NotFound for a code that is none, or another
    merchant's, and RateLimited for too many tries.
    """
    limits.spend("pickup", str(merchant_id), at_most=TRIES, seconds=TRIES_SECONDS, now=now)
    code = read_code(text)
    query = (
        select(Pickup.order_id, Pickup.parcel_no, Parcel.merchant_id)
        .join(Parcel, (Parcel.order_id == Pickup.order_id) & (Parcel.parcel_no == Pickup.parcel_no))
        .where(Pickup.code == code)
        .order_by(Pickup.used_at.is_not(None), Pickup.used_at.desc())
    )
    if merchant_id is not None:
        query = query.where(Parcel.merchant_id == merchant_id)
    found = db.session.execute(query.limit(1)).one_or_none()
    if code is None or found is None:
        raise NotFound("没有这个取货码，请核对。")
    parcel = queries.parcel_of_merchant(f"{found.order_id}-{found.parcel_no}", merchant_id=found.merchant_id, now=now)
    return parcel, code


def read_code(text: str) -> str | None:
    """Return the code in what was typed, or in the address a QR code holds; None where there is none.

    >>> read_code("1234 5674"), read_code("https://x/merchant/pickup?code=12345674"), read_code("12345678")
    ('12345674', '12345674', None)
    """
    address = re.search(r"[?&]code=([0-9]{8})\b", text)
    digits = address[1] if address else re.sub(r"[\s-]", "", text)
    return digits if is_pickup_code(digits) else None


def hand_over(text: str, *, merchant_id: int | None, actor_id: int, now: datetime) -> ParcelView:
    """Hand a parcel over for its code. Raises NotFound as `look_up`, StateConflict where it was handed over before."""
    found, code = look_up(text, merchant_id=merchant_id, now=now)
    with transaction():
        lock_order(found.order_id)
        own = (Parcel.order_id == found.order_id, Parcel.parcel_no == found.parcel_no)
        used = rows_changed(
            update(Pickup)
            .where(
                Pickup.order_id == found.order_id,
                Pickup.parcel_no == found.parcel_no,
                Pickup.code == code,
                Pickup.used_at.is_(None),
                select(Parcel.order_id).where(*own, Parcel.status.in_(OPEN)).exists(),
            )
            .values(used_at=now, used_by=actor_id)
        )
        if used == 0:
            raise StateConflict("这个取货码已经用过，或者包裹已取消。")
        if found.status == "to_ship":
            send_all(found, carrier=OVER_THE_COUNTER, tracking_no="-", now=now)
        db.session.execute(update(Parcel).where(*own).values(status="delivered", delivered_at=now))
        move_order(found.order_id)
        audit.record("parcel.hand_over", f"parcel:{found.id}", actor_id=actor_id, now=now)
    return queries.parcel_of_merchant(found.id, merchant_id=found.merchant_id, now=now)
