"""Identifiers: time-ordered 63-bit numbers made without asking the database, and secrets."""

import hashlib
import secrets
import time
from datetime import UTC, datetime  # noqa: F401 the example needs UTC

_EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
_RANDOM_BITS = 22


def new_id() -> int:
    """Return a new id: milliseconds since 2020 followed by 22 random bits.

    Ids sort by time, so a list by id is a list by date; two made in the same millisecond collide with a chance
    of one in four million, which the primary key then refuses.
    """
    return (int(time.time() * 1000) - _EPOCH_MS) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


def first_id_at(moment: datetime) -> int:
    """Return the smallest id that `new_id` can make at a moment: what was made since is found by the primary key.

    >>> first_id_at(datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1000 << 22
    True
    """
    return (int(moment.timestamp() * 1000) - _EPOCH_MS) << _RANDOM_BITS


def new_ids(count: int) -> range:
    """Return as many new ids, one after the other from one that is new: of many random ones two might be the same."""
    first = new_id()
    return range(first, first + count)


def new_secret(prefix: str = "") -> str:
    """Return an unguessable text of 192 bits."""
    return prefix + secrets.token_urlsafe(24)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret that is itself long and random (a token): what is stored in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()


def as_id(text: object) -> int | None:
    """Return the id a client wrote as text, or None where no id can look like that.

    >>> as_id("42"), as_id("0x1"), as_id("99999999999999999999"), as_id(None)
    (42, None, None, None)
    """
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 19:
        number = int(text)
        return number if number < 2**63 else None
    return None
