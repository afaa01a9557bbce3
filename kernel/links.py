"""Own links: a page that one person may open without signing in, made from what it shows and the secret key.

A link is unguessable and needs no storage; another secret key makes all links void.
"""

from itsdangerous import BadSignature, URLSafeSerializer


def make(purpose: str, *ids: int, key: str) -> str:
    """Return the token of a link for a purpose and the ids of what it shows."""
    return str(_serializer(purpose, key).dumps(list(ids)))


def read(purpose: str, token: str, *, key: str) -> tuple[int, ...] | None:
    """Return the ids a token names; None for one that we did not make for this purpose."""
    try:
        ids = _serializer(purpose, key).loads(token)
    except BadSignature:
        return None
    return tuple(int(one) for one in ids)


def _serializer(purpose: str, key: str) -> URLSafeSerializer:
    return URLSafeSerializer(key, salt=f"huigong.{purpose}")
