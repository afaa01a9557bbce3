"""Reads of parcels and the lines in them: what a merchant sends, in which packages, for which department."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, func, select

from kernel.db import db
from kernel.errors import NotFound
from kernel.ids import as_id
from kernel.paging import Page, page_of
from orders.carriers import tracking_link
from orders.models import Order, OrderLine, Parcel, ParcelPackage, Recipient
from orders.rules import Box, Line, boxes, only_pack, parcel_id

SHIP_SECONDS = 3 * 86400
"""Within what time after payment a parcel is to be sent, where the settings say nothing else."""


@dataclass(frozen=True)
class PackageView:
    """One package of a parcel; `units` by line number, empty where it held everything."""

    package_no: int
    carrier: str
    tracking_no: str
    shipped_at: datetime
    units: dict[int, int]
    department: str | None = None
    received_at: datetime | None = None

    @property
    def link(self) -> str | None:
        """Where it is followed."""
        return tracking_link(self.carrier, self.tracking_no)


@dataclass(frozen=True)
class ParcelView:
    """包裹 with its lines."""

    id: str
    order_id: int
    parcel_no: int
    merchant_id: int
    merchant_name: str
    merchant_name_en: str
    status: str
    carrier: str | None
    tracking_no: str | None
    shipped_at: datetime | None
    delivered_at: datetime | None
    lines: tuple[Line, ...]
    delivery: dict[str, Any] = field(default_factory=dict)
    placed_at: datetime | None = None
    paid_at: datetime | None = None
    buyer_kind: str = "member"
    packages: tuple[PackageView, ...] = ()
    due_at: datetime | None = None
    overdue: bool = False
    boxes: tuple[Box, ...] = ()
    department: str | None = None

    @property
    def link(self) -> str | None:
        """Where its last package is followed."""
        return tracking_link(self.carrier, self.tracking_no)

    @property
    def is_pickup(self) -> bool:
        """Whether its buyer collects it."""
        return self.delivery.get("kind") == "pickup"


def lines_of(order_ids: Iterable[int]) -> dict[int, list[Line]]:
    """Return orders' lines, in their order."""
    found: dict[int, list[Line]] = {}
    rows = db.session.scalars(
        select(OrderLine)
        .where(OrderLine.order_id.in_(set(order_ids)))
        .order_by(OrderLine.order_id, OrderLine.line_no)
        .execution_options(populate_existing=True)
    )
    for row in rows:
        found.setdefault(row.order_id, []).append(
            Line(
                row.line_no,
                row.pack_id,
                row.pack_name,
                row.pack_name_en,
                row.picture,
                row.merchant_id,
                row.merchant_name,
                row.merchant_name_en,
                row.quantity,
                row.price_fen,
                row.amount_fen,
                row.discount_fen,
                row.parcel_no,
                row.refund_asked,
                row.refunded,
                row.shipped,
                row.withdrawn,
            )
        )
    return found


def lines_of_parcel(order_id: int, parcel_no: int) -> list[Line]:
    """Return a parcel's lines, in their order."""
    return [line for line in lines_of([order_id]).get(order_id, []) if line.parcel_no == parcel_no]


def parcels_from_lines(order_id: int, lines: Sequence[Line], status: str) -> tuple[ParcelView, ...]:
    """Return the parcels an order that is not paid yet will have."""
    numbers = dict.fromkeys(line.parcel_no for line in lines)
    parcels = []
    for number in numbers:
        own = tuple(line for line in lines if line.parcel_no == number)
        parcels.append(
            ParcelView(
                id=parcel_id(order_id, number),
                order_id=order_id,
                parcel_no=number,
                merchant_id=own[0].merchant_id,
                merchant_name=own[0].merchant_name,
                merchant_name_en=own[0].merchant_name_en,
                status=status,
                carrier=None,
                tracking_no=None,
                shipped_at=None,
                delivered_at=None,
                lines=own,
            )
        )
    return tuple(parcels)


def parcel_view(row: Parcel, lines: Sequence[Line]) -> ParcelView:
    """Return a parcel with its own of an order's lines."""
    own = tuple(line for line in lines if line.parcel_no == row.parcel_no)
    return ParcelView(
        id=parcel_id(row.order_id, row.parcel_no),
        order_id=row.order_id,
        parcel_no=row.parcel_no,
        merchant_id=row.merchant_id,
        merchant_name=own[0].merchant_name,
        merchant_name_en=own[0].merchant_name_en,
        status=row.status,
        carrier=row.carrier,
        tracking_no=row.tracking_no,
        shipped_at=row.shipped_at,
        delivered_at=row.delivered_at,
        lines=own,
    )


def parcels_of_merchant(
    merchant_id: int | None,
    *,
    status: str | None,
    limit: int,
    before: int | None = None,
    overdue: bool = False,
    oldest_first: bool = False,
    ship_seconds: int = SHIP_SECONDS,
    now: datetime,
) -> Page[ParcelView]:
    """Return a merchant's parcels, newest first, with what their labels need; only those `overdue` where asked.

    The first page `oldest_first` is what to send first.
    """
    query = select(Parcel, Order).join(Order, Order.id == Parcel.order_id).where(Parcel.merchant_id == merchant_id)
    if status is not None:
        query = query.where(Parcel.status == status)
    if overdue:
        late = now - timedelta(seconds=ship_seconds)
        query = query.where(Parcel.status == "to_ship", Order.paid_at <= late)
    if before is not None:
        query = query.where(Parcel.order_id < before)
    order = Parcel.order_id if oldest_first else Parcel.order_id.desc()
    rows = db.session.execute(query.order_by(order).limit(limit + 1).execution_options(populate_existing=True)).all()
    page = page_of(rows, limit=limit, key=lambda row: row.Parcel.order_id)
    return Page(items=with_labels(page.items, ship_seconds=ship_seconds, now=now), next_cursor=page.next_cursor)


def parcels_waiting(merchant_id: int | None, *, ship_seconds: int = SHIP_SECONDS, now: datetime) -> tuple[int, int]:
    """Return how many parcels a merchant has to send, and how many of them should have left by now."""
    late = case((Order.paid_at <= now - timedelta(seconds=ship_seconds), 1), else_=0)
    row = db.session.execute(
        select(func.count(), func.coalesce(func.sum(late), 0))
        .select_from(Parcel)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.merchant_id == merchant_id, Parcel.status == "to_ship")
    ).one()
    return int(row[0]), int(row[1])


def with_labels(
    rows: Sequence[Row[Any]], *, ship_seconds: int = SHIP_SECONDS, now: datetime | None
) -> list[ParcelView]:
    """Return parcels (rows of Parcel and Order) with what their labels need."""
    lines = lines_of(row.Order.id for row in rows)
    packages = packages_of({row.Order.id for row in rows})
    people = _people_by_department([row.Order.id for row in rows if row.Order.delivery.get("mode") == "department"])
    views = []
    for row in rows:
        parcel = parcel_view(row.Parcel, lines[row.Order.id])
        own = tuple(packages.get((parcel.order_id, parcel.parcel_no), ()))
        due_at = row.Order.paid_at + timedelta(seconds=ship_seconds) if row.Order.paid_at else None
        views.append(
            replace(
                parcel,
                delivery=row.Order.delivery,
                placed_at=row.Order.placed_at,
                paid_at=row.Order.paid_at,
                buyer_kind=row.Order.buyer_kind,
                packages=own,
                boxes=_boxes(parcel, people[parcel.order_id], lines[row.Order.id], own)
                if parcel.order_id in people
                else (),
                due_at=due_at,
                overdue=bool(now and due_at and due_at <= now and parcel.status == "to_ship"),
            )
        )
    return views


def _boxes(
    parcel: ParcelView,
    people: Sequence[tuple[str, int | None, int]],
    lines: Sequence[Line],
    packages: Sequence[PackageView],
) -> tuple[Box, ...]:
    only = only_pack(lines)
    resolved = [(department, pack_id or only, units) for department, pack_id, units in people]
    return boxes(parcel.lines, resolved, _sent(packages))


def _people_by_department(order_ids: Sequence[int]) -> dict[int, list[tuple[str, int | None, int]]]:
    """Return (department, pack, units) of orders' rosters, in the roster's order of departments."""
    if not order_ids:
        return {}
    people: dict[int, list[tuple[str, int | None, int]]] = {order_id: [] for order_id in order_ids}
    for order_id, department, pack_id, units in db.session.execute(
        select(Recipient.order_id, Recipient.department, Recipient.pack_id, func.sum(Recipient.quantity))
        .where(Recipient.order_id.in_(set(order_ids)))
        .group_by(Recipient.order_id, Recipient.department, Recipient.pack_id)
        .order_by(func.min(Recipient.position))
    ):
        people[order_id].append((department, pack_id, int(units)))
    return people


def _sent(packages: Iterable[PackageView]) -> dict[str, dict[int, int]]:
    """Return the units by line that have left for each department."""
    sent: dict[str, dict[int, int]] = {}
    for package in packages:
        if package.department is not None:
            own = sent.setdefault(package.department, {})
            for line_no, units in package.units.items():
                own[line_no] = own.get(line_no, 0) + units
    return sent


def packages_of(order_ids: Iterable[int]) -> dict[tuple[int, int], list[PackageView]]:
    """Return the packages of orders' parcels, by order and parcel number, in the order they left."""
    found: dict[tuple[int, int], list[PackageView]] = {}
    wanted = set(order_ids)
    if not wanted:
        return found
    rows = db.session.scalars(
        select(ParcelPackage)
        .where(ParcelPackage.order_id.in_(wanted))
        .order_by(ParcelPackage.order_id, ParcelPackage.parcel_no, ParcelPackage.package_no)
        .execution_options(populate_existing=True)
    )
    for row in rows:
        units = {int(line_no): count for line_no, count in row.units.items()}
        package = PackageView(
            row.package_no, row.carrier, row.tracking_no, row.shipped_at, units, row.department, row.received_at
        )
        found.setdefault((row.order_id, row.parcel_no), []).append(package)
    return found


def parcels_by_id(
    texts: Iterable[str], *, merchant_id: int | None, ship_seconds: int = SHIP_SECONDS, now: datetime | None = None
) -> list[ParcelView]:
    """Return a merchant's own parcels by name, in the order of the names; unknown ones and another's are left out."""
    wanted = {parsed: None for text in texts if (parsed := parse_parcel(text)) is not None}
    rows = db.session.execute(
        select(Parcel, Order)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.order_id.in_({order_id for order_id, _ in wanted}), Parcel.merchant_id == merchant_id)
        .execution_options(populate_existing=True)
    ).all()
    views = {(one.order_id, one.parcel_no): one for one in with_labels(rows, ship_seconds=ship_seconds, now=now)}
    return [views[one] for one in wanted if one in views]


def parse_parcel(text: str) -> tuple[int, int] | None:
    """Return the order's id and the parcel's number that a parcel's name names; None for what is none.

    >>> parse_parcel("42-1"), parse_parcel("42"), parse_parcel("x-1")
    ((42, 1), None, None)
    """
    order_text, _, number_text = text.strip().partition("-")
    order_id, number = as_id(order_text), as_id(number_text)
    return None if order_id is None or number is None or number > 10**6 else (order_id, number)


def parcel_of_merchant(
    text: str, *, merchant_id: int | None, ship_seconds: int = SHIP_SECONDS, now: datetime | None = None
) -> ParcelView:
    """Return a merchant's own parcel; raise NotFound, also for another's."""
    found = parcels_by_id([text], merchant_id=merchant_id, ship_seconds=ship_seconds, now=now)
    if not found:
        raise NotFound("没有这个包裹。")
    return found[0]
