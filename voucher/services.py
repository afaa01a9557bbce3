"""Use-cases of campaigns and vouchers: make a campaign, issue, claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import String

from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency, jobs
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, OverLimit, StateConflict
from kernel.idempotency import Answer, Once
from kernel.money import yuan
from people import queries as people_queries
from voucher import queries
from voucher import steps as voucher_steps
from voucher.models import Campaign, CampaignVersion, Voucher
from voucher.queries import VoucherView
from voucher.rules import OPEN, CampaignClosed, campaign_status

CHUNK = 20_000
SETTINGS = (
    "name",
    "name_en",
    "starts_at",
    "ends_at",
    "step_fen",
    "save_fen",
    "face_fen",
    "tiers_fen",
    "member_budget_fen",
    "bulk_budget_fen",
    "grant_budget_fen",
    "issue_mode",
    "pack_limit",
    "recipient_cap_fen",
    "bulk_payment_days",
    "eligible",
)


@dataclass(frozen=True)
class Audience:
    """Who vouchers are issued to: exactly one of these is set."""

    everyone: bool = False
    union_ids: Sequence[int] = ()
    member_nos: Sequence[str] = ()
    honour: str | None = None
    joined_since: date | None = None

    def members(self, eligible: dict[str, Any]) -> Select[Any]:
        """The statement that selects those of them who may have the campaign's voucher."""
        chosen = people_queries.audience(
            everyone=self.everyone,
            union_ids=self.union_ids,
            member_nos=self.member_nos,
            honour=self.honour,
            joined_since=self.joined_since,
        )
        return people_queries.only_eligible(chosen, **_eligible_of(eligible))


def _eligible_of(eligible: dict[str, Any]) -> dict[str, Any]:
    return {
        "union_ids": [int(union_id) for union_id in eligible.get("union_ids", ())],
        "joined_by": _day(eligible.get("joined_by")),
        "honour": eligible.get("honour"),
    }


class DuplicateSlug(Invalid):
    """Another campaign has this slug."""


def create_campaign(*, details: dict[str, Any], actor_id: int | None, now: datetime) -> None:
    """Make a campaign and put its budgets on the ledger. Raises Invalid for what cannot be."""
    _check(details)
    with transaction():
        if db.session.scalar(select(Campaign.id).filter_by(slug=details["slug"])) is not None:
            raise DuplicateSlug(errors={"slug": ["已有同名活动。"]})
        campaign = Campaign(**{**details, "eligible": _plain(details.get("eligible") or {})})
        db.session.add(campaign)
        db.session.flush()
        _keep_version(campaign, actor_id=actor_id, now=now)
        budgets = [
            Posting(ledger.DISTRICT_FUNDS, account, amount_fen, campaign_id=campaign.id)
            for account, amount_fen in (
                (ledger.BUDGET_MEMBER, campaign.member_budget_fen),
                (ledger.BUDGET_BULK, campaign.bulk_budget_fen),
            )
            if amount_fen > 0
        ]
        ledger_steps.post(Cause("budget", str(campaign.id), actor_id=actor_id), budgets, now=now)
        audit.record("campaign.create", f"campaign:{campaign.slug}", actor_id=actor_id, now=now, after=details)


def _check(details: dict[str, Any]) -> None:
    errors: dict[str, list[str]] = {}
    if details["starts_at"] >= details["ends_at"]:
        errors["ends_at"] = ["结束时间必须晚于开始时间。"]
    if details["save_fen"] > details["step_fen"]:
        errors["rule.save_fen"] = ["优惠不能超过每满金额。"]
    if len(set(details["tiers_fen"])) != len(details["tiers_fen"]):
        errors["tiers_fen"] = ["档位不能重复。"]
    if errors:
        raise Invalid(errors=errors)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON keeps them."""
    kept = {name: value.isoformat() if isinstance(value, date) else value for name, value in settings.items()}
    return {name: value for name, value in kept.items() if value not in (None, [])}


def _keep_version(campaign: Campaign, *, actor_id: int | None, now: datetime) -> None:
    """Write the settings a campaign has from now on as its next version, in the caller's transaction."""
    last = select(func.coalesce(func.max(CampaignVersion.version), 0)).where(CampaignVersion.campaign_id == campaign.id)
    settings = {name: getattr(campaign, name) for name in SETTINGS}
    db.session.add(
        CampaignVersion(
            campaign_id=campaign.id,
            version=(db.session.scalar(last) or 0) + 1,
            settings={
                name: value.isoformat() if isinstance(value, datetime) else value for name, value in settings.items()
            },
            changed_by=actor_id,
            changed_at=now,
        )
    )


def change_campaign(*, slug: str, changes: dict[str, Any], actor_id: int | None = None, now: datetime) -> None:
    """Change what may still change, and keep the version before. Raises StateConflict for a promise already made.

    Once vouchers are out or bulk orders hold a discount, the rule, the face value, the start and how vouchers are
    given stay as they were promised; an order keeps the rule it was placed under whatever happens here.
    """
    if "eligible" in changes:
        changes = {**changes, "eligible": _plain(changes["eligible"] or {})}
    with transaction():
        campaign = db.session.scalar(select(Campaign).filter_by(slug=slug).with_for_update())
        if campaign is None:
            raise NotFound("没有这个活动。")
        promised = campaign.member_committed_fen > 0 or campaign.bulk_committed_fen > 0
        # What it saves may change for orders to come: those placed have the rule they were placed under.
        if promised and {"face_fen", "starts_at", "issue_mode"} & set(changes):
            raise StateConflict("活动已发放或已使用，面额、开始时间和发放方式不能再改。")
        if campaign.ends_at <= now and "ends_at" in changes:
            # Its vouchers have ended, and what they had left went back to the budget.
            raise StateConflict("活动已经结束，不能再改结束时间。")
        merged = {
            name: changes.get(name, getattr(campaign, name))
            for name in ("starts_at", "ends_at", "step_fen", "save_fen", "tiers_fen")
        }
        _check(merged)
        raised = [
            (account, changes[name] - getattr(campaign, name))
            for account, name in (
                (ledger.BUDGET_MEMBER, "member_budget_fen"),
                (ledger.BUDGET_BULK, "bulk_budget_fen"),
            )
            if name in changes
        ]
        if changes.get("member_budget_fen", campaign.member_budget_fen) < campaign.member_committed_fen:
            raise OverLimit("预算不能低于已发放的金额。")
        if changes.get("bulk_budget_fen", campaign.bulk_budget_fen) < campaign.bulk_committed_fen:
            raise OverLimit("预算不能低于已占用的金额。")
        granted_cap = changes.get("grant_budget_fen", campaign.grant_budget_fen)
        if granted_cap is not None and granted_cap < campaign.grant_committed_fen:
            raise OverLimit("预算不能低于已占用的金额。")
        old = {name: getattr(campaign, name) for name in changes}
        for name, value in changes.items():
            setattr(campaign, name, value)
        postings = [
            Posting(ledger.DISTRICT_FUNDS, account, by_fen, campaign_id=campaign.id)
            if by_fen > 0
            else Posting(account, ledger.DISTRICT_FUNDS, -by_fen, campaign_id=campaign.id)
            for account, by_fen in raised
            if by_fen != 0
        ]
        ledger_steps.post(Cause("budget", f"{campaign.id}:{now.timestamp():.6f}"), postings, now=now)
        voided = voucher_steps.void_launch(campaign, changes, old, now=now)
        before, after = audit.changed({**old, **voided}, {**changes, **{name: None for name in voided}})
        db.session.flush()
        _keep_version(campaign, actor_id=actor_id, now=now)
        audit.record("campaign.change", f"campaign:{slug}", now=now, before=before, after=after)


def claim(*, slug: str, member_id: int | None, now: datetime) -> bool:
    """Give the member a voucher where the campaign lets members claim; a second claim changes nothing.

    Returns whether the voucher is new.

    Raises CampaignClosed, StateConflict (a 'push' campaign) and OverLimit (the budget is promised away).
    """
    with transaction():
        campaign = db.session.scalar(select(Campaign).filter_by(slug=slug))
        if campaign is None or member_id is None:
            raise NotFound("没有这个活动。")
        owned = select(Voucher.id).filter_by(campaign_id=campaign.id, member_id=member_id)
        if db.session.scalar(owned) is not None:
            return False
        if campaign.issue_mode != "claim":
            raise StateConflict("本活动的福利券由工会统一发放，无需领取。")
        status = campaign_status(
            starts_at=campaign.starts_at, ends_at=campaign.ends_at, now=now, launch=campaign.launch
        )
        if status != OPEN:
            raise CampaignClosed("活动未开始或已结束。")
        everyone = Audience(everyone=True).members(campaign.eligible)
        own = everyone.where(everyone.selected_columns[0] == member_id)
        if people_queries.count_of(own) == 0:
            raise StateConflict("您不在本活动的发放范围内，如有疑问请联系您的基层工会。")
        return _issue_to(campaign, everyone, only_member=member_id, now=now) == 1


def revoke(*, voucher_id: int | None, reason: str, actor_id: int, now: datetime) -> VoucherView:
    """收回: take back what a voucher has not spent; it goes back to the campaign's budget. Twice changes nothing.

    What is held for an open order stays with the order; given back later, it goes to the budget too. Raises NotFound.
    """
    with transaction():
        row = db.session.scalar(
            select(Voucher).where(Voucher.id == voucher_id).with_for_update().execution_options(populate_existing=True)
        )
        if row is None:
            raise NotFound("没有这张福利券。")
        if row.revoked_at is None:
            unspent_fen = row.balance_fen
            db.session.execute(
                update(Voucher)
                .where(Voucher.id == row.id)
                .values(revoked_at=now, revoked_fen=Voucher.revoked_fen + unspent_fen)
            )
            postings = voucher_steps.give_back(voucher_id=row.id, campaign_id=row.campaign_id, amount_fen=unspent_fen)
            cause = Cause("revoke", str(row.id), actor_id=actor_id, reason=reason)
            ledger_steps.post(cause, postings, now=now)
            audit.record(
                "voucher.revoke",
                f"voucher:{row.id}",
                actor_id=actor_id,
                now=now,
                after={"revoked_fen": unspent_fen, "reason": reason},
            )
    return queries.voucher(voucher_id, now=now)


def expire_ended(*, now: datetime, limit: int = 1000) -> int:
    """过期: take back what vouchers of campaigns that are over have not spent; return how many vouchers ended.

    One transaction for at most `limit` vouchers, their rows locked in order of their ids: killed anywhere, the next
    call goes on. A voucher is worth nothing from the campaign's end on, whether or not this has come by.
    """
    with transaction():
        campaign_id = db.session.scalar(
            select(Campaign.id)
            .where(
                Campaign.ends_at <= now,
                select(Voucher.id)
                .where(Voucher.campaign_id == Campaign.id, Voucher.expired_at.is_(None), Voucher.revoked_at.is_(None))
                .exists(),
            )
            .order_by(Campaign.id)
            .limit(1)
        )
        if campaign_id is None:
            return 0
        rows = db.session.execute(
            select(Voucher.id, Voucher.balance_fen.label("balance_fen"))
            .where(Voucher.campaign_id == campaign_id, Voucher.expired_at.is_(None), Voucher.revoked_at.is_(None))
            .order_by(Voucher.id)
            .limit(limit)
            .with_for_update(of=Voucher)
        ).all()
        if not rows:
            return 0
        db.session.execute(
            update(Voucher)
            .where(Voucher.id.in_([row.id for row in rows]))
            .values(expired_at=now, expired_fen=Voucher.expired_fen + Voucher.balance_fen),
            execution_options={"synchronize_session": False},
        )
        postings = [
            Posting(
                ledger.VOUCHER_BALANCE,
                ledger.BUDGET_MEMBER,
                int(row.balance_fen),
                campaign_id=campaign_id,
                voucher_id=row.id,
            )
            for row in rows
            if row.balance_fen > 0
        ]
        voucher_steps.uncommit(campaign_id=campaign_id, amount_fen=sum(posting.amount for posting in postings))
        ledger_steps.post(Cause("lapse", f"{campaign_id}:{rows[0].id}"), postings, now=now)
    return len(rows)


def preview_issue(*, slug: str, audience: Audience) -> dict[str, int]:
    """Return how many members would get a voucher, what it promises, and what budget is left, in fen."""
    campaign = db.session.scalar(select(Campaign).filter_by(slug=slug))
    if campaign is None:
        raise NotFound("没有这个活动。")
    members = people_queries.count_of(_without_voucher(campaign.id, audience.members(campaign.eligible)))
    return {
        "members": members,
        "cost_fen": members * campaign.face_fen,
        "budget_left_fen": campaign.member_budget_fen - campaign.member_committed_fen,
    }


def ask_to_issue(*, slug: str, audience: Audience, arguments: dict[str, Any], once: Once, now: datetime) -> Answer:
    """Start issuing vouchers to an audience; the answer names the numbers that are no member's.

    Raises OverLimit where the budget does not cover it, StateConflict before the launch, CampaignClosed after the end.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        preview = preview_issue(slug=slug, audience=audience)
        campaign = queries.campaign(slug, now=now)
        voucher_steps.refuse_unlaunched(campaign.launch)
        voucher_steps.refuse_over(campaign.ends_at, now=now)
        if preview["cost_fen"] > preview["budget_left_fen"]:
            raise OverLimit("预算不足：需要 %(cost)s，剩余 %(left)s。", **_budget_figures(preview))
        job_id = jobs.enqueue(
            kind="issue",
            arguments={"slug": slug, **arguments},
            total=preview["members"],
            asked_by=once.person_id,
            now=now,
        )
        audit.record(
            "campaign.issue",
            f"campaign:{slug}",
            actor_id=once.person_id,
            now=now,
            after={"job_id": job_id, "members": preview["members"], "cost_fen": preview["cost_fen"]},
        )
        answer: dict[str, Any] = {
            "id": str(job_id),
            "job_id": str(job_id),
            "status": "queued",
            "done": 0,
            "total": preview["members"],
        }
        if unknown := people_queries.unknown_member_nos(audience.member_nos):
            answer["unknown_member_nos"] = unknown
        return idempotency.finish(once, answer)


def _budget_figures(preview: dict[str, int]) -> dict[str, Any]:
    return {"cost": yuan(preview["cost_fen"]), "left": yuan(preview["budget_left_fen"])}


def issue_chunk(job_id: int | None, *, slug: str, audience: Audience, after: int, now: datetime) -> int | None:
    """Do `issue_step` and move a job on with it; return where the next chunk begins, None when nobody is left."""
    return issue_step(slug=slug, audience=audience, after=after, now=now, job_id=job_id)[0]


def issue_step(
    *,
    slug: str,
    audience: Audience,
    after: int,
    now: datetime,
    job_id: int | None = None,
    chunk: int | None = None,
) -> tuple[int | None, int]:
    """Issue to the next members of an audience (`chunk` of them), by id from `after` on, who have no voucher yet.

    One transaction: the vouchers, the budget they take, their ledger entries and the job's progress. Returns the last
    member looked at, where the next step begins (None when nobody is left), and how many got a voucher.
    """
    with transaction():
        campaign = db.session.scalar(select(Campaign).filter_by(slug=slug))
        if campaign is None:
            raise NotFound("没有这个活动。")
        voucher_steps.refuse_unlaunched(campaign.launch)
        voucher_steps.refuse_over(campaign.ends_at, now=now)
        members = audience.members(campaign.eligible)
        member_id = members.selected_columns[0]
        ahead = members.where(member_id > after).order_by(member_id).limit(chunk or CHUNK).subquery()
        last: int | None = db.session.scalar(select(func.max(ahead.c[0])))
        if last is None:
            return None, 0
        issued = _issue_to(campaign, members.where(member_id > after, member_id <= last), now=now)
        if job_id is not None:
            jobs.progress(job_id, done=issued, cursor=last)
    return last, issued


def issue_now(*, slug: str, audience: Audience, now: datetime) -> None:
    """Issue to a whole audience, chunk by chunk."""
    after: int | None = 0
    while after is not None:
        after = issue_chunk(None, slug=slug, audience=audience, after=after, now=now)


def _without_voucher(campaign_id: int, members: Select[Any]) -> Select[Any]:
    member_id = members.selected_columns[0]
    has_one = select(Voucher.id).where(Voucher.campaign_id == campaign_id, Voucher.member_id == member_id)
    return members.where(~has_one.exists())


def _issue_to(
    campaign: Campaign,
    members: Select[Any],
    *,
    now: datetime,
    only_member: int | None = None,
) -> int:
    """Give vouchers to members who have none, take their face value from the budget, and post it."""
    engine_insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    member_id = members.selected_columns[0]
    chosen = _without_voucher(campaign.id, members)
    if only_member is not None:
        chosen = chosen.where(member_id == only_member)
    # The budget row is taken first: whoever issues in this campaign does so one after the other.
    db.session.execute(select(Campaign.id).where(Campaign.id == campaign.id).with_for_update(key_share=True))
    newest = db.session.scalar(select(func.coalesce(func.max(Voucher.id), 0))) or 0
    picked = chosen.subquery()
    source = select(
        literal(campaign.id),
        picked.c[0],
        literal(f"{campaign.slug.upper()}-").concat((literal(voucher_steps.CODE_BASE) + picked.c[0]).cast(String)),
        literal(campaign.face_fen),
        literal(0),
        literal(0),
        literal(0),
        literal(0),
        literal(now, Voucher.issued_at.type),
    )
    columns = [
        "campaign_id",
        "member_id",
        "code",
        "face_fen",
        "held_fen",
        "redeemed_fen",
        "expired_fen",
        "revoked_fen",
        "issued_at",
    ]
    made = rows_changed(
        engine_insert(Voucher).from_select(columns, source.where(literal(1) == 1)).on_conflict_do_nothing()
    )
    issued = made
    if issued == 0:
        return 0
    cost_fen = issued * campaign.face_fen
    taken = rows_changed(
        update(Campaign)
        .where(
            Campaign.id == campaign.id,
            Campaign.member_committed_fen + cost_fen <= Campaign.member_budget_fen,
        )
        .values(member_committed_fen=Campaign.member_committed_fen + cost_fen)
    )
    if taken == 0:
        raise OverLimit("福利券已领完。" if only_member is not None else "会员预算不足，发放已停止。")
    fresh = select(Voucher.id, Voucher.campaign_id, Voucher.face_fen).where(
        Voucher.campaign_id == campaign.id, Voucher.id > newest, Voucher.face_fen > 0
    )
    if only_member is not None:
        fresh = fresh.where(Voucher.member_id == only_member)
    ledger_steps.post_issue(fresh, debit=ledger.BUDGET_MEMBER, credit=ledger.VOUCHER_BALANCE, now=now)
    return issued


def _day(given: date | str | None) -> date | None:
    return date.fromisoformat(given) if isinstance(given, str) else given


def audience_of(chosen: dict[str, Any]) -> Audience:
    """Return the audience that a request or a job's arguments name."""
    return Audience(
        everyone=chosen.get("all", False),
        union_ids=[int(union_id) for union_id in chosen.get("union_ids", ())],
        member_nos=chosen.get("member_nos", ()),
        honour=chosen.get("honour"),
        joined_since=_day(chosen.get("joined_since")),
    )


def issue_job(job_id: int, arguments: dict[str, Any], now: datetime) -> bool:
    """Do one step of an issue job (kernel.jobs.Handler)."""
    after = issue_chunk(
        job_id,
        slug=arguments["slug"],
        audience=audience_of(arguments),
        after=jobs.cursor_of(job_id),
        now=now,
    )
    return after is None
