"""Reads of the ledger: histories, balances, and the proof that balances are the sums of their postings."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Row, Select, Subquery, and_, case, cast, func, or_, select, union_all

from finance.ledger.models import PostingRow
from finance.ledger.rules import (
    CASH,
    STOCK_AVAILABLE,
    STOCK_HELD,
    STOCK_SOLD,
    VOUCHER_BALANCE,
    VOUCHER_HELD,
    VOUCHER_REDEEMED,
)
from kernel.db import db


def voucher_history(voucher_id: int) -> Sequence[Row[Any]]:
    """Return a voucher's postings, oldest first: kind, amount (signed, to its balance), order_id, at."""
    signed = case(
        (PostingRow.credit == VOUCHER_BALANCE, PostingRow.amount),
        (PostingRow.debit == VOUCHER_BALANCE, -PostingRow.amount),
        else_=0,
    )
    return db.session.execute(
        select(
            PostingRow.id,
            PostingRow.kind,
            signed.label("change_fen"),
            PostingRow.amount,
            # PostgreSQL's sum of 64-bit integers is a decimal; an amount is an integer everywhere.
            cast(func.sum(signed).over(order_by=PostingRow.id), BigInteger).label("balance_fen"),
            PostingRow.order_id,
            PostingRow.at,
        )
        .where(PostingRow.voucher_id == voucher_id)
        .order_by(PostingRow.id)
    ).all()


def of_order(order_id: int) -> Sequence[Any]:
    """Return an order's postings, oldest first."""
    return _postings(PostingRow.order_id == order_id)


def _postings(condition: ColumnElement[bool]) -> Sequence[Any]:
    return db.session.execute(
        select(
            PostingRow.id,
            PostingRow.entry,
            PostingRow.kind,
            PostingRow.debit,
            PostingRow.credit,
            PostingRow.amount,
            PostingRow.voucher_id,
            PostingRow.merchant_id,
            PostingRow.order_id,
            PostingRow.at,
        )
        .where(condition)
        .order_by(PostingRow.id)
    ).all()


def voucher_balance_before(voucher_id: int, posting_id: int) -> int:
    """Return what a voucher's balance was, in fen, just before a posting."""
    signed = case(
        (PostingRow.credit == VOUCHER_BALANCE, PostingRow.amount),
        (PostingRow.debit == VOUCHER_BALANCE, -PostingRow.amount),
        else_=0,
    )
    total = select(func.coalesce(func.sum(signed), 0)).where(
        PostingRow.voucher_id == voucher_id, PostingRow.id < posting_id
    )
    return int(db.session.execute(total).scalar_one())


def pack_history(pack_id: int, *, limit: int, before: int | None = None) -> Sequence[Row[Any]]:
    """Return a pack's stock movements, newest first."""
    query = (
        select(
            PostingRow.id,
            PostingRow.kind,
            PostingRow.amount,
            PostingRow.debit,
            PostingRow.credit,
            case(
                (PostingRow.credit == STOCK_AVAILABLE, PostingRow.amount),
                (PostingRow.debit == STOCK_AVAILABLE, -PostingRow.amount),
                else_=0,
            ).label("available_change"),
            PostingRow.order_id,
            PostingRow.actor_id,
            PostingRow.reason,
            PostingRow.at,
        )
        .where(PostingRow.pack_id == pack_id)
        .order_by(PostingRow.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(PostingRow.id < before)
    return db.session.execute(query).all()


def sold_since(pack_ids: Iterable[int], since: datetime) -> dict[int, int]:
    """Return how many of each pack were sold since a moment, those given back before they left taken off."""
    signed = case(
        (and_(PostingRow.debit == STOCK_HELD, PostingRow.credit == STOCK_SOLD), PostingRow.amount),
        (and_(PostingRow.debit == STOCK_SOLD, PostingRow.credit == STOCK_AVAILABLE), -PostingRow.amount),
        else_=0,
    )
    query = (
        select(PostingRow.pack_id, func.sum(signed))
        .where(PostingRow.pack_id.in_(list(pack_ids)), PostingRow.at >= since)
        .group_by(PostingRow.pack_id)
    )
    return {int(pack_id): int(count) for pack_id, count in db.session.execute(query) if pack_id is not None}


def available_changes(pack_id: int, since: datetime) -> Sequence[tuple[datetime, int]]:
    """Return when and by how much a pack's available stock changed since a moment, the oldest first."""
    change = case(
        (PostingRow.credit == STOCK_AVAILABLE, PostingRow.amount),
        (PostingRow.debit == STOCK_AVAILABLE, -PostingRow.amount),
        else_=0,
    )
    rows = db.session.execute(
        select(PostingRow.at, change)
        .where(
            PostingRow.pack_id == pack_id,
            PostingRow.at >= since,
            or_(PostingRow.credit == STOCK_AVAILABLE, PostingRow.debit == STOCK_AVAILABLE),
        )
        .order_by(PostingRow.id)
    )
    return [(at, int(amount)) for at, amount in rows]


def balances(*owners: str, where: ColumnElement[bool] | None = None) -> Subquery:
    """Return every account's balance as something a proof can join: the named owner columns, account, balance."""
    columns = [getattr(PostingRow, owner) for owner in owners]
    conditions = [column.is_not(None) for column in columns]
    if where is not None:
        conditions.append(where)
    sides = union_all(
        select(*columns, PostingRow.credit.label("account"), PostingRow.amount.label("amount")).where(*conditions),
        select(*columns, PostingRow.debit.label("account"), (-PostingRow.amount).label("amount")).where(*conditions),
    ).subquery()
    grouped = [sides.c[owner] for owner in owners]
    return (
        select(*grouped, sides.c.account, func.sum(sides.c.amount).label("balance"))
        .group_by(*grouped, sides.c.account)
        .subquery()
    )


def campaign_balances(campaign_id: int) -> dict[str, int]:
    """Return the balance of each of a campaign's accounts, by account kind."""
    totals = balances("campaign_id", where=PostingRow.campaign_id == campaign_id)
    rows = db.session.execute(select(totals.c.account, totals.c.balance))
    return {account: int(balance) for account, balance in rows}


def moved(campaign_id: int, *, debit: str, credit: str) -> int:
    """Return how much of a campaign has ever moved from one account to the other, in fen."""
    total = select(func.coalesce(func.sum(PostingRow.amount), 0)).where(
        PostingRow.campaign_id == campaign_id, PostingRow.debit == debit, PostingRow.credit == credit
    )
    return int(db.session.execute(total).scalar_one())


def cash_by_order() -> Subquery:
    """Return what came in and went back for each order, in fen: `order_id` (0 for none), `came`, `went`.

    Money a provider took back out of a refund (`came_back`) counts as not having gone. What merchants were paid
    (`payout`), and what went from one to another for a replaced pack (`replace`), is no buyer's.
    """
    order_id = func.coalesce(PostingRow.order_id, 0)
    returned = (PostingRow.debit == CASH) & (PostingRow.kind == "came_back")
    came = case(((PostingRow.debit == CASH) & (PostingRow.kind != "came_back"), PostingRow.amount), else_=0)
    went = case((PostingRow.credit == CASH, PostingRow.amount), (returned, -PostingRow.amount), else_=0)
    return (
        select(order_id.label("order_id"), func.sum(came).label("came"), func.sum(went).label("went"))
        .where(or_(PostingRow.debit == CASH, PostingRow.credit == CASH), PostingRow.kind.not_in(("payout", "replace")))
        .group_by(order_id)
        .subquery()
    )


def stock_taken(orders: Select[tuple[int]]) -> dict[int, int]:
    """Return how many of each pack the orders a statement selects have taken off the shelf and not given back."""
    taken = case(
        (PostingRow.debit == STOCK_AVAILABLE, PostingRow.amount),
        (PostingRow.credit == STOCK_AVAILABLE, -PostingRow.amount),
        else_=0,
    )
    rows = db.session.execute(
        select(PostingRow.pack_id, func.sum(taken))
        .where(PostingRow.order_id.in_(orders), PostingRow.pack_id.is_not(None))
        .group_by(PostingRow.pack_id)
    )
    return {int(pack_id): int(count) for pack_id, count in rows if pack_id is not None and count}


def malformed() -> Sequence[Any]:
    """Return postings that are no transfer between two accounts: debits would not equal credits."""
    crossed = PostingRow.debit.startswith("stock.") != PostingRow.credit.startswith("stock.")
    wrong = or_(PostingRow.amount <= 0, PostingRow.debit == PostingRow.credit, crossed)
    return db.session.execute(select(PostingRow.id, PostingRow.entry).where(wrong)).all()


def redeemed_by_day(campaign_id: int) -> dict[date, int]:
    """Return what members' vouchers of a campaign paid for on each day of Asia/Shanghai, in fen."""
    # China keeps one time all year: eight hours before UTC.
    if db.session.get_bind().dialect.name == "postgresql":
        day = func.to_char(func.timezone("Asia/Shanghai", PostingRow.at), "YYYY-MM-DD")
    else:
        day = func.date(PostingRow.at, "+8 hours")
    said = day.label("said")
    rows = db.session.execute(
        select(said, func.sum(PostingRow.amount))
        .where(
            PostingRow.campaign_id == campaign_id,
            PostingRow.debit == VOUCHER_HELD,
            PostingRow.credit == VOUCHER_REDEEMED,
        )
        .group_by(said)
    )
    return {date.fromisoformat(text): int(amount) for text, amount in rows}
