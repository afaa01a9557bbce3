"""Stripe: Checkout Sessions in CNY by card, Alipay and WeChat Pay; refunds; look-ups. Nobody else imports `stripe`."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import stripe
from stripe.params import ChargeListParams, RefundCreateParams, RefundListParams
from stripe.params.checkout import SessionCreateParams

from finance.gateway import rules
from finance.gateway.providers import BadSignature, ProviderDown, ProviderRefused
from finance.gateway.rules import CURRENCY, Movement, PaymentState, RefundState, Started, ToPay, ToSend

TOLERANCE_SECONDS = 300  # how old a signed event may be
METHODS: list[Literal["card", "alipay", "wechat_pay"]] = ["card", "alipay", "wechat_pay"]

logging.getLogger("stripe").setLevel(logging.WARNING)

Answer = TypeVar("Answer")


class Stripe:
    """The provider `stripe`. Without a secret key it only takes events; `base` is another address of its API."""

    by_hand = False

    def __init__(self, *, key: str, webhook_secret: str, base: str = "", seconds: float, retries: int = 1) -> None:
        self.webhook_secret = webhook_secret
        self._client = (
            stripe.StripeClient(
                key,
                base_addresses={"api": base} if base else None,
                http_client=stripe.RequestsClient(timeout=seconds),
                max_network_retries=retries,
            )
            if key
            else None
        )

    @property
    def can_ask(self) -> bool:
        """Whether we have a key to ask Stripe with."""
        return self._client is not None

    def start(self, wanted: ToPay) -> Started:
        """Make a Checkout Session; the same payment always gets the same one."""
        marks = {
            "order_number": wanted.order_number,
            "campaign": wanted.campaign,
            "payment_id": str(wanted.payment_id),
        }
        names = {"zh": f"惠工订单 {wanted.order_number}", "en": f"Huigong order {wanted.order_number}"}
        params: SessionCreateParams = {
            "mode": "payment",
            "allowed_payment_method_types": [*METHODS],
            "payment_method_options": {"wechat_pay": {"client": "web"}},
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": CURRENCY,
                        "unit_amount": wanted.amount_fen,
                        "product_data": {"name": names[wanted.locale]},
                    },
                }
            ],
            "client_reference_id": wanted.order_number,
            "metadata": marks,
            "payment_intent_data": {"metadata": marks},
            "expires_at": int(wanted.closes_at.timestamp()),
            "locale": "zh" if wanted.locale == "zh" else "en",
            "success_url": f"{wanted.return_url}?returned=1",
            "cancel_url": wanted.return_url,
        }
        client = self._with_key()
        key = f"huigong-payment-{wanted.payment_id}"
        session = _ask(lambda: client.v1.checkout.sessions.create(params, {"idempotency_key": key}))
        return Started(redirect_url=session.url, session=session.id)

    def verify(self, body: bytes, signed: str) -> dict[str, Any]:
        """Return a signed event, no older than the tolerance."""
        try:
            stripe.WebhookSignature.verify_header(body, signed, self.webhook_secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            raise BadSignature("签名不正确。") from None
        return rules.event_of(body)

    def refund(self, wanted: ToSend) -> RefundState:
        """Send money back to the buyer; the same attempt is one refund at Stripe, too."""
        params: RefundCreateParams = {
            "payment_intent": wanted.intent,
            "amount": wanted.amount_fen,
            "reason": "requested_by_customer",
            "metadata": {"refund_id": str(wanted.refund_id), "attempt": str(wanted.attempt)},
        }
        client = self._with_key()
        key = f"huigong-refund-{wanted.refund_id}-{wanted.attempt}"
        return _refund(_ask(lambda: client.v1.refunds.create(params, {"idempotency_key": key})))

    def payment(self, session: str) -> PaymentState:
        """Return what Stripe knows of a Checkout Session."""
        client = self._with_key()
        return rules.payment_state(_ask(lambda: client.v1.checkout.sessions.retrieve(session)).to_dict())

    def close(self, session: str) -> PaymentState:
        """Expire a Checkout Session; one that was completed meanwhile is returned as what it became."""
        client = self._with_key()
        try:
            return rules.payment_state(_ask(lambda: client.v1.checkout.sessions.expire(session)).to_dict())
        except ProviderRefused:
            return self.payment(session)

    def refunds(self, intent: str) -> Sequence[RefundState]:
        """List what was sent back of a payment."""
        client = self._with_key()
        params: RefundListParams = {"payment_intent": intent, "limit": 100}
        return _ask(lambda: [_refund(one) for one in client.v1.refunds.list(params).auto_paging_iter()])

    def movements(self, since: datetime, until: datetime) -> Sequence[Movement]:
        """List charges that succeeded, and refunds that did not fail."""
        client = self._with_key()
        created: Any = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
        charges: ChargeListParams = {"created": created, "limit": 100}
        refunds: RefundListParams = {"created": created, "limit": 100}
        return _ask(
            lambda: (
                [
                    Movement(
                        "payment",
                        str(one.payment_intent or one.id),
                        one.amount,
                        one.currency,
                        datetime.fromtimestamp(one.created, UTC),
                        _mark(one.metadata, "payment_id"),
                    )
                    for one in client.v1.charges.list(charges).auto_paging_iter()
                    if one.status == "succeeded"
                ]
                + [
                    Movement("refund", state.reference, state.amount, state.currency, at, state.refund_id)
                    for state, at in (
                        (_refund(one), datetime.fromtimestamp(one.created, UTC))
                        for one in client.v1.refunds.list(refunds).auto_paging_iter()
                    )
                    if state.status == "succeeded"
                ]
            )
        )

    def _with_key(self) -> stripe.StripeClient:
        if self._client is None:
            raise ProviderDown("no secret key is set")
        return self._client


def _mark(metadata: Any, name: str) -> int | None:
    return rules.our_id(metadata[name]) if metadata and name in metadata else None


def _refund(refund: stripe.Refund) -> RefundState:
    return rules.refund_state(refund.to_dict())


def _ask(call: Callable[[], Answer]) -> Answer:
    """Ask Stripe; say whether an error is an answer or none. The error's text goes to operators, without our data."""
    try:
        return call()
    except (stripe.InvalidRequestError, stripe.CardError) as refused:
        raise ProviderRefused(f"{refused.code or type(refused).__name__}: {refused.user_message or ''}"[:200]) from None
    except stripe.IdempotencyError as clash:
        if clash.http_status == 409:  # the first request under this key is still under way
            raise ProviderDown("the same request is under way") from None
        raise ProviderRefused(f"idempotency: {clash.user_message or ''}"[:200]) from None
    except stripe.StripeError as down:
        # No connection, too slow, 5xx, too many requests, or a key Stripe does not take: a person or time mends it.
        answered = isinstance(down, stripe.APIError) and (down.http_status or 0) >= 500
        raise ProviderDown(f"{type(down).__name__} {down.http_status or ''}".strip(), answered=answered) from None
