"""Where a request comes from: set by the door, read by what is written down about it.

A request has an id, its asker's own or one made here. What the request causes later (a job, a text message, a webhook)
keeps it, and whoever does that work does it under the same id: one search in the logs finds all of it.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# What a log must never hold: a phone, our tokens, keys of Stripe's, what a header or an address authorizes with, a JWT.
SECRETS = re.compile(
    r"(?<!\d)1[3-9]\d{9}(?!\d)|\bhg_[\w-]{20,}|\bwhsec_[\w-]+|\b[sr]k_(?:live|test)_\w+"
    r"|(?i:\bbearer )\s*\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
)
LONGEST_ID = 64
_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

_address: ContextVar[str] = ContextVar("address", default="")
_actor: ContextVar[int | None] = ContextVar("actor", default=None)
_request: ContextVar[str] = ContextVar("request", default="")


def begin_request(offered: str | None) -> str:
    """Begin a request under the id it offers (X-Request-ID), or a new one where that is none; return it.

    An id is 8 to 64 letters, digits, dots, dashes and underscores, and looks like no phone and no secret: it is logged.
    """
    fits = offered is not None and _ID.fullmatch(offered) and not SECRETS.search(offered)
    request_id = offered if fits and offered is not None else _made()
    _request.set(request_id)
    return request_id


def _made() -> str:
    """Return a new id, no part of which looks like a phone: the log would hide it."""
    while SECRETS.search(made := secrets.token_hex(16)):
        pass
    return made


def request_id() -> str:
    """Return the id of the request under way, or of the one whose work is being done; '' for nobody's."""
    return _request.get()


@contextmanager
def work_of(request: str) -> Iterator[str]:
    """Do work that a request caused, under its id; under an id of its own where no request is known."""
    before = _request.set(request or _made())
    try:
        yield _request.get()
    finally:
        _request.reset(before)


def came_from(address: str) -> None:
    """Note the network address of whoever asks, for the rest of this request; who it is comes later."""
    _address.set(address[:64])
    _actor.set(None)


def forget() -> None:
    """Forget who asked: the request is over."""
    _address.set("")
    _actor.set(None)
    _request.set("")


def asked_by(person_id: int) -> None:
    """Note who asks, for the rest of this request."""
    _actor.set(person_id)


def actor() -> int | None:
    """Return who asks; None for a command, a job, or nobody known."""
    return _actor.get()


def address() -> str:
    """Return the network address of whoever asks; '' for a command or a job."""
    return _address.get()
