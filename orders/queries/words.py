"""Own orders by words, and the parcels that wait at each pickup station."""

from datetime import datetime

from sqlalchemy import func, or_, select, text

from kernel.db import db
from orders.models import Order, OrderLine, Parcel
from orders.queries.orders import OrderView, orders_by_id

WAITING = ("to_ship", "shipped")


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


def waiting_at_stations() -> dict[int, int]:
    """Return how many parcels members will still collect at each station: to be sent there, or there already."""
    # Grouped by its name: PostgreSQL does not know an expression with parameters for the same again.
    station = Order.delivery["station_id"].as_integer().label("station_id")
    rows = db.session.execute(
        select(station, func.count())
        .select_from(Parcel)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.status.in_(WAITING), Order.delivery["kind"].as_string() == "pickup")
        .group_by(text("station_id"))
    )
    return {station_id: count for station_id, count in rows if station_id is not None}
