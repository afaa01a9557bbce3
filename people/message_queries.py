"""Reads of messages: what waits, who got what, and what each says."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, or_, select

from kernel.db import db
from kernel.paging import Page, page_of
from kernel.sealing import unseal
from people import texts
from people.models import MESSAGE_STATES, Contact, Message, MessageTemplate, Person
from people.rules import masked
from people.telling import CODE, EMAIL, SEALED_FOR
from people.texts import KINDS, Kind

MessageRow = Row[Any]
STATES = MESSAGE_STATES
LANGUAGE = func.coalesce(Contact.language, "zh")


def _rows() -> Select[Any]:
    """Return messages with whom each goes to as they are known now, their language, and an operator's words."""
    whose = or_(Person.id == Message.person_id, and_(Message.person_id.is_(None), Person.phone == Message.phone))
    columns = [getattr(Message, column.key) for column in Message.__table__.columns]
    return (
        select(
            *columns,
            Person.name,
            Person.phone.label("phone_now"),
            Contact.email,
            Contact.new_email,
            LANGUAGE.label("language"),
            MessageTemplate.subject,
            MessageTemplate.words,
        )
        .select_from(Message)
        .outerjoin(Person, whose)
        .outerjoin(Contact, Contact.person_id == Person.id)
        .outerjoin(MessageTemplate, and_(MessageTemplate.event == Message.event, MessageTemplate.language == LANGUAGE))
    )


def one(message_id: int | None) -> MessageRow | None:
    """Return a message, as `latest` does."""
    return db.session.execute(_rows().where(Message.id == message_id)).one_or_none()


def latest(
    *,
    limit: int,
    before: int | None = None,
    status: str | None = None,
    event: str | None = None,
    person: str = "",
) -> Page[MessageRow]:
    """Return messages, newest first: in a state, of a kind, to somebody (their whole phone or name)."""
    query = _rows().order_by(Message.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Message.id < before)
    if status:
        query = query.where(Message.status == status)
    if event:
        query = query.where(Message.event == event)
    if text := person.strip():
        ids = select(Person.id).where(or_(Person.phone == text, Person.name == text))
        query = query.where(or_(Message.phone == text, Message.person_id.in_(ids)))
    return page_of(db.session.execute(query).all(), limit=limit, key=lambda row: row.id)


def all_to(person_id: int) -> list[MessageRow]:
    """Return every message that was made for a person, oldest first."""
    return list(db.session.execute(_rows().where(Person.id == person_id).order_by(Message.id)))


def counts() -> dict[str, int]:
    """Return how many messages wait, are unsure, and failed."""
    asked = select(Message.status, func.count()).where(Message.status.in_(("waiting", "unsure", "failed")))
    found = {status: count for status, count in db.session.execute(asked.group_by(Message.status))}
    return {status: found.get(status, 0) for status in ("waiting", "unsure", "failed")}


def overdue(*, now: datetime) -> tuple[int, datetime | None]:
    """Return how many messages could go by now and have not, and since when the first one-time code of them waits.

    A code goes first and at once; the others may wait for the end of the quiet hours, and for one another.
    """
    code = case((Message.kind == CODE, Message.send_at))
    asked = select(func.count(), func.min(code)).where(Message.status == "waiting", Message.send_at <= now)
    count, oldest = db.session.execute(asked).one()
    return count, oldest


def unsure_since() -> tuple[int, datetime | None]:
    """Return how many messages are unsure, and since when the first is."""
    asked = select(func.count(), func.min(Message.claimed_at)).where(Message.status == "unsure")
    count, oldest = db.session.execute(asked).one()
    return count, oldest


def address_of(row: MessageRow) -> str:
    """Return where a message goes: who has changed their phone is told on the new one. Empty where there is none."""
    if row.channel == EMAIL:
        return (row.new_email if row.event == "email.code" else row.email) or ""
    phone = row.phone_now or row.phone
    return phone if phone.isdigit() else ""


def opened(sealed: str, *, key: str, event: str) -> dict[str, str] | None:
    """Return a message's sealed values; the whole text as "" where it has no kind. None where it cannot be opened."""
    if not sealed:
        return {}
    text = unseal(sealed, key=key, purpose=SEALED_FOR)
    if text is None:
        return None
    return dict(json.loads(text)) if event else {"": text}


def words_of(row: MessageRow) -> tuple[str, str]:
    """Return a message's subject and words in its person's language: an operator's, or ours."""
    kind = KINDS[row.event]
    return (
        row.subject or texts.in_language(kind.subject, row.language),
        row.words or texts.in_language(kind.words, row.language),
    )


def shown(row: MessageRow) -> str:
    """Return what a message says, or said, without what opens something: as it may be shown to an operator."""
    if row.said:
        return str(row.said)
    kind = KINDS.get(row.event)
    if kind is None:
        return ""
    return texts.filled(words_of(row)[1], row.details, hide=kind.hidden)


@dataclass(frozen=True)
class Sent:
    """A message of the development outbox."""

    phone: str
    kind: str
    status: str
    text: str
    made_at: datetime
    language: str


def outbox(*, key: str, limit: int = 50) -> list[Sent]:
    """Return the last messages with what is sealed in them opened: for the development outbox only."""
    rows = db.session.execute(_rows().order_by(Message.id.desc()).limit(limit)).all()
    return [
        Sent(masked(row.phone_now or row.phone), row.kind, row.status, whole_text(row, key), row.made_at, row.language)
        for row in rows
    ]


def whole_text(row: MessageRow, key: str) -> str:
    """Return what a message says with what is sealed in it: for whom it is for, and in tests."""
    is_known = row.event in KINDS
    secret = opened(row.sealed, key=key, event=row.event if is_known else "") or {}
    return texts.filled(words_of(row)[1], {**row.details, **secret}) if is_known else secret.get("", "")


@dataclass(frozen=True)
class Words:
    """A kind's subject and words in one language; `changed_at` where an operator wrote them."""

    subject: str
    words: str
    changed_at: datetime | None = None


def templates() -> dict[str, dict[str, Words]]:
    """Return the words of every kind, by kind and language."""
    own = {(row.event, row.language): row for row in db.session.scalars(select(MessageTemplate))}
    return {
        name: {language: _words(kind, language, own.get((name, language))) for language in texts.LANGUAGES}
        for name, kind in KINDS.items()
    }


def _words(kind: Kind, language: str, own: MessageTemplate | None) -> Words:
    if own is not None:
        return Words(own.subject, own.words, own.changed_at)
    return Words(texts.in_language(kind.subject, language), texts.in_language(kind.words, language))


def contact(person_id: int) -> Contact:
    """Return how a person wants to be told; what holds for everybody where they have not said."""
    found = db.session.get(Contact, person_id, populate_existing=True)
    return found or Contact(person_id=person_id, channel="sms", language="zh", news=True, email=None, new_email=None)
