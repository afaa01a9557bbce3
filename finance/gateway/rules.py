"""What payments, refunds and events mean to us, whoever the provider is.

Events come in Stripe's shape from Stripe and from the sandbox; here they become a `Notice` in our own words. Amounts
are in the currency's smallest unit, which for CNY (a two-decimal currency at Stripe) is the fen.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

SANDBOX, STRIPE, BANK = "sandbox", "stripe", "bank_transfer"
CURRENCY = "cny"

PAYMENT_MOVES = {
    "pending": {"succeeded", "declined", "expired", "unmatched"},
    "declined": {"succeeded", "unmatched"},
    "expired": {"succeeded", "unmatched"},  # closed by time or by us, and yet the money came
    "succeeded": {"refunded"},
    "unmatched": {"refunded"},  # money that reached us and pays for nothing: an operator looks at it
    "refunded": {"succeeded", "unmatched"},  # a refund the provider took back
}
ARRIVED = ("succeeded", "unmatched", "refunded")

# What a notice tells.
PAID, DECLINED, CLOSED, REFUND, REFUNDS_CHANGED, DISPUTE, NOTHING = (
    "paid",
    "declined",
    "closed",
    "refund",
    "refunds_changed",
    "dispute",
    "nothing",
)

STRIPE_LEAST_SECONDS = 30 * 60  # Stripe closes a Checkout Session no earlier than this after it was made,
STRIPE_MOST_SECONDS = 24 * 3600  # and no later than this
CLOCK_SLACK_SECONDS = 60


class Unreadable(ValueError):
    """An event that is signed by the provider and yet makes no sense to us."""


@dataclass(frozen=True)
class PaymentState:
    """A payment as its provider knows it. `status`: open, paid, declined, closed."""

    status: str
    amount: int = 0
    currency: str = CURRENCY
    session: str | None = None
    intent: str | None = None
    payment_id: int | None = None
    order_number: str | None = None


@dataclass(frozen=True)
class RefundState:
    """A refund as its provider knows it. `status`: pending, succeeded, failed. `refund_id` and `attempt` are ours."""

    reference: str
    status: str
    amount: int
    currency: str = CURRENCY
    refund_id: int | None = None
    attempt: int = 0
    intent: str | None = None
    failure: str = ""


@dataclass(frozen=True)
class DisputeState:
    """拒付 (chargeback): the buyer's bank takes money back. `status` is the provider's word, such as lost or won."""

    reference: str
    status: str
    amount: int
    currency: str
    intent: str | None


@dataclass(frozen=True)
class Notice:
    """What an event tells us."""

    kind: str
    payment: PaymentState | None = None
    refunds: tuple[RefundState, ...] = ()
    intent: str | None = None
    dispute: DisputeState | None = None


@dataclass(frozen=True)
class ToPay:
    """What a provider is asked to take: `amount_fen` for an order, until `closes_at`. `locale` is zh or en."""

    payment_id: int
    reference: str
    order_number: str
    campaign: str
    amount_fen: int
    closes_at: datetime
    locale: str
    return_url: str


@dataclass(frozen=True)
class Started:
    """Where the buyer pays, and what the provider calls it."""

    redirect_url: str | None
    session: str | None = None


@dataclass(frozen=True)
class ToSend:
    """A refund to send: `attempt` counts the tries the provider answered with 'failed'."""

    refund_id: int
    attempt: int
    amount_fen: int
    intent: str
    session: str | None


@dataclass(frozen=True)
class Movement:
    """One line of a provider's own list: money in (`payment`) or out (`refund`), `our_id` as the provider noted it."""

    kind: str
    reference: str
    amount: int
    currency: str
    at: datetime
    our_id: int | None = None
    detail: str = field(default="", compare=False)


def closes_at_of(expires_at: float, *, now: float) -> float:
    """Return when a Checkout Session closes (POSIX seconds): with the order, within Stripe's least and most.

    The order's clock decides: it expires at its own time, whatever the session says. A session that outlives its
    order is closed by the sweep, and a payment that still comes is a late payment (rules.md). A union's order waits for
    days: when its session has closed, paying again begins another.

    >>> closes_at_of(5000.0, now=1000.0), closes_at_of(2800.0, now=2000.0), closes_at_of(1e6, now=0.0)
    (5000.0, 3860.0, 86340.0)
    """
    least, most = now + STRIPE_LEAST_SECONDS, now + STRIPE_MOST_SECONDS
    return min(max(expires_at, least + CLOCK_SLACK_SECONDS), most - CLOCK_SLACK_SECONDS)


def delay_seconds(tries: int, *, first: int = 5, most: int = 6 * 3600) -> int:
    """Return how long to wait after the n-th try that failed, in seconds: longer each time.

    >>> [delay_seconds(tries) for tries in (1, 2, 3, 4, 30)]
    [5, 20, 80, 320, 21600]
    """
    return int(min(first * 4 ** min(tries - 1, 12), most))


def read(event: Mapping[str, Any]) -> Notice:
    """Return what an event in Stripe's shape tells; types we do not know tell nothing. Raises Unreadable."""
    try:
        kind, thing = str(event["type"]), event["data"]["object"]
        if kind.startswith("checkout.session."):
            return _of_session(kind.removeprefix("checkout.session."), thing)
        if kind in ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"):
            state = refund_state(thing)
            return Notice(REFUND, refunds=(state,), intent=state.intent)
        if kind == "charge.refunded":
            listed = (thing.get("refunds") or {}).get("data") or ()
            return Notice(
                REFUNDS_CHANGED, intent=_name(thing.get("payment_intent")), refunds=tuple(map(refund_state, listed))
            )
        if kind in ("charge.dispute.created", "charge.dispute.closed"):
            return Notice(
                DISPUTE,
                dispute=DisputeState(
                    reference=str(thing["id"]),
                    status=str(thing["status"]),
                    amount=_amount(thing["amount"]),
                    currency=_currency(thing["currency"]),
                    intent=_name(thing.get("payment_intent")),
                ),
            )
    except (KeyError, TypeError, AttributeError) as wrong:
        raise Unreadable(f"{type(wrong).__name__}: {wrong}") from None
    return Notice(NOTHING)


BUYER = (
    "customer_details",
    "billing_details",
    "shipping_details",
    "shipping",
    "collected_information",
    "receipt_email",
)


def event_of(body: bytes) -> dict[str, Any]:
    """Return an event's content. Raises ValueError for what is none, or what our databases cannot keep."""
    content = json.loads(body, parse_constant=_no_number)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), str) for name in ("id", "type")):
        raise ValueError("no event")
    if b"\\u0000" in body:
        raise ValueError("a character no database keeps")
    json.dumps(content, ensure_ascii=False).encode()  # half a character is no text: UnicodeEncodeError
    return content


def _no_number(text: str) -> Any:
    raise ValueError(f"no number: {text}")


def without_buyer(content: Any) -> Any:
    """Return an event without who the buyer is: what we have no use for is not kept.

    >>> without_buyer({"a": [{"receipt_email": "x", "amount": 1}]})
    {'a': [{'amount': 1}]}
    """
    if isinstance(content, dict):
        return {name: without_buyer(value) for name, value in content.items() if name not in BUYER}
    return [without_buyer(one) for one in content] if isinstance(content, list) else content


def subject_of(event: Mapping[str, Any]) -> str:
    """Return what an event is about: a session's own id, or the money (intent) a refund or dispute belongs to."""
    data = event.get("data")
    thing = data.get("object") if isinstance(data, Mapping) else None
    if not isinstance(thing, Mapping):
        return ""
    return (
        _name(thing.get("id")) if thing.get("object") == "checkout.session" else _name(thing.get("payment_intent"))
    ) or ""


def _of_session(kind: str, thing: Mapping[str, Any]) -> Notice:
    state = payment_state(thing)
    if kind in ("completed", "async_payment_succeeded"):
        # 'completed' without the money says only that the buyer is done: a slow method's result is still to come.
        return Notice(PAID if state.status == "paid" else NOTHING, payment=state)
    if kind == "async_payment_failed":
        return Notice(DECLINED, payment=state)
    return Notice(CLOSED if kind == "expired" else NOTHING, payment=state)


def payment_state(session: Mapping[str, Any]) -> PaymentState:
    """Return what a Checkout Session says of its payment."""
    paid = session["payment_status"] == "paid"
    marks = session.get("metadata") or {}
    return PaymentState(
        status="paid" if paid else {"expired": "closed", "complete": "open"}.get(str(session["status"]), "open"),
        amount=_amount(session["amount_total"]) if session.get("amount_total") is not None else 0,
        currency=_currency(session.get("currency") or CURRENCY),
        session=str(session["id"])[:255],
        intent=_name(session.get("payment_intent")),
        payment_id=our_id(marks.get("payment_id")),
        order_number=marks.get("order_number") or session.get("client_reference_id"),
    )


def refund_state(refund: Mapping[str, Any]) -> RefundState:
    """Return what a provider's refund object says."""
    marks = refund.get("metadata") or {}
    status = str(refund["status"])
    return RefundState(
        reference=str(refund["id"])[:100],
        status={"succeeded": "succeeded", "failed": "failed", "canceled": "failed"}.get(status, "pending"),
        amount=_amount(refund["amount"]),
        currency=_currency(refund["currency"]),
        refund_id=our_id(marks.get("refund_id")),
        attempt=our_id(marks.get("attempt")) or 0,
        intent=_name(refund.get("payment_intent")),
        failure=str(refund.get("failure_reason") or (status if status == "canceled" else ""))[:200],
    )


def _amount(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Unreadable(f"no amount: {str(value)[:40]}")
    return value


def _currency(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 3:
        raise Unreadable("no currency")
    return value.lower()


def _name(value: Any) -> str | None:
    """Return the id of a thing that is given by its id or whole."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return str(value)[:255] if value else None


def our_id(value: Any) -> int | None:
    """Return the id of ours a provider kept for us, or None where it is none."""
    text = str(value) if isinstance(value, str | int) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63 else None
