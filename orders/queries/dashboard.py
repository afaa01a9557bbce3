"""An operator's dashboard: what a campaign sold and spent, by day, tier, merchant, region, channel and union.

Everything about sales and vouchers comes from the summaries; what waits is counted where it waits. Amounts are in fen
at full price; `net_fen` is what was kept.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, literal, or_, select

from catalog import queries as catalog_queries
from catalog.rules import days_left
from kernel.clock import local, start_of_day
from kernel.db import db
from orders.models import Order, OrderLine, Parcel
from orders.queries import refunds as refund_queries
from orders.queries import summaries
from orders.queries.summaries import Book
from orders.rules import REFUNDABLE, UNION_BUYER
from orders.summary_models import MEASURES, VOUCHER_MEASURES
from people import queries as people_queries
from voucher import queries as voucher_queries
from voucher.queries import CampaignView

RATE_DAYS = 7  # over how many days the rate of spending and selling is taken
PARTS = ("days", "tiers", "merchants", "regions", "channels")
CHANNELS = ("member", "bulk", "grant")
MOST_ROWS = 100


@dataclass(frozen=True)
class Wanted:
    """Which sales: of some days (both included), a tier in fen, a merchant, a region, a channel; None is all."""

    since: date | None = None
    until: date | None = None
    tier_fen: int | None = None
    merchant_id: int | None = None
    region: str | None = None
    channel: str | None = None

    def days(self, row: Any) -> bool:
        """Return whether a row's day and channel are wanted."""
        return (
            (self.since is None or row.day >= self.since)
            and (self.until is None or row.day <= self.until)
            and (self.channel is None or row.channel == self.channel)
        )

    @property
    def counted_as(self) -> tuple[str, str] | None:
        """Which count of orders these are (summaries: `part`, `key`); None where orders were not counted like that."""
        narrowed = [
            (part, str(value))
            for part, value in (("tier", self.tier_fen), ("merchant", self.merchant_id), ("region", self.region))
            if value is not None
        ]
        if not narrowed:
            return ("all", "")
        return narrowed[0] if len(narrowed) == 1 else None


@dataclass
class Group:
    """What one day, tier, merchant, region or channel sold; `orders` is None where they were not counted like that."""

    key: str
    orders: int | None = 0
    packs: int = 0
    sales_fen: int = 0
    subsidy_fen: int = 0
    back_packs: int = 0
    back_fen: int = 0
    back_subsidy_fen: int = 0

    @property
    def net_fen(self) -> int:
        """Sales less what was given back."""
        return self.sales_fen - self.back_fen

    @property
    def net_subsidy_fen(self) -> int:
        """What of the sales that were kept the district pays."""
        return self.subsidy_fen - self.back_subsidy_fen

    @property
    def net_packs(self) -> int:
        """How many packs were kept."""
        return self.packs - self.back_packs

    def add(self, row: Any) -> None:
        """Add a row's measures."""
        for name in MEASURES:
            setattr(self, name, getattr(self, name) + getattr(row, name))


@dataclass(frozen=True)
class UnionRow:
    """What one union's members were given and used, and what they and the union bought."""

    id: int
    name: str
    name_en: str
    issued: int
    issued_fen: int
    redeemed_fen: int
    held_fen: int
    net_fen: int
    assisted_fen: int


@dataclass(frozen=True)
class Burn:
    """What the discounts spent of a campaign's budget, by day, and where that leads at the rate of the last days."""

    budget_fen: int
    spent_fen: int
    by_day: tuple[tuple[date, int], ...]
    rate_days: int
    spent_lately_fen: int
    last_day: date | None

    @property
    def left_fen(self) -> int:
        """What is not spent yet."""
        return self.budget_fen - self.spent_fen


@dataclass(frozen=True)
class Dashboard:
    """All of it."""

    campaign: CampaignView
    book: Book
    wanted: Wanted
    groups: Mapping[str, Sequence[Group]]
    total: Group
    whole: Group
    assisted_fen: int
    vouchers: Mapping[str, int]
    unions: Sequence[UnionRow]
    burn: Burn
    merchants: Mapping[int, Any]
    target: int = summaries.DEFAULT_TARGET
    risks: Sequence[Mapping[str, Any]] = ()
    overdue: Sequence[Row[Any]] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)


def percent(part: int, whole: int) -> int:
    """Return how many tenths of a percent a part is of a whole, rounded down; 0 of nothing.

    >>> percent(1, 3), percent(15, 100), percent(0, 0)
    (333, 150, 0)
    """
    return part * 1000 // whole if whole > 0 else 0


def look(slug: str, wanted: Wanted, *, ship_seconds: int, now: datetime) -> Dashboard:
    """Return a campaign's dashboard. Raises NotFound."""
    found = summed(slug, wanted, unions=True, now=now)
    return replace(
        found,
        target=summaries.target(found.campaign.id),
        risks=_risks(found.campaign, found.book, now=now),
        overdue=_overdue(found.merchants, now - timedelta(seconds=ship_seconds)),
        waiting=_waiting(found.campaign.id, now=now),
    )


def summed(slug: str, wanted: Wanted, *, unions: bool = False, now: datetime) -> Dashboard:
    """Return a campaign's dashboard without what is counted where it waits: summaries alone, by union if asked.

    Raises NotFound.
    """
    campaign = voucher_queries.campaign(slug, now=now)
    book = summaries.book()
    merchants = {one.id: one for one in people_queries.merchants()}
    cells = summaries.sales(book.id, campaign.id)
    counts = summaries.orders(book.id, campaign.id)
    groups, total, whole, assisted_fen = _grouped(cells, counts, wanted, merchants)
    vouchers = summaries.vouchers(book.id, campaign.id)
    return Dashboard(
        campaign=campaign,
        book=book,
        wanted=wanted,
        groups=groups,
        total=total,
        whole=whole,
        assisted_fen=assisted_fen,
        vouchers=_totals(vouchers),
        unions=_unions(vouchers, summaries.union_sales(book.id, campaign.id), merchants) if unions else (),
        burn=_burn(cells, campaign, now=now),
        merchants=merchants,
    )


def _grouped(
    cells: Sequence[Row[Any]], counts: Sequence[Row[Any]], wanted: Wanted, merchants: Mapping[int, Any]
) -> tuple[dict[str, list[Group]], Group, Group, int]:
    keys: dict[str, Callable[[Any], str]] = {
        "days": lambda row: row.day.isoformat(),
        "tiers": lambda row: str(row.tier_fen),
        "merchants": lambda row: str(row.merchant_id),
        "regions": lambda row: merchants[row.merchant_id].region,
        "channels": lambda row: row.channel,
    }
    found: dict[str, dict[str, Group]] = {part: {} for part in PARTS}
    total, whole, assisted_fen = Group(""), Group(""), 0
    for row in cells:
        merchant = merchants[row.merchant_id]
        whole.add(row)
        if merchant.assisted_region:
            assisted_fen += row.sales_fen - row.back_fen
        if not (
            wanted.days(row)
            and wanted.tier_fen in (None, row.tier_fen)
            and wanted.merchant_id in (None, row.merchant_id)
            and wanted.region in (None, merchant.region)
        ):
            continue
        total.add(row)
        for part, key_of in keys.items():
            key = key_of(row)
            found[part].setdefault(key, Group(key)).add(row)
    _count_orders(found, total, whole, counts, wanted)
    by_key = {part: sorted(groups.values(), key=_order_of(part)) for part, groups in found.items()}
    return by_key, total, whole, assisted_fen


def _order_of(part: str) -> Callable[[Group], Any]:
    if part == "days":
        return lambda group: group.key
    if part == "tiers":
        return lambda group: int(group.key)
    if part == "channels":
        return lambda group: CHANNELS.index(group.key)
    return lambda group: -group.net_fen


def _count_orders(
    found: dict[str, dict[str, Group]], total: Group, whole: Group, counts: Sequence[Row[Any]], wanted: Wanted
) -> None:
    """Put the counts of orders to their groups; None where these orders were not counted like that."""
    counted_as = wanted.counted_as
    known: dict[str, dict[str, int]] = {part: defaultdict(int) for part in PARTS}
    own = {"tier": "tiers", "merchant": "merchants", "region": "regions"}
    all_of, every = 0, 0
    for row in counts:
        every += row.paid if row.part == "all" else 0
        if not wanted.days(row):
            continue
        if (row.part, row.key) == counted_as:
            all_of += row.paid
            known["days"][row.day.isoformat()] += row.paid
            known["channels"][row.channel] += row.paid
        if row.part in own and counted_as in (("all", ""), (row.part, row.key)):
            known[own[row.part]][row.key] += row.paid
    total.orders = all_of if counted_as else None
    whole.orders = every
    for part, groups in found.items():
        # A region's orders by tier, say, were not counted: only by day and channel, and as the region itself.
        countable = counted_as is not None and (
            part not in own.values() or counted_as[0] == "all" or own[counted_as[0]] == part
        )
        for key, group in groups.items():
            group.orders = known[part][key] if countable else None


def _totals(rows: Sequence[Row[Any]]) -> dict[str, int]:
    found = {name: sum(getattr(row, name) for row in rows) for name in VOUCHER_MEASURES}
    gone = sum(found[name] for name in ("held_fen", "redeemed_fen", "expired_fen", "revoked_fen"))
    return {**found, "balance_fen": found["issued_fen"] - gone}


def _unions(vouchers: Sequence[Row[Any]], sales: Sequence[Row[Any]], merchants: Mapping[int, Any]) -> list[UnionRow]:
    given = {row.union_id: row for row in vouchers}
    figures: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for row in sales:
        own = figures[row.union_id]
        own[0] += row.sales_fen - row.back_fen
        own[1] += (row.sales_fen - row.back_fen) * merchants[row.merchant_id].assisted_region
    found = []
    for union in people_queries.unions():
        own_vouchers = given.get(union.id)
        net_fen, assisted_fen = figures[union.id]
        if own_vouchers is None and not net_fen:
            continue
        found.append(
            UnionRow(
                id=union.id,
                name=union.name,
                name_en=union.name_en or union.name,
                issued=own_vouchers.issued if own_vouchers else 0,
                issued_fen=own_vouchers.issued_fen if own_vouchers else 0,
                redeemed_fen=own_vouchers.redeemed_fen if own_vouchers else 0,
                held_fen=own_vouchers.held_fen if own_vouchers else 0,
                net_fen=net_fen,
                assisted_fen=assisted_fen,
            )
        )
    return found


def _burn(cells: Iterable[Row[Any]], campaign: CampaignView, *, now: datetime) -> Burn:
    """What members' and unions' discounts spent of the budgets for them; gifts have a budget of their own."""
    by_day: dict[date, int] = defaultdict(int)
    for row in cells:
        if row.channel != "grant":
            by_day[row.day] += row.subsidy_fen - row.back_subsidy_fen
    today = local(now).date()
    spent_fen = sum(by_day.values())
    budget_fen = campaign.member_budget_fen + campaign.bulk_budget_fen
    first = min(by_day, default=today)
    rate_days = max(1, min(RATE_DAYS, (today - first).days + 1))
    lately_fen = sum(amount for day, amount in by_day.items() if day > today - timedelta(days=rate_days))
    last_day = None
    if lately_fen > 0:
        days = (budget_fen - spent_fen) * rate_days // lately_fen
        last_day = today + timedelta(days=days) if days < 3650 else None
    return Burn(
        budget_fen=budget_fen,
        spent_fen=spent_fen,
        by_day=tuple(sorted(by_day.items())),
        rate_days=rate_days,
        spent_lately_fen=lately_fen,
        last_day=last_day,
    )


def _risks(campaign: CampaignView, book: Book, *, now: datetime) -> list[dict[str, Any]]:
    """Return the packs of this campaign that are few, or that at the rate of the last days end before it does."""
    today = local(now).date()
    sold = summaries.packs_sold(book.id, today - timedelta(days=RATE_DAYS - 1))
    to_go = max(0, (local(campaign.ends_at).date() - today).days)
    found = []
    for pack in catalog_queries.stock_table():
        if pack.price_fen not in campaign.tiers_fen:
            continue
        lasts = days_left(available=pack.available, sold=max(0, sold.get(pack.id, 0)), days=RATE_DAYS)
        short = lasts is not None and lasts < to_go
        if short or pack.available < pack.alert_below:
            found.append({**pack._mapping, "sold": max(0, sold.get(pack.id, 0)), "days_left": lasts})
    return sorted(found, key=lambda row: (row["available"] > 0, row["days_left"] is None, row["days_left"] or 0))


def _overdue(merchants: Mapping[int, Any], late: datetime) -> Sequence[Row[Any]]:
    """Return the merchants whose parcels should have left by now: merchant_id, count, oldest (when it was paid)."""
    return db.session.execute(
        select(Parcel.merchant_id, func.count().label("parcels"), func.min(Order.paid_at).label("oldest"))
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.merchant_id.in_(list(merchants)), Parcel.status == "to_ship", Order.paid_at <= late)
        .group_by(Parcel.merchant_id)
        .order_by(func.count().desc(), Parcel.merchant_id)
    ).all()


def _waiting(campaign_id: int, *, now: datetime) -> dict[str, int]:
    """Return, by one statement, what waits: refunds asked, refunds with the operator, orders that wait for payment."""
    asked, ours = refund_queries.asked_and_escalated(now=now)
    unpaid = (Order.campaign_id == campaign_id, Order.status.in_(("pending_payment", "approved")))
    counted: dict[str, Any] = {
        "refunds_asked": asked,
        "refunds_ours": ours,
        "unpaid": select(func.count()).select_from(Order).where(*unpaid),
        "unpaid_fen": select(func.coalesce(func.sum(Order.payable_fen), 0)).where(*unpaid),
    }
    row = db.session.execute(select(*(query.scalar_subquery().label(name) for name, query in counted.items()))).one()
    return {name: int(value) for name, value in row._mapping.items()}


@dataclass(frozen=True)
class Behind:
    """Which orders: those of a dashboard's figure, and of a union (0: of nobody's)."""

    wanted: Wanted
    union_id: int | None = None


def rows_behind(slug: str, behind: Behind, *, before: int | None, now: datetime) -> tuple[list[Row[Any]], int | None]:
    """Return the paid orders behind a figure, newest first, and where the next page begins; amounts of their lines.

    An order counts on the day it was paid; what was given back later is shown beside it. Raises NotFound.
    """
    campaign = voucher_queries.campaign(slug, now=now)
    wanted = behind.wanted
    merchant, unions = people_queries.merchant_table(), people_queries.union_of_members()
    lines = [OrderLine.order_id == Order.id]
    if wanted.tier_fen is not None:
        lines.append(OrderLine.price_fen == wanted.tier_fen)
    if wanted.merchant_id is not None:
        lines.append(OrderLine.merchant_id == wanted.merchant_id)
    if wanted.region is not None:
        lines.append(OrderLine.merchant_id.in_(select(merchant.c.id).where(merchant.c.region == wanted.region)))
    query = select(Order.id, Order.paid_at, Order.buyer_kind, Order.member_id, Order.union_id, Order.status).where(
        Order.campaign_id == campaign.id,
        Order.status.in_((*REFUNDABLE, "refunded")),
        select(literal(1)).select_from(OrderLine).where(*lines).exists(),
    )
    if wanted.since is not None:
        query = query.where(Order.paid_at >= start_of_day(wanted.since))
    if wanted.until is not None:
        query = query.where(Order.paid_at < start_of_day(wanted.until + timedelta(days=1)))
    if wanted.channel is not None:
        query = query.where(Order.buyer_kind == {"bulk": UNION_BUYER}.get(wanted.channel, wanted.channel))
    if behind.union_id is not None:
        members = select(unions.c.member_id).where(unions.c.union_id == behind.union_id)
        query = query.where(or_(Order.union_id == behind.union_id, Order.member_id.in_(members)))
    if before is not None:
        query = query.where(Order.id < before)
    page = query.order_by(Order.id.desc()).limit(MOST_ROWS + 1).subquery()
    back = OrderLine.price_fen * OrderLine.refunded
    rows = db.session.execute(
        select(
            page,
            func.coalesce(page.c.union_id, unions.c.union_id).label("of_union"),
            func.sum(OrderLine.quantity).label("packs"),
            func.sum(OrderLine.amount_fen).label("amount_fen"),
            func.sum(OrderLine.discount_fen).label("subsidy_fen"),
            func.sum(back).label("back_fen"),
        )
        .join(OrderLine, and_(OrderLine.order_id == page.c.id, *lines[1:]))
        .outerjoin(unions, unions.c.member_id == page.c.member_id)
        .group_by(*page.c, unions.c.union_id)
        .order_by(page.c.id.desc())
    ).all()
    more = len(rows) > MOST_ROWS
    return list(rows[:MOST_ROWS]), rows[MOST_ROWS - 1].id if more else None


@dataclass(frozen=True)
class Assisted:
    """The share of a campaign's sales that comes from paired-assistance regions: in all, or one union's."""

    campaign: CampaignView
    book: Book
    target: int
    net_fen: int
    assisted_fen: int
    unions: Sequence[UnionRow]
    merchants: Sequence[tuple[Any, Group]]
    union: Any = None

    @property
    def missing_fen(self) -> int:
        """How much more must come from there, all else equal, so that the target is met; 0 where it is.

        With sales S, of them A from there, x more of them meet p percent where (A + x) × 100 ≥ p × (S + x).
        """
        short = self.target * self.net_fen - 100 * self.assisted_fen
        return -(-short // (100 - self.target)) if short > 0 and self.target < 100 else max(0, short)


def assisted(slug: str, *, union_id: int | None = None, now: datetime) -> Assisted | None:
    """Return the report of a campaign's assisted regions, or one union's; None where there is no such union."""
    campaign = voucher_queries.campaign(slug, now=now)
    union = people_queries.union(union_id) if union_id is not None else None
    if union_id is not None and union is None:
        return None
    book = summaries.book()
    merchants = {one.id: one for one in people_queries.merchants()}
    sales = summaries.union_sales(book.id, campaign.id, union_id=union_id)
    groups: dict[int, Group] = {}
    for row in sales:
        group = groups.setdefault(row.merchant_id, Group(str(row.merchant_id)))
        group.add(row)
        group.orders = (group.orders or 0) + row.orders
    named = [(merchants[key], group) for key, group in groups.items()]
    return Assisted(
        campaign=campaign,
        book=book,
        target=summaries.target(campaign.id),
        net_fen=sum(group.net_fen for _, group in named),
        assisted_fen=sum(group.net_fen for one, group in named if one.assisted_region),
        unions=_unions(summaries.vouchers(book.id, campaign.id), sales, merchants) if union_id is None else (),
        merchants=sorted(named, key=lambda pair: (not pair[0].assisted_region, -pair[1].net_fen)),
        union=union,
    )
