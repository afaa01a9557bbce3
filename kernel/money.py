"""Money is an integer number of fen (100 fen = ¥1). No float touches it."""

import re
from collections.abc import Sequence
from decimal import Decimal

MAX_FEN = 10**13
"""The largest amount a single order may reach (¥100 billion): keeps every sum far inside 64 bits."""


def yuan(fen: int) -> str:
    """Return an amount as people write it, without trailing zeros of a whole yuan.

    >>> yuan(20000), yuan(17999), yuan(-1), yuan(1234500)
    ('¥200', '¥179.99', '-¥0.01', '¥12,345')
    """
    sign = "-" if fen < 0 else ""
    whole, rest = divmod(abs(fen), 100)
    return f"{sign}¥{whole:,}" + (f".{rest:02d}" if rest else "")


def fen_of(text: str) -> int | None:
    """Return the fen of an amount typed in yuan, or None where it is none. No float is involved.

    >>> fen_of("12,130"), fen_of("¥0.5"), fen_of("1.234"), fen_of("-1"), fen_of("200.000")
    (1213000, 50, None, None, 20000)
    """
    found = re.fullmatch(r"[¥￥]?([0-9]{1,11})(?:\.([0-9]{1,2})0*)?", text.replace(",", "").strip(), re.ASCII)
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else None


def decimal_yuan(fen: int) -> Decimal:
    """Return an amount in yuan for a spreadsheet's cell, exactly.

    >>> decimal_yuan(17999), decimal_yuan(-1)
    (Decimal('179.99'), Decimal('-0.01'))
    """
    return Decimal(fen).scaleb(-2)


def spread(total_fen: int, weights: Sequence[int]) -> list[int]:
    """Spread an amount over weights: floor to the fen, left-over fen to the largest remainders, ties to the earlier.

    The shares add up to `total_fen` exactly (rules.md, 'Spreading a discount over lines').

    >>> spread(2000, [6000, 4000])
    [1200, 800]
    >>> spread(100, [1, 1, 1])
    [34, 33, 33]
    """
    assert total_fen >= 0
    assert all(weight >= 0 for weight in weights)
    whole = sum(weights)
    if total_fen == 0 or whole == 0:
        assert total_fen == 0
        return [0] * len(weights)
    shares = [total_fen * weight // whole for weight in weights]
    remainders = [total_fen * weight % whole for weight in weights]
    left_over = total_fen - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda index: (-remainders[index], index))
    for index in by_remainder[:left_over]:
        shares[index] += 1
    return shares
