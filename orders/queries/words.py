"""Own orders by words."""

from datetime import datetime

from sqlalchemy import func, or_, select

from kernel.db import db
from orders.models import Order, OrderLine
from orders.queries.orders import OrderView, orders_by_id


def find_orders(words: list[str], *, member_id: int | None, limit: int, now: datetime) -> list[OrderView]:
    """Return a member's own orders with every word in one line's pack or merchant, or in the number; newest first.

    Only the member's own lines are looked at (their index finds them), so that LIKE reads tens of rows, not all.
    """
    if member_id is None or not words:
        return []
    own = select(Order.id).where(Order.member_id == member_id).order_by(Order.id.desc()).limit(limit)
    for word in words:
        names = (OrderLine.pack_name, OrderLine.pack_name_en, OrderLine.merchant_name, OrderLine.merchant_name_en)
        said = or_(*[func.lower(name).contains(word, autoescape=True) for name in names])
        of_line = select(OrderLine.order_id).where(OrderLine.order_id == Order.id, said).exists()
        ends = Order.id == int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None
        own = own.where(of_line if ends is None else or_(of_line, ends))
    found = orders_by_id(db.session.scalars(own), now=now)
    return [found[key] for key in sorted(found, reverse=True)]
