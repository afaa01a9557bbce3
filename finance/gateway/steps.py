"""What orders do with payments, inside their own transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.gateway.models import Payment, PaymentEventRow, Refund
from finance.gateway.queries import PaymentView, view_of
from finance.gateway.rules import SANDBOX
from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import db, rows_changed
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


def refund_whole(payment: PaymentView, *, campaign_id: int, reason: str, now: datetime) -> list[Posting]:
    """Write the intent to send a whole payment back. The money reached us, so it is on the ledger both ways."""
    db.session.execute(
        insert(Refund).values(
            payment_id=payment.id,
            order_id=payment.order_id,
            amount_fen=payment.amount_fen,
            reason=reason,
            status="pending",
            created_at=now,
        )
    )
    return [Posting(ledger.CASH, ledger.REFUND_DUE, payment.amount_fen, campaign_id=campaign_id)]


def settle_refund(payment_id: int, *, campaign_id: int, now: datetime) -> list[Posting]:
    """Record that a refund's money has gone back; nothing where it was recorded before."""
    settled = rows_changed(
        update(Refund)
        .where(Refund.payment_id == payment_id, Refund.status == "pending")
        .values(status="succeeded", settled_at=now)
    )
    if settled == 0:
        return []
    db.session.execute(update(Payment).where(Payment.id == payment_id).values(status="refunded"))
    amount_fen = db.session.scalar(select(Refund.amount_fen).where(Refund.payment_id == payment_id))
    assert amount_fen is not None
    return [Posting(ledger.REFUND_DUE, ledger.CASH, amount_fen, campaign_id=campaign_id)]


def note_first_confirmation(payment_id: int, *, actor_id: int) -> None:
    """Note the first of two people who confirm a large transfer."""
    db.session.execute(update(Payment).where(Payment.id == payment_id).values(first_confirmed_by=actor_id))
