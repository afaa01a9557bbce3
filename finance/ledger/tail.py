"""Reading the ledger on from where one left off, so that nothing is left out however commits overtake each other.

PostgreSQL gives a posting its id when it is written, and shows it when its transaction commits: a lower id may appear
after a higher one. `final_end` therefore returns an id up to which nothing can appear any more. SQLite has one writer.

An entry's rows may lie on both sides of such an end. It belongs where its first row is: `first_rows`, `of_entries`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Subquery, and_, case, func, or_, select, text
from sqlalchemy.orm import aliased

from finance.ledger import rules as ledger
from finance.ledger.models import PostingRow
from kernel.db import db

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
    " AND relation = 'ledger_postings'::regclass AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
SALE_KINDS = ("paid", "gift")  # entries that make a paid order
_PAUSE = 0.01


@dataclass(frozen=True)
class EntryRef:
    """An entry, by its name, and when it was made; `thing` is what it happened to."""

    posting_id: int
    entry: str
    kind: str
    order_id: int
    at: datetime

    @property
    def thing(self) -> str:
        """What it happened to (finance.ledger.rules.Cause)."""
        return self.entry.partition(":")[2]


def final_end(*, patience: float) -> int | None:
    """Return the highest id up to which no posting can appear any more, 0 where there is none.

    Who writes to the ledger holds a lock on its table, which hinders nobody, from before its ids are drawn until it
    has committed. Whoever holds one now may still show an id below the highest: they are waited for, at most
    `patience` seconds; None where one of them takes longer. Who begins after is above. Call it outside a transaction.
    """
    end = db.session.scalar(select(func.max(PostingRow.id))) or 0
    if db.session.get_bind().dialect.name != "postgresql":
        return end
    waiting = set(db.session.scalars(_WRITERS))
    until = time.monotonic() + patience
    while waiting:
        if time.monotonic() >= until:
            return None
        time.sleep(_PAUSE)
        waiting &= set(db.session.scalars(_WRITERS))
    return end


def _begins_after(after: int) -> ColumnElement[bool]:
    before = aliased(PostingRow)
    return ~select(before.id).where(before.entry == PostingRow.entry, before.id <= after).exists()


def first_rows(*, kinds: Sequence[str], after: int, upto: int) -> list[EntryRef]:
    """Return the entries of these kinds about an order whose first row's id is above `after`, at most `upto`."""
    first = func.min(PostingRow.id)
    rows = db.session.execute(
        select(first.label("id"), PostingRow.entry, PostingRow.kind, PostingRow.order_id, PostingRow.at)
        .where(
            PostingRow.id > after,
            PostingRow.id <= upto,
            PostingRow.kind.in_(kinds),
            PostingRow.order_id.is_not(None),
            _begins_after(after),
        )
        .group_by(PostingRow.entry, PostingRow.kind, PostingRow.order_id, PostingRow.at)
        .order_by(first)
    )
    return [EntryRef(row.id, row.entry, row.kind, row.order_id, row.at) for row in rows if row.order_id is not None]


def orders_between(*, kinds: Sequence[str], after: int, upto: int) -> Subquery:
    """Return the orders that entries of these kinds are about, as a statement to join: `order_id`."""
    return (
        select(PostingRow.order_id)
        .where(
            PostingRow.id > after,
            PostingRow.id <= upto,
            PostingRow.kind.in_(kinds),
            PostingRow.order_id.is_not(None),
        )
        .distinct()
        .subquery("orders_between")
    )


def refunds_of_orders(orders: Subquery) -> list[EntryRef]:
    """Return every refund's entry of these orders, in the order they were accepted."""
    first = func.min(PostingRow.id)
    rows = db.session.execute(
        select(first.label("id"), PostingRow.entry, PostingRow.kind, PostingRow.order_id, PostingRow.at)
        .where(PostingRow.kind == "refund", PostingRow.order_id.in_(select(orders.c.order_id)))
        .group_by(PostingRow.entry, PostingRow.kind, PostingRow.order_id, PostingRow.at)
        .order_by(first)
    )
    return [EntryRef(row.id, row.entry, row.kind, row.order_id, row.at) for row in rows if row.order_id is not None]


def voucher_moves(
    *, after: int = 0, upto: int, revoked_at: ColumnElement[Any], voucher_id: ColumnElement[Any]
) -> list[Any]:
    """Return what vouchers' postings between two ids come to, as named columns, and the condition they need.

    `voucher_id` and `revoked_at` are the voucher's own columns of whatever the caller joins. In fen, but `issued`,
    which counts: `issued`, `issued_fen`, `held_fen` and `redeemed_fen` (now), `released_fen` (ever, from a hold),
    `expired_fen`, `revoked_fen`. What a voucher that has ended gives back is `revoked` from its revocation on.
    """
    debit, credit, amount = PostingRow.debit, PostingRow.credit, PostingRow.amount
    new = and_(credit == ledger.VOUCHER_BALANCE, debit.in_((ledger.BUDGET_MEMBER, ledger.GRANT_PROMISED)))
    ended = and_(debit == ledger.VOUCHER_BALANCE, credit == ledger.BUDGET_MEMBER)
    was_revoked = and_(revoked_at.is_not(None), revoked_at <= PostingRow.at)
    was_not = or_(revoked_at.is_(None), revoked_at > PostingRow.at)

    def net(account: str) -> ColumnElement[int]:
        return case((credit == account, amount), (debit == account, -amount), else_=0)

    sums = {
        "issued": case((new, 1), else_=0),
        "issued_fen": case((new, amount), else_=0),
        "held_fen": net(ledger.VOUCHER_HELD),
        "redeemed_fen": net(ledger.VOUCHER_REDEEMED),
        "released_fen": case((and_(debit == ledger.VOUCHER_HELD, credit == ledger.VOUCHER_BALANCE), amount), else_=0),
        "expired_fen": case((and_(ended, was_not), amount), else_=0),
        "revoked_fen": case((and_(ended, was_revoked), amount), else_=0),
    }
    columns: list[Any] = [func.coalesce(func.sum(column), 0).label(name) for name, column in sums.items()]
    condition = and_(PostingRow.voucher_id == voucher_id, PostingRow.id > after, PostingRow.id <= upto)
    return [*columns, condition]


def owed_of_sales(*, upto: int) -> Sequence[Row[Any]]:
    """Return what entries that begin at most at `upto` say of sales, by campaign and merchant, in fen.

    `sales_fen` is what the merchant is owed for what was kept, `subsidy_fen` what of it the district pays.
    """
    earlier = aliased(PostingRow)
    begins = select(earlier.id).where(earlier.entry == PostingRow.entry, earlier.id <= upto).exists()
    debit, credit, amount = PostingRow.debit, PostingRow.credit, PostingRow.amount
    owed = case((credit == ledger.MERCHANT_OWED, amount), else_=-amount)
    subsidy = case((debit == ledger.SUBSIDY, amount), (credit == ledger.SUBSIDY, -amount), else_=0)
    return db.session.execute(
        select(
            PostingRow.campaign_id,
            PostingRow.merchant_id,
            func.sum(owed).label("sales_fen"),
            func.sum(subsidy).label("subsidy_fen"),
        )
        .where(
            PostingRow.kind.in_((*SALE_KINDS, "refund")),
            or_(debit == ledger.MERCHANT_OWED, credit == ledger.MERCHANT_OWED),
            or_(PostingRow.id <= upto, and_(PostingRow.id > upto, begins)),
        )
        .group_by(PostingRow.campaign_id, PostingRow.merchant_id)
    ).all()
