"""What a past campaign really was like, for a forecast of the next: its curve, take-up, tiers and baskets."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from finance.ledger import queries as ledger_queries
from kernel import clock
from kernel.db import db
from orders.models import Order, OrderLine
from orders.rules import MEMBER_BUYER, REFUNDABLE
from voucher import forecast, launching
from voucher import queries as voucher_queries
from voucher.forecast import Assumed, Line
from voucher.queries import CampaignView

TAKE_UP = 600  # thousandths, where no campaign has shown it
PACKS_PER_100 = 200


@dataclass(frozen=True)
class Past:
    """A campaign that was: what of it a forecast can rest on."""

    slug: str
    take_up_permille: int
    packs_per_100: int
    tier_mix: dict[int, int]
    curve: tuple[int, ...]


@dataclass(frozen=True)
class Forecast:
    """A campaign's forecast: what it rests on, its lines, and what at worst is promised."""

    assumed: Assumed
    like: str | None
    lines: tuple[Line, ...]
    worst: dict[str, Any]


def days_of(campaign: CampaignView) -> tuple[date, int]:
    """Return a campaign's first day in Asia/Shanghai and how many days it lasts."""
    first = clock.local(campaign.starts_at).date()
    last = clock.local(campaign.ends_at - timedelta(microseconds=1)).date()
    return first, min((last - first).days + 1, 400)


def past(campaign: CampaignView) -> Past | None:
    """Return what a campaign was like so far; None where no member has bought anything."""
    of_members = (
        Order.campaign_id == campaign.id,
        Order.buyer_kind == MEMBER_BUYER,
        Order.status.in_(REFUNDABLE),
    )
    buyers = db.session.scalar(select(func.count(func.distinct(Order.member_id))).where(*of_members)) or 0
    tiers = {
        int(price): int(count)
        for price, count in db.session.execute(
            select(OrderLine.price_fen, func.sum(OrderLine.quantity))
            .join(Order, Order.id == OrderLine.order_id)
            .where(*of_members)
            .group_by(OrderLine.price_fen)
        )
    }
    if not buyers or not tiers:
        return None
    given, drawn = voucher_queries.used(campaign.id)
    first, days = days_of(campaign)
    spent = ledger_queries.redeemed_by_day(campaign.id)
    curve = tuple(spent.get(first + timedelta(days=number), 0) for number in range(days))
    return Past(
        slug=campaign.slug,
        take_up_permille=min(1000, max(drawn, buyers) * 1000 // given) if given else TAKE_UP,
        packs_per_100=sum(tiers.values()) * 100 // buyers,
        tier_mix=tiers,
        curve=curve if sum(curve) else forecast.usual_curve(days),
    )


def of_campaign(
    slug: str,
    *,
    like: str | None = None,
    take_up_permille: int | None = None,
    packs_per_100: int | None = None,
    now: datetime,
) -> Forecast:
    """Return a campaign's forecast, as another campaign (`like`) went or from usual figures. Raises NotFound."""
    campaign = voucher_queries.campaign(slug, now=now)
    before = past(voucher_queries.campaign(like, now=now)) if like else None
    first, days = days_of(campaign)
    worst = launching.worst_case(slug, now=now)
    mix = {tier: before.tier_mix.get(tier, 0) if before else 1 for tier in campaign.tiers_fen}
    assumed = Assumed(
        members=worst["members"],
        take_up_permille=_first(take_up_permille, before.take_up_permille if before else None, TAKE_UP),
        packs_per_100=_first(packs_per_100, before.packs_per_100 if before else None, PACKS_PER_100),
        tier_mix=mix if any(mix.values()) else dict.fromkeys(campaign.tiers_fen, 1),
        curve=forecast.stretched(before.curve, days) if before else forecast.usual_curve(days),
        first_day=first,
    )
    lines = forecast.forecast(
        campaign.offer,
        face_fen=campaign.face_fen,
        budget_fen=campaign.member_budget_fen,
        claimed=campaign.issue_mode == "claim",
        assumed=assumed,
    )
    return Forecast(assumed, before.slug if before else None, lines, worst)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
