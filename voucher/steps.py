"""What rooms above do with a voucher or a bulk budget, inside their own transaction.

Each verb changes the counter by a conditional UPDATE and returns the postings that say so; the caller writes them
with its entry.
"""

from sqlalchemy import update

from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import db, rows_changed
from kernel.errors import DomainError
from voucher.models import Campaign, Voucher


class InsufficientVoucherBalance(DomainError):
    """The voucher's balance does not cover what was to be held."""

    code, status = "insufficient_voucher_balance", 409


class InsufficientBulkBudget(DomainError):
    """The campaign's bulk budget does not cover what was to be held."""

    code, status = "over_limit", 409


def _posting(debit: str, credit: str, amount_fen: int, *, campaign_id: int, voucher_id: int | None) -> list[Posting]:
    if amount_fen == 0:
        return []
    return [Posting(debit, credit, amount_fen, campaign_id=campaign_id, voucher_id=voucher_id)]


def hold(*, voucher_id: int, campaign_id: int, amount_fen: int) -> list[Posting]:
    """预占: set part of the balance aside. Raises InsufficientVoucherBalance, also for a revoked voucher."""
    if amount_fen == 0:
        return []
    held = rows_changed(
        update(Voucher)
        .where(
            Voucher.id == voucher_id,
            Voucher.revoked_at.is_(None),
            Voucher.expired_at.is_(None),
            Voucher.face_fen - Voucher.held_fen - Voucher.redeemed_fen - Voucher.expired_fen - Voucher.revoked_fen
            >= amount_fen,
        )
        .values(held_fen=Voucher.held_fen + amount_fen)
    )
    if held == 0:
        raise InsufficientVoucherBalance("福利券余额不足。")
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
