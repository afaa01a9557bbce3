"""What orders do with payments, inside their own transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.gateway.models import Payment, PaymentEventRow, Refund
from finance.gateway.queries import PaymentView, view_of
from finance.gateway.rules import SANDBOX
from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import db, rows_changed
from kernel.errors import DomainError
from kernel.ids import new_id, new_secret


def start(*, order_id: int, provider: str, amount_fen: int, now: datetime) -> PaymentView:
    """Begin a payment of an order; its reference is what the money will name."""
    payment_id = new_id()
    reference = f"HG{payment_id}" if provider != SANDBOX else new_secret()
    payment = Payment(
        id=payment_id,
        order_id=order_id,
        provider=provider,
        reference=reference,
        amount_fen=amount_fen,
        status="pending",
        created_at=now,
    )
    db.session.add(payment)
    db.session.flush()
    return view_of(payment)


def store_event(*, provider: str, event_id: str, payload: dict[str, Any], now: datetime) -> None:
    """Keep an event as it came; one that came before changes nothing."""
    engine_insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    db.session.execute(
        engine_insert(PaymentEventRow)
        .values(provider=provider, event_id=event_id, payload=payload, received_at=now)
        .on_conflict_do_nothing()
    )


def claim_event(*, provider: str, event_id: str, now: datetime) -> bool:
    """Take a stored event to act on it in this transaction; False where it was acted on before."""
    claimed = rows_changed(
        update(PaymentEventRow)
        .where(
            PaymentEventRow.provider == provider,
            PaymentEventRow.event_id == event_id,
            PaymentEventRow.acted_at.is_(None),
        )
        .values(acted_at=now)
    )
    return claimed == 1


def order_of(*, payment_id: int | None = None, reference: str | None = None) -> int | None:
    """Return the order a payment is for."""
    query = select(Payment.order_id)
    query = query.where(Payment.id == payment_id if payment_id is not None else Payment.reference == reference)
    return db.session.scalar(query)


def lock(*, payment_id: int | None = None, reference: str | None = None) -> PaymentView | None:
    """Return a payment, locked until the transaction ends."""
    query = select(Payment).with_for_update().execution_options(populate_existing=True)
    query = query.where(Payment.id == payment_id if payment_id is not None else Payment.reference == reference)
    row = db.session.scalar(query)
    return view_of(row) if row is not None else None


def move(payment_id: int, *, to: str, now: datetime, confirmed_by: int | None = None) -> bool:
    """Move a payment on; False where it is no longer where it could move from."""
    sources = {"succeeded": ("pending", "declined"), "declined": ("pending",)}[to]
    moved = rows_changed(
        update(Payment)
        .where(Payment.id == payment_id, Payment.status.in_(sources))
        .values(status=to, settled_at=now, confirmed_by=confirmed_by)
    )
    return moved == 1


class NothingToRefund(DomainError):
    """No payment of the order has as much left to send back."""

    code, status = "state_conflict", 409


def refund(
    *,
    order_id: int,
    amount_fen: int,
    cause: str,
    reason: str,
    now: datetime,
    payment_id: int | None = None,
) -> Refund:
    """Write the intent to send money of an order (of one payment of it, where named) back to where it came from.

    The provider is asked after the commit, under the refund's own id. Raises NothingToRefund where no payment that
    succeeded has as much left; the unique cause refuses a second intent.
    """
    query = select(Payment).where(
        Payment.order_id == order_id,
        Payment.status == "succeeded",
        Payment.refunded_fen + amount_fen <= Payment.amount_fen,
    )
    if payment_id is not None:
        query = query.where(Payment.id == payment_id)
    payment = db.session.scalar(query.order_by(Payment.id).limit(1).with_for_update())
    taken = payment is not None and rows_changed(
        update(Payment)
        .where(Payment.id == payment.id, Payment.refunded_fen + amount_fen <= Payment.amount_fen)
        .values(refunded_fen=Payment.refunded_fen + amount_fen)
    )
    if payment is None or not taken:
        raise NothingToRefund("这个订单没有可退的付款。")
    intent = Refund(
        id=new_id(),
        payment_id=payment.id,
        order_id=order_id,
        provider=payment.provider,
        cause=cause,
        amount_fen=amount_fen,
        reason=reason,
        status="pending",
        created_at=now,
    )
    db.session.add(intent)
    db.session.flush()
    return intent


def settle_refund(
    refund_id: int | None, *, campaign_id: int, now: datetime, reference: str | None = None
) -> list[Posting]:
    """Record that a refund's money has gone back; nothing where it was recorded before."""
    settled = rows_changed(
        update(Refund)
        .where(Refund.id == refund_id, Refund.status != "succeeded")
        .values(status="succeeded", settled_at=now, reference=reference)
    )
    if settled == 0:
        return []
    payment_id, amount_fen = db.session.execute(
        select(Refund.payment_id, Refund.amount_fen).where(Refund.id == refund_id)
    ).one()
    waiting = select(Refund.id).where(Refund.payment_id == payment_id, Refund.status != "succeeded").exists()
    db.session.execute(
        update(Payment)
        .where(Payment.id == payment_id, Payment.refunded_fen == Payment.amount_fen, ~waiting)
        .values(status="refunded"),
        execution_options={"synchronize_session": False},
    )
    return [Posting(ledger.REFUND_DUE, ledger.CASH, amount_fen, campaign_id=campaign_id)]


def note_first_confirmation(payment_id: int, *, actor_id: int) -> None:
    """Note the first of two people who confirm a large transfer."""
    db.session.execute(update(Payment).where(Payment.id == payment_id).values(first_confirmed_by=actor_id))
