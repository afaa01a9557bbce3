"""Reads of orders and rosters, and the one statement a basket is priced from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, String, and_, bindparam, func, literal, or_, select

from catalog import queries as catalog_queries
from kernel.db import Id, UtcDateTime, db, unindexed
from kernel.errors import NotFound
from kernel.ids import as_id
from kernel.paging import Page, page_of
from kernel.statements import Statement, fetch
from orders.models import Order, OrderLine, Parcel, Recipient, UnionTerms
from orders.queries.parcels import ParcelView, lines_of, packages_of, parcel_view, parcels_from_lines
from orders.rules import REFUNDABLE, UNION_BUYER, Line
from people import queries as people_queries
from voucher import queries as voucher_queries


@dataclass(frozen=True)
class Choice:
    """自选: of which packs, all of one tier (fen), each recipient chooses until when; the default is for the others."""

    tier_fen: int
    pack_ids: tuple[int, ...]
    default_pack_id: int
    deadline: datetime

    @property
    def last_minute(self) -> datetime:
        """The last minute somebody can choose in: 23:59 says more plainly than 0:00 which day is meant."""
        return self.deadline - timedelta(minutes=1)


@dataclass(frozen=True)
class TermsView:
    """What a union's order has beside what every order has."""

    choice: Choice | None = None
    voided_at: datetime | None = None
    voided_was: str | None = None
    cap_override: str | None = None
    overridden_by: int | None = None
    copied_from: int | None = None
    slip_key: str | None = None
    replaced: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class OrderView:
    """An order as its buyer sees it."""

    id: int
    campaign: str
    campaign_id: int
    buyer_kind: str
    status: str
    step_fen: int
    save_fen: int
    subtotal_fen: int
    discount_fen: int
    payable_fen: int
    delivery: dict[str, Any]
    placed_at: datetime
    expires_at: datetime | None
    paid_at: datetime | None
    closed_at: datetime | None
    lines: tuple[Line, ...]
    parcels: tuple[ParcelView, ...]
    member_id: int | None = None
    union_id: int | None = None
    placed_by: int = 0
    submitted_by: int | None = None
    submitted_at: datetime | None = None
    decided_by: int | None = None
    decided_at: datetime | None = None
    reject_reason: str | None = None
    recipient_count: int = 0
    terms: TermsView = TermsView()
    warnings: tuple[Any, ...] = ()

    @property
    def choice(self) -> Choice | None:
        """What recipients choose from; None where the officer chose."""
        return self.terms.choice

    @property
    def delivery_mode(self) -> str:
        """Whether it goes to the union, to its departments, or to each recipient."""
        return str(self.delivery.get("mode", "union"))

    @property
    def number(self) -> str:
        """订单号."""
        return str(self.id)


def basket(
    *,
    slug: str,
    member_id: int | None,
    pack_ids: Sequence[int],
    placed_by: int | None,
    idempotency_key: str | None,
    station_id: int | None,
    now: datetime,
) -> Sequence[Row[Any]]:
    """Return, by one statement, all that pricing and placing a member's order needs: a row a pack.

    Each row carries the campaign's rule, the member's voucher, the number of the member's unpaid orders, the units of
    the pack the member has bought, the pickup station's names, and the answer this idempotency key got before. One row
    without a pack where none of the packs exists; no row where the campaign does not.
    """
    values = {
        "slug": slug,
        "member_id": member_id,
        "placed_by": placed_by,
        "idempotency_key": idempotency_key,
        "station_id": station_id,
        "now": now,
    }
    values |= {f"pack_{index}": pack_id for index, pack_id in enumerate(pack_ids)}
    return fetch(_BASKET, values, count=len(pack_ids))


def _basket(packs: int) -> Select[Any]:
    member_id = bindparam("member_id", type_=Id)
    purse = voucher_queries.purse_table(slug=bindparam("slug", type_=String), member_id=member_id)
    pack = catalog_queries.pack_table([bindparam(f"pack_{index}", type_=Id) for index in range(packs)])
    now = bindparam("now", type_=UtcDateTime)
    unpaid = select(func.count().filter(Order.expires_at > now)).where(
        Order.member_id == member_id, Order.status == "pending_payment"
    )
    bought = (
        select(func.coalesce(func.sum(OrderLine.quantity - OrderLine.refunded), 0))
        .join(Order, Order.id == OrderLine.order_id)
        .where(
            unindexed(OrderLine.pack_id == pack.c.pack_id),
            Order.member_id == member_id,
            Order.campaign_id == purse.c.campaign_id,
            or_(
                Order.status.in_([literal(status) for status in REFUNDABLE]),
                and_(Order.status == literal("pending_payment"), Order.expires_at > now),
            ),
            purse.c.pack_limit.is_not(None),
        )
        .correlate(pack, purse)
    )
    station_name, station_name_en = people_queries.station_names(bindparam("station_id", type_=Id))
    first_answer = (
        select(Order.request_hash, Order.answer)
        .where(
            Order.placed_by == bindparam("placed_by", type_=Id),
            Order.idempotency_key == bindparam("idempotency_key", type_=String),
        )
        .subquery("first_answer")
    )
    return (
        select(
            purse,
            pack,
            unpaid.scalar_subquery().label("unpaid"),
            bought.scalar_subquery().label("bought"),
            station_name.label("station_name"),
            station_name_en.label("station_name_en"),
            first_answer.c.request_hash.label("first_hash"),
            first_answer.c.answer.label("first_answer"),
        )
        .select_from(purse)
        .outerjoin(pack, literal(True))
        .outerjoin(first_answer, literal(True))
    )


_BASKET = Statement(_basket)


def status_now(status: str, expires_at: datetime | None, *, now: datetime) -> str:
    """Return an order's status as it is at this moment, whether or not a sweeper has come by."""
    due = expires_at is not None and expires_at <= now
    return "expired" if due and status in ("pending_payment", "approved") else status


def _views(rows: Sequence[Order], *, now: datetime) -> list[OrderView]:
    ids = [row.id for row in rows]
    lines = lines_of(ids)
    parcels: dict[int, list[ParcelView]] = {}
    packages = packages_of(row.id for row in rows if row.buyer_kind == UNION_BUYER and row.paid_at is not None)
    for row in db.session.scalars(
        select(Parcel)
        .where(Parcel.order_id.in_(ids))
        .order_by(Parcel.order_id, Parcel.parcel_no)
        .execution_options(populate_existing=True)
    ):
        own_packages = tuple(packages.get((row.order_id, row.parcel_no), ()))
        parcel = replace(parcel_view(row, lines[row.order_id]), packages=own_packages)
        parcels.setdefault(row.order_id, []).append(parcel)
    counts = {
        order_id: count
        for order_id, count in db.session.execute(
            select(Recipient.order_id, func.count()).where(Recipient.order_id.in_(ids)).group_by(Recipient.order_id)
        )
    }
    terms = terms_of([row.id for row in rows if row.buyer_kind == UNION_BUYER])
    slugs = voucher_queries.slugs()
    views = []
    for row in rows:
        status = status_now(row.status, row.expires_at, now=now)
        own = tuple(lines.get(row.id, ()))
        gone = status in ("cancelled", "expired", "rejected", "refunded")
        views.append(
            OrderView(
                id=row.id,
                campaign=slugs[row.campaign_id],
                campaign_id=row.campaign_id,
                buyer_kind=row.buyer_kind,
                status=status,
                step_fen=row.step_fen,
                save_fen=row.save_fen,
                subtotal_fen=row.subtotal_fen,
                discount_fen=row.discount_fen,
                payable_fen=row.payable_fen,
                delivery=row.delivery,
                placed_at=row.placed_at,
                expires_at=row.expires_at,
                paid_at=row.paid_at,
                closed_at=row.closed_at,
                lines=own,
                parcels=tuple(parcels.get(row.id, ()))
                or parcels_from_lines(row.id, own, "cancelled" if gone else "waiting"),
                member_id=row.member_id,
                union_id=row.union_id,
                placed_by=row.placed_by,
                submitted_by=row.submitted_by,
                submitted_at=row.submitted_at,
                decided_by=row.decided_by,
                decided_at=row.decided_at,
                reject_reason=row.reject_reason,
                recipient_count=counts.get(row.id, 0),
                terms=terms.get(row.id, TermsView()),
            )
        )
    return views


def terms_of(order_ids: Sequence[int]) -> dict[int, TermsView]:
    """Return what unions' orders have beside what every order has."""
    if not order_ids:
        return {}
    rows = db.session.scalars(
        select(UnionTerms).where(UnionTerms.order_id.in_(order_ids)).execution_options(populate_existing=True)
    )
    return {
        row.order_id: TermsView(
            choice=Choice(row.tier_fen, tuple(row.pack_ids), row.default_pack_id, row.deadline)
            if row.tier_fen is not None and row.default_pack_id is not None and row.deadline is not None
            else None,
            voided_at=row.voided_at,
            voided_was=row.voided_was,
            cap_override=row.cap_override,
            overridden_by=row.overridden_by,
            copied_from=row.copied_from,
            slip_key=row.slip_key,
            replaced=tuple(row.replaced),
        )
        for row in rows
    }


def _page(query: Select[tuple[Order]], *, limit: int, before: int | None, now: datetime) -> Page[OrderView]:
    query = query.order_by(Order.id.desc()).limit(limit + 1).execution_options(populate_existing=True)
    if before is not None:
        query = query.where(Order.id < before)
    rows = db.session.scalars(query).all()
    page = page_of(rows, limit=limit, key=lambda row: row.id)
    return Page(items=_views(page.items, now=now), next_cursor=page.next_cursor)


def orders_of_member(member_id: int | None, *, limit: int, before: int | None = None, now: datetime) -> Page[OrderView]:
    """Return a member's orders, newest first."""
    return _page(select(Order).where(Order.member_id == member_id), limit=limit, before=before, now=now)


def last_delivery(member_id: int | None) -> dict[str, Any]:
    """Return where a member's latest order went; nothing for a first order."""
    found = db.session.scalar(
        select(Order.delivery).where(Order.member_id == member_id).order_by(Order.id.desc()).limit(1)
    )
    return dict(found or {})


def orders_of_union(union_id: int | None, *, limit: int, before: int | None = None, now: datetime) -> Page[OrderView]:
    """Return a union's orders, newest first."""
    return _page(select(Order).where(Order.union_id == union_id), limit=limit, before=before, now=now)


def _one(query: Select[tuple[Order]], *, now: datetime) -> OrderView:
    row = db.session.scalar(query.execution_options(populate_existing=True))
    if row is None:
        raise NotFound("没有这个订单。")
    return _views([row], now=now)[0]


def order_of_member(number: str, *, member_id: int | None, now: datetime) -> OrderView:
    """Return a member's own order; raise NotFound, also for another's."""
    return _one(select(Order).where(Order.id == as_id(number), Order.member_id == member_id), now=now)


def order_of_union(number: str, *, union_id: int | None, now: datetime) -> OrderView:
    """Return a union's own order; raise NotFound, also for another's."""
    return _one(select(Order).where(Order.id == as_id(number), Order.union_id == union_id), now=now)


def order(order_id: int, *, now: datetime) -> OrderView:
    """Return any order: for those who are not its buyer (the cashier, the operator)."""
    return _one(select(Order).where(Order.id == order_id), now=now)


def orders_by_id(order_ids: Iterable[int], *, now: datetime) -> dict[int, OrderView]:
    """Return orders by id."""
    rows = db.session.scalars(select(Order).where(Order.id.in_(set(order_ids)))).all()
    return {view.id: view for view in _views(rows, now=now)}


def has_due(*, member_id: int | None = None, now: datetime) -> bool:
    """Return whether an order (of this member) waits to be expired."""
    query = select(Order.id).where(Order.status.in_(("pending_payment", "approved")), Order.expires_at <= now)
    if member_id is not None:
        query = query.where(Order.member_id == member_id)
    return db.session.scalar(query.limit(1)) is not None


def due(*, now: datetime, limit: int, member_id: int | None = None) -> list[int]:
    """Return the ids of orders whose payment time has run out, the oldest first."""
    query = (
        select(Order.id)
        .where(Order.status.in_(("pending_payment", "approved")), Order.expires_at <= now)
        .order_by(Order.expires_at)
        .limit(limit)
    )
    if member_id is not None:
        query = query.where(Order.member_id == member_id)
    return list(db.session.scalars(query))


def due_holding(pack_ids: Iterable[int], *, now: datetime) -> list[int]:
    """Return due orders that still hold any of these packs."""
    return list(
        db.session.scalars(
            select(Order.id)
            .join(OrderLine, OrderLine.order_id == Order.id)
            .where(
                Order.status.in_(("pending_payment", "approved")),
                Order.expires_at <= now,
                unindexed(OrderLine.pack_id.in_(set(pack_ids))),
            )
            .distinct()
            .limit(50)
        )
    )


def recipients_of(order_id: int, *, limit: int = 20000) -> Sequence[Recipient]:
    """Return an order's roster."""
    return db.session.scalars(
        select(Recipient)
        .where(Recipient.order_id == order_id)
        .order_by(Recipient.position)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def numbers_in(order_ids: Iterable[int | None]) -> set[int]:
    """Return which of these orders exist."""
    return set(db.session.scalars(select(Order.id).where(Order.id.in_({i for i in order_ids if i is not None}))))
