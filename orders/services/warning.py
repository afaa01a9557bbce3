"""The payment term's end, announced a day before: a text message to whoever submitted and to whoever approved."""

from datetime import datetime, timedelta

from sqlalchemy import select, update

from kernel.db import db, rows_changed, transaction
from orders.models import Order, UnionTerms
from orders.services.telling import until
from people import telling
from people.telling import Notice

BEFORE = timedelta(days=1)


def warn_due(*, now: datetime, limit: int = 100) -> int:
    """Announce, once each, the orders whose stock and budget are released within a day; return how many."""
    due = db.session.execute(
        select(Order.id, Order.expires_at, Order.submitted_by, Order.decided_by)
        .join(UnionTerms, UnionTerms.order_id == Order.id)
        .where(
            Order.status.in_(("approved", "pending_payment")),
            Order.expires_at > now,
            Order.expires_at <= now + BEFORE,
            UnionTerms.warned_at.is_(None),
        )
        .limit(limit)
    ).all()
    warned = 0
    for order_id, ends_at, *people in due:
        assert ends_at is not None
        values = {"number": str(order_id), "until": until(ends_at)}
        notices = [Notice("payment.due", str(order_id), values, person_id=one) for one in dict.fromkeys(people) if one]
        with transaction():
            first = rows_changed(
                update(UnionTerms)
                .where(UnionTerms.order_id == order_id, UnionTerms.warned_at.is_(None))
                .values(warned_at=now)
            )
            if first:
                telling.tell(notices, now=now)
        warned += first
    return warned
