"""Where a request comes from: set by the door, read by what is written down about it."""

from contextvars import ContextVar

_address: ContextVar[str] = ContextVar("address", default="")
_actor: ContextVar[int | None] = ContextVar("actor", default=None)


def came_from(address: str) -> None:
    """Note the network address of whoever asks, for the rest of this request; who it is comes later."""
    _address.set(address[:64])
    _actor.set(None)


def forget() -> None:
    """Forget who asked: the request is over."""
    _address.set("")
    _actor.set(None)


def asked_by(person_id: int) -> None:
    """Note who asks, for the rest of this request."""
    _actor.set(person_id)


def actor() -> int | None:
    """Return who asks; None for a command, a job, or nobody known."""
    return _actor.get()


def address() -> str:
    """Return the network address of whoever asks; '' for a command or a job."""
    return _address.get()
