"""Payments, the events providers sent about them, and refunds."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime


class Payment(Base):
    """支付: money in from a buyer for one order. `reference` is what the provider and the buyer's bank know it by.

    `refunded_fen` is what goes or went back of it: counted when the intent is written.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount_fen >= 0", name="amount"),
        CheckConstraint("refunded_fen BETWEEN 0 AND amount_fen", name="refunded"),
        CheckConstraint("status IN ('pending', 'declined', 'succeeded', 'refunded')", name="status"),
        CheckConstraint("provider IN ('sandbox', 'stripe', 'bank_transfer')", name="provider"),
        Index("ix_payments_order_id", "order_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(Id)
    provider: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(64), unique=True)
    amount_fen: Mapped[int] = mapped_column(Id)
    refunded_fen: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    status: Mapped[str] = mapped_column(String(12), default="pending")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_confirmed_by: Mapped[int | None] = mapped_column(Id)
    confirmed_by: Mapped[int | None] = mapped_column(Id)


class PaymentEventRow(Base):
    """An event as it came, stored before it is acted on; each is acted on once."""

    __tablename__ = "payment_events"
    __table_args__ = (UniqueConstraint("provider", "event_id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    provider: Mapped[str] = mapped_column(String(16))
    event_id: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    acted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Refund(Base):
    """退款: money back for a payment, or part of it, written before the provider is asked. Unique for its cause."""

    __tablename__ = "payment_refunds"
    __table_args__ = (
        UniqueConstraint("cause"),
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
        Index("ix_payment_refunds_payment_id", "payment_id"),
        Index("ix_payment_refunds_order_id", "order_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    payment_id: Mapped[int] = mapped_column(Id)
    order_id: Mapped[int] = mapped_column(Id)
    provider: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(String(80))
    amount_fen: Mapped[int] = mapped_column(Id)
    reason: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(12))
    reference: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
