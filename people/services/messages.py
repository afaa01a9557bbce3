"""Sending text messages: written with what they tell of, sent by the worker through one interface."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from string import Template
from typing import Protocol

import requests
from sqlalchemy import select, update

from kernel import origin
from kernel.db import db, rows_changed, transaction
from kernel.sealing import unseal
from people.models import Message
from people.steps import NOTICE

# At DEBUG the HTTP library writes each address it asks, and an address may carry a phone.
logging.getLogger("urllib3").setLevel(logging.INFO)
log = logging.getLogger("huigong.messages")

TRIES = 4
GIVE_UP = timedelta(minutes=5)  # a code is of no use later
NOTICE_GIVES_UP = timedelta(days=1)
SECONDS_TO_ANSWER = 10


class Sender(Protocol):
    """Takes a message to a phone. Raises SendingFailed where it was not taken."""

    def send(self, *, phone: str, code: str) -> None:
        """Send a one-time code to a phone."""

    def notify(self, *, phone: str, text: str) -> None:
        """Send a text that is no code. Raises SendingFailed."""


class SendingFailed(Exception):
    """The provider did not take the message."""


class Outbox:
    """Development: nothing leaves; the outbox page shows what would have."""

    def send(self, *, phone: str, code: str) -> None:
        """Leave the message where it is."""

    def notify(self, *, phone: str, text: str) -> None:
        """Leave the message where it is."""


@dataclass(frozen=True)
class HttpsGateway:
    """Any provider with an HTTPS interface: address, body and headers are templates with $phone and $code.

    `accepted` is a text the provider's answer must contain, besides a 2xx status. `notice` is the body of what is no
    code, with $phone and $text; without it none is sent.
    """

    url: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    accepted: str = ""
    notice: str = ""

    def send(self, *, phone: str, code: str) -> None:
        """Ask the provider to send; raise SendingFailed."""
        self._ask(self.body, {"phone": phone, "code": code})

    def notify(self, *, phone: str, text: str) -> None:
        """Ask the provider to send a text that is no code; raise SendingFailed."""
        if not self.notice:
            raise SendingFailed("no template for notices")
        self._ask(self.notice, {"phone": phone, "text": text})

    def _ask(self, body: str, values: Mapping[str, str]) -> None:
        try:
            answer = requests.request(
                "POST" if body else "GET",
                Template(self.url).safe_substitute(values),
                data=Template(body).safe_substitute(values).encode() or None,
                headers=dict(self.headers),
                timeout=SECONDS_TO_ANSWER,
                allow_redirects=False,
            )
        except requests.RequestException as failed:
            # The error's text would name the phone: its kind is enough.
            raise SendingFailed(type(failed).__name__) from None
        if not 200 <= answer.status_code < 300 or self.accepted not in answer.text:
            raise SendingFailed(f"HTTP {answer.status_code}")


def sender_of(text: str) -> Sender:
    """Return the sender a setting describes: '' is the development outbox, else JSON with url, body, headers."""
    if not text:
        return Outbox()
    settings = json.loads(text)
    return HttpsGateway(
        url=settings["url"],
        body=settings.get("body", ""),
        headers=settings.get("headers", {}),
        accepted=settings.get("accepted", ""),
        notice=settings.get("notice", ""),
    )


def deliver(sender: Sender, *, key: str, now: datetime, limit: int = 50) -> int:
    """Send what waits, each message taken by one worker only; return how many were sent.

    The provider is called with no row locked. A message it refuses is tried again, later each time.
    """
    waiting = list(
        db.session.scalars(
            select(Message.id)
            .where(Message.status == "waiting", Message.send_at <= now)
            .order_by(Message.send_at)
            .limit(limit)
        )
    )
    return sum(_deliver_one(message_id, sender, key=key, now=now) for message_id in waiting)


def _deliver_one(message_id: int, sender: Sender, *, key: str, now: datetime) -> bool:
    with transaction():
        taken = rows_changed(
            update(Message)
            .where(Message.id == message_id, Message.status == "waiting")
            .values(status="sending", tries=Message.tries + 1)
        )
        row = db.session.execute(
            select(
                *(Message.phone, Message.kind, Message.sealed, Message.tries, Message.made_at, Message.request_id)
            ).where(Message.id == message_id)
        ).one()
    code = unseal(row.sealed, key=key, purpose="code")
    if taken == 0:
        return False
    outcome = {"status": "sent", "error": ""}
    if isinstance(sender, Outbox):
        pass
    elif code is None or now - row.made_at > (NOTICE_GIVES_UP if row.kind == NOTICE else GIVE_UP):
        outcome = {"status": "failed", "error": "too late", "sealed": ""}
    else:
        try:
            if row.kind == NOTICE:
                sender.notify(phone=row.phone, text=code)
            else:
                sender.send(phone=row.phone, code=code)
            outcome["sealed"] = ""
        except SendingFailed as failed:
            outcome = {"status": "waiting", "error": str(failed)[:200]}
            if row.tries >= TRIES:
                outcome = {"status": "failed", "error": str(failed)[:200], "sealed": ""}
    with origin.work_of(row.request_id):
        about = {"message_id": message_id, "kind": row.kind, "attempt": row.tries}
        log.info("message handled", extra={**about, "outcome": outcome["status"], "error": outcome["error"] or None})
    with transaction():
        later = {"send_at": now + timedelta(seconds=5 * 2**row.tries)} if outcome["status"] == "waiting" else {}
        db.session.execute(update(Message).where(Message.id == message_id).values(**outcome, **later))
    return outcome["status"] == "sent"
