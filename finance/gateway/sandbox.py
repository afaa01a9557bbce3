"""The sandbox: a provider for demonstrations that moves no money. Its events have Stripe's shape and signature.

Its own list of what it took and sent back is made of the events it sent. Refused in production (web/settings.py).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import stripe

from finance.gateway import queries, rules, steps
from finance.gateway.providers import BadSignature
from finance.gateway.rules import CURRENCY, SANDBOX, Movement, PaymentState, RefundState, Started, ToPay, ToSend
from kernel import clock
from kernel.db import transaction
from kernel.ids import new_id


class Sandbox:
    """The provider `sandbox`."""

    by_hand = False

    def __init__(self, *, secret: str) -> None:
        self.secret = f"whsec_{secret}"

    def start(self, wanted: ToPay) -> Started:
        """The cashier's page is named by the payment's unguessable reference."""
        return Started(redirect_url=f"/sandbox/{wanted.reference}", session=wanted.reference)

    def verify(self, body: bytes, signed: str) -> dict[str, Any]:
        """Return a signed event, as Stripe's are verified."""
        try:
            stripe.WebhookSignature.verify_header(body, signed, self.secret, 300)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            raise BadSignature("签名不正确。") from None
        return rules.event_of(body)

    def signed(self, event: Mapping[str, Any]) -> tuple[bytes, str]:
        """Return an event's exact bytes and their signature, as they are posted to our webhook."""
        body = json.dumps(event, ensure_ascii=False)
        return body.encode(), stripe.WebhookSignature.generate_signature_header(body, self.secret)

    def event(
        self, kind: str, *, payment_id: int, reference: str, order_number: str, amount_fen: int
    ) -> dict[str, Any]:
        """Return an event of the cashier's, of type `checkout.session.<kind>`."""
        paid = kind in ("completed", "async_payment_succeeded")
        session = {
            "id": reference,
            "object": "checkout.session",
            "mode": "payment",
            "status": "complete",
            "payment_status": "paid" if paid else "unpaid",
            "amount_total": amount_fen,
            "currency": CURRENCY,
            "payment_intent": intent_of(reference),
            "client_reference_id": order_number,
            "metadata": {"payment_id": str(payment_id), "order_number": order_number},
        }
        return _event(f"evt_{new_id()}", f"checkout.session.{kind}", session)

    def refund(self, wanted: ToSend) -> RefundState:
        """Send back at once: the event it makes is the sandbox's record of it, one for each attempt."""
        name = f"{wanted.refund_id}_{wanted.attempt}"
        refund = {
            "id": f"re_sandbox_{name}",
            "object": "refund",
            "status": "succeeded",
            "amount": wanted.amount_fen,
            "currency": CURRENCY,
            "payment_intent": wanted.intent,
            "metadata": {"refund_id": str(wanted.refund_id), "attempt": str(wanted.attempt)},
        }
        event = _event(f"evt_sandbox_{name}", "refund.updated", refund)
        with transaction():
            now = clock.now()
            steps.store_event(provider=SANDBOX, payload=event, now=now)
        return rules.refund_state(refund)

    def payment(self, session: str) -> PaymentState:
        """Return what the events say of a payment."""
        for event in queries.events_of(SANDBOX, subject=session):
            notice = rules.read(event.payload)
            if notice.kind == rules.PAID and notice.payment is not None:
                return notice.payment
        return PaymentState("open", session=session)

    def close(self, session: str) -> PaymentState:
        """The cashier's page stays open, to show a late payment."""
        return self.payment(session)

    def refunds(self, intent: str) -> Sequence[RefundState]:
        """List the refunds the events tell of."""
        return [
            state for event in queries.events_of(SANDBOX, subject=intent) for state in rules.read(event.payload).refunds
        ]

    def movements(self, since: datetime, until: datetime) -> Sequence[Movement]:
        """List what the events tell of, each payment once however often it was told."""
        found: dict[str, Movement] = {}
        for event in queries.events_of(SANDBOX, since=since, until=until):
            notice = rules.read(event.payload)
            if notice.kind == rules.PAID and notice.payment is not None and notice.payment.intent:
                state = notice.payment
                at = event.received_at
                assert state.intent
                line = Movement("payment", state.intent, state.amount, state.currency, at, state.payment_id)
                found.setdefault(state.intent, line)
            for one in notice.refunds:
                line = Movement("refund", one.reference, one.amount, one.currency, event.received_at, one.refund_id)
                found.setdefault(one.reference, line)
        return list(found.values())


def intent_of(reference: str) -> str:
    """Return what the sandbox calls the money of a payment."""
    return f"pi_sandbox_{reference}"


def _event(event_id: str, kind: str, thing: Mapping[str, Any]) -> dict[str, Any]:
    created = int(clock.now().timestamp())
    return {"id": event_id, "object": "event", "type": kind, "created": created, "data": {"object": thing}}
