"""One kind of refusal for the whole house. `code` is for programs, the message for people.

A message is Chinese text that is also the key of its English translation; its figures travel beside it
(`%(name)s`), so that a door can say it in the reader's language.
"""

from typing import Any


class DomainError(Exception):
    """A refusal: the world asked for what the rules do not allow. Nothing has been changed."""

    code = "invalid"
    status = 422

    def __init__(self, message: str, *, extra: dict[str, Any] | None = None, **figures: Any) -> None:
        super().__init__(message % figures if figures else message)
        self.message = message
        self.figures = figures
        self.extra = extra or {}


class Invalid(DomainError):
    """The request does not make sense; `errors` names the fields, `rows` (where given) a spreadsheet's faults."""

    def __init__(
        self,
        message: str = "请检查填写的内容。",
        *,
        errors: dict[str, list[str]] | None = None,
        rows: list[dict[str, Any]] | None = None,
        **figures: Any,
    ) -> None:
        given = {"errors": errors, "rows": rows}
        super().__init__(message, extra={name: value for name, value in given.items() if value}, **figures)
        self.errors = errors or {}


class NotSignedIn(DomainError):
    """Nobody is signed in, or the token is unknown, expired or revoked."""

    code, status = "not_signed_in", 401


class Forbidden(DomainError):
    """The person is known and may not do this."""

    code, status = "forbidden", 403


class NotFound(DomainError):
    """There is no such thing for this person; another's thing is also 'not found'."""

    code, status = "not_found", 404


class StateConflict(DomainError):
    """The thing is no longer in a state that allows this."""

    code, status = "state_conflict", 409


class Stale(DomainError):
    """The thing was changed since it was read: `If-Match` names a version that is no longer there (RFC 9110)."""

    code, status = "precondition_failed", 412


class OverLimit(DomainError):
    """A limit (unpaid orders, per pack, budget, tries) is reached."""

    code, status = "over_limit", 409


class RateLimited(DomainError):
    """Too many tries in too short a time."""

    code, status = "rate_limited", 429


def flat(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """Return marshmallow's nested messages by dotted field, as api.md has them.

    >>> flat({"lines": {0: {"quantity": ["too small"]}}})
    {'lines.0.quantity': ['too small']}
    """
    if isinstance(messages, str):
        return {prefix or "_schema": [messages]}
    if isinstance(messages, list):
        return {prefix or "_schema": [str(message) for message in messages]}
    found: dict[str, list[str]] = {}
    for name, inner in messages.items():
        part = "" if name == "_schema" else str(name)
        found |= flat(inner, ".".join(filter(None, (prefix, part))))
    return found
