"""The payment term's end, announced a day before: a text message to whoever submitted and to whoever approved."""

from datetime import datetime, timedelta

from sqlalchemy import select, update

from kernel.clock import local
from kernel.db import db, rows_changed, transaction
from orders.models import Order, UnionTerms
from people import queries as people_queries
from people import steps as people_steps

BEFORE = timedelta(days=1)
TEXT = "集采订单 {number} 请在 {at} 前付款，否则库存和预算将释放。"


def warn_due(*, key: str, now: datetime, limit: int = 100) -> int:
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
        found = [people_queries.by_id(person_id) for person_id in people if person_id is not None]
        assert ends_at is not None
        at = f"{local(ends_at):%Y-%m-%d %H:%M}"
        text = TEXT.format(number=order_id, at=at)
        with transaction():
            first = rows_changed(
                update(UnionTerms)
                .where(UnionTerms.order_id == order_id, UnionTerms.warned_at.is_(None))
                .values(warned_at=now)
            )
            if first:
                people_steps.write_notices([(one.phone, text) for one in found if one], key=key, now=now)
        warned += first
    return warned
