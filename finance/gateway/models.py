"""Payments, the events providers sent about them, and refunds."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime


class Payment(Base):
    """支付: money in from a buyer for one order. `reference` is what the provider and the buyer's bank know it by."""

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount_fen >= 0", name="amount"),
        CheckConstraint("status IN ('pending', 'declined', 'succeeded', 'refunded')", name="status"),
        CheckConstraint("provider IN ('sandbox', 'stripe', 'bank_transfer')", name="provider"),
        Index("ix_payments_order_id", "order_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(Id)
    provider: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(64), unique=True)
    amount_fen: Mapped[int] = mapped_column(Id)
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
    """退款: money back for a payment, written before the provider is asked. One whole refund of a payment at most."""

    __tablename__ = "refunds"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
    )

    payment_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(Id, index=True)
    amount_fen: Mapped[int] = mapped_column(Id)
    reason: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
