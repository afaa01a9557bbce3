"""What is said and who may answer: pure functions over questions, answers and words."""

import unicodedata
from datetime import datetime

STARS = range(1, 6)
MOST_WORDS = 500
MODERATION = {"none": set(), "waiting": {"shown", "hidden"}, "shown": {"hidden"}, "hidden": {"shown"}}
"""What may become of a rating's words; 'none' are no words. Stars count at once, words are shown by an operator."""


def is_overdue(due_at: datetime, answered_at: datetime | None, *, now: datetime) -> bool:
    """Return whether a question waits for its answer past the promised moment.

    >>> from datetime import UTC
    >>> due = datetime(2027, 1, 6, tzinfo=UTC)
    >>> is_overdue(due, None, now=due), is_overdue(due, due, now=due)
    (True, False)
    >>> is_overdue(due, None, now=datetime(2027, 1, 5, tzinfo=UTC))
    False
    """
    return answered_at is None and due_at <= now


def words_of(text: str) -> list[str]:
    """Return the words to look for: full-width forms made plain, lower case, five at most.

    >>> words_of("  ＡＢ 大米 "), words_of("")
    (['ab', '大米'], [])
    """
    return unicodedata.normalize("NFKC", text).lower().split()[:5]


def has_all(text: str, words: list[str]) -> bool:
    """Return whether a text has every word somewhere in it: Chinese has no spaces to tell its words by.

    >>> has_all("满减怎么算", ["满减"]), has_all("满减怎么算", ["满减", "退款"]), has_all("任何", [])
    (True, False, False)
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    return bool(words) and all(word in plain for word in words)
