"""What follows from a pack alone: where its picture is, how long its stock will last."""

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
