"""银行转账: the buyer's bank sends to our account, naming a reference; our list is the imported bank statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from finance.gateway import queries
from finance.gateway.providers import BadSignature, ProviderRefused
from finance.gateway.rules import Movement, PaymentState, RefundState, Started, ToPay, ToSend


class Bank:
    """The provider `bank_transfer`. Nobody signs events for it, and a person sends its refunds."""

    by_hand = True

    def start(self, wanted: ToPay) -> Started:
        """Nothing is asked of anybody: the buyer is told account and reference."""
        return Started(redirect_url=None)

    def verify(self, body: bytes, signed: str) -> dict[str, Any]:
        """Refuse: a bank sends us no events."""
        raise BadSignature("签名不正确。")

    def refund(self, wanted: ToSend) -> RefundState:
        """Refuse: a person sends it and records its bank reference."""
        raise ProviderRefused("sent by hand")

    def payment(self, session: str) -> PaymentState:
        """Nothing is known but what the statement says."""
        return PaymentState("open", session=session)

    def close(self, session: str) -> PaymentState:
        """An account cannot be closed to one transfer."""
        return PaymentState("closed", session=session)

    def refunds(self, intent: str) -> Sequence[RefundState]:
        """Refunds are on the statement, not at anybody's interface."""
        return []

    def movements(self, since: datetime, until: datetime) -> Sequence[Movement]:
        """List the imported statement's lines of the days between."""
        return queries.statement_movements(since, until)
