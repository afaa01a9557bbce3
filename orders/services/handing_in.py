"""What goes out of a union's order and comes back to it: links to send, the bank's slip for the dossier."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update

from kernel import audit
from kernel.db import db, transaction
from kernel.errors import StateConflict
from orders import queries
from orders.models import Recipient, UnionTerms
from orders.queries import OrderView


def export_links(*, order: OrderView, actor_id: int, now: datetime) -> Sequence[Recipient]:
    """Return everybody on a roster with full phones, for the officer who sends the links; the audit says who."""
    people = queries.recipients_of(order.id)
    with transaction():
        audit.record("roster.export", f"order:{order.id}", actor_id=actor_id, now=now, after={"rows": len(people)})
    return people


def keep_slip(*, order: OrderView, key: str, actor_id: int, now: datetime) -> None:
    """Name the bank's slip of an order. Raises StateConflict for an order that nobody pays."""
    if order.status not in ("approved", "pending_payment", "paid", "fulfilling", "completed", "refunded"):
        raise StateConflict("这个订单还不用付款。")
    with transaction():
        db.session.execute(update(UnionTerms).where(UnionTerms.order_id == order.id).values(slip_key=key))
        audit.record("order.slip", f"order:{order.id}", actor_id=actor_id, now=now, after={"file": key})
