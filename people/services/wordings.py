"""An operator's own words for messages, and how a person wants to be told."""

import hmac
import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kernel import audit, limits
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound
from kernel.ids import new_id
from people import telling, texts
from people.models import Contact, MessageTemplate
from people.telling import EMAIL, SMS, Notice
from people.texts import KINDS, Kind

LONGEST_SUBJECT = 80
TESTS, TESTS_SECONDS = 10, 3600  # of one operator
CODES, CODES_SECONDS = 5, 3600  # to addresses one person names
CODE_LASTS, CODE_TRIES = timedelta(minutes=15), 5
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


def kind_of(event: str) -> Kind:
    """Return a kind of message; raise NotFound."""
    if event not in KINDS:
        raise NotFound("没有这种消息。")
    return KINDS[event]


def faults(kind: Kind, words: str) -> list[str]:
    """Return what is wrong with an operator's words of a kind.

    >>> faults(texts.KINDS["order.paid"], "已付款 {amount}"), faults(texts.KINDS["order.paid"], "订单 {number}")
    (['缺少必须写上的变量。'], [])
    >>> faults(texts.KINDS["order.paid"], "{number} {name}")
    ['只能用下面列出的变量，大括号不能作别的用处。']
    """
    named = set(texts.FIELD.findall(words))
    if not words.strip():
        return ["请填写内容。"]
    found = []
    if len(words) > texts.LONGEST:
        found.append("最多 500 个字。")
    if named - kind.examples.keys() or set("{}") & set(texts.FIELD.sub("", words)):
        found.append("只能用下面列出的变量，大括号不能作别的用处。")
    if any(name not in named for name in kind.needed):
        found.append("缺少必须写上的变量。")
    if any(ord(one) < 32 for one in words):
        found.append("内容只能有一行。")
    return found


def write(event: str, language: str, *, subject: str, words: str, actor_id: int, now: datetime) -> None:
    """Put an operator's words in the place of ours. Raises NotFound, and Invalid for words that cannot be sent."""
    kind = kind_of(event)
    if language not in texts.LANGUAGES:
        raise NotFound("没有这种语言。")
    subject, words = subject.strip(), words.strip()
    errors = {"words": wrong} if (wrong := faults(kind, words)) else {}
    if not subject or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        errors["subject"] = ["请填写邮件标题，最多 80 个字，只有一行。"]
    if errors:
        raise Invalid(errors=errors)
    values = {"subject": subject, "words": words, "changed_by": actor_id, "changed_at": now}
    with transaction():
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        before = _said(event, language)
        db.session.execute(
            on_engine(MessageTemplate)
            .values(event=event, language=language, **values)
            .on_conflict_do_update(index_elements=["event", "language"], set_=values)
        )
        after = {"subject": subject, "words": words}
        audit.record(
            "message.words", f"words:{event}:{language}", actor_id=actor_id, now=now, before=before, after=after
        )


def take_back(event: str, language: str, *, actor_id: int, now: datetime) -> None:
    """Have our own words again. Raises NotFound for a kind there is not; where none were written nothing changes."""
    kind_of(event)
    with transaction():
        before = _said(event, language)
        own = (MessageTemplate.event == event, MessageTemplate.language == language)
        if rows_changed(delete(MessageTemplate).where(*own)):
            audit.record("message.words", f"words:{event}:{language}", actor_id=actor_id, now=now, before=before)


def _said(event: str, language: str) -> dict[str, str] | None:
    own = (MessageTemplate.event == event, MessageTemplate.language == language)
    row = db.session.execute(select(MessageTemplate.subject, MessageTemplate.words).where(*own)).one_or_none()
    return None if row is None else {"subject": row.subject, "words": row.words}


def send_test(event: str, channel: str, *, key: str, actor_id: int, now: datetime) -> None:
    """Send an operator a message of a kind with example values, to their own phone or confirmed e-mail address.

    It reads as saved, in the operator's own language. Raises NotFound, Invalid without an address, RateLimited.
    """
    kind = kind_of(event)
    contact = db.session.get(Contact, actor_id, populate_existing=True)
    if channel not in (SMS, EMAIL) or (channel == EMAIL and (contact is None or not contact.email)):
        raise Invalid("请先在“我的账号”里确认邮箱。")
    limits.spend("message-test", str(actor_id), at_most=TESTS, seconds=TESTS_SECONDS, now=now)
    values = texts.examples(kind, contact.language if contact is not None else "zh")
    with transaction():
        notice = Notice(event, f"test:{new_id()}", values, person_id=actor_id, channel=channel)
        telling.tell([notice], key=key, now=now)
        audit.record("message.test", f"words:{event}", actor_id=actor_id, now=now, after={"channel": channel})


def choose(*, person_id: int, channel: str, language: str, news: bool) -> None:
    """Note how a person wants to be told. Raises Invalid for a channel without a confirmed address."""
    if language not in texts.LANGUAGES or channel not in (SMS, EMAIL):
        raise Invalid(errors={"channel": ["请选择接收方式。"]})
    with transaction():
        _have(person_id)
        allowed = Contact.email.is_not(None) if channel == EMAIL else Contact.person_id == person_id
        done = rows_changed(
            update(Contact)
            .where(Contact.person_id == person_id, allowed)
            .values(channel=channel, language=language, news=news)
        )
        if done == 0:
            raise Invalid(errors={"channel": ["请先确认邮箱，再选择用邮件接收。"]})


def _have(person_id: int) -> None:
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = {"person_id": person_id, "channel": SMS, "language": "zh", "news": True, "code_hash": "", "tries_left": 0}
    db.session.execute(on_engine(Contact).values(**row).on_conflict_do_nothing())


def name_email(*, person_id: int, email: str, key: str, now: datetime) -> None:
    """Send a code to an address a person says is theirs; it is used for nothing until they have typed that code.

    Raises Invalid for what is no address, RateLimited.
    """
    address = email.strip()
    if len(address) > 254 or not ADDRESS.fullmatch(address):
        raise Invalid(errors={"email": ["请填写邮箱地址，例如 wang@example.org。"]})
    limits.spend("email-code", str(person_id), at_most=CODES, seconds=CODES_SECONDS, now=now)
    code = f"{secrets.randbelow(1_000_000):06d}"
    with transaction():
        _have(person_id)
        db.session.execute(
            update(Contact)
            .where(Contact.person_id == person_id)
            .values(
                new_email=address,
                code_hash=_hash(person_id, address, code, key),
                code_until=now + CODE_LASTS,
                tries_left=CODE_TRIES,
            )
        )
        notice = Notice("email.code", str(new_id()), {"code": code}, person_id=person_id, channel=EMAIL)
        telling.tell([notice], key=key, now=now)


def confirm_email(*, person_id: int, code: str, key: str, now: datetime) -> None:
    """Take a code that was sent to an address: the address is the person's. Raises Invalid for a wrong or old one."""
    with transaction():
        tried = rows_changed(
            update(Contact)
            .where(Contact.person_id == person_id, Contact.tries_left > 0, Contact.code_until > now)
            .values(tries_left=Contact.tries_left - 1)
        )
        row = db.session.get(Contact, person_id, populate_existing=True)
        address = row.new_email if row is not None else None
        right = (
            tried == 1
            and row is not None
            and address is not None
            and hmac.compare_digest(row.code_hash, _hash(person_id, address, code.strip(), key))
        )
        if right:
            db.session.execute(
                update(Contact)
                .where(Contact.person_id == person_id)
                .values(email=address, new_email=None, code_hash="", code_until=None, tries_left=0)
            )
            audit.record("contact.email", f"person:{person_id}", actor_id=person_id, now=now)
    if not right:  # the try is counted all the same
        raise Invalid(errors={"code": ["确认码不正确或已过期。"]})


def forget_email(*, person_id: int, now: datetime) -> None:
    """Write to a person's address no more; they are told by text message again."""
    with transaction():
        done = rows_changed(
            update(Contact)
            .where(Contact.person_id == person_id)
            .values(channel=SMS, email=None, new_email=None, code_hash="", code_until=None, tries_left=0)
        )
        if done:
            audit.record("contact.email", f"person:{person_id}", actor_id=person_id, now=now)


def _hash(person_id: int, address: str, code: str, key: str) -> str:
    return hmac.new(key.encode(), f"email:{person_id}:{address}:{code}".encode(), "sha256").hexdigest()
