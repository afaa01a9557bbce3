"""自选: each recipient picks one pack by their own link until the deadline, and says later that they have it."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from catalog import steps as catalog_steps
from catalog.steps import OutOfStock
from kernel import audit, limits
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.models import Order, Recipient
from orders.queries import unions as union_queries
from orders.queries.orders import Choice
from orders.queries.unions import ChoiceView
from orders.services import bulk, pickup, replacing
from people import telling
from people.rules import normal_phone
from people.telling import Notice

BOARD_TRIES, BOARD_SECONDS = 10, 600  # of one phone on one notice board
BOARD_TRIES_FROM = 200  # of one network address: a whole factory may share one
REMIND_AGAIN = timedelta(hours=20)


def choose(
    *,
    order_id: int,
    position: int,
    code: int,
    pack_id: int,
    delivery: Mapping[str, Any] | None,
    address: str = "",
    now: datetime,
) -> ChoiceView:
    """Choose one pack, or another until the deadline; choosing the same again changes nothing.

    Where it goes is a whole `delivery`, or an `address` in one line in place of the roster's.

    Raises NotFound for a link that is none, StateConflict when choosing is over, Invalid for a pack that is not among
    those to choose from, and OutOfStock where others have chosen the last ones; then the choice before stays.
    """
    seen = union_queries.choice_of(order_id, position, code, now=now)
    _among(seen, pack_id)
    place = _placed(seen, delivery, address)
    with transaction():
        db.session.execute(select(Order.id).where(Order.id == order_id).with_for_update())
        # Read again under the lock: the order may have been handed on, or a pack replaced, meanwhile.
        seen = union_queries.choice_of(order_id, position, code, now=now)
        choice = _among(seen, pack_id)
        if not seen.is_open(now):
            raise StateConflict("选礼包已经结束，需要改请联系工会经办人。")
        values: dict[str, Any] = {"delivery": place, "station_id": _station_in(place)} if place is not None else {}
        if address and delivery is None:
            values |= {"address": address, "delivery": None, "station_id": None}
        new = seen.chosen_at is None or seen.pack_id != pack_id
        if new:
            values |= {"pack_id": pack_id, "chosen_at": now}
        if values:
            db.session.execute(
                update(Recipient).where(Recipient.order_id == order_id, Recipient.position == position).values(**values)
            )
        if seen.is_asked_again(now):
            if seen.pack_id != pack_id:
                replacing.choose_again(seen, pack_id=pack_id, now=now)
        elif new:
            bulk.recount(seen.order, choice, now=now, as_it_is=True)
            # The pack's stock is locked last: whoever is after the last one, of this order or another, waits here.
            available = catalog_steps.lock_available(pack_id)
            if union_queries.chosen_anywhere([pack_id]).get(pack_id, 0) > available:
                name, name_en = next(((one.name, one.name_en) for one in seen.packs if one.id == pack_id), ("", ""))
                gone = {"packs": [{"id": str(pack_id), "name": name, "available": 0}]}
                raise OutOfStock("“%(names)s”已经被选完了，请换一个。", extra=gone, names=name, names_en=name_en)
    return union_queries.choice_of(order_id, position, code, now=now)


def _among(seen: ChoiceView, pack_id: int) -> Choice:
    """Return what there is to choose from; raise StateConflict where there is no choice, Invalid for another pack."""
    choice = seen.order.choice
    if choice is None or seen.order.status == "draft":
        raise StateConflict("这个订单不用自选礼包。")
    if pack_id not in choice.pack_ids:
        raise Invalid("请从列出的礼包中选一个。", errors={"pack_id": ["请从列出的礼包中选一个。"]})
    return choice


def _placed(seen: ChoiceView, delivery: Mapping[str, Any] | None, address: str) -> dict[str, Any] | None:
    """Return where a recipient wants it; where each gets it at home, they must say, unless the roster does."""
    if delivery is None:
        if seen.order.delivery_mode == "recipient" and not (address or seen.address or seen.delivery):
            raise Invalid(errors={"delivery": ["请填写收货地址或选择自提点。"]})
        return None
    return pickup.placed(delivery)


def _station_in(place: Mapping[str, Any]) -> int | None:
    return place["station_id"] if place["kind"] == "pickup" else None


def find_on_board(*, order_id: int, phone: str, employee_no: str, address: str, now: datetime) -> tuple[int, int]:
    """Return (position, code) of who asks at the notice board. Raises RateLimited, and NotFound in one word for all."""
    number = normal_phone(phone) or ""
    limits.spend("board", f"{order_id}:{number}", at_most=BOARD_TRIES, seconds=BOARD_SECONDS, now=now)
    limits.spend("board-from", f"{order_id}:{address}", at_most=BOARD_TRIES_FROM, seconds=BOARD_SECONDS, now=now)
    found = union_queries.find_on_board(order_id, phone=number, employee_no=employee_no.strip())
    if found is None:
        raise NotFound("花名册上没有这个手机号和工号，请核对或联系工会经办人。")
    return found


def receive(*, order_id: int, position: int, code: int, now: datetime) -> ChoiceView:
    """A recipient says that they have their pack; again changes nothing. Raises StateConflict before it left."""
    seen = union_queries.choice_of(order_id, position, code, now=now)
    if seen.received_at is None:
        if not seen.may_receive:
            raise StateConflict("礼包还没有发出，收到后再确认。")
        with transaction():
            _receive(order_id, [position], how="link", now=now)
    return union_queries.choice_of(order_id, position, code, now=now)


def note_received(*, number: str, union_id: int | None, positions: list[int], actor_id: int, now: datetime) -> int:
    """The officer notes who has signed on paper; return for how many that was new. Raises StateConflict."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    if order.status not in ("paid", "fulfilling", "completed"):
        raise StateConflict("礼包还没有发出，收到后再确认。")
    with transaction():
        count = _receive(order.id, positions, how="officer", now=now)
        audit.record("roster.received", f"order:{order.id}", actor_id=actor_id, now=now, after={"people": count})
    return count


def _receive(order_id: int, positions: list[int], *, how: str, now: datetime) -> int:
    return rows_changed(
        update(Recipient)
        .where(Recipient.order_id == order_id, Recipient.position.in_(positions), Recipient.received_at.is_(None))
        .values(received_at=now, received_how=how)
    )


def remind(
    *,
    number: str,
    union_id: int | None,
    link_for: Callable[[Recipient], str],
    key: str,
    actor_id: int,
    now: datetime,
) -> int:
    """Send a text message to who has not chosen yet and was not reminded within the last day; return to how many.

    `link_for` makes the links: a door knows how. Raises StateConflict when choosing is over.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    if order.choice is None or order.status != "choosing" or now >= order.choice.deadline:
        raise StateConflict("现在没有人需要提醒。")
    due = (
        Recipient.order_id == order.id,
        Recipient.chosen_at.is_(None),
        Recipient.phone != "",  # somebody whose data was erased
        Recipient.reminded_at.is_(None) | (Recipient.reminded_at < now - REMIND_AGAIN),
    )
    with transaction():
        bulk.lock_in(order.id, ("choosing",), "现在没有人需要提醒。")
        people = list(db.session.scalars(select(Recipient).where(*due).order_by(Recipient.position)))
        db.session.execute(
            update(Recipient).where(*due).values(reminded_at=now), execution_options={"synchronize_session": False}
        )
        told = [
            Notice(
                "choice.asked",
                f"{one.order_id}:{one.position}:{int(now.timestamp())}",
                {"link": link_for(one)},
                phone=one.phone,
            )
            for one in people
        ]
        telling.tell(told, key=key, now=now)
        audit.record("choice.remind", f"order:{order.id}", actor_id=actor_id, now=now, after={"people": len(people)})
    return len(people)
