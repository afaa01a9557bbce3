"""Reads of grants: what was given to whom, and who has answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select

from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from kernel.db import db
from kernel.errors import NotFound
from kernel.paging import Page, page_of
from orders.models import Grant, GrantRecipient
from orders.rules import Line
from voucher import queries as voucher_queries
from voucher.queries import CampaignView


@dataclass(frozen=True)
class GrantView:
    """慰问 as the operator sees it: `cost_fen` is one person's; `counts` says how many answered what."""

    id: int
    campaign: CampaignView
    name: str
    name_en: str
    lines: tuple[Line, ...]
    cost_fen: int
    voucher_campaign: CampaignView | None
    deadline: datetime
    made_at: datetime
    counts: Mapping[str, int]

    @property
    def recipients(self) -> int:
        """How many stand on the list."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class GiftView:
    """A gift as its recipient sees it."""

    grant: GrantView
    position: int
    name: str
    phone: str
    status: str
    member_id: int | None
    order_id: int | None
    answered_at: datetime | None

    @property
    def id(self) -> str:
        """What the recipient's API calls it."""
        return f"{self.grant.id}-{self.position}"

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be taken."""
        return self.status == "waiting" and now < self.grant.deadline


def _views(rows: Sequence[Grant], *, now: datetime) -> list[GrantView]:
    counts: dict[int, dict[str, int]] = {}
    for grant_id, status, count in db.session.execute(
        select(GrantRecipient.grant_id, GrantRecipient.status, func.count())
        .where(GrantRecipient.grant_id.in_([row.id for row in rows]))
        .group_by(GrantRecipient.grant_id, GrantRecipient.status)
    ):
        counts.setdefault(grant_id, {})[status] = count
    campaigns = {campaign.id: campaign for campaign in voucher_queries.campaigns(now=now)} if rows else {}
    return [
        GrantView(
            id=row.id,
            campaign=campaigns[row.campaign_id],
            name=row.name,
            name_en=row.name_en or row.name,
            lines=tuple(Line(**line) for line in row.lines),
            cost_fen=row.cost_fen,
            voucher_campaign=campaigns.get(row.voucher_campaign_id or 0),
            deadline=row.deadline,
            made_at=row.made_at,
            counts=counts.get(row.id, {}),
        )
        for row in rows
    ]


def grant(grant_id: int | None, *, now: datetime) -> GrantView:
    """Return a grant; raise NotFound."""
    row = db.session.scalar(select(Grant).where(Grant.id == grant_id).execution_options(populate_existing=True))
    if row is None:
        raise NotFound("没有这份慰问。")
    return _views([row], now=now)[0]


def grants(campaign_id: int, *, now: datetime) -> list[GrantView]:
    """Return a campaign's grants, the latest first."""
    rows = db.session.scalars(select(Grant).where(Grant.campaign_id == campaign_id).order_by(Grant.id.desc())).all()
    return _views(rows, now=now)


def recipients_of(grant_id: int, *, status: str | None, limit: int, after: int | None = None) -> Page[GrantRecipient]:
    """Return who stands on a grant's list, and what they answered."""
    query = select(GrantRecipient).where(GrantRecipient.grant_id == grant_id)
    if status is not None:
        query = query.where(GrantRecipient.status == status)
    if after is not None:
        query = query.where(GrantRecipient.position > after)
    rows = db.session.scalars(
        query.order_by(GrantRecipient.position).limit(limit + 1).execution_options(populate_existing=True)
    ).all()
    return page_of(rows, limit=limit, key=lambda row: row.position)


def _gift(row: GrantRecipient, view: GrantView) -> GiftView:
    return GiftView(
        grant=view,
        position=row.position,
        name=row.name,
        phone=row.phone,
        status=row.status,
        member_id=row.member_id,
        order_id=row.order_id,
        answered_at=row.answered_at,
    )


def gift(grant_id: int, position: int, *, now: datetime) -> GiftView:
    """Return one recipient's gift; raise NotFound."""
    row = db.session.get(GrantRecipient, (grant_id, position), populate_existing=True)
    if row is None:
        raise NotFound("没有这份慰问。")
    return _gift(row, grant(grant_id, now=now))


def gift_of_member(text: str, *, member_id: int | None, now: datetime) -> GiftView:
    """Return a member's own gift by what the API calls it; raise NotFound, also for another's."""
    grant_text, _, position_text = text.partition("-")
    if not (grant_text.isascii() and grant_text.isdigit() and position_text.isascii() and position_text.isdigit()):
        raise NotFound("没有这份慰问。")
    if len(grant_text) > 18 or len(position_text) > 9:
        raise NotFound("没有这份慰问。")
    found = gift(int(grant_text), int(position_text), now=now)
    if found.member_id is None or found.member_id != member_id:
        raise NotFound("没有这份慰问。")
    return found


def _of_member(member_id: int | None) -> ColumnElement[bool]:
    """Return which gifts are a member's; none are of who is no member, though many a recipient is none."""
    return and_(GrantRecipient.member_id == member_id, GrantRecipient.member_id.is_not(None))


def gifts_of_member(member_id: int | None, *, now: datetime) -> list[GiftView]:
    """Return a member's gifts, the latest first."""
    rows = db.session.scalars(
        select(GrantRecipient)
        .where(_of_member(member_id))
        .order_by(GrantRecipient.grant_id.desc())
        .limit(50)
        .execution_options(populate_existing=True)
    ).all()
    if not rows:
        return []
    found = db.session.scalars(select(Grant).where(Grant.id.in_([row.grant_id for row in rows]))).all()
    views = {view.id: view for view in _views(found, now=now)}
    return [_gift(row, views[row.grant_id]) for row in rows]


def has_open(member_id: int | None, *, now: datetime) -> bool:
    """Return whether a gift waits for this member's answer; none does for who is no member."""
    query = (
        select(GrantRecipient.position)
        .join(Grant, Grant.id == GrantRecipient.grant_id)
        .where(_of_member(member_id), GrantRecipient.status == "waiting", Grant.deadline > now)
    )
    return db.session.scalar(query.limit(1)) is not None


def due(*, now: datetime) -> list[int]:
    """Return grants whose deadline is over with gifts nobody answered for."""
    waiting = select(GrantRecipient.position).where(
        GrantRecipient.grant_id == Grant.id, GrantRecipient.status == "waiting"
    )
    return list(db.session.scalars(select(Grant.id).where(Grant.deadline <= now, waiting.exists()).limit(20)))


def breaches() -> list[str]:
    """Return each campaign whose gifts still open are not what the ledger holds for them (rule 2)."""
    waiting: Sequence[Row[Any]] = db.session.execute(
        select(Grant.campaign_id, func.sum(Grant.cost_fen))
        .join(GrantRecipient, GrantRecipient.grant_id == Grant.id)
        .where(GrantRecipient.status == "waiting")
        .group_by(Grant.campaign_id)
    ).all()
    kept = {campaign_id: int(cost) for campaign_id, cost in waiting}
    found = []
    for campaign_id, slug in voucher_queries.slugs().items():
        said = ledger_queries.campaign_balances(campaign_id).get(ledger.GRANT_HELD, 0)
        if said != kept.get(campaign_id, 0):
            found.append(
                f"rule 2: campaign {slug}: open gifts hold {kept.get(campaign_id, 0)}, their entries say {said}"
            )
    return found
