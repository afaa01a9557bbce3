"""Who did what, on which object, before and after, when, from where: append-only and hash-chained.

Each entry's hash covers its content and the hash before it, so a changed, added or removed entry breaks the chain from
there on. The database refuses UPDATE and DELETE (migration 0003). The head row gives the order: an entry is written in
the transaction of the act it tells of, as its last statement.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, Text, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from kernel import origin
from kernel.db import Base, Id, UtcDateTime, db, rows_changed

FIRST_HASH = "0" * 64


class AuditEntry(Base):
    """One act. `before` and `after` are JSON text, kept as written: the hash covers these very bytes."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    actor_id: Mapped[int | None] = mapped_column(Id, index=True)
    action: Mapped[str] = mapped_column(String(40))
    object: Mapped[str] = mapped_column(String(80), index=True)
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str] = mapped_column(String(64), default="")
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The last entry's number and hash; locked by whoever writes the next."""

    __tablename__ = "audit_heads"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_id: Mapped[int] = mapped_column(Id)
    hash: Mapped[str] = mapped_column(String(64))


def record(
    action: str,
    thing: str,
    *,
    actor_id: int | None = None,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry within the caller's transaction; call it last: it locks the head of the chain.

    The actor is who asks (kernel.origin) unless named.
    """
    moving = update(AuditHead).where(AuditHead.id == 1).values(last_id=AuditHead.last_id + 1)
    if rows_changed(moving) == 0:
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        db.session.execute(on_engine(AuditHead).values(id=1, last_id=0, hash=FIRST_HASH).on_conflict_do_nothing())
        rows_changed(moving)
    last_id, previous = db.session.execute(select(AuditHead.last_id, AuditHead.hash).where(AuditHead.id == 1)).one()
    entry = {
        "id": last_id,
        "at": now.astimezone(UTC),
        "actor_id": actor_id if actor_id is not None else origin.actor(),
        "action": action,
        "object": thing[:80],
        "before": _text(before),
        "after": _text(after),
        "address": origin.address(),
    }
    entry["hash"] = hash_of(previous, entry)
    db.session.execute(insert(AuditEntry).values(**entry))
    db.session.execute(update(AuditHead).where(AuditHead.id == 1).values(hash=entry["hash"]))


def _text(content: Mapping[str, Any] | None) -> str | None:
    if content is None:
        return None
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def hash_of(previous: str, entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry and of the hash before it."""
    at = entry["at"].astimezone(UTC).isoformat(timespec="microseconds")
    content = [
        previous,
        entry["id"],
        at,
        entry["actor_id"],
        *[entry[name] for name in ("action", "object", "before", "after", "address")],
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return only what differs between two states.

    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3})
    ({'b': 2}, {'b': 3})
    """
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def entries(
    *,
    limit: int,
    before: int | None = None,
    actor_id: int | None = None,
    thing: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[AuditEntry]:
    """Return entries, newest first, one more than `limit` where there are more; `thing` may be a kind alone."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if actor_id is not None:
        query = query.where(AuditEntry.actor_id == actor_id)
    if thing:
        whole = ":" in thing
        matches = AuditEntry.object == thing if whole else AuditEntry.object.startswith(f"{thing}:", autoescape=True)
        query = query.where(matches)
    if action:
        query = query.where(AuditEntry.action.startswith(action, autoescape=True))
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if until is not None:
        query = query.where(AuditEntry.at < until)
    return db.session.scalars(query.execution_options(populate_existing=True)).all()


def verify() -> tuple[int, str | None]:
    """Return how many entries the chain has, and its first broken link in words (None where it is whole)."""
    previous, count = FIRST_HASH, 0
    for row in _all():
        if row.id != count + 1:
            return count, f"entry {count + 1} is missing"
        if row.hash != hash_of(previous, row._mapping):
            return count, f"entry {row.id} is not what was written"
        previous, count = row.hash, row.id
    head = db.session.execute(select(AuditHead.last_id, AuditHead.hash)).one_or_none()
    said = (head.last_id, head.hash) if head else (0, FIRST_HASH)
    if said != (count, previous):
        return count, f"entry {count + 1} is missing: {said[0]} were written"
    return count, None


def last_hash() -> str:
    """Return the hash of the last entry: kept elsewhere, it also shows a chain that was written anew."""
    return db.session.scalar(select(AuditHead.hash).where(AuditHead.id == 1)) or FIRST_HASH


def _all() -> Iterator[Any]:
    table = AuditEntry.__table__
    last = 0
    while rows := db.session.execute(select(table).where(table.c.id > last).order_by(table.c.id).limit(2000)).all():
        yield from rows
        last = rows[-1].id


def content_of(text: str | None) -> Any:
    """Return what an entry's `before` or `after` says."""
    return None if text is None else json.loads(text)
