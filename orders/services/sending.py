"""Sending money back: the intent is written, the provider is asked with its idempotency key, the answer is recorded.

Whatever dies in between, the same attempt is one refund at the provider: its key says so, and before it is asked again
its own list is read. An answer of 'failed' makes another attempt, later each time; after a few a person looks at it.
"""

import logging
from datetime import datetime
from typing import Any

from sqlalchemy import select

from finance.gateway import providers
from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from finance.gateway.providers import Provider, ProviderDown, ProviderRefused
from finance.gateway.rules import RefundState, ToSend
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency
from kernel.db import after_commit, db, transaction
from kernel.errors import NotFound, StateConflict
from kernel.idempotency import Answer, Once
from orders.models import Order

TRIES_UNDER_ONE_KEY = 2

log = logging.getLogger("huigong")


def send_refund(*, refund_id: int, now: datetime) -> None:
    """Send a refund whose intent is written, or ask how it stands; once at a time. Never raises for the provider.

    What a bank transfer brought waits for a person to send it back.
    """
    intent = gateway_queries.refund(refund_id)
    gateway = providers.find(intent.provider) if intent is not None else None
    if intent is None or gateway is None or gateway.by_hand:
        return
    with transaction():
        if not gateway_steps.take_refund(refund_id, now=now):
            return
    intent = gateway_queries.refund(refund_id)
    payment = gateway_queries.find(intent.payment_id if intent is not None else None)
    assert intent is not None
    assert payment is not None
    try:
        money = payment.intent or (gateway.payment(payment.session).intent if payment.session else None)
        if money is None:
            raise ProviderRefused("the provider never named this money")
        wanted = ToSend(intent.id, intent.attempt, intent.amount_fen, money, payment.session)
        state = (_sent_before(gateway, wanted) if intent.tries > 1 else None) or gateway.refund(wanted)
    except ProviderDown as down:
        if not (down.answered and intent.tries > TRIES_UNDER_ONE_KEY):
            with transaction():
                gateway_steps.put_refund_off(refund_id, error=str(down), reference=None, now=now)
            return
        # The provider's list did not have it just now, and this key will bring the same error for ever: another key.
        state = RefundState("", "failed", intent.amount_fen, refund_id=intent.id, failure=str(down))
    except ProviderRefused as refused:
        state = RefundState("", "failed", intent.amount_fen, refund_id=intent.id, failure=str(refused))
    record_state(refund_id, state, attempt=intent.attempt, now=now)


def _sent_before(gateway: Provider, wanted: ToSend) -> RefundState | None:
    """Return what the provider already has of this refund: its idempotency keys do not live for ever.

    An earlier attempt that did go through counts, whatever its answer said; one that failed does not.
    """
    known = [state for state in gateway.refunds(wanted.intent) if state.refund_id == wanted.refund_id]
    going = [state for state in known if state.status != "failed"]
    return next(iter(going or [state for state in known if state.attempt == wanted.attempt]), None)


def record_state(refund_id: int, state: RefundState, *, attempt: int, now: datetime) -> None:
    """Record what a provider says of a refund, in a transaction of its own."""
    with transaction():
        note_state(refund_id, state, attempt=attempt, now=now)


def note_state(refund_id: int, state: RefundState, *, attempt: int, now: datetime) -> None:
    """Record what a provider says of a refund, in the caller's transaction; once, in whatever order it is told."""
    intent = gateway_queries.refund(refund_id)
    assert intent is not None
    _lock_order_of(intent.order_id)
    if state.status == "succeeded":
        if intent.status == "succeeded" and intent.reference != state.reference:
            _put_up(intent, state, kind="refund_unknown", cause=f"refund:{state.reference}", now=now)
        settle_refund(refund_id, reference=state.reference, now=now)
        return
    if state.status == "pending":
        gateway_steps.put_refund_off(refund_id, error=None, reference=state.reference, now=now)
        return
    became = gateway_steps.refund_did_not_go(refund_id, attempt=attempt, error=state.failure or "failed", now=now)
    if became == "came_back":
        back = Posting(ledger.CASH, ledger.REFUND_DUE, intent.amount_fen, campaign_id=_campaign_of(intent.order_id))
        cause = Cause(
            "came_back", f"{refund_id}:{attempt}", order_id=intent.order_id, reason=state.failure[:200] or None
        )
        ledger_steps.post(cause, [back], now=now)
    if became in ("came_back", "failed"):
        _put_up(intent, state, kind="refund_failed", cause=f"refund_failed:{refund_id}:{attempt}", now=now)


def _put_up(intent: Any, state: RefundState, *, kind: str, cause: str, now: datetime) -> None:
    gateway_steps.open_mismatch(
        cause=cause,
        kind=kind,
        provider=intent.provider,
        amount=state.amount,
        reference=state.reference or intent.reference or "",
        payment_id=intent.payment_id,
        order_id=intent.order_id,
        refund_id=intent.id,
        detail=state.failure,
        now=now,
    )


def settle_refund(refund_id: int, *, reference: str, now: datetime) -> None:
    """Record, in the caller's transaction, that a refund's money has gone back; once, however often it is told."""
    intent = gateway_queries.refund(refund_id)
    assert intent is not None
    campaign_id = _campaign_of(intent.order_id)
    postings = gateway_steps.settle_refund(refund_id, campaign_id=campaign_id, reference=reference, now=now)
    name = f"{refund_id}:{intent.attempt}" if intent.attempt else str(refund_id)
    ledger_steps.post(Cause("sent_back", name, order_id=intent.order_id), postings, now=now)
    if postings:
        gateway_steps.close_refund_mismatches(refund_id, note="sent", now=now)


def send_due(*, now: datetime) -> int:
    """Send every refund that is to be sent at this moment; return how many were asked for."""
    asked = [name for name, gateway in providers.all_of().items() if not gateway.by_hand]
    due = gateway_queries.due_refunds(providers=asked, now=now)
    for refund_id in due:
        try:
            send_refund(refund_id=refund_id, now=now)
        except Exception as error:  # one refund that cannot be sent must not keep the others back
            log.error("refund %s was not sent: %s", refund_id, type(error).__name__)
    return len(due)


def record_sent(*, refund_id: int | None, reference: str, actor_id: int, once: Once, now: datetime) -> Answer:
    """An operator has sent money back by a bank transfer, and says under which bank reference.

    For what came by transfer, and for what its provider could not send. Raises NotFound, StateConflict once recorded.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        intent = gateway_queries.refund(refund_id)
        gateway = providers.find(intent.provider) if intent is not None else None
        by_hand = gateway is not None and gateway.by_hand
        if intent is None or not (by_hand or intent.status in ("failed", "succeeded")):
            raise NotFound("没有这笔退款。")
        _lock_order_of(intent.order_id)
        if intent.status == "succeeded":
            raise StateConflict("这笔退款已经登记过。")
        settle_refund(intent.id, reference=reference, now=now)
        after = {"reference": reference, "amount_fen": intent.amount_fen}
        audit.record("refund.sent", f"refund:{intent.id}", actor_id=actor_id, now=now, after=after)
        return idempotency.finish(once, {"id": str(intent.id), "status": "succeeded", "reference": reference})


def retry(*, refund_id: int | None, actor_id: int, once: Once, now: datetime) -> Answer:
    """An operator lets a failed refund be sent once more. Raises NotFound, StateConflict where it did not fail."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        intent = gateway_queries.refund(refund_id)
        if intent is None:
            raise NotFound("没有这笔退款。")
        _lock_order_of(intent.order_id)
        if not gateway_steps.retry_refund(intent.id, now=now):
            raise StateConflict("这笔退款不需要重试。")
        audit.record("refund.retry", f"refund:{intent.id}", actor_id=actor_id, now=now)
        after_commit(send_refund, refund_id=intent.id, now=now)
        return idempotency.finish(once, {"id": str(intent.id), "status": "pending"})


def _lock_order_of(order_id: int | None) -> None:
    if order_id is not None:
        db.session.execute(select(Order.id).where(Order.id == order_id).with_for_update())


def _campaign_of(order_id: int | None) -> int | None:
    return db.session.scalar(select(Order.campaign_id).where(Order.id == order_id)) if order_id is not None else None
