"""自提核销: a code of eight digits hands a parcel over, once, and only the right one."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kernel import audit, limits
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.models import Order, Parcel, Pickup, Recipient
from orders.queries import OrderView, ParcelView
from orders.queries.packing import packet_of
from orders.queries.parcels import lines_of, parse_parcel
from orders.queries.unions import ChoiceView
from orders.rules import SENDING, is_pickup_code, only_pack, pickup_code
from orders.services import telling
from orders.services.fulfilment import lock_order, move_order, send_all
from people import queries as people_queries

OPEN = ("to_ship", "shipped")
OVER_THE_COUNTER = "自提"
TRIES, TRIES_SECONDS = 600, 600


@dataclass(frozen=True)
class Desk:
    """Where parcels are handed over, and by whom: a merchant's counter, a pickup station, or, as neither, any."""

    actor_id: int
    merchant_id: int | None = None
    station_id: int | None = None

    @property
    def key(self) -> str:
        """Whose tries are counted together."""
        if self.station_id is not None:
            return f"station:{self.station_id}"
        return f"person:{self.actor_id}" if self.merchant_id is None else f"merchant:{self.merchant_id}"


@dataclass(frozen=True)
class Due:
    """What a code hands over: a parcel, or of a union's parcel the packet of the recipient at `position`."""

    code: str
    parcel: ParcelView
    position: int


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
    return _code(own.order_id, own.parcel_no, now=now)


def codes_of(order: OrderView, *, now: datetime) -> list[tuple[ParcelView, str]]:
    """Return an order's parcels that wait to be collected, each with its code.

    For who has shown that the order is theirs: its member, or a gift's recipient by their own link.
    """
    if order.delivery.get("kind") != "pickup" or order.status not in (*SENDING, "completed"):
        return []
    waiting = [one for one in order.parcels if one.status in OPEN]
    return [(one, _code(one.order_id, one.parcel_no, now=now)) for one in waiting]


def code_of_recipient(view: ChoiceView, *, now: datetime) -> str | None:
    """Return the code for the packet of a recipient who collects it at a station; None where there is none to collect.

    For who has shown the recipient's own link.
    """
    order = view.order
    collects = view.received_at is None and (view.delivery or {}).get("kind") == "pickup"
    if not collects or order.delivery_mode != "recipient" or order.status not in (*SENDING, "completed"):
        return None
    wanted = view.pack_id or only_pack(order.lines)
    parcel_no = next((line.parcel_no for line in order.lines if line.pack_id == wanted and line.left > 0), None)
    return None if parcel_no is None else _code(order.id, parcel_no, view.position, now=now)


def _code(order_id: int, parcel_no: int, position: int = 0, *, now: datetime) -> str:
    key = {"order_id": order_id, "parcel_no": parcel_no, "position": position}
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


def arrived(name: str, *, station_id: int | None, actor_id: int, key: str, now: datetime) -> None:
    """A parcel is at its station: whoever collects it is told, with its code (sealed with `key`), once.

    Raises NotFound for another station's, StateConflict before it was sent and once it was collected.
    """
    order_id, parcel_no = parse_parcel(name) or (0, 0)
    own = (Parcel.order_id == order_id, Parcel.parcel_no == parcel_no, Parcel.station_id == station_id)
    here = select(Parcel.merchant_id, Parcel.status).where(*own, Parcel.station_id.is_not(None))
    found = db.session.execute(here).one_or_none()
    if found is None:
        raise NotFound("没有这个包裹。")
    code = _code(order_id, parcel_no, now=now) if found.status == "shipped" else ""
    with transaction():
        lock_order(order_id)
        if not code or db.session.execute(here).one().status != "shipped":
            raise StateConflict("这个包裹还没有发出，或者已经取走。")
        parcel = queries.parcel_of_merchant(name, merchant_id=found.merchant_id, now=now)
        if telling.at_station(parcel, code=code, key=key, now=now):
            audit.record("parcel.arrive", f"parcel:{parcel.id}", actor_id=actor_id, now=now)


def look_up(text: str, *, desk: Desk, now: datetime) -> Due:
    """Return what a code, typed or scanned, hands over at this desk.

    Raises NotFound for a code that is none, or another merchant's or station's, and RateLimited for too many tries.
    """
    limits.spend("pickup", desk.key, at_most=TRIES, seconds=TRIES_SECONDS, now=now)
    code = read_code(text)
    station_id = case((Pickup.position > 0, Recipient.station_id), else_=Parcel.station_id)
    query = (
        select(Pickup.order_id, Pickup.parcel_no, Pickup.position, Parcel.merchant_id)
        .join(Parcel, (Parcel.order_id == Pickup.order_id) & (Parcel.parcel_no == Pickup.parcel_no))
        .outerjoin(Recipient, (Recipient.order_id == Pickup.order_id) & (Recipient.position == Pickup.position))
        .where(Pickup.code == code)
        .order_by(Pickup.used_at.is_not(None), Pickup.used_at.desc())
    )
    if desk.merchant_id is not None:
        query = query.where(Parcel.merchant_id == desk.merchant_id)
    if desk.station_id is not None:
        query = query.where(station_id == desk.station_id)
    found = db.session.execute(query.limit(1)).one_or_none()
    if code is None or found is None:
        raise NotFound("没有这个取货码，请核对。")
    whole = queries.parcel_of_merchant(f"{found.order_id}-{found.parcel_no}", merchant_id=found.merchant_id, now=now)
    packet = _packet(whole, found.position) if found.position else whole
    if packet is None:
        raise NotFound("没有这个取货码，请核对。")
    return Due(code, packet, found.position)


def _packet(whole: ParcelView, position: int) -> ParcelView | None:
    person = db.session.get(Recipient, (whole.order_id, position), populate_existing=True)
    lines = lines_of([whole.order_id])[whole.order_id]
    return packet_of(whole, person, only_pack(lines)) if person is not None else None


def read_code(text: str) -> str | None:
    """Return the code in what was typed, or in the address a QR code holds; None where there is none.

    >>> read_code("1234 5674"), read_code("https://x/pickup/?code=12345674"), read_code("12345678")
    ('12345674', '12345674', None)
    """
    address = re.search(r"[?&]code=([0-9]{8})\b", text)
    digits = address[1] if address else re.sub(r"[\s-]", "", text)
    return digits if is_pickup_code(digits) else None


def hand_over(text: str, *, desk: Desk, now: datetime) -> ParcelView:
    """Hand over what a code is for. Raises NotFound as `look_up`, StateConflict where it was handed over before."""
    due = look_up(text, desk=desk, now=now)
    found, key = due.parcel, {"order_id": due.parcel.order_id, "parcel_no": due.parcel.parcel_no}
    with transaction():
        lock_order(found.order_id)
        own = (Parcel.order_id == found.order_id, Parcel.parcel_no == found.parcel_no)
        ready = select(Parcel.order_id).where(*own, Parcel.status.in_(OPEN))
        if due.position:
            person = (Recipient.order_id == found.order_id, Recipient.position == due.position)
            ready = (
                select(Order.id)
                .where(Order.id == found.order_id, Order.status.in_((*SENDING, "completed")))
                .where(select(Recipient.order_id).where(*person, Recipient.received_at.is_(None)).exists())
                .where(select(Parcel.order_id).where(*own, Parcel.status != "cancelled").exists())
            )
        used = rows_changed(
            update(Pickup)
            .filter_by(**key, position=due.position, code=due.code)
            .where(Pickup.used_at.is_(None), ready.exists())
            .values(used_at=now, used_by=desk.actor_id)
        )
        if used == 0:
            raise StateConflict("这个取货码已经用过，或者包裹已取消。")
        after: Mapping[str, int] = {}
        if due.position:
            after = {"recipient": due.position}
            db.session.execute(update(Recipient).where(*person).values(received_at=now, received_how="station"))
        else:
            if found.status == "to_ship":
                send_all(found, carrier=OVER_THE_COUNTER, tracking_no="-", now=now)
            db.session.execute(update(Parcel).where(*own).values(status="delivered", delivered_at=now))
            move_order(found.order_id)
        audit.record("parcel.hand_over", f"parcel:{found.id}", actor_id=desk.actor_id, now=now, after=after or None)
    whole = queries.parcel_of_merchant(found.id, merchant_id=found.merchant_id, now=now)
    return (_packet(whole, due.position) or whole) if due.position else whole
