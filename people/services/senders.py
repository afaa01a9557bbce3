"""Providers that take a message to a phone or a mailbox, behind one interface.

What matters is how a failure is told: `Refused` is for what certainly was not taken, and may be tried again; `Unsure`
for whatever a provider may have sent without telling us. Nothing unknown is ever called Refused.
"""

import json
import logging
import smtplib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from string import Template
from typing import Any, Protocol

import requests
import urllib3

from kernel.outbound import signature
from people.rules import masked

# At DEBUG the HTTP library writes each address it asks, and an address may carry a phone.
logging.getLogger("urllib3").setLevel(logging.INFO)
log = logging.getLogger("huigong")

SECONDS_TO_ANSWER = 10
# No code and no body of ours went out yet when one of these is why a request failed.
_NOT_BEGUN = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_NO_REQUEST = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


@dataclass(frozen=True)
class Envelope:
    """One message as a provider gets it. `to` is a phone or an e-mail address; `code` a one-time code, or empty."""

    id: int
    to: str
    event: str
    subject: str
    text: str
    code: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The provider did not take the message, for certain. Its text names neither the person nor a secret."""


class Unsure(Exception):
    """The provider may have taken the message: nobody knows."""


class Sender(Protocol):
    """Takes a message to somebody. Raises Refused or Unsure; whatever else it raises counts as Unsure."""

    def send(self, one: Envelope) -> None:
        """Send a message, once."""


def hidden(address: str) -> str:
    """Return an address its owner recognizes: a phone, or an e-mail address.

    >>> hidden("13800000001"), hidden("wang@example.org")
    ('138****0001', 'w***@example.org')
    """
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}***@{domain}" if at else masked(address)


class Outbox:
    """Development: nothing leaves. The log says that something would have, the outbox page what."""

    def send(self, one: Envelope) -> None:
        """Leave the message where it is."""
        log.info("message %s (%s) to %s stays in the outbox", one.id, one.event, hidden(one.to))


@dataclass(frozen=True)
class HttpsGateway:
    """Any provider with an HTTPS interface: address, body and headers are templates.

    `$phone`, `$id` and `$event` stand for what they say. `body` is a one-time code's, with `$code`; `notice` the body
    of everything else, with `$text`, and `$values` (the values in it, as JSON); without it none is sent. `accepted` is
    a text the provider's answer must contain, besides a 2xx status; an answer that contains `refused` is a clear no.
    With a `secret` each request carries its signature (Huigong-Signature, as webhooks do).
    """

    url: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    accepted: str = ""
    refused: str = ""
    notice: str = ""
    secret: str = field(default="", repr=False)

    def send(self, one: Envelope) -> None:
        """Ask the provider to send; raise Refused or Unsure."""
        body = self.body if one.code else self.notice
        if not one.code and not body:
            raise Refused("no template for notices")
        values = {
            "phone": one.to,
            "code": one.code,
            "text": one.text,
            "id": str(one.id),
            "event": one.event,
            "values": json.dumps(dict(one.values), ensure_ascii=False),
        }
        content = Template(body).safe_substitute(values).encode()
        headers = {**self.headers, "Huigong-Message": str(one.id)}
        if self.secret:
            at = int(time.time())
            headers["Huigong-Signature"] = f"t={at},v1={signature(self.secret, at=at, body=content)}"
        try:
            answer = requests.request(
                "POST" if content else "GET",
                Template(self.url).safe_substitute(values),
                data=content or None,
                headers=headers,
                timeout=SECONDS_TO_ANSWER,
                allow_redirects=False,
            )
        except requests.RequestException as failed:
            # The error's text would name the phone: its kind is enough.
            raise _kind_of(failed) from None
        said = f"HTTP {answer.status_code}"
        if 300 <= answer.status_code < 500:
            raise Refused(said)
        if 200 <= answer.status_code < 300 and self.accepted in answer.text:
            return
        if 200 <= answer.status_code < 300 and self.refused and self.refused in answer.text:
            raise Refused(f"{said}, refused")
        raise Unsure(said)


def _kind_of(failed: requests.RequestException) -> Exception:
    """Return Refused where the request never began, Unsure otherwise."""
    name = type(failed).__name__
    outer: Any = failed.args[0] if failed.args else None
    reason = getattr(outer, "reason", outer)
    inner = reason.args[0] if isinstance(reason, Exception) and reason.args else None
    no_trust = isinstance(inner, ssl.SSLCertVerificationError)
    if isinstance(failed, _NO_REQUEST) or isinstance(reason, _NOT_BEGUN) or no_trust:
        return Refused(name)
    return Unsure(name)


@dataclass(frozen=True)
class Mail:
    """A mail server by SMTP. `tls` is how the way to it is closed: "starttls", "tls", or "none" on loopback."""

    host: str
    port: int
    sender: str
    tls: str = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)

    def send(self, one: Envelope) -> None:
        """Hand a message to the server; raise Refused before its text was sent or where the server says no to it."""
        text = self._written(one)
        try:
            server = self._open()
        except (OSError, smtplib.SMTPException) as failed:
            raise Refused(type(failed).__name__) from None
        try:
            self._hand_in(server, one.to, text)
        finally:
            server.close()  # a QUIT that hangs would say nothing more about this message

    def _open(self) -> smtplib.SMTP:
        trusted = ssl.create_default_context()
        server: smtplib.SMTP
        if self.tls == "tls":
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS_TO_ANSWER, context=trusted)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS_TO_ANSWER)
        try:
            if self.tls == "starttls":
                server.starttls(context=trusted)
            if self.user:
                server.login(self.user, self.password)
            server.ehlo_or_helo_if_needed()
        except BaseException:
            server.close()
            raise
        return server

    def _hand_in(self, server: smtplib.SMTP, to: str, text: bytes) -> None:
        try:
            for code, _ in (server.mail(self.sender), server.rcpt(to)):
                if code >= 400:
                    raise Refused(f"SMTP {code}")
        except (OSError, smtplib.SMTPException) as failed:
            raise Refused(type(failed).__name__) from None
        try:
            code, _ = server.data(text)
        except smtplib.SMTPDataError as refused:  # it did not want the text
            raise Refused(f"SMTP {refused.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as failed:
            raise Unsure(type(failed).__name__) from None
        if code >= 400:
            raise Refused(f"SMTP {code}")

    def _written(self, one: Envelope) -> bytes:
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Subject"] = self.sender, one.to, one.subject
        letter["Date"] = formatdate()
        # The same message handed in twice, on purpose, is one to the mailbox.
        domain = self.sender.rpartition("@")[2]
        letter["Message-ID"] = f"<{one.id}@{domain}>" if domain else make_msgid()
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(one.text + "\n", cte="base64")
        return letter.as_bytes()


def sender_of(text: str) -> Sender:
    """Return the sender of HUIGONG_SMS_GATEWAY: '' is the development outbox, else JSON (HttpsGateway's fields)."""
    if not text:
        return Outbox()
    settings = json.loads(text)
    names = ("url", "body", "headers", "accepted", "refused", "notice", "secret")
    return HttpsGateway(**{name: settings[name] for name in names if name in settings})


def mail_of(text: str) -> Sender:
    """Return the sender of HUIGONG_MAIL: '' is the development outbox, else JSON (Mail's fields; `from` its sender)."""
    if not text:
        return Outbox()
    settings = json.loads(text)
    return Mail(
        host=settings["host"],
        port=int(settings.get("port", 587)),
        sender=settings["from"],
        tls=settings.get("tls", "starttls"),
        user=settings.get("user", ""),
        password=settings.get("password", ""),
    )


def senders_of(sms: str, mail: str) -> dict[str, Sender]:
    """Return the sender of each channel."""
    return {"sms": sender_of(sms), "email": mail_of(mail)}
