"""Reads of packs and stock."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Row, Select, Subquery, func, select, union_all

from catalog.models import LOW_STOCK, GiftPack, LowStock, PackChange, PackContent, Stock
from catalog.rules import NOT_RATED, RatingSummary, days_left, rating_summary
from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from kernel.clock import local, start_of_day
from kernel.db import db
from kernel.errors import NotFound
from kernel.ids import digest
from kernel.paging import Page, page_of
from people import queries as people_queries


@dataclass(frozen=True)
class Content:
    """One product in a pack."""

    name: str
    name_en: str
    quantity: int
    unit: str
    shelf_life: str = ""
    origin: str = ""


@dataclass(frozen=True)
class ChangeView:
    """What a merchant wants a pack to become, and what was said to it."""

    id: int
    pack_id: int
    details: dict[str, Any]
    status: str
    asked_at: datetime
    decided_at: datetime | None
    reason: str | None


@dataclass(frozen=True)
class MerchantOf:
    """Who supplies a pack."""

    id: int
    code: str
    name: str
    short_name: str
    name_en: str
    region: str
    assisted_region: bool


@dataclass(frozen=True)
class PackView:
    """A pack as shops and merchants see it; `available`, `held`, `sold`, `to_ship` and `on_hand` count packs."""

    id: int
    code: str
    name: str
    name_en: str
    price_fen: int
    category: str
    description: str
    description_en: str
    picture: str
    status: str
    merchant: MerchantOf
    contents: tuple[Content, ...]
    available: int
    held: int
    sold: int
    to_ship: int
    on_hand: int
    alert_below: int = LOW_STOCK
    reject_reason: str | None = None
    bulk_share: int | None = None
    bulk_taken: int = 0
    rating: RatingSummary = NOT_RATED

    def to(self, channel: str | None) -> "PackView":
        """Return the pack with what is available to a channel ('member' or 'bulk'), where its stock is split."""
        if channel is None or self.bulk_share is None:
            return self
        part = self.bulk_share - self.bulk_taken
        left = min(self.available, part) if channel == "bulk" else max(self.available - part, 0)
        return replace(self, available=left)

    @property
    def tier_fen(self) -> int:
        """档位: a pack costs what its tier says."""
        return self.price_fen

    @property
    def is_low(self) -> bool:
        """Whether fewer are available than its merchant wants to be warned below."""
        return self.status == "on_sale" and self.available < self.alert_below


@dataclass(frozen=True)
class MerchantRow:
    """A merchant and how many packs it has on sale."""

    id: int
    code: str
    name: str
    short_name: str
    name_en: str
    region: str
    assisted_region: bool
    intro: str
    intro_en: str
    pack_count: int


@dataclass(frozen=True)
class Filter:
    """What packs to list: any of these, all together. `tiers_fen` is the campaign's, None for all.

    `region` may be a part of a region's name: 贵州 finds 贵州安顺.
    """

    tiers_fen: tuple[int, ...] | None = None
    tier_fen: int | None = None
    merchant_id: int | None = None
    region: str | None = None
    words: str = ""
    category: str | None = None
    channel: str | None = "member"


def pack_table(pack_ids: Sequence[BindParameter[int]]) -> Subquery:
    """Return the packs of an order as something `orders` can join: price, names, merchant, whether on sale."""
    merchant = people_queries.merchant_table()
    return (
        select(
            GiftPack.id.label("pack_id"),
            GiftPack.name.label("pack_name"),
            GiftPack.name_en.label("pack_name_en"),
            GiftPack.price_fen,
            GiftPack.status.label("pack_status"),
            GiftPack.picture,
            merchant.c.id.label("merchant_id"),
            merchant.c.short_name.label("merchant_name"),
            merchant.c.name_en.label("merchant_name_en"),
        )
        .join(merchant, merchant.c.id == GiftPack.merchant_id)
        .where(GiftPack.id.in_(pack_ids))
        .subquery("pack_of")
    )


def _packs() -> tuple[Select[tuple[GiftPack, Stock]], Subquery]:
    merchant = people_queries.merchant_table()
    query = (
        select(GiftPack, Stock, *[column.label(f"merchant_{column.name}") for column in merchant.c])
        .join(Stock, Stock.pack_id == GiftPack.id)
        .join(merchant, merchant.c.id == GiftPack.merchant_id)
        .execution_options(populate_existing=True)
    )
    return query, merchant


def contents_of(pack_ids: Iterable[int]) -> dict[int, tuple[Content, ...]]:
    """Return what is in packs, in its order."""
    found: dict[int, list[Content]] = {}
    for row in db.session.execute(
        select(
            PackContent.pack_id,
            PackContent.name,
            PackContent.name_en,
            PackContent.quantity,
            PackContent.unit,
            PackContent.shelf_life,
            PackContent.origin,
        )
        .where(PackContent.pack_id.in_(list(pack_ids)))
        .order_by(PackContent.pack_id, PackContent.position)
    ):
        content = Content(row.name, row.name_en or row.name, row.quantity, row.unit, row.shelf_life, row.origin)
        found.setdefault(row.pack_id, []).append(content)
    return {pack_id: tuple(contents) for pack_id, contents in found.items()}


def last_changes(pack_ids: Iterable[int]) -> dict[int, ChangeView]:
    """Return the last change that was asked of each pack, whatever became of it."""
    latest = select(func.max(PackChange.id)).where(PackChange.pack_id.in_(list(pack_ids))).group_by(PackChange.pack_id)
    rows = db.session.scalars(
        select(PackChange).where(PackChange.id.in_(latest)).execution_options(populate_existing=True)
    )
    return {row.pack_id: _change_view(row) for row in rows}


def _change_view(row: PackChange) -> ChangeView:
    return ChangeView(row.id, row.pack_id, row.details, row.status, row.asked_at, row.decided_at, row.reason)


def pictures_named() -> set[str]:
    """Return the uploads that packs show, and those of changes that wait or were the last to be asked."""
    shown = db.session.scalars(select(GiftPack.picture).where(GiftPack.picture != ""))
    latest = select(func.max(PackChange.id)).group_by(PackChange.pack_id)
    asked = db.session.scalars(
        select(PackChange.details).where((PackChange.status == "pending") | PackChange.id.in_(latest))
    )
    return {*shown, *(str(details["picture"]) for details in asked if details.get("picture"))}


def version_of(pack_id: int) -> str:
    """Return what tells apart what a merchant has made of a pack: all it can change, and what waits; not its sales."""
    pack = select(*(getattr(GiftPack, name) for name in _SAID), Stock.bulk_share)
    row = db.session.execute(pack.join(Stock, Stock.pack_id == GiftPack.id).where(GiftPack.id == pack_id)).one()
    change = last_changes([pack_id]).get(pack_id)
    waits = (change.id, change.status) if change is not None else None
    return digest(repr((tuple(row), contents_of([pack_id]).get(pack_id, ()), waits)))[:16]


_SAID = (
    *("name", "name_en", "price_fen", "category", "description", "description_en", "picture", "alert_below"),
    *("status", "reject_reason"),
)


def waiting_for_approval(*, limit: int = 200) -> list[tuple[PackView, ChangeView | None]]:
    """Return the packs an operator looks at: new ones, and those with a change that waits; the oldest first."""
    changes = db.session.scalars(
        select(PackChange)
        .where(PackChange.status == "pending")
        .order_by(PackChange.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    by_pack = {row.pack_id: _change_view(row) for row in changes}
    query, _ = _packs()
    wanted = (GiftPack.status == "pending") | GiftPack.id.in_(list(by_pack))
    views = _views(query.where(wanted).order_by(GiftPack.id).limit(limit))
    return [(view, by_pack.get(view.id)) for view in views]


def low_stocks(merchant_id: int) -> Sequence[Row[Any]]:
    """Return a merchant's packs below their threshold: pack_id, available, alert_below, since."""
    return db.session.execute(
        select(LowStock.pack_id, Stock.available.label("available"), GiftPack.alert_below, LowStock.since)
        .join(GiftPack, GiftPack.id == LowStock.pack_id)
        .join(Stock, Stock.pack_id == LowStock.pack_id)
        .where(GiftPack.merchant_id == merchant_id)
        .order_by(LowStock.pack_id)
    ).all()


def count_waiting() -> int:
    """Return how many packs wait for an operator."""
    fresh = select(func.count()).where(GiftPack.status == "pending").scalar_subquery()
    changed = select(func.count()).where(PackChange.status == "pending").scalar_subquery()
    return int(db.session.execute(select(fresh + changed)).scalar_one())


def waiting_since() -> tuple[int, datetime | None]:
    """Return how many packs wait for an operator, new ones and changes, and since when the first of them does."""
    fresh = select(GiftPack.created_at.label("at")).where(GiftPack.status == "pending")
    changed = select(PackChange.asked_at.label("at")).where(PackChange.status == "pending")
    waiting = union_all(fresh, changed).subquery()
    count, oldest = db.session.execute(select(func.count(), func.min(waiting.c.at))).one()
    return count, oldest


def stock_table() -> Sequence[Row[Any]]:
    """Return what is on sale: id, code, name, name_en, price_fen, merchant_id, available, alert_below."""
    return db.session.execute(
        select(
            GiftPack.id,
            GiftPack.code,
            GiftPack.name,
            GiftPack.name_en,
            GiftPack.price_fen,
            GiftPack.merchant_id,
            GiftPack.alert_below,
            Stock.available.label("available"),
        )
        .join(Stock, Stock.pack_id == GiftPack.id)
        .where(GiftPack.status == "on_sale")
        .order_by(GiftPack.id)
    ).all()


def _views(query: Select[tuple[GiftPack, Stock]]) -> list[PackView]:
    rows = db.session.execute(query).all()
    contents = contents_of(row.GiftPack.id for row in rows)
    return [
        PackView(
            id=row.GiftPack.id,
            code=row.GiftPack.code,
            name=row.GiftPack.name,
            name_en=row.GiftPack.name_en or row.GiftPack.name,
            price_fen=row.GiftPack.price_fen,
            category=row.GiftPack.category,
            description=row.GiftPack.description,
            description_en=row.GiftPack.description_en or row.GiftPack.description,
            picture=row.GiftPack.picture,
            status=row.GiftPack.status,
            merchant=MerchantOf(
                row.merchant_id,
                row.merchant_code,
                row.merchant_name,
                row.merchant_short_name,
                row.merchant_name_en or row.merchant_name,
                row.merchant_region,
                row.merchant_assisted_region,
            ),
            contents=contents.get(row.GiftPack.id, ()),
            available=row.Stock.available,
            bulk_share=row.Stock.bulk_share,
            bulk_taken=row.Stock.bulk_taken,
            held=row.Stock.held,
            sold=row.Stock.sold,
            to_ship=row.Stock.sold - row.Stock.shipped,
            on_hand=row.Stock.taken_in - row.Stock.shipped,
            alert_below=row.GiftPack.alert_below,
            reject_reason=row.GiftPack.reject_reason,
            rating=rating_summary(count=row.GiftPack.rating_count, stars=row.GiftPack.rating_stars),
        )
        for row in rows
    ]


def packs(wanted: Filter, *, limit: int, after: int | None = None) -> Page[PackView]:
    """Return packs on sale, by id."""
    query, merchant = _packs()
    query = query.where(GiftPack.status == "on_sale").order_by(GiftPack.id).limit(limit + 1)
    if wanted.tiers_fen is not None:
        query = query.where(GiftPack.price_fen.in_(wanted.tiers_fen))
    if wanted.tier_fen is not None:
        query = query.where(GiftPack.price_fen == wanted.tier_fen)
    if wanted.merchant_id is not None:
        query = query.where(GiftPack.merchant_id == wanted.merchant_id)
    if wanted.region:
        query = query.where(merchant.c.region.contains(wanted.region, autoescape=True))
    if wanted.category:
        query = query.where(GiftPack.category == wanted.category)
    for word in wanted.words.split()[:5]:
        query = query.where(GiftPack.search.contains(word.lower(), autoescape=True))
    if after is not None:
        query = query.where(GiftPack.id > after)
    views = [view.to(wanted.channel) for view in _views(query)]
    return page_of(views, limit=limit, key=lambda pack: pack.id)


def pack(pack_id: int | None, *, merchant_id: int | None = None) -> PackView:
    """Return one pack that is on sale (or, for its merchant, in any state); raise NotFound."""
    query, _ = _packs()
    query = query.where(GiftPack.id == pack_id)
    query = query.where(GiftPack.status == "on_sale" if merchant_id is None else GiftPack.merchant_id == merchant_id)
    views = _views(query) if pack_id is not None else []
    if not views:
        raise NotFound("没有这个礼包。")
    return views[0].to("member") if merchant_id is None else views[0]


def packs_by_id(pack_ids: Iterable[int], *, channel: str | None = None) -> dict[int, PackView]:
    """Return packs by id, whatever their state: what a cart or a bulk order shows, as a channel sees them."""
    query, _ = _packs()
    return {view.id: view.to(channel) for view in _views(query.where(GiftPack.id.in_(set(pack_ids))))}


def prices_of(pack_ids: Iterable[int]) -> dict[int, int]:
    """Return packs' prices in fen, whatever their state."""
    rows = db.session.execute(select(GiftPack.id, GiftPack.price_fen).where(GiftPack.id.in_(sorted(pack_ids))))
    return {pack_id: price_fen for pack_id, price_fen in rows}


def names_of(pack_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return packs' names, Chinese and English, whatever their state."""
    rows = db.session.execute(
        select(GiftPack.id, GiftPack.name, GiftPack.name_en).where(GiftPack.id.in_(sorted(pack_ids)))
    )
    return {pack_id: (name, name_en or name) for pack_id, name, name_en in rows}


def rating_sums() -> dict[int, tuple[int, int]]:
    """Return the ratings kept for each pack that has any: how many, and their stars in all."""
    rows = db.session.execute(
        select(GiftPack.id, GiftPack.rating_count, GiftPack.rating_stars).where(GiftPack.rating_count != 0)
    )
    return {pack_id: (count, stars) for pack_id, count, stars in rows}


def taken_by_unions() -> dict[int, int]:
    """Return how many of each pack the counters say unions' orders hold or have bought."""
    rows = db.session.execute(select(Stock.pack_id, Stock.bulk_taken).where(Stock.bulk_taken != 0))
    return {pack_id: taken for pack_id, taken in rows}


def packs_of(merchant_id: int | None, *, limit: int, after: int | None = None) -> Page[PackView]:
    """Return a merchant's own packs in any state."""
    query, _ = _packs()
    query = query.where(GiftPack.merchant_id == merchant_id).order_by(GiftPack.id).limit(limit + 1)
    if after is not None:
        query = query.where(GiftPack.id > after)
    return page_of(_views(query), limit=limit, key=lambda pack: pack.id)


RATE_DAYS = 7
HISTORY_DAYS = 30


def days_of_stock(packs: Iterable[PackView], *, now: datetime) -> dict[int, int | None]:
    """Return for how many days each pack lasts at the rate of the last week; None where none were sold."""
    found = list(packs)
    sold = ledger_queries.sold_since([pack.id for pack in found], now - timedelta(days=RATE_DAYS))
    return {pack.id: days_left(available=pack.available, sold=sold.get(pack.id, 0), days=RATE_DAYS) for pack in found}


def history_of(pack: PackView, *, now: datetime) -> list[tuple[date, int]]:
    """Return how many of a pack were available at the end of each of the last days, from its movements."""
    first = local(now).date() - timedelta(days=HISTORY_DAYS - 1)
    changes: Counter[date] = Counter()
    for at, amount in ledger_queries.available_changes(pack.id, start_of_day(first)):
        changes[local(at).date()] += amount
    days = [first + timedelta(days=number) for number in range(HISTORY_DAYS)]
    count = pack.available - sum(changes.values())
    history = []
    for day in days:
        count += changes[day]
        history.append((day, count))
    return history


def names_of_packs(merchant_id: int | None) -> dict[str, int]:
    """Return a merchant's packs by what a spreadsheet may call them: id, code, or a name that only one has."""
    rows = db.session.execute(
        select(GiftPack.id, GiftPack.code, GiftPack.name).where(GiftPack.merchant_id == merchant_id)
    ).all()
    counts = Counter(name for _, _, name in rows)
    names = {name: pack_id for pack_id, _, name in rows if counts[name] == 1}
    return names | {code: pack_id for pack_id, code, _ in rows} | {str(pack_id): pack_id for pack_id, _, _ in rows}


def merchants() -> list[MerchantRow]:
    """Return all merchants with the number of packs each has on sale."""
    counts = {
        merchant_id: count
        for merchant_id, count in db.session.execute(
            select(GiftPack.merchant_id, func.count())
            .where(GiftPack.status == "on_sale")
            .group_by(GiftPack.merchant_id)
        )
    }
    return [
        MerchantRow(
            row.id,
            row.code,
            row.name,
            row.short_name,
            row.name_en or row.name,
            row.region,
            row.assisted_region,
            row.intro,
            row.intro_en or row.intro,
            counts.get(row.id, 0),
        )
        for row in people_queries.merchants()
    ]


def breaches() -> list[str]:
    """Return each breach of conservation rule 3 (rules.md), with its ids."""
    posted = ledger_queries.balances("pack_id")
    said = {
        name: select(posted.c.pack_id, posted.c.balance).where(posted.c.account == account).subquery(name)
        for name, account in (
            ("a", ledger.STOCK_AVAILABLE),
            ("h", ledger.STOCK_HELD),
            ("s", ledger.STOCK_SOLD),
        )
    }
    query = select(
        Stock.pack_id,
        Stock.available.label("available"),
        Stock.held,
        Stock.sold,
        *[func.coalesce(table.c.balance, 0).label(f"posted_{table.name}") for table in said.values()],
    ).select_from(Stock)
    for table in said.values():
        query = query.outerjoin(table, table.c.pack_id == Stock.pack_id)
    rows = query.subquery()
    wrong = select(rows).where(
        (rows.c.available < 0)
        | (rows.c.available != rows.c.posted_a)
        | (rows.c.held != rows.c.posted_h)
        | (rows.c.sold != rows.c.posted_s)
    )
    return [
        f"rule 3: pack {row.pack_id}: available {row.available}, held {row.held}, sold {row.sold};"
        f" the ledger says {row.posted_a}, {row.posted_h}, {row.posted_s}"
        for row in db.session.execute(wrong)
    ]


def held_packs() -> int:
    """Return how many packs are held for orders that are not paid."""
    return int(db.session.scalar(select(func.coalesce(func.sum(Stock.held), 0))) or 0)
