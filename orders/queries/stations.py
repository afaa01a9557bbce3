"""What waits at each pickup station: parcels, and the packets of unions' recipients who collect theirs there."""

from datetime import datetime

from sqlalchemy import and_, func, or_, select

from kernel.db import db
from kernel.paging import Page, page_of
from orders.models import Order, Parcel, Recipient
from orders.queries.packing import packet_of
from orders.queries.parcels import ParcelView, lines_of, with_labels
from orders.rules import SENDING, only_pack

WAITING = ("to_ship", "shipped")
MOST_OF_AN_ORDER = 200


def waiting_at_stations() -> dict[int, int]:
    """Return how many parcels members will still collect at each station: to be sent there, or there already."""
    rows = db.session.execute(
        select(Parcel.station_id, func.count())
        .where(Parcel.station_id.is_not(None), Parcel.status.in_(WAITING))
        .group_by(Parcel.station_id)
    )
    return {station_id: count for station_id, count in rows if station_id is not None}


def counts_at(station_id: int | None) -> dict[str, int]:
    """Return how many parcels for a station are still to be sent, were sent there, and were collected, by status."""
    rows = db.session.execute(
        select(Parcel.status, func.count())
        .where(Parcel.station_id == station_id, Parcel.station_id.is_not(None))
        .group_by(Parcel.status)
    )
    return {status: count for status, count in rows}


def parcels_at(
    station_id: int | None, *, status: str, limit: int, before: int | None = None, now: datetime
) -> Page[ParcelView]:
    """Return a station's parcels, newest first. An order's stand on one page, even where that makes it longer."""
    query = (
        select(Parcel, Order)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.station_id == station_id, Parcel.station_id.is_not(None), Parcel.status == status)
        .order_by(Parcel.order_id.desc(), Parcel.parcel_no)
        .execution_options(populate_existing=True)
    )
    if before is not None:
        query = query.where(Parcel.order_id < before)
    rows = db.session.execute(query.limit(limit + MOST_OF_AN_ORDER)).all()
    # The cursor names an order: a page ends where one ends.
    end = next((n for n in range(limit, len(rows)) if rows[n].Order.id != rows[n - 1].Order.id), len(rows))
    page = page_of(rows, limit=end, key=lambda row: row.Order.id)
    return Page(items=with_labels(page.items, now=now), next_cursor=page.next_cursor)


Place = tuple[int, int]
"""Where a recipient stands: the order, and the position on its roster."""


def packets_at(
    station_id: int | None, *, limit: int, after: Place | None = None, now: datetime
) -> tuple[list[ParcelView], Place | None]:
    """Return what unions' recipients will still collect at a station, newest orders first: each one's packet.

    `limit` counts recipients, from the one that follows `after`; the second is after whom the next page begins.
    """
    query = (
        select(Recipient)
        .join(Order, Order.id == Recipient.order_id)
        .where(
            Recipient.station_id == station_id,
            Recipient.station_id.is_not(None),
            Recipient.received_at.is_(None),
            Order.status.in_((*SENDING, "completed")),
        )
        .order_by(Recipient.order_id.desc(), Recipient.position)
        .limit(limit + 1)
        .execution_options(populate_existing=True)
    )
    if after is not None:
        order_id, position = after
        same = and_(Recipient.order_id == order_id, Recipient.position > position)
        query = query.where(or_(Recipient.order_id < order_id, same))
    people = db.session.scalars(query).all()
    following = (people[limit - 1].order_id, people[limit - 1].position) if len(people) > limit else None
    people = people[:limit]
    order_ids = {one.order_id for one in people}
    rows = db.session.execute(
        select(Parcel, Order)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.order_id.in_(order_ids), Parcel.status != "cancelled")
    ).all()
    parcels = with_labels(rows, now=now)
    only = {order_id: only_pack(lines) for order_id, lines in lines_of(order_ids).items()}
    packets = [
        packet_of(parcel, one, only[one.order_id])
        for one in people
        for parcel in parcels
        if parcel.order_id == one.order_id
    ]
    return [packet for packet in packets if packet is not None], following
