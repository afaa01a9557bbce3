"""启动: what a campaign promises at worst, and who lets it open.

A campaign made for it opens only once it was launched; where it promises more than its budget that takes two people.
Nothing here keeps money together: claims past the budget and issues past it are refused in SQL whoever launched it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Forbidden, NotFound, StateConflict
from people import queries as people_queries
from voucher import queries
from voucher.models import Campaign
from voucher.rules import ASKED, LAUNCHED, WAITING
from voucher.services import Audience


def worst_case(slug: str, *, now: datetime) -> dict[str, Any]:
    """Return what a campaign promises (members it is for × face value), what is out and held now, and its budget."""
    campaign = queries.campaign(slug, now=now)
    members = people_queries.count_of(Audience(everyone=True).members(campaign.eligible))
    totals = queries.totals(campaign.id)
    promised_fen = members * campaign.face_fen
    bulk_held_fen = ledger_queries.campaign_balances(campaign.id).get(ledger.BULK_HELD, 0)
    return {
        "campaign": slug,
        "members": members,
        "face_fen": campaign.face_fen,
        "promised_fen": promised_fen,
        "issued_fen": totals["issued_fen"],
        "held_fen": totals["held_fen"],
        "redeemed_fen": totals["redeemed_fen"],
        "bulk_held_fen": bulk_held_fen,
        "member_budget_fen": campaign.member_budget_fen,
        "member_budget_left_fen": campaign.member_budget_fen - campaign.member_committed_fen,
        "over_fen": max(0, promised_fen - campaign.member_budget_fen),
        "unserved_members": -(-max(0, promised_fen - campaign.member_budget_fen) // campaign.face_fen)
        if campaign.face_fen
        else 0,
        "could_overspend": promised_fen > campaign.member_budget_fen,
        "launch": campaign.launch,
        "launch_asked_by": campaign.launch_asked_by,
        "launched_by": campaign.launched_by,
    }


def launch(*, slug: str, actor_id: int, now: datetime) -> str:
    """Let a campaign open, or ask for a second person where it promises more than its budget; return where it stands.

    Raises NotFound, and StateConflict where there is nothing to launch or somebody has just asked.
    """
    with transaction():
        worst = _locked_worst(slug, now=now)
        if worst["launch"] not in (WAITING, ASKED):
            raise StateConflict(
                "活动已经启动。" if worst["launch"] == LAUNCHED else "这个活动到时间自动开始，不需要启动。"
            )
        own = update(Campaign).where(Campaign.slug == slug)
        if worst["could_overspend"]:
            moved = rows_changed(
                own.where(Campaign.launch == WAITING).values(launch=ASKED, launch_asked_by=actor_id, launched_by=None)
            )
            action, to = "campaign.launch_ask", ASKED
        else:
            moved = rows_changed(
                own.where(Campaign.launch.in_((WAITING, ASKED))).values(
                    launch=LAUNCHED, launch_asked_by=None, launched_by=actor_id
                )
            )
            action, to = "campaign.launch", LAUNCHED
        if moved == 0:
            raise StateConflict("已经有人提请启动，请另一位运营批准。")
        audit.record(action, f"campaign:{slug}", actor_id=actor_id, now=now, after=_figures(worst))
    return to


def approve_launch(*, slug: str, actor_id: int, now: datetime) -> str:
    """Let a campaign open that another person asked for. Raises Forbidden for that person, NotFound, StateConflict."""
    with transaction():
        worst = _locked_worst(slug, now=now)
        approved = rows_changed(
            update(Campaign)
            .where(Campaign.slug == slug, Campaign.launch == ASKED, Campaign.launch_asked_by != actor_id)
            .values(launch=LAUNCHED, launched_by=actor_id)
        )
        if approved == 0:
            if worst["launch"] == ASKED:
                raise Forbidden("提请启动的人不能自己批准，请另一位运营批准。")
            raise StateConflict("没有等待批准的启动。")
        audit.record("campaign.launch", f"campaign:{slug}", actor_id=actor_id, now=now, after=_figures(worst))
    return LAUNCHED


def _locked_worst(slug: str, *, now: datetime) -> dict[str, Any]:
    if db.session.scalar(select(Campaign.id).where(Campaign.slug == slug).with_for_update()) is None:
        raise NotFound("没有这个活动。")
    return worst_case(slug, now=now)


def _figures(worst: dict[str, Any]) -> dict[str, Any]:
    return {name: worst[name] for name in ("promised_fen", "member_budget_fen", "over_fen", "launch_asked_by")}
