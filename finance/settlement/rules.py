"""What a statement says, the life of a statement, and which month a posting belongs to."""

from dataclasses import dataclass, fields

STATEMENT_MOVES = {
    "open": {"issued"},  # its month is not over: no row of its own yet
    "issued": {"confirmed", "disputed"},
    "disputed": {"issued"},  # the operator has answered; the merchant looks again
    "confirmed": {"paid"},
    "paid": set[str](),
}
PAYOUT, CORRECTION = "payout", "correct"


@dataclass(frozen=True)
class Figures:
    """A statement's figures in fen; refunds are what they take off, a correction may be negative."""

    paid_fen: int = 0
    subsidy_fen: int = 0
    refund_cash_fen: int = 0
    refund_subsidy_fen: int = 0
    correction_fen: int = 0

    @property
    def goods_fen(self) -> int:
        """Goods at full price."""
        return self.paid_fen + self.subsidy_fen

    @property
    def refunds_fen(self) -> int:
        """What was given back, at full price."""
        return self.refund_cash_fen + self.refund_subsidy_fen

    @property
    def net_fen(self) -> int:
        """What the union owes the merchant; below zero, the merchant the union.

        >>> Figures(paid_fen=240_00, subsidy_fen=60_00, refund_cash_fen=120_00, refund_subsidy_fen=30_00).net_fen
        15000
        """
        return self.goods_fen - self.refunds_fen + self.correction_fen

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})


OPENED = {
    "paid": ("paid_fen",),
    "subsidy": ("subsidy_fen",),
    "goods": ("paid_fen", "subsidy_fen"),
    "refunds": ("refund_cash_fen", "refund_subsidy_fen"),
    "corrections": ("correction_fen",),
}
"""Each figure of a statement that opens to its entries, and the sums it is made of; the net is made of them all."""


def next_month(month: str) -> str:
    """Return the month after.

    >>> next_month("2026-11"), next_month("2026-12")
    ('2026-12', '2027-01')
    """
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


def month_for(posted_in: str, last_closed: str | None) -> str:
    """Return the statement a posting of a month belongs to: a closed one never changes, so what comes late is next's.

    >>> month_for("2026-11", None), month_for("2026-11", "2026-11"), month_for("2027-01", "2026-11")
    ('2026-11', '2026-12', '2027-01')
    """
    return posted_in if last_closed is None else max(posted_in, next_month(last_closed))


def period_of(month: str, slug: str) -> str:
    """Return the name of a campaign's statement of a month.

    >>> period_of("2026-11", "spring")
    '2026-11-spring'
    """
    return f"{month}-{slug}"


def read_period(text: str) -> tuple[str, str | None] | None:
    """Return the month, and the campaign's slug where one is named; None for what names no month.

    >>> read_period("2026-11"), read_period("2026-11-spring"), read_period("2026-13"), read_period("x")
    (('2026-11', None), ('2026-11', 'spring'), None, None)
    """
    month, dash, slug = text[:7], text[7:8], text[8:]
    numbers = month[:4].isdecimal() and month[4:5] == "-" and month[5:].isdecimal() and month.isascii()
    if len(month) != 7 or not numbers or not 1 <= int(month[5:]) <= 12 or (text[7:] and (dash != "-" or not slug)):
        return None
    return month, slug or None
