"""Payments and refunds as every provider knows them, and how an event is signed."""

import hashlib
import hmac
from dataclasses import dataclass

SANDBOX, STRIPE, BANK = "sandbox", "stripe", "bank_transfer"

PAYMENT_MOVES = {
    "pending": {"succeeded", "declined", "refunded"},
    "declined": {"succeeded", "refunded"},
    "succeeded": {"refunded"},
    "refunded": set[str](),
}

SUCCEEDED, DECLINED = "payment.succeeded", "payment.declined"


@dataclass(frozen=True)
class PaymentEvent:
    """What a provider tells us happened to a payment, in fen."""

    id: str
    type: str
    reference: str
    amount_fen: int


def signature(secret: str, body: bytes) -> str:
    """Return the signature of an event's exact bytes.

    >>> signature("s", b"{}") == signature("s", b"{}"), signature("s", b"{}") == signature("t", b"{}")
    (True, False)
    """
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed(secret: str, body: bytes, given: str) -> bool:
    """Return whether the bytes were signed with our secret."""
    return hmac.compare_digest(signature(secret, body), given)
