"""Reminding members, before a campaign ends, that their voucher is not spent: an operator asks, a job writes."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from kernel import audit, jobs
from kernel.clock import last_day
from kernel.db import db, transaction
from kernel.errors import StateConflict
from kernel.money import yuan
from people import telling
from people.telling import Notice
from voucher import queries
from voucher.models import Voucher
from voucher.rules import OPEN

JOB = "remind"
CHUNK = 500


def unspent(campaign_id: int) -> tuple[int, int]:
    """Return how many vouchers of a campaign are not spent, and how much is left on them, in fen."""
    asked = select(func.count(), func.coalesce(func.sum(Voucher.balance_fen), 0)).where(*_unspent(campaign_id))
    count, left = db.session.execute(asked).one()
    return int(count), int(left)


def _unspent(campaign_id: int) -> tuple[Any, ...]:
    live = (Voucher.expired_at.is_(None), Voucher.revoked_at.is_(None))
    return (Voucher.campaign_id == campaign_id, *live, Voucher.balance_fen > 0)


def ask(*, slug: str, actor_id: int, now: datetime) -> int:
    """Queue the reminder of a campaign and return its job's id; asked again, it reaches who was not told yet.

    Raises NotFound, StateConflict for a campaign that is not open and while a reminder of it is under way.
    """
    campaign = queries.campaign(slug, now=now)
    if campaign.status != OPEN:
        raise StateConflict("活动没有开放，不能提醒。")
    with transaction():
        if jobs.is_open(JOB, {"slug": slug}):
            raise StateConflict("提醒正在发送。")
        count, _ = unspent(campaign.id)
        job_id = jobs.enqueue(kind=JOB, arguments={"slug": slug}, total=count, asked_by=actor_id, now=now)
        audit.record("campaign.remind", f"campaign:{slug}", actor_id=actor_id, now=now, after={"vouchers": count})
    return job_id


def run_job(job_id: int, arguments: dict[str, Any], now: datetime) -> bool:
    """Write the next reminders (kernel.jobs.Handler): each member once; none to who left or wants no news."""
    campaign = queries.campaign(arguments["slug"], now=now)
    after = jobs.cursor_of(job_id)
    until = f"{last_day(campaign.ends_at):%Y-%m-%d}"
    with transaction():
        rows = db.session.execute(
            select(Voucher.id, Voucher.member_id, Voucher.balance_fen.label("left_fen"))
            .where(*_unspent(campaign.id), Voucher.id > after)
            .order_by(Voucher.id)
            .limit(CHUNK)
        ).all()
        if not rows or campaign.status != OPEN:
            return True
        people = telling.wanting_news([row.member_id for row in rows])
        values = {"campaign": campaign.name, "until": until}
        notices = [
            Notice(
                "campaign.ending",
                str(campaign.id),
                values | {"balance": yuan(int(row.left_fen))},
                person_id=people[row.member_id],
            )
            for row in rows
            if row.member_id in people
        ]
        telling.tell(notices, now=now)
        jobs.progress(job_id, done=len(rows), cursor=rows[-1].id)
    return False
