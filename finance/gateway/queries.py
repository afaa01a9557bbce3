"""Reads of payments and refunds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from finance.gateway.models import Payment, Refund
from kernel.db import db


@dataclass(frozen=True)
class PaymentView:
    """A payment as its buyer and the operator see it."""

    id: int
    order_id: int
    provider: str
    reference: str
    amount_fen: int
    status: str
    created_at: datetime
    first_confirmed_by: int | None = None


def view_of(row: Payment) -> PaymentView:
    """Return a payment as rooms above see it."""
    return PaymentView(
        row.id,
        row.order_id,
        row.provider,
        row.reference,
        row.amount_fen,
        row.status,
        row.created_at,
        row.first_confirmed_by,
    )


def by_reference(reference: str) -> PaymentView | None:
    """Return the payment a reference names."""
    row = db.session.scalar(select(Payment).filter_by(reference=reference).execution_options(populate_existing=True))
    return view_of(row) if row is not None else None


def find(payment_id: int | None) -> PaymentView | None:
    """Return a payment."""
    query = select(Payment).filter_by(id=payment_id).execution_options(populate_existing=True)
    row = db.session.scalar(query)
    return view_of(row) if row is not None else None


def of_order(order_id: int) -> list[PaymentView]:
    """Return an order's payments, the latest first."""
    rows = db.session.scalars(
        select(Payment)
        .filter_by(order_id=order_id)
        .order_by(Payment.id.desc())
        .execution_options(populate_existing=True)
    )
    return [view_of(row) for row in rows]


def waiting_transfers() -> list[PaymentView]:
    """Return the bank transfers an operator looks for on the statement."""
    rows = db.session.scalars(
        select(Payment)
        .where(Payment.provider == "bank_transfer", Payment.status == "pending")
        .order_by(Payment.id)
        .limit(200)
    )
    return [view_of(row) for row in rows]


def refunds_of(order_id: int) -> Sequence[Refund]:
    """Return the refunds of an order's payments, the oldest first."""
    return db.session.scalars(
        select(Refund).filter_by(order_id=order_id).order_by(Refund.id).execution_options(populate_existing=True)
    ).all()


def refund(refund_id: int | None) -> Refund | None:
    """Return a refund of money."""
    return db.session.scalar(select(Refund).filter_by(id=refund_id).execution_options(populate_existing=True))


def waiting_refunds(*, provider: str, limit: int = 200) -> Sequence[Refund]:
    """Return the refunds that are still to be sent by this way, the oldest first."""
    return db.session.scalars(
        select(Refund).where(Refund.provider == provider, Refund.status != "succeeded").order_by(Refund.id).limit(limit)
    ).all()
