"""预测: what a campaign may cost by day and what stock it needs, before anything is issued. Values in, values out.

Every buyer is taken to buy at the tiers' mix, in baskets that lose nothing to a part step: what is spent is never more
than what is forecast from the same take-up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from kernel.money import spread
from voucher.rules import SpendAndSave

LINES = (("low", 800), ("middle", 1000), ("high", 1200))
"""The three lines: by how many thousandths of the take-up."""
OPENING, ENDING, BETWEEN = 4, 2, 1
"""How much is bought on a day of the first fifth, of the last fifth and between, where no campaign has shown it."""


@dataclass(frozen=True)
class Assumed:
    """What a forecast rests on. `curve` weighs the campaign's days from `first_day` on; `tier_mix` weighs its tiers."""

    members: int
    take_up_permille: int
    packs_per_100: int
    tier_mix: Mapping[int, int]
    curve: Sequence[int]
    first_day: date


@dataclass(frozen=True)
class Day:
    """One day, in fen: the day's subsidy, what it adds up to, and what claimed vouchers have taken of the budget."""

    day: date
    spent_fen: int
    total_fen: int
    committed_fen: int


@dataclass(frozen=True)
class Line:
    """One of the three lines: how many buy, what of, and what it costs."""

    name: str
    buyers: int
    packs: int
    stock: Mapping[int, int]
    sales_fen: int
    subsidy_fen: int
    runs_out_on: date | None
    days: tuple[Day, ...]


def forecast(
    offer: SpendAndSave, *, face_fen: int, budget_fen: int, claimed: bool, assumed: Assumed
) -> tuple[Line, ...]:
    """Return the low, middle and high line of a campaign.

    Where members claim (`claimed`), a claim takes the whole face value of the budget; else only what is spent counts.

    >>> assumed = Assumed(100, 500, 200, {10000: 1}, (1, 1), date(2027, 1, 1))
    >>> low, middle, high = forecast(
    ...     SpendAndSave(10000, 2000), face_fen=20000, budget_fen=10**9, claimed=False, assumed=assumed
    ... )
    >>> middle.buyers, middle.packs, middle.subsidy_fen, [day.total_fen for day in middle.days]
    (50, 100, 200000, [100000, 200000])
    """
    assert assumed.curve
    assert assumed.tier_mix
    return tuple(
        _line(name, permille, offer, face_fen=face_fen, budget_fen=budget_fen, claimed=claimed, assumed=assumed)
        for name, permille in LINES
    )


def _line(
    name: str,
    permille: int,
    offer: SpendAndSave,
    *,
    face_fen: int,
    budget_fen: int,
    claimed: bool,
    assumed: Assumed,
) -> Line:
    take_up = min(1_000_000, assumed.take_up_permille * permille)
    buyers = assumed.members * take_up // 1_000_000
    packs = buyers * assumed.packs_per_100 // 100
    tiers = sorted(assumed.tier_mix)
    mix = [assumed.tier_mix[tier] for tier in tiers]
    stock = dict(zip(tiers, spread(packs, mix) if sum(mix) else [0] * len(tiers), strict=True))
    sales_fen = sum(tier * count for tier, count in stock.items())
    subsidy_fen = min(sales_fen // offer.step_fen * offer.save_fen, buyers * face_fen)
    weights = assumed.curve if sum(assumed.curve) else [1] * len(assumed.curve)
    spent, taken = spread(subsidy_fen, weights), spread(buyers * face_fen, weights)
    days, total, committed, runs_out_on = [], 0, 0, None
    for number, (amount, face) in enumerate(zip(spent, taken, strict=True)):
        day = assumed.first_day + timedelta(days=number)
        total, committed = total + amount, committed + face
        days.append(Day(day, amount, total, committed))
        if runs_out_on is None and (committed if claimed else total) > budget_fen:
            runs_out_on = day
    return Line(name, buyers, packs, stock, sales_fen, subsidy_fen, runs_out_on, tuple(days))


def usual_curve(days: int) -> tuple[int, ...]:
    """Return how a campaign's days weigh where none has shown it: most at the opening, some before the end.

    >>> usual_curve(10)
    (4, 4, 1, 1, 1, 1, 1, 1, 2, 2)
    """
    assert days > 0
    edge = -(-days // 5)
    return tuple(OPENING if day < edge else ENDING if day >= days - edge else BETWEEN for day in range(days))


def stretched(curve: Sequence[int], days: int) -> tuple[int, ...]:
    """Return a curve over another number of days: each new day weighs what it covers of the old ones.

    >>> stretched((3, 1), 4), stretched((3, 3, 1, 1), 2), stretched((2, 4), 3)
    ((6, 6, 2, 2), (12, 4), (4, 6, 8))
    """
    assert days > 0
    old = len(curve)
    weights = []
    for new in range(days):
        begin, end = new * old, (new + 1) * old
        overlaps = (max(0, min(end, (at + 1) * days) - max(begin, at * days)) for at in range(old))
        weights.append(sum(weight * overlap for weight, overlap in zip(curve, overlaps, strict=True)))
    return tuple(weights)
