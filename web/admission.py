"""Who waits too long is told at once to come again: more people than the machine can serve must not all time out.

Requests wait in the kernel's accept queue, in the order they came. How long one did is known to the kernel itself
(`TCP_INFO`: milliseconds since the last byte came): asking costs a microsecond, and nothing is counted or stored.
Who waited longer than allowed is answered 503 with `Retry-After` before anything of the application runs, which empties
the queue many times faster than serving would: those still served have waited no longer than allowed.

Waiting longer for a moment is no overload: workers that were busy with long documents leave a queue that is gone in no
time. So it must last, as in CoDel (Nichols and Jacobson, 'Controlling Queue Delay', ACM Queue 10(5), 2012): only when
every request that this process took in a quarter of the time allowed had waited too long is the next one refused. Nor
does a process refuse when it has just begun: what it finds waiting waited for it to start. Once there is an overload,
and until nobody was refused for twice the time allowed, only that quarter is allowed: as many are served, all sooner.

An accept queue that is half full, and whose first has waited for that quarter, is an overload at once: from a full one
the kernel drops who comes, who then hears nothing for seconds (`watch`).
"""

import base64
import hashlib
import json
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask_babel import force_locale, gettext
from prometheus_client import Counter

from web import metrics  # before anything is counted: it says where

# Machines are served however long they waited: health, metrics, and the events of payment providers.
ALWAYS = ("/healthz", "/readyz", "/metrics", "/webhooks/")
# A larger body is let through: read or unread, refusing it would cost as much as taking it (few are this large).
LARGEST_REFUSED = 64 * 1024
RETRY_SECONDS = (1, 4)  # spread, so that those refused together do not come back together
_RECEIVED_AT = 52  # where struct tcp_info has tcpi_last_data_recv, since Linux 2.6
_QUEUED_AT, _ROOM_AT = 24, 28  # of a socket that listens: how many wait to be accepted, and how many may
_LINUX = hasattr(socket, "TCP_INFO")
_TCP = (socket.AF_INET, socket.AF_INET6)

Environ = dict[str, Any]
Start = Callable[..., Any]

refused = Counter(
    "huigong_refused_busy",
    "Requests refused because they had waited too long in the accept queue",
    registry=metrics.COUNTED,
)


@dataclass(frozen=True)
class Words:
    """What is said to who is refused, in one language."""

    title: str
    detail: str
    again: str


_STYLE = (
    ":root{color-scheme:light dark}body{font:1.125rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;"
    "padding:0 1.5rem}a{display:inline-block;padding:.75rem 1.5rem;border:1px solid;border-radius:.5rem;color:inherit}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def install(app: Flask, *, wait_ms: int) -> None:
    """Stand before the application; with `wait_ms` 0 everybody waits. Babel must have been installed."""
    if not wait_ms:
        return
    words = {}
    with app.app_context():
        for language, locale in (("zh", "zh_CN"), ("en", "en")):
            with force_locale(locale):
                words[language] = Words(
                    title=gettext("人多，请稍候"),
                    detail=gettext("现在人很多，您的请求排队太久，没有处理，什么都没有变动。请等几秒再试。"),
                    again=gettext("再试一次"),
                )
    app.wsgi_app = Admission(app.wsgi_app, wait_ms=wait_ms, words=words)  # type: ignore[method-assign]


class Admission:
    """A WSGI application behind which `application` runs for those who did not wait longer than `wait_ms`."""

    def __init__(
        self, application: Callable[[Environ, Start], Iterable[bytes]], *, wait_ms: int, words: Mapping[str, Words]
    ) -> None:
        assert wait_ms > 0
        self.application = application
        self.wait_ms, self.words = wait_ms, words
        self.short_ms = wait_ms // 4
        self._begun: float | None = None
        self._too_long_since: float | None = None
        self._overload_until = 0.0
        self._listening: tuple[socket.socket, ...] = ()

    def watch(self, listening: Iterable[socket.socket]) -> None:
        """Look at how full these sockets' accept queues are."""
        self._listening = tuple(one for one in listening if _LINUX and one.family in _TCP)

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Serve a request, or refuse it."""
        if self._has_no_room(waited_ms(environ), time.monotonic()) and not _must_be_served(environ):
            refused.inc()
            return _refusal(environ, start_response, self.words)
        return self.application(environ, start_response)

    def _has_no_room(self, waited: int, now: float) -> bool:
        # Threads of one process may race here, and at worst one request more or less is refused.
        if self._begun is None:
            self._begun = now
        overloaded = now < self._overload_until or (waited > self.short_ms and self._is_half_full())
        if waited <= (self.short_ms if overloaded else self.wait_ms):
            self._too_long_since = None
            return False
        if not overloaded:
            if self._too_long_since is None:
                self._too_long_since = now
            if now - max(self._too_long_since, self._begun + self.wait_ms / 1000) < self.short_ms / 1000:
                return False
        self._overload_until = now + 2 * self.wait_ms / 1000
        return True

    def _is_half_full(self) -> bool:
        for listening in self._listening:
            told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROOM_AT + 4)
            if 2 * _number(told, _QUEUED_AT) >= _number(told, _ROOM_AT) > 0:
                return True
        return False


def waited_ms(environ: Environ) -> int:
    """Return how many milliseconds a request waited before it was taken up; 0 where nobody can know.

    On TCP the kernel tells. On a Unix socket it does not: there the proxy's `X-Request-Start` is believed
    (`t=<seconds>.<milliseconds>`, as nginx writes it), whose clock is this machine's own.
    """
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return 0
    if _LINUX and connection.family in _TCP:
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 4)
        except OSError:
            return 0
        return _number(told, _RECEIVED_AT)
    if connection.family == socket.AF_UNIX:
        return _since(environ.get("HTTP_X_REQUEST_START", ""))
    return 0


def _number(told: bytes, at: int) -> int:
    return int.from_bytes(told[at : at + 4], "little")  # every Linux we run on counts bytes this way


def _since(text: str) -> int:
    try:
        return max(0, int((time.time() - float(text.removeprefix("t="))) * 1000))
    except (ValueError, OverflowError):
        return 0


def _must_be_served(environ: Environ) -> bool:
    length = environ.get("CONTENT_LENGTH") or "0"
    small = length.isascii() and length.isdigit() and int(length) <= LARGEST_REFUSED
    whole = small and not environ.get("HTTP_TRANSFER_ENCODING")
    return not whole or str(environ.get("PATH_INFO", "")).startswith(ALWAYS)


def _refusal(environ: Environ, start_response: Start, words: Mapping[str, Words]) -> Iterable[bytes]:
    # Closing a connection with something unread resets it, and the answer may be lost on the way.
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    seconds = random.randint(*RETRY_SECONDS)  # noqa: S311 no secret
    path, accepts = str(environ.get("PATH_INFO", "")), environ.get("HTTP_ACCEPT", "")
    language = "en" if environ.get("HTTP_ACCEPT_LANGUAGE", "").lower().startswith("en") else "zh"
    said = words[language]
    if "text/html" in accepts and not path.startswith("/api/"):
        again = environ.get("REQUEST_METHOD") in ("GET", "HEAD")
        kind, body = "text/html; charset=utf-8", _page(language, said, seconds=seconds, again=again)
    else:
        kind = "application/problem+json"
        body = json.dumps(
            {
                "type": "/problems/unavailable",
                "title": "unavailable",
                "status": 503,
                "detail": said.detail,
                "code": "unavailable",
                "retry_after": seconds,
            },
            ensure_ascii=False,
        )
    content = body.encode()
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(content))),
        ("Retry-After", str(seconds)),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"),
    ]
    start_response("503 Service Unavailable", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [content]


def _page(language: str, said: Words, *, seconds: int, again: bool) -> str:
    """Return the page: a look is taken again by itself; a form is sent again by the person, whose key makes it safe."""
    refresh = f'<meta http-equiv="refresh" content="{seconds}">' if again else ""
    link = f'<p><a href="">{said.again}</a></p>' if again else ""
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{said.title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}<style>{_STYLE}</style></head>'
        f"<body><h1>{said.title}</h1><p>{said.detail}</p>{link}</body></html>"
    )
