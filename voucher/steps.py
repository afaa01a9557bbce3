"""What rooms above do with a voucher or a bulk budget, inside their own transaction.

Each verb changes the counter by a conditional UPDATE and returns the postings that say so; the caller writes them
with its entry.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import Id, db, rows_changed
from kernel.errors import DomainError, OverLimit, StateConflict
from kernel.statements import Statement, change
from voucher.models import Campaign, Voucher
from voucher.rules import ASKED, LAUNCHED, WAITING, CampaignClosed

FIGURES = ("member_budget_fen", "face_fen", "eligible", "issue_mode", "starts_at")  # what a launch was agreed upon
CODE_BASE = 10_000_000  # a voucher's code ends in this plus the member's id


def refuse_unlaunched(launch: str) -> None:
    """Raise StateConflict for a campaign that nobody has launched yet: it gives no voucher."""
    if launch in (WAITING, ASKED):
        raise StateConflict("活动还没有启动，请先在“启动”页确认。")


def refuse_over(ends_at: datetime, *, now: datetime) -> None:
    """Raise CampaignClosed for a campaign that is over: a voucher of it could not be used any more."""
    if now >= ends_at:
        raise CampaignClosed("活动已经结束，不能再发放福利券。")


def void_launch(
    campaign: Campaign, changes: Mapping[str, Any], old: Mapping[str, Any], *, now: datetime
) -> dict[str, Any]:
    """Take back what was agreed upon other figures, of a campaign that has not opened; return what there was."""
    same = all(changes[name] == old[name] for name in FIGURES if name in changes)
    begun = campaign.launch == LAUNCHED and campaign.starts_at <= now
    if same or begun or campaign.launch not in (ASKED, LAUNCHED):
        return {}
    before = {"launch_asked_by": campaign.launch_asked_by, "launched_by": campaign.launched_by}
    campaign.launch, campaign.launch_asked_by, campaign.launched_by = WAITING, None, None
    return before


class InsufficientVoucherBalance(DomainError):
    """The voucher's balance does not cover what was to be held."""

    code, status = "insufficient_voucher_balance", 409


class InsufficientGrantBudget(DomainError):
    """The campaign's grant budget does not cover what was to be held."""

    code, status = "over_limit", 409


class InsufficientBulkBudget(DomainError):
    """The campaign's bulk budget does not cover what was to be held."""

    code, status = "over_limit", 409


def _posting(debit: str, credit: str, amount_fen: int, *, campaign_id: int, voucher_id: int | None) -> list[Posting]:
    if amount_fen == 0:
        return []
    return [Posting(debit, credit, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id)]


_BALANCE = Voucher.face_fen - Voucher.held_fen - Voucher.redeemed_fen - Voucher.expired_fen - Voucher.revoked_fen
_HOLD = Statement(
    lambda _: (
        update(Voucher)
        .where(
            Voucher.id == bindparam("voucher_id", type_=Id),
            Voucher.revoked_at.is_(None),
            Voucher.expired_at.is_(None),
            bindparam("amount_fen", type_=Id) <= _BALANCE,
        )
        .values(held_fen=Voucher.held_fen + bindparam("amount_fen", type_=Id))
    )
)


def hold(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """预占: set part of the balance aside. Raises InsufficientVoucherBalance, also for a revoked voucher."""
    if amount_fen == 0:
        return []
    change(
        _HOLD,
        {"voucher_id": voucher_id, "amount_fen": amount_fen},
        rows=1,
        otherwise=lambda: InsufficientVoucherBalance("福利券余额不足。"),
    )
    return _posting(
        ledger.VOUCHER_BALANCE, ledger.VOUCHER_HELD, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id
    )


def redeem(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """核销: what was held becomes final."""
    if amount_fen == 0:
        return []
    db.session.execute(
        update(Voucher)
        .where(Voucher.id == voucher_id)
        .values(held_fen=Voucher.held_fen - amount_fen, redeemed_fen=Voucher.redeemed_fen + amount_fen)
    )
    return _posting(
        ledger.VOUCHER_HELD, ledger.VOUCHER_REDEEMED, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id
    )


def release(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """释放: what was held goes back to the balance; of a voucher that has ended, on to the campaign's budget."""
    if amount_fen == 0:
        return []
    back = _posting(
        ledger.VOUCHER_HELD, ledger.VOUCHER_BALANCE, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id
    )
    own = update(Voucher).where(Voucher.id == voucher_id)
    live = own.where(Voucher.revoked_at.is_(None), Voucher.expired_at.is_(None))
    if rows_changed(live.values(held_fen=Voucher.held_fen - amount_fen)) == 1:
        return back
    revoked = rows_changed(
        own.where(Voucher.revoked_at.is_not(None)).values(
            held_fen=Voucher.held_fen - amount_fen, revoked_fen=Voucher.revoked_fen + amount_fen
        )
    )
    if revoked == 0:
        db.session.execute(
            own.values(held_fen=Voucher.held_fen - amount_fen, expired_fen=Voucher.expired_fen + amount_fen)
        )
    return back + give_back(voucher_id=voucher_id, campaign_id=campaign_id, amount_fen=amount_fen)


def take_back(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """退回: redeemed value returns to the balance; of a voucher that has ended, on to the campaign's budget."""
    if amount_fen == 0:
        return []
    back = _posting(
        ledger.VOUCHER_REDEEMED, ledger.VOUCHER_BALANCE, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id
    )
    own = update(Voucher).where(Voucher.id == voucher_id)
    redeemed_fen = Voucher.redeemed_fen - amount_fen
    live = own.where(Voucher.revoked_at.is_(None), Voucher.expired_at.is_(None))
    if rows_changed(live.values(redeemed_fen=redeemed_fen)) == 1:
        return back
    revoked = own.where(Voucher.revoked_at.is_not(None))
    if rows_changed(revoked.values(redeemed_fen=redeemed_fen, revoked_fen=Voucher.revoked_fen + amount_fen)) == 0:
        db.session.execute(own.values(redeemed_fen=redeemed_fen, expired_fen=Voucher.expired_fen + amount_fen))
    return back + give_back(voucher_id=voucher_id, campaign_id=campaign_id, amount_fen=amount_fen)


def give_back(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """Give what a voucher no longer promises back to its campaign's budget."""
    if amount_fen == 0:
        return []
    uncommit(campaign_id=campaign_id, amount_fen=amount_fen)
    return _posting(
        ledger.VOUCHER_BALANCE, ledger.BUDGET_MEMBER, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id
    )


def uncommit(*, campaign_id: int, amount_fen: int) -> None:
    """Lower what a campaign has promised its members."""
    db.session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(member_committed_fen=Campaign.member_committed_fen - amount_fen)
    )


def hold_bulk(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """Set part of the campaign's bulk budget aside. Raises InsufficientBulkBudget."""
    if amount_fen == 0:
        return []
    held = rows_changed(
        update(Campaign)
        .where(
            Campaign.id == campaign_id,
            Campaign.bulk_committed_fen + amount_fen <= Campaign.bulk_budget_fen,
        )
        .values(bulk_committed_fen=Campaign.bulk_committed_fen + amount_fen)
    )
    if held == 0:
        raise InsufficientBulkBudget("活动的集采预算不足，请联系区总工会。")
    return _posting(ledger.BUDGET_BULK, ledger.BULK_HELD, amount_fen, campaign_id=campaign_id, voucher_id=None)


def redeem_bulk(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """What was held of the bulk budget becomes final; it stays committed."""
    return _posting(ledger.BULK_HELD, ledger.BULK_REDEEMED, amount_fen, campaign_id=campaign_id, voucher_id=None)


def release_bulk(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """What was held of the bulk budget goes back to it."""
    if amount_fen == 0:
        return []
    db.session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(bulk_committed_fen=Campaign.bulk_committed_fen - amount_fen)
    )
    return _posting(ledger.BULK_HELD, ledger.BUDGET_BULK, amount_fen, campaign_id=campaign_id, voucher_id=None)


def take_back_bulk(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """What was redeemed of the bulk budget goes back to it."""
    if amount_fen == 0:
        return []
    db.session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(bulk_committed_fen=Campaign.bulk_committed_fen - amount_fen)
    )
    return _posting(ledger.BULK_REDEEMED, ledger.BUDGET_BULK, amount_fen, campaign_id=campaign_id, voucher_id=None)


def hold_grant(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """Set the price of a grant's packs aside. Raises InsufficientGrantBudget."""
    if amount_fen == 0:
        return []
    held = rows_changed(
        update(Campaign)
        .where(
            Campaign.id == campaign_id,
            or_(
                Campaign.grant_budget_fen.is_(None),
                Campaign.grant_committed_fen + amount_fen <= Campaign.grant_budget_fen,
            ),
        )
        .values(grant_committed_fen=Campaign.grant_committed_fen + amount_fen)
    )
    if held == 0:
        raise InsufficientGrantBudget("活动的慰问预算不足。")
    return _posting(ledger.DISTRICT_FUNDS, ledger.GRANT_HELD, amount_fen, campaign_id=campaign_id, voucher_id=None)


def redeem_grant(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """What was set aside for a gift is spent; it stays committed."""
    return _posting(ledger.GRANT_HELD, ledger.GRANT_REDEEMED, amount_fen, campaign_id=campaign_id, voucher_id=None)


def release_grant(*, campaign_id: int, amount_fen: int) -> list[Posting]:
    """What was set aside for gifts that were not taken up goes back to the district."""
    if amount_fen == 0:
        return []
    db.session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(grant_committed_fen=Campaign.grant_committed_fen - amount_fen)
    )
    return _posting(ledger.GRANT_HELD, ledger.DISTRICT_FUNDS, amount_fen, campaign_id=campaign_id, voucher_id=None)


def promise_vouchers(*, campaign_id: int, count: int) -> list[Posting]:
    """Set the face value of `count` vouchers aside for people who have not answered yet. Raises OverLimit."""
    face_fen = db.session.scalar(select(Campaign.face_fen).where(Campaign.id == campaign_id)) or 0
    amount_fen = face_fen * count
    if amount_fen == 0:
        return []
    promised = rows_changed(
        update(Campaign)
        .where(
            Campaign.id == campaign_id,
            Campaign.member_committed_fen + amount_fen <= Campaign.member_budget_fen,
        )
        .values(member_committed_fen=Campaign.member_committed_fen + amount_fen)
    )
    if promised == 0:
        raise OverLimit("会员预算不足，不能再发福利券。")
    return _posting(ledger.BUDGET_MEMBER, ledger.GRANT_PROMISED, amount_fen, campaign_id=campaign_id, voucher_id=None)


def break_promise(*, campaign_id: int, count: int) -> list[Posting]:
    """Vouchers that were promised and not taken up: their face value goes back to the campaign's budget."""
    face_fen = db.session.scalar(select(Campaign.face_fen).where(Campaign.id == campaign_id)) or 0
    amount_fen = face_fen * count
    if amount_fen == 0:
        return []
    uncommit(campaign_id=campaign_id, amount_fen=amount_fen)
    return _posting(ledger.GRANT_PROMISED, ledger.BUDGET_MEMBER, amount_fen, campaign_id=campaign_id, voucher_id=None)


def keep_promise(*, campaign_id: int, member_id: int, now: datetime) -> list[Posting]:
    """Give a promised voucher to a member; one who holds the campaign's voucher already keeps that one."""
    campaign = db.session.execute(
        select(Campaign.slug, Campaign.face_fen, Campaign.ends_at).where(Campaign.id == campaign_id)
    ).one()
    engine_insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    made = 0
    if now < campaign.ends_at:
        made = rows_changed(
            engine_insert(Voucher)
            .values(
                campaign_id=campaign_id,
                member_id=member_id,
                code=voucher_code(campaign.slug, member_id),
                face_fen=campaign.face_fen,
                held_fen=0,
                redeemed_fen=0,
                expired_fen=0,
                revoked_fen=0,
                issued_at=now,
            )
            .on_conflict_do_nothing()
        )
    if made == 0:
        return break_promise(campaign_id=campaign_id, count=1)
    voucher_id = db.session.scalar(
        select(Voucher.id).where(Voucher.campaign_id == campaign_id, Voucher.member_id == member_id)
    )
    return _posting(
        ledger.GRANT_PROMISED,
        ledger.VOUCHER_BALANCE,
        campaign.face_fen,
        campaign_id=campaign_id,
        voucher_id=voucher_id,
    )


def voucher_code(slug: str, member_id: int) -> str:
    """Return what a member's voucher is called.

    >>> voucher_code("spring", 7)
    'SPRING-10000007'
    """
    return f"{slug.upper()}-{CODE_BASE + member_id}"
