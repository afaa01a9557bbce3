"""One search over packs, own orders and help.

Words are looked for as parts of text (LIKE '%大米%'), not by an index of words. Chinese is written without spaces, so
an index by words would need a dictionary of ours; trigram indexes (SQLite's FTS5, PostgreSQL's pg_trgm) find nothing
shorter than three characters, and most Chinese words have two. A campaign has hundreds of packs and a member tens of
orders: reading them takes less than a millisecond, and means the same on both engines.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from catalog import queries as catalog_queries
from catalog.queries import PackView
from orders.queries import OrderView
from orders.queries.words import find_orders
from voices import help as articles
from voices.figures import figures
from voices.help import Article
from voices.rules import words_of

MOST = 20


@dataclass(frozen=True)
class Found:
    """What was found, at most `MOST` of each."""

    packs: list[PackView]
    orders: list[OrderView]
    help: list[Article]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return not (self.packs or self.orders or self.help)


def search(text: str, *, member_id: int | None, translate: Callable[..., str], now: datetime) -> Found:
    """Return packs on sale, the member's own orders and articles that have every word; nothing for no word."""
    words = words_of(text[:100])
    if not words:
        return Found([], [], [])
    wanted = catalog_queries.Filter(words=" ".join(words))
    return Found(
        packs=list(catalog_queries.packs(wanted, limit=MOST).items),
        orders=find_orders(words, member_id=member_id, limit=MOST, now=now),
        help=articles.found(words, translate=translate, figures=figures())[:MOST],
    )
