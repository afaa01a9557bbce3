"""Reads of the summaries: a campaign's figures as a book has them, how fresh they are, and the proof against the ledger.

Amounts are in fen at full price. A group's `sales_fen` is what was paid for, `back_fen` what of it was given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, select

from finance.ledger import tail
from kernel.db import db
from orders.summary_models import (
    MEASURES,
    VOUCHER_MEASURES,
    CampaignTarget,
    OrderDay,
    SalesDay,
    SummaryBook,
    UnionSales,
    VoucherSums,
)
from voucher import queries as voucher_queries

DEFAULT_TARGET = 15


@dataclass(frozen=True)
class Book:
    """The counting that is shown: `as_of` is None before the first is finished."""

    id: int
    cursor: int
    as_of: datetime | None
    begun_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which sales: of some days (both included), a tier, merchants (None: all), a channel."""

    since: date | None = None
    until: date | None = None
    tier_fen: int | None = None
    merchant_ids: frozenset[int] | None = None
    channel: str | None = None


def book() -> Book:
    """Return the current book; an empty one (id 0) where nothing was ever counted."""
    row = db.session.execute(
        select(SummaryBook.id, SummaryBook.cursor, SummaryBook.as_of, SummaryBook.begun_at).where(
            SummaryBook.is_current
        )
    ).one_or_none()
    return Book(row.id, row.cursor, row.as_of, row.begun_at) if row else Book(0, 0, None, datetime.min)


def sales(book_id: int, campaign_id: int, wanted: Wanted) -> Sequence[Row[Any]]:
    """Return the cells of a campaign's sales that are wanted: day, merchant_id, tier_fen, channel and the measures."""
    query = select(
        SalesDay.day,
        SalesDay.merchant_id,
        SalesDay.tier_fen,
        SalesDay.channel,
        *(getattr(SalesDay, name) for name in MEASURES),
    ).where(SalesDay.book_id == book_id, SalesDay.campaign_id == campaign_id)
    if wanted.since is not None:
        query = query.where(SalesDay.day >= wanted.since)
    if wanted.until is not None:
        query = query.where(SalesDay.day <= wanted.until)
    if wanted.tier_fen is not None:
        query = query.where(SalesDay.tier_fen == wanted.tier_fen)
    if wanted.merchant_ids is not None:
        query = query.where(SalesDay.merchant_id.in_(wanted.merchant_ids))
    if wanted.channel is not None:
        query = query.where(SalesDay.channel == wanted.channel)
    return db.session.execute(query).all()


def orders(book_id: int, campaign_id: int, wanted: Wanted) -> Sequence[Row[Any]]:
    """Return how many orders there were: day, channel, part, key, placed, paid, refunds. Of `wanted` days, channel."""
    query = select(
        OrderDay.day,
        OrderDay.channel,
        OrderDay.part,
        OrderDay.key,
        OrderDay.placed,
        OrderDay.paid,
        OrderDay.refunds,
    ).where(OrderDay.book_id == book_id, OrderDay.campaign_id == campaign_id)
    if wanted.since is not None:
        query = query.where(OrderDay.day >= wanted.since)
    if wanted.until is not None:
        query = query.where(OrderDay.day <= wanted.until)
    if wanted.channel is not None:
        query = query.where(OrderDay.channel == wanted.channel)
    return db.session.execute(query).all()


def union_sales(book_id: int, campaign_id: int, *, union_id: int | None = None) -> Sequence[Row[Any]]:
    """Return what each union's people bought of each merchant: union_id, merchant_id, channel, orders, the measures."""
    query = select(
        UnionSales.union_id,
        UnionSales.merchant_id,
        UnionSales.channel,
        UnionSales.orders,
        *(getattr(UnionSales, name) for name in MEASURES),
    ).where(UnionSales.book_id == book_id, UnionSales.campaign_id == campaign_id)
    if union_id is not None:
        query = query.where(UnionSales.union_id == union_id)
    return db.session.execute(query).all()


def vouchers(book_id: int, campaign_id: int) -> Sequence[Row[Any]]:
    """Return what became of each union's members' vouchers: union_id and the figures."""
    return db.session.execute(
        select(VoucherSums.union_id, *(getattr(VoucherSums, name) for name in VOUCHER_MEASURES)).where(
            VoucherSums.book_id == book_id, VoucherSums.campaign_id == campaign_id
        )
    ).all()


def target(campaign_id: int) -> int:
    """Return the percentage of sales that is to come from paired-assistance regions."""
    query = select(CampaignTarget.assisted_percent).where(CampaignTarget.campaign_id == campaign_id)
    return db.session.scalar(query) or DEFAULT_TARGET


def breaches() -> list[str]:
    """Return each way the current book is not what the ledger says up to the book's cursor, with its ids."""
    current = book()
    if not current.id:
        return []
    return [*_sales_breaches(current), *_voucher_breaches(current)]


def _sales_breaches(current: Book) -> list[str]:
    said = {
        (row.campaign_id, row.merchant_id): (int(row.sales_fen), int(row.subsidy_fen))
        for row in tail.owed_of_sales(upto=current.cursor)
    }
    found = []
    for name, table in (("days", SalesDay), ("unions", UnionSales)):
        kept = {
            (row.campaign_id, row.merchant_id): (int(row.sales), int(row.subsidy))
            for row in db.session.execute(
                select(
                    table.campaign_id,
                    table.merchant_id,
                    func.sum(table.sales_fen - table.back_fen).label("sales"),
                    func.sum(table.subsidy_fen - table.back_subsidy_fen).label("subsidy"),
                )
                .where(table.book_id == current.id)
                .group_by(table.campaign_id, table.merchant_id)
            )
        }
        found += [
            f"summaries: campaign {key[0]}, merchant {key[1]}: sales and subsidy by {name} are"
            f" {kept.get(key, (0, 0))}, the ledger says {said.get(key, (0, 0))}"
            for key in sorted(kept.keys() | said.keys())
            if kept.get(key, (0, 0)) != said.get(key, (0, 0))
        ]
    return found


def _voucher_breaches(current: Book) -> list[str]:
    owner = voucher_queries.voucher_owners()
    *sums, own = tail.voucher_moves(upto=current.cursor, voucher_id=owner.c.id, revoked_at=owner.c.revoked_at)

    def figures(row: Row[Any]) -> tuple[int, ...]:
        return tuple(int(getattr(row, name)) for name in VOUCHER_MEASURES)

    said = {
        row.campaign_id: figures(row)
        for row in db.session.execute(
            select(owner.c.campaign_id, *sums).select_from(owner).where(own).group_by(owner.c.campaign_id)
        )
    }
    kept = {
        row.campaign_id: figures(row)
        for row in db.session.execute(
            select(
                VoucherSums.campaign_id,
                *(func.sum(getattr(VoucherSums, name)).label(name) for name in VOUCHER_MEASURES),
            )
            .where(VoucherSums.book_id == current.id)
            .group_by(VoucherSums.campaign_id)
        )
    }
    none = (0,) * len(VOUCHER_MEASURES)
    return [
        f"summaries: campaign {key}: vouchers ({', '.join(VOUCHER_MEASURES)}) are {kept.get(key, none)},"
        f" the ledger says {said.get(key, none)}"
        for key in sorted(kept.keys() | said.keys())
        if kept.get(key, none) != said.get(key, none)
    ]
