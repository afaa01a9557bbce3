"""Lists by page: a cursor is the id after which the next page begins, opaque to the client."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kernel.errors import Invalid
from kernel.ids import as_id

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list and where the next begins (None at the end)."""

    items: Sequence[Item]
    next_cursor: str | None


def encode_cursor(after: int) -> str:
    """Return the cursor that begins after an id.

    >>> decode_cursor(encode_cursor(42))
    42
    """
    return base64.urlsafe_b64encode(str(after).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """Return the id a cursor begins after; raise Invalid for a cursor that is none of ours."""
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    after = as_id(text)
    if after is None:
        raise Invalid(errors={"cursor": ["无效的分页标记。"]})
    return after


def part_of(rows: Sequence[Item], *, limit: int, after: int | None, key: Callable[[Item], int]) -> Page[Item]:
    """Return a page of a list that is short enough to be read whole, in the list's own order.

    >>> part_of([5, 9, 7], limit=1, after=5, key=int).items
    [9]
    """
    keys = [key(row) for row in rows]
    if after is not None and after not in keys:
        raise Invalid(errors={"cursor": ["无效的分页标记。"]})
    rest = rows[keys.index(after) + 1 :] if after is not None else rows
    return page_of(rest[: limit + 1], limit=limit, key=key)


def page_of(rows: Sequence[Item], *, limit: int, key: Callable[[Item], Any]) -> Page[Item]:
    """Return a page from `limit + 1` rows: the extra row only tells that there is more."""
    more = len(rows) > limit
    items = rows[:limit]
    return Page(items=items, next_cursor=encode_cursor(key(items[-1])) if more and items else None)
