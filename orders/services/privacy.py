"""A person's own data (PIPL): the copy they can take away, and its erasure while the ledger stays whole."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from kernel import audit, idempotency
from kernel.db import db, transaction
from kernel.errors import StateConflict
from kernel.paging import Page
from orders import queries, schemas
from orders.models import Order, Recipient, RosterUpload
from orders.queries import unions as union_queries
from people import message_queries
from people import queries as people_queries
from people import steps as people_steps
from people.rules import Identity
from voices import queries as voice_queries
from voices import steps as voice_steps
from voucher import queries as voucher_queries

ROSTER_FIELDS = (
    *("name", "phone", "employee_no", "department", "quantity", "value_fen", "address", "delivery"),
    *("chosen_at", "reminded_at", "asked_until", "received_at", "received_how"),
)
PLACE_KEPT = ("kind", "station_id", "station_name", "station_name_en")  # of where an order went: says nothing of whose
OPEN = ("pending_payment", "paid", "fulfilling")


def copy_of(identity: Identity, *, now: datetime) -> dict[str, Any]:
    """Return all that is kept of a member: who they are, messages, vouchers, orders, rosters, what they said.

    Of rosters unions put, the rows with the member's own phone, and nobody else's. Messages are without their codes and
    links, which open something.
    """
    member_id = identity.member_id
    orders = list(_every(queries.orders_of_member, member_id, now=now))
    questions, ratings = voice_queries.all_said_by(member_id)
    union = people_queries.union(identity.member_union_id)
    own = voucher_queries.vouchers_of(member_id, now=now)
    contact = message_queries.contact(identity.person_id)
    copy = {
        "made_at": now.isoformat(),
        "person": {"name": identity.name, "phone": identity.phone, "union": union.name if union else None},
        "sign_ins": [
            {"method": one.method, "begun_at": one.begun_at, "address": one.address, "agent": one.agent}
            for one in people_queries.sign_ins(identity.person_id, now=now)
        ],
        "tokens": [
            {"name": one.name, "scopes": one.scopes, "expires_at": one.expires_at}
            for one in people_queries.tokens(identity.person_id, now=now)
        ],
        "contact": {name: getattr(contact, name) for name in ("channel", "language", "news", "email", "new_email")},
        "messages": [
            {
                "event": one.event or one.kind,
                "channel": one.channel,
                "status": one.status,
                "made_at": one.made_at,
                "sent_at": one.sent_at,
                "text": message_queries.shown(one),
            }
            for one in message_queries.all_to(identity.person_id)
        ],
        "vouchers": [
            {
                "campaign": voucher.campaign,
                "face_fen": voucher.face_fen,
                "balance_fen": voucher.balance_fen,
                "entries": [
                    {"kind": row.kind, "amount_fen": row.change_fen, "order": row.order_id, "at": row.at}
                    for row in voucher_queries.entries_of(voucher.id, member_id=member_id)
                ],
            }
            for voucher in own
        ],
        "questions": [
            {
                "about_pack": one.pack_id,
                "about_order": one.order_id,
                "question": one.words,
                "asked_at": one.asked_at,
                "answer": one.answer,
                "answered_at": one.answered_at,
                "shown_to_all": one.published_at is not None,
            }
            for one in questions
        ],
        "ratings": [
            {
                "order": one.order_id,
                "line": one.line_no,
                "pack": one.pack_id,
                "stars": one.stars,
                "words": one.words,
                "status": one.status,
                "rated_at": one.rated_at,
            }
            for one in ratings
        ],
        "orders": [{**schemas.Order().dump(order), "delivery": order.delivery} for order in orders],
        "rosters": [
            {
                "order_number": str(row.order_id),
                "union": union_name,
                "pack": pack_name,
                **{name: getattr(row, name) for name in ROSTER_FIELDS},
            }
            for row, union_name, pack_name in union_queries.rows_of_phone(identity.phone)
        ],
    }
    with transaction():
        audit.record("data.download", f"member:{member_id}", actor_id=identity.person_id, now=now)
    return copy


def _every(read: Callable[..., Page[Any]], member_id: int | None, **how: Any) -> Iterator[Any]:
    before = None
    while True:
        page = read(member_id, limit=100, before=before, **how)
        yield from page.items
        if page.next_cursor is None:
            return
        before = page.items[-1].id


def erase(*, member_id: int | None, reason: str, actor_id: int, now: datetime) -> None:
    """Take a member's personal data out of every table; orders, vouchers and the ledger keep their figures.

    Raises NotFound, and StateConflict while an order of theirs is open or they hold a seat.
    """
    with transaction():
        open_orders = select(Order.id).where(Order.member_id == member_id, Order.status.in_(OPEN)).limit(1)
        if db.session.scalar(open_orders) is not None:
            raise StateConflict("这个会员还有未完成的订单，请在完成或退款后再删除。")
        person_id, phone = people_steps.erase_member(member_id, now=now)
        for order_id, delivery in db.session.execute(
            select(Order.id, Order.delivery).where(Order.member_id == member_id)
        ).all():
            kept = {name: value for name, value in delivery.items() if name in PLACE_KEPT}
            db.session.execute(
                update(Order)
                .where(Order.id == order_id)
                .values(delivery={**kept, "name": people_steps.ERASED, "phone": ""}, answer="{}")
            )
        db.session.execute(
            update(Recipient)
            .where(Recipient.phone == phone)
            .values(name=people_steps.ERASED, phone="", employee_no="", department="", address="", delivery=None)
        )
        if member_id is not None:
            voice_steps.forget_author(member_id, erased=people_steps.ERASED)
        # Rosters with faults are kept as they came, for a day at most: whoever is erased may stand on one.
        db.session.execute(delete(RosterUpload))
        idempotency.forget(person_id)
        audit.record("member.erase", f"member:{member_id}", actor_id=actor_id, now=now, after={"reason": reason})
