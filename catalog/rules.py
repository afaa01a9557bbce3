"""What follows from a pack alone: where its picture is, how long its stock will last."""

from dataclasses import dataclass

from kernel import files
from kernel.pictures import at_width


def picture_path(picture: str, width: int) -> str:
    """Return the address of a pack's picture: an upload in one of its widths, or a file of ours.

    >>> picture_path("packs/a.webp", 640)
    '/static/packs/a.webp'
    >>> picture_path("0123456789abcdef0123456789abcdef.webp", 320)
    '/pictures/0123456789abcdef0123456789abcdef-320.webp'
    """
    return f"/pictures/{at_width(picture, width)}" if is_upload(picture) else f"/static/{picture}"


def is_upload(picture: str) -> bool:
    """Return whether a picture was uploaded."""
    return files.NAME.fullmatch(picture) is not None


def days_left(*, available: int, sold: int, days: int) -> int | None:
    """Return for how many days the available packs last, sold at the rate of the last `days`; None where none sold.

    >>> days_left(available=50, sold=20, days=7), days_left(available=0, sold=3, days=7)
    (17, 0)
    >>> days_left(available=50, sold=0, days=7) is None
    True
    """
    return None if sold <= 0 else available * days // sold


FEW_RATINGS = 5
"""Below so many ratings no average is shown: one friend or one bad day would make it."""


@dataclass(frozen=True)
class RatingSummary:
    """How a pack is rated: by how many, and the mean in tenths of a star (None where they are few)."""

    count: int
    average_tenths: int | None

    @property
    def is_few(self) -> bool:
        """Whether there are ratings, but too few for an average."""
        return 0 < self.count < FEW_RATINGS


def rating_summary(*, count: int, stars: int) -> RatingSummary:
    """Return what a pack's ratings say: the plain mean, rounded to the nearest tenth, from five ratings on.

    No rating is left out or weighed, hidden words included: moderation is of words, never of stars.

    >>> rating_summary(count=4, stars=20)
    RatingSummary(count=4, average_tenths=None)
    >>> rating_summary(count=5, stars=23), rating_summary(count=8, stars=33).average_tenths
    (RatingSummary(count=5, average_tenths=46), 41)
    >>> rating_summary(count=0, stars=0).is_few, rating_summary(count=1, stars=5).is_few
    (False, True)
    """
    assert count <= stars <= 5 * count
    if count < FEW_RATINGS:
        return RatingSummary(count, None)
    return RatingSummary(count, (20 * stars + count) // (2 * count))


NOT_RATED = RatingSummary(0, None)
