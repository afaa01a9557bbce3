"""Requests to addresses that somebody else chose: to the open internet only, and never where a name leads meanwhile.

The name is resolved once, every address it has is looked at, and the connection goes to that very address: a name that
answers differently the second time (DNS rebinding) changes nothing. Redirects are not followed.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3

from kernel.errors import Invalid

MOST_ANSWER = 200  # bytes of an answer that are kept
TIMEOUT = urllib3.Timeout(connect=5, read=10)


class NotAllowed(Exception):
    """The address is none that we talk to."""


@dataclass(frozen=True)
class Answer:
    """What came back: a status and the beginning of the text; a status of 0 where nothing did."""

    status: int
    text: str


def checked_url(text: str, *, private: bool, field: str = "url") -> str:
    """Return an address somebody chose, as it may be kept. Raises Invalid for one that is none of the web's.

    With `private` (development) plain HTTP and addresses of the own network are allowed.
    """
    said = "请填写以 https:// 开头的网址。"
    try:
        parts = urlsplit(text)
        port_fits = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise Invalid(said, errors={field: [said]}) from None
    schemes = ("https", "http") if private else ("https",)
    fits = parts.scheme in schemes and bool(parts.hostname) and port_fits and text.isascii() and text.isprintable()
    if not fits or parts.username or parts.password or len(text) > 400:
        raise Invalid(said, errors={field: [said]})
    return text


def _address_of(host: str, port: int, *, private: bool) -> str:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as unknown:
        raise NotAllowed(f"the name cannot be resolved: {host}") from unknown
    for one in sorted(map(str, found)):
        address = ipaddress.ip_address(one.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not private and not (mapped.is_global and not mapped.is_multicast):
            raise NotAllowed(f"{host} is no address of the open internet")
    return str(sorted(map(str, found))[0])


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: bool) -> Answer:
    """Send a body to an address and return what came back. Raises NotAllowed; a network's failure is an Answer of 0."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = _address_of(host, port, private=private)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pool: urllib3.HTTPConnectionPool
    if secure:
        pool = urllib3.HTTPSConnectionPool(address, port, server_hostname=host, assert_hostname=host, timeout=TIMEOUT)
    else:
        pool = urllib3.HTTPConnectionPool(address, port, timeout=TIMEOUT)
    with pool:
        try:
            answer = pool.request(
                "POST",
                target,
                body=body,
                headers={**headers, "Host": parts.netloc},
                redirect=False,
                retries=False,
                preload_content=False,
            )
            text = answer.read(MOST_ANSWER).decode("utf-8", "replace")
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as failed:
            return Answer(0, type(failed).__name__)
    return Answer(answer.status, text)


def signature(secret: str, *, at: int, body: bytes) -> str:
    """Return what signs a request of ours: HMAC-SHA256 over the time and the body's very bytes.

    >>> signature("s", at=1, body=b"{}") == signature("s", at=2, body=b"{}")
    False
    """
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
