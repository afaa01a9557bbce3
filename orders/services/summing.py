"""Keeping the summaries: fold what the ledger has gained since the last time into the cells of a book.

Nothing here touches the placing or paying of an order. What is new is read without a lock; then one short transaction
moves the book's cursor, on condition that nobody else did, and adds to its cells: whatever is repeated, killed or run
by two at once, each posting counts once.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.ledger import tail
from finance.ledger.tail import SALE_KINDS, EntryRef
from kernel.clock import local
from kernel.db import db, rows_changed, transaction
from kernel.ids import new_id
from orders.models import Order, OrderLine, RefundLine
from orders.queries.summaries import Book
from orders.rules import UNION_BUYER, give_back
from orders.summary_models import (
    MEASURES,
    VOUCHER_MEASURES,
    OrderDay,
    SalesDay,
    SummaryBook,
    UnionSales,
    VoucherSums,
)
from people import queries as people_queries
from voucher import queries as voucher_queries

CHUNK = 20_000  # postings read at once
FRESH = timedelta(seconds=30)  # a page that would be older brings the summaries up to date first
EVERY = timedelta(seconds=5)  # how often the worker looks
ANEW_HOUR = 3  # in Asia/Shanghai: the books are counted anew each night
_CELLS = (SalesDay, OrderDay, UnionSales, VoucherSums)
_AT_ONCE = 500  # rows written by one statement

Cells = dict[tuple[Any, ...], dict[str, int]]


def _cells() -> Cells:
    return defaultdict(lambda: defaultdict(int))


@dataclass
class _Gained:
    """What postings add to cells, by the cells' keys."""

    sales: Cells = field(default_factory=_cells)
    orders: Cells = field(default_factory=_cells)
    unions: Cells = field(default_factory=_cells)
    vouchers: Cells = field(default_factory=_cells)


@dataclass(frozen=True)
class _Sold:
    """A line of a paid order as it was sold, with what it is counted under."""

    order_id: int
    line_no: int
    campaign_id: int
    merchant_id: int
    pack_id: int
    tier_fen: int
    quantity: int
    amount_fen: int
    discount_fen: int
    channel: str
    union_id: int


def tend(*, now: datetime, seconds: float = 0.5) -> None:
    """What the worker does at each look: keep the current book up, and each night count a new one, bit by bit."""
    book = _current(now=now)
    if book.as_of is None or now - book.as_of >= EVERY:
        advance(now=now, seconds=seconds)
    here = local(now)
    if here.hour >= ANEW_HOUR and local(book.begun_at).date() < here.date():
        rebuild_step(now=now, seconds=seconds)


def keep_fresh(*, within: timedelta, now: datetime) -> None:
    """Bring the summaries up to date where they are older than `within`; a page waits a moment for it, no longer."""
    as_of = db.session.scalar(select(SummaryBook.as_of).where(SummaryBook.is_current))
    if as_of is None or now - as_of > within:
        advance(now=now, seconds=0.5, patience=0.2)


def age_of(book: Book, *, now: datetime) -> int | None:
    """Return how old what a page shows is, in seconds; None where nothing was counted yet."""
    return None if book.as_of is None else max(0, int((now - book.as_of).total_seconds()))


def advance(*, now: datetime, seconds: float = 1.0, patience: float = 1.0) -> bool:
    """Fold what is new into the current book, for about `seconds`; return whether all that was there is in it now."""
    return _fold(_current(now=now), now=now, seconds=seconds, patience=patience)


def rebuild(*, now: datetime) -> int:
    """Count the whole ledger anew, then show that; return how many postings it has."""
    while not rebuild_step(now=now, seconds=60.0):
        pass
    return int(db.session.scalar(select(SummaryBook.cursor).where(SummaryBook.is_current)) or 0)


def rebuild_step(*, now: datetime, seconds: float) -> bool:
    """Go on with a new counting for about `seconds`; return whether it is the current one now."""
    book = _unfinished(now=now)
    if not _fold(book, now=now, seconds=seconds, patience=1.0):
        return False
    with transaction():
        old = db.session.scalars(select(SummaryBook.id).where(SummaryBook.id != book.id).with_for_update()).all()
        for table in _CELLS:
            db.session.execute(delete(table).where(table.book_id.in_(old)))
        db.session.execute(delete(SummaryBook).where(SummaryBook.id.in_(old)))
        db.session.execute(update(SummaryBook).where(SummaryBook.id == book.id).values(is_current=True))
    return True


def _current(*, now: datetime) -> SummaryBook:
    return _book(is_current=True, now=now)


def _unfinished(*, now: datetime) -> SummaryBook:
    """Return the counting that was begun and not finished; one of another day is given up for a new one."""
    today = local(now).date()
    for book in db.session.scalars(select(SummaryBook).where(SummaryBook.is_current.is_(False))).all():
        if local(book.begun_at).date() != today:
            with transaction():
                for table in _CELLS:
                    db.session.execute(delete(table).where(table.book_id == book.id))
                db.session.execute(delete(SummaryBook).where(SummaryBook.id == book.id))
    return _book(is_current=False, now=now)


def _book(*, is_current: bool, now: datetime) -> SummaryBook:
    query = select(SummaryBook).where(SummaryBook.is_current.is_(is_current)).order_by(SummaryBook.id).limit(1)
    found = db.session.scalar(query.execution_options(populate_existing=True))
    if found is not None:
        return found
    with transaction():
        # Two who find none at once: the table lets one current book in, and the other is given that one.
        new = {"id": new_id(), "is_current": is_current, "cursor": 0, "begun_at": now}
        db.session.execute(_insert(SummaryBook).values(new).on_conflict_do_nothing())
    found = db.session.scalar(query.execution_options(populate_existing=True))
    assert found is not None
    return found


def _insert(table: Any) -> Any:
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return on_engine(table)


def _fold(book: SummaryBook, *, now: datetime, seconds: float, patience: float) -> bool:
    book_id, cursor = book.id, book.cursor
    until = time.monotonic() + seconds
    db.session.rollback()  # nothing read before may fix what this sees
    end = tail.final_end(patience=patience)
    if end is None:
        return False
    while cursor < end:
        upto = min(cursor + CHUNK, end)
        gained = _gained(after=cursor, upto=upto)
        if not _write(book_id, gained, after=cursor, upto=upto, as_of=now if upto == end else None):
            return False  # another has folded this, and goes on
        cursor = upto
        if cursor < end and time.monotonic() >= until:
            return False
    with transaction():
        db.session.execute(
            update(SummaryBook).where(SummaryBook.id == book_id, SummaryBook.cursor == cursor).values(as_of=now)
        )
    return True


def _write(book_id: int, gained: _Gained, *, after: int, upto: int, as_of: datetime | None) -> bool:
    values: dict[str, Any] = {"cursor": upto}
    if as_of is not None:
        values["as_of"] = as_of
    with transaction():
        moving = update(SummaryBook).where(SummaryBook.id == book_id, SummaryBook.cursor == after).values(values)
        if rows_changed(moving) == 0:
            return False
        _add(SalesDay, MEASURES, book_id, gained.sales)
        _add(OrderDay, ("placed", "paid", "refunds"), book_id, gained.orders)
        _add(UnionSales, ("orders", *MEASURES), book_id, gained.unions)
        _add(VoucherSums, VOUCHER_MEASURES, book_id, gained.vouchers)
    return True


def _add(table: Any, measures: tuple[str, ...], book_id: int, cells: Cells) -> None:
    """Add to cells, making those that are not there; a cell's key is the table's, without the book."""
    keys = [column.name for column in table.__table__.primary_key if column.name != "book_id"]
    rows = [
        {"book_id": book_id, **dict(zip(keys, key, strict=True)), **{name: own.get(name, 0) for name in measures}}
        for key, own in sorted(cells.items())
        if any(own.values())
    ]
    columns = table.__table__.c
    for start in range(0, len(rows), _AT_ONCE):
        adding = _insert(table).values(rows[start : start + _AT_ONCE])
        db.session.execute(
            adding.on_conflict_do_update(
                index_elements=["book_id", *keys],
                set_={name: columns[name] + adding.excluded[name] for name in measures},
            )
        )


def _gained(*, after: int, upto: int) -> _Gained:
    """Return what the postings above `after`, at most `upto`, add. Reads only."""
    gained = _Gained()
    _vouchers(gained, after=after, upto=upto)
    entries = tail.first_rows(kinds=(*SALE_KINDS, "refund", "hold"), after=after, upto=upto)
    sold = _lines_of(after=after, upto=upto)
    regions = {row.id: row.region for row in db.session.execute(select(people_queries.merchant_table()))}
    refunded = [entry for entry in entries if entry.kind == "refund"]
    for entry in entries:
        lines = sold[entry.order_id]
        if entry.kind in SALE_KINDS:
            _count_sale(gained, lines, regions, local(entry.at).date())
        elif entry.kind == "hold" and entry.thing.endswith(":1"):
            # The first hold is the placing; a later one takes again what a late payment or a change had given back.
            one = lines[0]
            gained.orders[one.campaign_id, local(entry.at).date(), one.channel, "all", ""]["placed"] += 1
    if refunded:
        _count_refunds(gained, refunded, sold, after=after, upto=upto)
    return gained


def _vouchers(gained: _Gained, *, after: int, upto: int) -> None:
    owner, unions = voucher_queries.voucher_owners(), people_queries.union_of_members()
    *sums, own = tail.voucher_moves(after=after, upto=upto, voucher_id=owner.c.id, revoked_at=owner.c.revoked_at)
    rows = db.session.execute(
        select(owner.c.campaign_id, unions.c.union_id, *sums)
        .select_from(owner)
        .join(unions, unions.c.member_id == owner.c.member_id)
        .where(own)
        .group_by(owner.c.campaign_id, unions.c.union_id)
    )
    for row in rows:
        cell = gained.vouchers[row.campaign_id, row.union_id]
        for name in VOUCHER_MEASURES:
            cell[name] += int(getattr(row, name))


def _lines_of(*, after: int, upto: int) -> dict[int, list[_Sold]]:
    """Return the lines, as they were placed, of every order that what is new is about."""
    about = tail.orders_between(kinds=(*SALE_KINDS, "refund", "hold"), after=after, upto=upto)
    unions = people_queries.union_of_members()
    rows = db.session.execute(
        select(
            OrderLine.order_id,
            OrderLine.line_no,
            OrderLine.merchant_id,
            OrderLine.pack_id,
            OrderLine.price_fen,
            OrderLine.quantity,
            OrderLine.amount_fen,
            OrderLine.discount_fen,
            Order.campaign_id,
            Order.buyer_kind,
            func.coalesce(Order.union_id, unions.c.union_id, 0).label("union_id"),
        )
        .join(about, about.c.order_id == OrderLine.order_id)
        .join(Order, Order.id == OrderLine.order_id)
        .outerjoin(unions, unions.c.member_id == Order.member_id)
        .order_by(OrderLine.order_id, OrderLine.line_no)
    )
    found: dict[int, list[_Sold]] = defaultdict(list)
    for row in rows:
        found[row.order_id].append(
            _Sold(
                order_id=row.order_id,
                line_no=row.line_no,
                campaign_id=row.campaign_id,
                merchant_id=row.merchant_id,
                pack_id=row.pack_id,
                tier_fen=row.price_fen,
                quantity=row.quantity,
                amount_fen=row.amount_fen,
                discount_fen=row.discount_fen,
                channel="bulk" if row.buyer_kind == UNION_BUYER else row.buyer_kind,
                union_id=row.union_id,
            )
        )
    return found


def _count_sale(gained: _Gained, lines: list[_Sold], regions: dict[int, str], day: date) -> None:
    """An order is paid: what each line is, and the order once under each merchant, tier and region it has."""
    for line in lines:
        _count(gained, line, day, packs=line.quantity, sales_fen=line.amount_fen, subsidy_fen=line.discount_fen)
    first = lines[0]
    parts = {("all", "")}
    parts |= {("tier", str(line.tier_fen)) for line in lines}
    parts |= {("merchant", str(line.merchant_id)) for line in lines}
    parts |= {("region", regions[line.merchant_id]) for line in lines}
    for part, key in parts:
        gained.orders[first.campaign_id, day, first.channel, part, key]["paid"] += 1
    for merchant_id in {line.merchant_id for line in lines}:
        gained.unions[first.campaign_id, first.union_id, merchant_id, first.channel]["orders"] += 1


def _count(gained: _Gained, line: _Sold, day: date, **amounts: int) -> None:
    by_day = gained.sales[line.campaign_id, day, line.merchant_id, line.pack_id, line.tier_fen, line.channel]
    by_union = gained.unions[line.campaign_id, line.union_id, line.merchant_id, line.channel]
    for name, amount in amounts.items():
        by_day[name] += amount
        by_union[name] += amount


def _count_refunds(
    gained: _Gained, entries: list[EntryRef], sold: dict[int, list[_Sold]], *, after: int, upto: int
) -> None:
    """Refunds are accepted: what each line of one brings back depends on what of the line went back before it."""
    every = tail.refunds_of_orders(tail.orders_between(kinds=("refund",), after=after, upto=upto))
    units = _units_of(every)
    wanted = {entry.entry for entry in entries}
    before: dict[tuple[int, int], int] = defaultdict(int)
    for entry in every:
        day = local(entry.at).date()
        lines = {line.line_no: line for line in sold[entry.order_id]}
        for line_no, more in units[entry.thing].items():
            line = lines[line_no]
            back = give_back(
                amount_fen=line.amount_fen,
                discount_fen=line.discount_fen,
                quantity=line.quantity,
                before=before[entry.order_id, line_no],
                units=more,
            )
            before[entry.order_id, line_no] += more
            if entry.entry in wanted:
                back_fen = back.cash_fen + back.voucher_fen
                _count(gained, line, day, back_packs=more, back_fen=back_fen, back_subsidy_fen=back.voucher_fen)
        if entry.entry in wanted:
            one = sold[entry.order_id][0]
            gained.orders[one.campaign_id, day, one.channel, "all", ""]["refunds"] += 1


def _units_of(entries: Iterable[EntryRef]) -> dict[str, dict[int, int]]:
    """Return the units of each line a refund's part gives back, by the name its entry has: 'refund:merchant'."""
    refund_ids = {int(entry.thing.partition(":")[0]) for entry in entries}
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in db.session.scalars(select(RefundLine).where(RefundLine.refund_id.in_(refund_ids))):
        found[f"{row.refund_id}:{row.merchant_id}"][row.line_no] = row.quantity
    return found
