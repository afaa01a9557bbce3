"""The one interface to who moves money: start a payment, verify an event, refund, look up. Three implementations.

Nobody here holds a row: a provider is asked between transactions. Which providers there are is said once, where the
application is made, for whatever runs in its context.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol

from finance.gateway.rules import Movement, PaymentState, RefundState, Started, ToPay, ToSend
from kernel.errors import DomainError


class ProviderDown(Exception):
    """The provider did not answer, or not so that we know what it did: to be asked again, under the same key.

    `answered` where it said only that something went wrong on its side, which it will say again for this key.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class ProviderRefused(Exception):
    """The provider answered: no. Asking the same again brings the same."""


class BadSignature(DomainError):
    """An event that its provider did not sign, or too long ago."""

    code, status = "bad_signature", 400


class PaymentUnavailable(DomainError):
    """The payment provider does not answer at this moment; nothing was taken."""

    code, status = "payment_unavailable", 503


class Provider(Protocol):
    """Who moves money for us."""

    by_hand: bool
    """Whether a person sends its refunds."""

    def start(self, wanted: ToPay) -> Started:
        """Begin a payment, once however often it is asked. Raises ProviderDown, ProviderRefused."""

    def verify(self, body: bytes, signed: str) -> dict[str, Any]:
        """Return the event whose exact bytes were signed. Raises BadSignature, and ValueError for what is no JSON."""

    def refund(self, wanted: ToSend) -> RefundState:
        """Send money back, once however often it is asked. Raises ProviderDown, ProviderRefused."""

    def payment(self, session: str) -> PaymentState:
        """Look a payment up. Raises ProviderDown, ProviderRefused."""

    def close(self, session: str) -> PaymentState:
        """Take no more money for a payment; return what it is then. Raises ProviderDown, ProviderRefused."""

    def refunds(self, intent: str) -> Sequence[RefundState]:
        """List a payment's refunds. Raises ProviderDown, ProviderRefused."""

    def movements(self, since: datetime, until: datetime) -> Sequence[Movement]:
        """List money in and out, `until` excluded. Raises ProviderDown, ProviderRefused."""


_here: ContextVar[Mapping[str, Provider]] = ContextVar("providers")


def use(providers: Mapping[str, Provider]) -> None:
    """Say which providers there are, for whatever runs in this context."""
    _here.set(providers)


def find(name: str) -> Provider | None:
    """Return a provider, or None where it is not set up here."""
    return _here.get({}).get(name)


def all_of() -> Mapping[str, Provider]:
    """Return the providers that are set up here, by name."""
    return _here.get({})
