"""What providers tell: taken once, stored before it is acted on, acted on in any order, tried again where that failed.

A webhook stores the event, commits, and acts in the same request; what was stored and not acted on (a crash, a
provider that did not answer) is picked up by the worker and by `huigong sweep`. Where an event is missing, the
provider is asked how a payment stands.
"""

import logging
from datetime import datetime
from typing import Any

from sqlalchemy import select

from finance.gateway import providers, rules
from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from finance.gateway.providers import ProviderDown, ProviderRefused
from finance.gateway.queries import PaymentView
from finance.gateway.rules import CURRENCY, DisputeState, Notice, PaymentState, RefundState, Unreadable
from kernel.db import db, transaction
from kernel.errors import Invalid, NotFound
from kernel.ids import as_id
from orders.models import Order
from orders.services.paying import keep_unmatched, lock_order, take_payment
from orders.services.sending import note_state

log = logging.getLogger("huigong")

TRIES_BEFORE_TOLD = 6  # then an operator sees that an event could not be acted on; it is still tried


def receive(*, provider: str, body: bytes, signed: str, now: datetime) -> None:
    """Take an event as it came: check its signature, store it, then act on it.

    Raises BadSignature, Invalid for what is no event, NotFound for a provider there is not.
    """
    gateway = providers.find(provider)
    if gateway is None:
        raise NotFound("没有找到您要的内容。")
    try:
        content = rules.without_buyer(gateway.verify(body, signed))
    except (ValueError, RecursionError):
        raise Invalid("无法识别的支付通知。") from None
    with transaction():
        event_id = gateway_steps.store_event(provider=provider, payload=content, now=now)
    act_on(event_id, now=now)


def act_on(event_id: int, *, now: datetime) -> bool:
    """Act on a stored event, once; return whether it was acted on now. An error is noted, and it is tried again."""
    try:
        return _act_on(event_id, now=now)
    except Exception as error:  # whatever it was, the event is kept and its provider need not send it again
        log.error("event %s was not acted on: %s", event_id, type(error).__name__)
        with transaction():
            tries = gateway_steps.put_event_off(event_id, error=f"{type(error).__name__}: {error}", now=now)
            row = gateway_queries.event(event_id)
            if tries >= TRIES_BEFORE_TOLD and row is not None:
                gateway_steps.open_mismatch(
                    cause=f"event:{event_id}",
                    kind="event",
                    provider=row.provider,
                    amount=0,
                    reference=row.event_id,
                    detail=row.kind,
                    now=now,
                )
        return False


def act_on_waiting(*, now: datetime) -> int:
    """Act on what was stored and not acted on; return how many that were."""
    return sum(act_on(event_id, now=now) for event_id in gateway_queries.waiting_events(now=now))


def _act_on(event_id: int, *, now: datetime) -> bool:
    row = gateway_queries.event(event_id)
    if row is None or row.acted_at is not None:
        return False
    try:
        notice = rules.read(row.payload)
    except Unreadable as wrong:
        notice, said = Notice(rules.NOTHING), str(wrong)
    else:
        said = ""
    refunds = _refunds_now(row.provider, notice)
    with transaction():
        if not gateway_steps.claim_event(event_id, now=now):
            return False
        if said:
            gateway_steps.open_mismatch(
                cause=f"event:{event_id}",
                kind="event",
                provider=row.provider,
                amount=0,
                reference=row.event_id,
                detail=f"{row.kind}: {said}",
                now=now,
            )
        if notice.kind == rules.PAID and notice.payment is not None:
            _money_came(row.provider, notice.payment, event=row.event_id, now=now)
        elif notice.kind in (rules.DECLINED, rules.CLOSED) and notice.payment is not None:
            _did_not_come(notice.payment, to="declined" if notice.kind == rules.DECLINED else "expired", now=now)
        elif notice.kind == rules.DISPUTE and notice.dispute is not None:
            _disputed(row.provider, notice.dispute, closed=row.kind.endswith(".closed"), now=now)
        for state in refunds:
            _refund_told(row.provider, state, intent=notice.intent, now=now)
    return True


def _refunds_now(provider: str, notice: Notice) -> tuple[RefundState, ...]:
    """Return how refunds stand at this moment: an event may be older than what happened since. No row is held."""
    gateway = providers.find(provider)
    if notice.kind not in (rules.REFUND, rules.REFUNDS_CHANGED) or notice.intent is None or gateway is None:
        return notice.refunds
    try:
        listed = tuple(gateway.refunds(notice.intent))
    except ProviderRefused:
        return notice.refunds
    except ProviderDown:
        if getattr(gateway, "can_ask", True):
            raise
        return notice.refunds
    known = {state.reference for state in listed}
    return listed + tuple(state for state in notice.refunds if state.reference not in known)


def _money_came(provider: str, state: PaymentState, *, event: str, now: datetime) -> None:
    """Money of a payment reached us: it makes a paid order, or it is sent back, or a person looks at it."""
    found = gateway_queries.named(payment_id=state.payment_id, session=state.session, intent=state.intent)
    if found is not None and found.provider != provider:
        found = None
    order = _order_of(found, state)
    if state.currency != CURRENCY:
        _put_up("currency", provider, state, payment=found, order=order, event=event, now=now)
        return
    if found is None and order is None:
        stray = gateway_steps.start(
            order_id=None, provider=provider, amount_fen=state.amount, status="unmatched", now=now
        )
        _unmatched("unknown_order", provider, state, payment=stray, order=None, event=event, now=now)
        return
    if found is None:
        # Signed by the provider for an order of ours: a payment we do not remember having begun, but its money came.
        found = gateway_steps.start(order_id=order.id, provider=provider, amount_fen=state.amount, now=now)
        if state.amount != order.payable_fen:
            gateway_steps.move(found.id, to="unmatched", now=now)
            _unmatched("amount", provider, state, payment=found, order=order, event=event, now=now)
            return
    payment = gateway_steps.lock(payment_id=found.id)
    assert payment is not None
    gateway_steps.note_names(
        payment.id, session=payment.session or state.session, intent=payment.intent or state.intent
    )
    if payment.status in rules.ARRIVED:
        if payment.intent is not None and state.intent is not None and payment.intent != state.intent:
            again = gateway_steps.start(
                order_id=payment.order_id, provider=provider, amount_fen=state.amount, status="unmatched", now=now
            )
            _unmatched("paid_twice", provider, state, payment=again, order=order, event=event, now=now)
        return
    if state.amount != payment.amount_fen:
        moved = gateway_steps.move(payment.id, to="unmatched", amount_fen=state.amount, now=now)
        if moved:
            _unmatched("amount", provider, state, payment=payment, order=order, event=event, now=now)
        return
    take_payment(order, payment, now=now)


def _order_of(found: PaymentView | None, state: PaymentState) -> Any:
    """Return the order a payment is for, locked, or None."""
    order_id = found.order_id if found is not None else as_id(state.order_number)
    exists = order_id is not None and db.session.scalar(select(Order.id).where(Order.id == order_id)) is not None
    return lock_order(order_id) if exists and order_id is not None else None


def _unmatched(
    kind: str, provider: str, state: PaymentState, *, payment: PaymentView, order: Any, event: str, now: datetime
) -> None:
    gateway_steps.note_names(payment.id, session=state.session, intent=state.intent)
    if state.amount > 0:
        keep_unmatched(payment.id, order=order, amount_fen=state.amount, now=now)
    _put_up(kind, provider, state, payment=payment, order=order, event=event, now=now)


def _put_up(
    kind: str, provider: str, state: PaymentState, *, payment: PaymentView | None, order: Any, event: str, now: datetime
) -> None:
    gateway_steps.open_mismatch(
        cause=f"money:{provider}:{state.intent or event}",
        kind=kind,
        provider=provider,
        amount=state.amount,
        currency=state.currency,
        reference=state.intent or state.session or event,
        payment_id=payment.id if payment is not None else None,
        order_id=order.id if order is not None else None,
        expected_fen=order.payable_fen if order is not None else None,
        detail=(state.order_number or "")[:80],
        now=now,
    )


def _did_not_come(state: PaymentState, *, to: str, now: datetime) -> None:
    found = gateway_queries.named(payment_id=state.payment_id, session=state.session, intent=None)
    if found is not None and found.order_id is not None:
        lock_order(found.order_id)
        gateway_steps.move(found.id, to=to, now=now)


def _refund_told(provider: str, state: RefundState, *, intent: str | None, now: datetime) -> None:
    """A refund the provider tells of: ours, or one somebody made there by hand, which a person must look at."""
    ours = gateway_queries.refund(state.refund_id) if state.refund_id is not None else None
    refund_id = ours.id if ours is not None else gateway_queries.refund_by_reference(provider, state.reference)
    if refund_id is not None:
        note_state(refund_id, state, attempt=state.attempt, now=now)
        return
    if state.status == "failed":
        return
    money = state.intent or intent
    payment = gateway_queries.named(payment_id=None, session=None, intent=money) if money else None
    gateway_steps.open_mismatch(
        cause=f"refund:{state.reference}",
        kind="refund_unknown",
        provider=provider,
        amount=state.amount,
        currency=state.currency,
        reference=state.reference,
        payment_id=payment.id if payment is not None else None,
        order_id=payment.order_id if payment is not None else None,
        now=now,
    )


def _disputed(provider: str, dispute: DisputeState, *, closed: bool, now: datetime) -> None:
    """A buyer's bank takes money back, or has decided: kept for an operator until it is over in our favour."""
    payment = gateway_queries.named(payment_id=None, session=None, intent=dispute.intent) if dispute.intent else None
    cause = f"dispute:{dispute.reference}"
    gateway_steps.open_mismatch(
        cause=cause,
        kind="dispute",
        provider=provider,
        amount=dispute.amount,
        currency=dispute.currency,
        reference=dispute.reference,
        payment_id=payment.id if payment is not None else None,
        order_id=payment.order_id if payment is not None else None,
        detail=dispute.status,
        now=now,
    )
    if closed:
        over = dispute.status in ("won", "warning_closed", "prevented")
        gateway_steps.tell_mismatch(cause, detail=dispute.status, closed=over, now=now)


def ask_due(*, now: datetime) -> int:
    """Ask providers about payments no event told the end of; return how many were asked."""
    due = gateway_queries.to_ask(now=now)
    for payment_id in due:
        ask(payment_id, now=now)
    return len(due)


def ask_about(order_id: int, *, now: datetime) -> None:
    """Ask about an order's payments at once: its buyer has come back from paying, and no event is here yet."""
    waiting = [
        payment.id
        for payment in gateway_queries.of_order(order_id)
        if payment.status == "pending" and payment.session and payment.closes_at is not None
    ]
    for payment_id in waiting[:3]:
        with transaction():
            gateway_steps.ask_soon(payment_id, now=now)
        ask(payment_id, counted=False, now=now)


def ask(payment_id: int, *, counted: bool = True, now: datetime) -> None:
    """Ask a payment's provider how it stands; close it there where its order takes no more payment."""
    with transaction():
        payment = gateway_steps.take_ask(payment_id, counted=counted, now=now)
        if payment is None:
            return
        status = db.session.scalar(select(Order.status).where(Order.id == payment.order_id))
    gateway = providers.find(payment.provider)
    if gateway is None:
        return
    if payment.session is None:
        # The provider was never asked, or we never heard its answer: nobody was told where to pay.
        state = PaymentState("closed", payment_id=payment.id)
    else:
        still_open = status in ("pending_payment", "approved")
        try:
            state = gateway.payment(payment.session) if still_open else gateway.close(payment.session)
        except (ProviderDown, ProviderRefused) as silent:
            log.warning("payment %s could not be looked up: %s", payment_id, type(silent).__name__)
            return
    with transaction():
        if state.status == "paid":
            _money_came(payment.provider, state, event=payment.session or str(payment.id), now=now)
        elif state.status == "closed":
            _did_not_come(PaymentState("closed", payment_id=payment.id), to="expired", now=now)
