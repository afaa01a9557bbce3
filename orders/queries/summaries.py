"""Reads of the summaries: a campaign's figures as a book has them, how fresh they are, the proof against the ledger.

Amounts are in fen at full price. A group's `sales_fen` is what was paid for, `back_fen` what of it was given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Row, cast, func, select

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


def book() -> Book:
    """Return the current book; an empty one (id 0) where nothing was ever counted."""
    row = db.session.execute(
        select(SummaryBook.id, SummaryBook.cursor, SummaryBook.as_of, SummaryBook.begun_at).where(
            SummaryBook.is_current
        )
    ).one_or_none()
    return Book(row.id, row.cursor, row.as_of, row.begun_at) if row else Book(0, 0, None, datetime.min)


def sales(book_id: int, campaign_id: int) -> Sequence[Row[Any]]:
    """Return a campaign's sales by day, merchant_id, tier_fen and channel, with the measures."""
    keys = (SalesDay.day, SalesDay.merchant_id, SalesDay.tier_fen, SalesDay.channel)
    return db.session.execute(
        select(*keys, *(_whole(func.sum(getattr(SalesDay, name))).label(name) for name in MEASURES))
        .where(SalesDay.book_id == book_id, SalesDay.campaign_id == campaign_id)
        .group_by(*keys)
        .order_by(SalesDay.day)
    ).all()


def _whole(column: Any) -> Any:
    """PostgreSQL's sum of 64-bit integers is a decimal; an amount is an integer everywhere."""
    return cast(column, BigInteger)


def packs_sold(book_id: int, since: date) -> dict[int, int]:
    """Return how many of each pack were sold since a day, in all campaigns, those given back taken off."""
    rows = db.session.execute(
        select(SalesDay.pack_id, _whole(func.sum(SalesDay.packs - SalesDay.back_packs)))
        .where(SalesDay.book_id == book_id, SalesDay.day >= since)
        .group_by(SalesDay.pack_id)
    )
    return {pack_id: count for pack_id, count in rows}


def orders(book_id: int, campaign_id: int) -> Sequence[Row[Any]]:
    """Return how many orders there were: day, channel, part, key, placed, paid, refunds (see OrderDay)."""
    return db.session.execute(
        select(
            OrderDay.day,
            OrderDay.channel,
            OrderDay.part,
            OrderDay.key,
            OrderDay.placed,
            OrderDay.paid,
            OrderDay.refunds,
        ).where(OrderDay.book_id == book_id, OrderDay.campaign_id == campaign_id)
    ).all()


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
