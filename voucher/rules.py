"""The money of a campaign (rules.md is the law): what a purchase saves, and what more would save."""

from dataclasses import dataclass
from datetime import datetime

from kernel.errors import DomainError
from kernel.money import spread

UPCOMING, OPEN, CLOSED = "upcoming", "open", "closed"
FREE, WAITING, ASKED, LAUNCHED = "free", "waiting", "asked", "launched"
LAUNCH_MOVES = {FREE: set(), WAITING: {ASKED, LAUNCHED}, ASKED: {LAUNCHED, WAITING}, LAUNCHED: {WAITING}}


class CampaignClosed(DomainError):
    """The campaign has not begun or is over: nothing new can be ordered."""

    code, status = "campaign_closed", 409


@dataclass(frozen=True)
class SpendAndSave:
    """满减: each full `step_fen` of an order saves `save_fen`."""

    step_fen: int
    save_fen: int


@dataclass(frozen=True)
class Purse:
    """What a member may still save in one campaign, or why nothing.

    `status` is 'active', 'expired', 'revoked', or 'none' for a member without a voucher.
    """

    status: str
    balance_fen: int = 0

    @property
    def usable_fen(self) -> int:
        """What this purse can pay now."""
        return self.balance_fen if self.status == "active" else 0


@dataclass(frozen=True)
class NextSaving:
    """What spending a little more would save on top."""

    spend_more_fen: int
    save_more_fen: int


@dataclass(frozen=True)
class Quote:
    """试算: the price we would charge now."""

    subtotal_fen: int
    discount_fen: int
    line_discounts_fen: tuple[int, ...]
    next_saving: NextSaving | None
    reason: str | None

    @property
    def payable_fen(self) -> int:
        """What the buyer pays."""
        return self.subtotal_fen - self.discount_fen


def saving(offer: SpendAndSave, *, spend_fen: int, available_fen: int) -> int:
    """Return what an order of `spend_fen` saves when `available_fen` are left to save.

    >>> laoshan = SpendAndSave(step_fen=100_00, save_fen=20_00)
    >>> saving(laoshan, spend_fen=250_00, available_fen=200_00)
    4000
    >>> saving(laoshan, spend_fen=1300_00, available_fen=200_00)
    20000
    """
    assert spend_fen >= 0
    assert available_fen >= 0
    return min(spend_fen // offer.step_fen * offer.save_fen, available_fen)


def next_saving(offer: SpendAndSave, *, spend_fen: int, available_fen: int) -> NextSaving | None:
    """Return what reaching the next full step would save on top, or None where the balance is spent.

    >>> laoshan = SpendAndSave(step_fen=100_00, save_fen=20_00)
    >>> next_saving(laoshan, spend_fen=150_00, available_fen=200_00)
    NextSaving(spend_more_fen=5000, save_more_fen=2000)
    >>> next_saving(laoshan, spend_fen=300_00, available_fen=60_00) is None
    True
    """
    spend_more_fen = offer.step_fen - spend_fen % offer.step_fen
    now_fen = saving(offer, spend_fen=spend_fen, available_fen=available_fen)
    then_fen = saving(offer, spend_fen=spend_fen + spend_more_fen, available_fen=available_fen)
    return NextSaving(spend_more_fen, then_fen - now_fen) if then_fen > now_fen else None


def quote(offer: SpendAndSave, *, amounts_fen: tuple[int, ...], available_fen: int) -> Quote:
    """Return the price of lines of these amounts when `available_fen` are left to save.

    >>> laoshan = SpendAndSave(step_fen=100_00, save_fen=20_00)
    >>> quote(laoshan, amounts_fen=(150_00, 150_00), available_fen=200_00).line_discounts_fen
    (3000, 3000)
    """
    subtotal_fen = sum(amounts_fen)
    discount_fen = saving(offer, spend_fen=subtotal_fen, available_fen=available_fen)
    full_fen = subtotal_fen // offer.step_fen * offer.save_fen
    reason = "below_step" if full_fen == 0 else "balance_limited" if discount_fen < full_fen else None
    return Quote(
        subtotal_fen=subtotal_fen,
        discount_fen=discount_fen,
        line_discounts_fen=tuple(spread(discount_fen, amounts_fen)),
        next_saving=next_saving(offer, spend_fen=subtotal_fen, available_fen=available_fen),
        reason=reason,
    )


def reason_for(purse: Purse, quoted: Quote) -> str | None:
    """Return why an order saves less than its full steps would, as a stable word; None where it saves all.

    >>> reason_for(Purse("none"), quote(SpendAndSave(10000, 2000), amounts_fen=(30000,), available_fen=0))
    'no_voucher'
    """
    if purse.status == "none":
        return "no_voucher"
    if purse.status != "active":
        return f"voucher_{purse.status}"
    if quoted.reason == "balance_limited" and purse.balance_fen == 0:
        return "voucher_used_up"
    return quoted.reason


def warnings_of(offer: SpendAndSave, *, face_fen: int, tiers_fen: tuple[int, ...]) -> tuple[str, ...]:
    """Return what an operator should look at twice before issuing: allowed, and seldom meant.

    >>> len(warnings_of(SpendAndSave(10000, 2000), face_fen=20000, tiers_fen=(10000,)))
    0
    >>> len(warnings_of(SpendAndSave(10000, 3000), face_fen=20000, tiers_fen=(5000,)))
    2
    """
    found = []
    if offer.save_fen and face_fen % offer.save_fen:
        found.append("面值不是每次优惠的整数倍，最后会剩下零头。")
    if tiers_fen and max(tiers_fen) < offer.step_fen:
        found.append("最高档位低于每满金额，单买一个礼包得不到优惠。")
    return tuple(found)


def campaign_status(*, starts_at: datetime, ends_at: datetime, now: datetime, launch: str = FREE) -> str:
    """Return where a campaign is in its life; `ends_at` is the first moment after it.

    One that is not launched yet does not open by its start alone.
    """
    if now >= ends_at:
        return CLOSED
    return UPCOMING if now < starts_at or launch in (WAITING, ASKED) else OPEN
