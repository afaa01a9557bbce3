"""Reads of campaigns and vouchers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Row, Subquery, and_, case, func, or_, select

from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from kernel.db import db
from kernel.errors import NotFound
from voucher.models import Campaign, CampaignVersion, Voucher
from voucher.rules import ASKED, WAITING, Purse, SpendAndSave, campaign_status, warnings_of


@dataclass(frozen=True)
class CampaignView:
    """A campaign as pages and rooms above see it."""

    id: int
    slug: str
    name: str
    name_en: str
    starts_at: datetime
    ends_at: datetime
    status: str
    offer: SpendAndSave
    face_fen: int
    tiers_fen: tuple[int, ...]
    issue_mode: str
    member_budget_fen: int
    member_committed_fen: int
    bulk_budget_fen: int
    bulk_committed_fen: int
    grant_budget_fen: int | None
    grant_committed_fen: int
    pack_limit: int | None
    recipient_cap_fen: int | None
    bulk_payment_days: int
    eligible: dict[str, Any]
    launch: str
    launch_asked_by: int | None
    launched_by: int | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should look at twice."""
        return warnings_of(self.offer, face_fen=self.face_fen, tiers_fen=self.tiers_fen)


@dataclass(frozen=True)
class VoucherView:
    """A voucher as its owner sees it."""

    id: int
    campaign: str
    campaign_name: str
    campaign_name_en: str
    code: str
    face_fen: int
    balance_fen: int
    held_fen: int
    redeemed_fen: int
    expired_fen: int
    revoked_fen: int
    status: str
    expires_at: datetime
    member_id: int
    offer: SpendAndSave


def _view(campaign: Campaign, *, now: datetime) -> CampaignView:
    return CampaignView(
        id=campaign.id,
        slug=campaign.slug,
        name=campaign.name,
        name_en=campaign.name_en or campaign.name,
        starts_at=campaign.starts_at,
        ends_at=campaign.ends_at,
        status=campaign_status(starts_at=campaign.starts_at, ends_at=campaign.ends_at, now=now, launch=campaign.launch),
        offer=SpendAndSave(step_fen=campaign.step_fen, save_fen=campaign.save_fen),
        face_fen=campaign.face_fen,
        tiers_fen=tuple(campaign.tiers_fen),
        issue_mode=campaign.issue_mode,
        member_budget_fen=campaign.member_budget_fen,
        member_committed_fen=campaign.member_committed_fen,
        bulk_budget_fen=campaign.bulk_budget_fen,
        bulk_committed_fen=campaign.bulk_committed_fen,
        grant_budget_fen=campaign.grant_budget_fen,
        grant_committed_fen=campaign.grant_committed_fen,
        pack_limit=campaign.pack_limit,
        recipient_cap_fen=campaign.recipient_cap_fen,
        bulk_payment_days=campaign.bulk_payment_days,
        eligible=campaign.eligible,
        launch=campaign.launch,
        launch_asked_by=campaign.launch_asked_by,
        launched_by=campaign.launched_by,
    )


def campaigns(*, now: datetime) -> list[CampaignView]:
    """Return all campaigns, those open first, then the latest."""
    order = {"open": 0, "upcoming": 1, "closed": 2}
    views = [_view(row, now=now) for row in db.session.scalars(select(Campaign).order_by(Campaign.id.desc()))]
    return sorted(views, key=lambda view: order[view.status])


def campaign(slug: str, *, now: datetime) -> CampaignView:
    """Return a campaign; raise NotFound."""
    row = db.session.scalar(select(Campaign).filter_by(slug=slug).execution_options(populate_existing=True))
    if row is None:
        raise NotFound("没有这个活动。")
    return _view(row, now=now)


def campaign_by_id(campaign_id: int, *, now: datetime) -> CampaignView:
    """Return the campaign of an order."""
    row = db.session.get(Campaign, campaign_id, populate_existing=True)
    assert row is not None, "an order's campaign is never deleted"
    return _view(row, now=now)


def versions(campaign_id: int) -> Sequence[CampaignVersion]:
    """Return every version of a campaign's settings, the latest first."""
    return db.session.scalars(
        select(CampaignVersion)
        .where(CampaignVersion.campaign_id == campaign_id)
        .order_by(CampaignVersion.version.desc())
        .limit(200)
    ).all()


def slugs() -> dict[int, str]:
    """Return campaigns' slugs by id."""
    return {key: slug for key, slug in db.session.execute(select(Campaign.id, Campaign.slug))}


def purse_table(*, slug: BindParameter[str], member_id: BindParameter[int]) -> Subquery:
    """Return one row for an order to be placed: the campaign's rule and period and the member's voucher if any."""
    balance = Voucher.face_fen - Voucher.held_fen - Voucher.redeemed_fen - Voucher.expired_fen - Voucher.revoked_fen
    return (
        select(
            Campaign.id.label("campaign_id"),
            # One that is not launched has not begun.
            case(
                (or_(Campaign.launch == WAITING, Campaign.launch == ASKED), Campaign.ends_at), else_=Campaign.starts_at
            ).label("starts_at"),
            Campaign.ends_at,
            Campaign.step_fen,
            Campaign.save_fen,
            Campaign.tiers_fen,
            Campaign.pack_limit,
            Voucher.id.label("voucher_id"),
            Voucher.revoked_at,
            balance.label("balance_fen"),
        )
        .select_from(Campaign)
        .outerjoin(Voucher, and_(Voucher.campaign_id == Campaign.id, Voucher.member_id == member_id))
        .where(Campaign.slug == slug)
        .subquery("purse")
    )


def purse_of(row: Row[Any], *, now: datetime) -> Purse:
    """Return what a row of `purse_table` says the member may save."""
    if row.voucher_id is None:
        return Purse("none")
    return Purse(_status(revoked_at=row.revoked_at, ends_at=row.ends_at, now=now), balance_fen=int(row.balance_fen))


def _status(*, revoked_at: datetime | None, ends_at: datetime, now: datetime) -> str:
    if revoked_at is not None:
        return "revoked"
    return "active" if now < ends_at else "expired"


def _voucher_view(voucher: Voucher, campaign: Campaign, *, now: datetime) -> VoucherView:
    return VoucherView(
        id=voucher.id,
        campaign=campaign.slug,
        campaign_name=campaign.name,
        campaign_name_en=campaign.name_en or campaign.name,
        code=voucher.code,
        face_fen=voucher.face_fen,
        balance_fen=voucher.balance_fen,
        held_fen=voucher.held_fen,
        redeemed_fen=voucher.redeemed_fen,
        expired_fen=voucher.expired_fen,
        revoked_fen=voucher.revoked_fen,
        status=_status(revoked_at=voucher.revoked_at, ends_at=campaign.ends_at, now=now),
        expires_at=campaign.ends_at,
        member_id=voucher.member_id,
        offer=SpendAndSave(step_fen=campaign.step_fen, save_fen=campaign.save_fen),
    )


def _vouchers(*conditions: ColumnElement[bool], now: datetime) -> list[VoucherView]:
    rows = db.session.execute(
        select(Voucher, Campaign)
        .join(Campaign, Campaign.id == Voucher.campaign_id)
        .where(*conditions)
        .order_by(Campaign.ends_at.desc())
        .execution_options(populate_existing=True)
    )
    return [_voucher_view(voucher, campaign, now=now) for voucher, campaign in rows]


def vouchers_of(member_id: int | None, *, now: datetime) -> list[VoucherView]:
    """Return a member's vouchers, the latest campaign first."""
    return _vouchers(Voucher.member_id == member_id, now=now)


def vouchers_of_members(member_ids: Iterable[int], *, now: datetime) -> list[VoucherView]:
    """Return several members' vouchers: what an operator looks at."""
    return _vouchers(Voucher.member_id.in_(set(member_ids)), now=now)


def voucher(voucher_id: int | None, *, now: datetime) -> VoucherView:
    """Return a voucher; raise NotFound."""
    found = _vouchers(Voucher.id == voucher_id, now=now)
    if not found:
        raise NotFound("没有这张福利券。")
    return found[0]


def entries_of(voucher_id: int, *, member_id: int | None) -> Sequence[Row[Any]]:
    """Return a member's voucher's history, oldest first; raise NotFound for another's."""
    own = db.session.scalar(select(Voucher.id).where(Voucher.id == voucher_id, Voucher.member_id == member_id))
    if own is None:
        raise NotFound("没有这张福利券。")
    return ledger_queries.voucher_history(voucher_id)


def voucher_owners() -> Subquery:
    """Return whose each voucher is, as something rooms above can join: id, campaign_id, member_id, revoked_at."""
    return select(Voucher.id, Voucher.campaign_id, Voucher.member_id, Voucher.revoked_at).subquery("voucher_owners")


def totals(campaign_id: int) -> dict[str, int]:
    """Return what became of a campaign's vouchers, in fen, and how many there are; released is all that ever was."""
    row = db.session.execute(
        select(
            func.count().label("vouchers"),
            func.coalesce(func.sum(Voucher.face_fen), 0).label("issued_fen"),
            func.coalesce(func.sum(Voucher.held_fen), 0).label("held_fen"),
            func.coalesce(func.sum(Voucher.redeemed_fen), 0).label("redeemed_fen"),
            func.coalesce(func.sum(Voucher.expired_fen), 0).label("expired_fen"),
            func.coalesce(func.sum(Voucher.revoked_fen), 0).label("revoked_fen"),
        ).where(Voucher.campaign_id == campaign_id)
    ).one()
    released_fen = ledger_queries.moved(campaign_id, debit=ledger.VOUCHER_HELD, credit=ledger.VOUCHER_BALANCE)
    return {**{name: int(value) for name, value in row._mapping.items()}, "released_fen": released_fen}


def used(campaign_id: int) -> tuple[int, int]:
    """Return how many vouchers a campaign has given, and how many of them have been drawn on."""
    drawn = select(func.count()).where(
        Voucher.campaign_id == campaign_id, or_(Voucher.redeemed_fen > 0, Voucher.held_fen > 0)
    )
    given = select(func.count()).where(Voucher.campaign_id == campaign_id)
    return db.session.scalar(given) or 0, db.session.scalar(drawn) or 0


def breaches() -> list[str]:
    """Return each breach of the conservation rules 1 and 2 (rules.md), with its ids."""
    return [*_voucher_breaches(), *_budget_breaches()]


def _voucher_breaches() -> list[str]:
    posted = ledger_queries.balances("voucher_id")
    by_account = {
        account: select(posted.c.voucher_id, posted.c.balance).where(posted.c.account == account).subquery(name)
        for name, account in (
            ("b", ledger.VOUCHER_BALANCE),
            ("h", ledger.VOUCHER_HELD),
            ("r", ledger.VOUCHER_REDEEMED),
        )
    }
    query = select(
        Voucher.id,
        Voucher.face_fen,
        Voucher.held_fen,
        Voucher.redeemed_fen,
        Voucher.balance_fen.label("balance_fen"),
        *[func.coalesce(table.c.balance, 0).label(f"posted_{table.name}") for table in by_account.values()],
    ).select_from(Voucher)
    for table in by_account.values():
        query = query.outerjoin(table, table.c.voucher_id == Voucher.id)
    rows = query.subquery()
    wrong = select(rows).where(
        (rows.c.balance_fen != rows.c.posted_b)
        | (rows.c.held_fen != rows.c.posted_h)
        | (rows.c.redeemed_fen != rows.c.posted_r)
        | (rows.c.balance_fen < 0)
    )
    return [
        f"rule 1: voucher {row.id}: balance {row.balance_fen}, held {row.held_fen}, redeemed {row.redeemed_fen};"
        f" the ledger says {row.posted_b}, {row.posted_h}, {row.posted_r}"
        for row in db.session.execute(wrong)
    ]


def _budget_breaches() -> list[str]:
    found = []
    sums = {
        campaign_id: int(committed)
        for campaign_id, committed in db.session.execute(
            select(
                Voucher.campaign_id, func.sum(Voucher.face_fen - Voucher.expired_fen - Voucher.revoked_fen)
            ).group_by(Voucher.campaign_id)
        )
    }
    for campaign in db.session.scalars(select(Campaign).execution_options(populate_existing=True)):
        posted = ledger_queries.campaign_balances(campaign.id)
        budget = {
            "member": (
                campaign.member_budget_fen - campaign.member_committed_fen,
                posted.get(ledger.BUDGET_MEMBER, 0),
            ),
            "bulk": (campaign.bulk_budget_fen - campaign.bulk_committed_fen, posted.get(ledger.BUDGET_BULK, 0)),
            "issued": (
                campaign.member_committed_fen,
                sums.get(campaign.id, 0) + posted.get(ledger.GRANT_PROMISED, 0),
            ),
            "grants": (
                campaign.grant_committed_fen,
                posted.get(ledger.GRANT_HELD, 0) + posted.get(ledger.GRANT_REDEEMED, 0),
            ),
            "bulk committed": (
                campaign.bulk_committed_fen,
                posted.get(ledger.BULK_HELD, 0) + posted.get(ledger.BULK_REDEEMED, 0),
            ),
            "total": (
                campaign.member_budget_fen + campaign.bulk_budget_fen + campaign.grant_committed_fen,
                -posted.get(ledger.DISTRICT_FUNDS, 0),
            ),
        }
        found += [
            f"rule 2: campaign {campaign.slug}: {name} is {kept}, its entries say {said}"
            for name, (kept, said) in budget.items()
            if kept != said
        ]
    return found
