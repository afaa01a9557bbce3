"""幂等: the same key and request is answered once and replayed byte for byte, whoever asks again and when.

The record is written in the use-case's own transaction: an answer exists exactly when its effect does. Two requests
at the same instant meet at the primary key: the second waits for the first and is given its answer.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, Text, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, db, rows_changed
from kernel.errors import DomainError


class IdempotencyConflict(DomainError):
    """The key was used for another request."""

    code, status = "idempotency_conflict", 409


class IdempotencyKeyRequired(DomainError):
    """A request that moves stock or money came without a key."""

    code, status = "idempotency_key_required", 400


class IdempotencyRecord(Base):
    """A request that was answered, and the answer."""

    __tablename__ = "idempotency_records"

    person_id: Mapped[int] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    body: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True)
class Once:
    """Who asks, under which key, for what."""

    person_id: int
    key: str
    request_hash: str


@dataclass(frozen=True)
class Answer:
    """What to answer, as the exact text, and whether it was answered before."""

    text: str
    replayed: bool = False

    @property
    def body(self) -> Any:
        """The answer's content."""
        return json.loads(self.text)


def request_once(*, person_id: int, key: str, route: str, body: Any) -> Once:
    """Return the identity of a request: its route and content, whatever the order of the fields."""
    content = json.dumps([route, body], sort_keys=True, ensure_ascii=False, default=str)
    request_hash = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()
    return Once(person_id=person_id, key=key, request_hash=request_hash)


def answer_of(content: Any) -> Answer:
    """Return the text of an answer, as it is sent now and at every repetition."""
    return Answer(text=json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def replay_of(once: Once, *, request_hash: str, text: str) -> Answer:
    """Return the first answer again; raise IdempotencyConflict where the request was another."""
    if request_hash != once.request_hash:
        raise IdempotencyConflict("这个幂等键已用于另一个请求。")
    return Answer(text=text, replayed=True)


def begin(once: Once | None) -> Answer | None:
    """Claim the key within the caller's transaction; return the first answer where there was one.

    Without a key (where none is required) nothing is claimed: what is done must then refuse to be done twice.
    """
    if once is None:
        return None
    insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    claimed = rows_changed(
        insert(IdempotencyRecord)
        .values(person_id=once.person_id, key=once.key, request_hash=once.request_hash)
        .on_conflict_do_nothing()
    )
    if claimed == 1:
        return None
    first = db.session.execute(
        select(IdempotencyRecord.request_hash, IdempotencyRecord.body).filter_by(person_id=once.person_id, key=once.key)
    ).one()
    return replay_of(once, request_hash=first.request_hash, text=first.body or "{}")


def peek(once: Once) -> Answer | None:
    """Return the first answer where there was one, without claiming the key: for a use-case that asks somebody else
    between two transactions and claims in the second."""
    first = db.session.execute(
        select(IdempotencyRecord.request_hash, IdempotencyRecord.body).filter_by(person_id=once.person_id, key=once.key)
    ).one_or_none()
    return replay_of(once, request_hash=first.request_hash, text=first.body or "{}") if first is not None else None


def finish(once: Once | None, content: Any) -> Answer:
    """Record the answer of a claimed key, in the same transaction, and return it."""
    answer = answer_of(content)
    if once is None:
        return answer
    db.session.execute(
        update(IdempotencyRecord).filter_by(person_id=once.person_id, key=once.key).values(body=answer.text)
    )
    return answer


def forget(person_id: int) -> None:
    """Empty the answers a person got, in the caller's transaction; their keys stay used."""
    db.session.execute(update(IdempotencyRecord).filter_by(person_id=person_id).values(body="{}"))
