"""How often something may be done: counted in the database, so that all processes count together."""

from datetime import UTC, datetime

from sqlalchemy import String, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, UtcDateTime, db, transaction
from kernel.errors import RateLimited
from kernel.ids import digest


class RateCount(Base):
    """How often a key was used in a window of time. Keys are digests: no phone or address is kept here."""

    __tablename__ = "rate_counts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True, index=True)
    count: Mapped[int]


def spend(what: str, whom: str, *, at_most: int, seconds: int, now: datetime) -> None:
    """Count one use of `what` by `whom`; raise RateLimited past `at_most` in this window of `seconds`.

    A transaction of its own: the count stays where what follows fails.
    """
    window = int(now.timestamp()) // seconds + 1
    ends_at = datetime.fromtimestamp(window * seconds, UTC)
    key = digest(f"{what}:{whom}")
    insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(RateCount).values(key=key, ends_at=ends_at, count=1)
    with transaction():
        db.session.execute(
            statement.on_conflict_do_update(
                index_elements=[RateCount.key, RateCount.ends_at], set_={"count": RateCount.count + 1}
            )
        )
        count = db.session.scalar(select(RateCount.count).where(RateCount.key == key, RateCount.ends_at == ends_at))
    if (count or 0) > at_most:
        wait = max(1, int((ends_at - now).total_seconds()) + 1)
        raise RateLimited("操作太频繁，请在 %(seconds)s 秒后再试。", extra={"retry_after": wait}, seconds=wait)


def forget(*, now: datetime) -> None:
    """Drop windows that have ended."""
    with transaction():
        db.session.execute(delete(RateCount).where(RateCount.ends_at < now))
