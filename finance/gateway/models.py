"""Payments, the events providers sent about them, refunds, what does not match, bank statements, reconciliations."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from finance.gateway.rules import PAYMENT_MOVES
from kernel.db import Base, Id, Json, UtcDateTime

PROVIDERS = "provider IN ('sandbox', 'stripe', 'bank_transfer')"
LINE_STATES = ("new", "matched", "second", "short", "over", "again", "unknown", "ignored", "sent_back", "out")


def _one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Payment(Base):
    """支付: money in from a buyer for one order. `reference` is what the buyer's bank knows it by.

    `session` and `intent` are what the provider calls the payment and its money. `refunded_fen` is what goes or went
    back of it: counted when the intent is written. `unmatched` is money that arrived and pays for nothing; it may
    have no order. `ask_at` is when the provider is next asked about it, where no event said how it ended.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount_fen >= 0", name="amount"),
        CheckConstraint("refunded_fen BETWEEN 0 AND amount_fen", name="refunded"),
        CheckConstraint(_one_of("status", PAYMENT_MOVES), name="status"),
        CheckConstraint(PROVIDERS, name="provider"),
        CheckConstraint("order_id IS NOT NULL OR status IN ('unmatched', 'refunded')", name="order"),
        Index("ix_payments_order_id", "order_id"),
        Index("ix_payments_intent", "intent"),
        Index("ix_payments_session", "session"),
        Index("ix_payments_settled_at", "settled_at"),
        Index("ix_payments_provider_status", "provider", "status"),
        Index(
            "ix_payments_ask_at",
            "ask_at",
            postgresql_where=text("ask_at IS NOT NULL"),
            sqlite_where=text("ask_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int | None] = mapped_column(Id)
    provider: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(64), unique=True)
    amount_fen: Mapped[int] = mapped_column(Id)
    refunded_fen: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    status: Mapped[str] = mapped_column(String(12), default="pending")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_confirmed_by: Mapped[int | None] = mapped_column(Id)
    confirmed_by: Mapped[int | None] = mapped_column(Id)
    start_key: Mapped[str | None] = mapped_column(String(64), unique=True)
    session: Mapped[str | None] = mapped_column(String(255))
    intent: Mapped[str | None] = mapped_column(String(255))
    url: Mapped[str | None] = mapped_column(Text)
    closes_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ask_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    asks: Mapped[int] = mapped_column(default=0, server_default="0")


class PaymentEventRow(Base):
    """An event as it came, stored before it is acted on; each is acted on once, and tried again where that failed."""

    __tablename__ = "payment_events"
    __table_args__ = (
        UniqueConstraint("provider", "event_id"),
        Index("ix_payment_events_subject", "provider", "subject"),
        Index(
            "ix_payment_events_waiting",
            "try_at",
            postgresql_where=text("acted_at IS NULL"),
            sqlite_where=text("acted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    provider: Mapped[str] = mapped_column(String(16))
    event_id: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(80), default="", server_default="")
    subject: Mapped[str] = mapped_column(String(255), default="", server_default="")
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    acted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(String(300))


class Refund(Base):
    """退款: money back for a payment, or part of it, written before the provider is asked. Unique for its cause.

    `attempt` counts the tries the provider answered with 'failed': each is another request to it. `tries` counts
    every time it was asked. `failed` waits for a person.
    """

    __tablename__ = "payment_refunds"
    __table_args__ = (
        UniqueConstraint("cause"),
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
        Index("ix_payment_refunds_payment_id", "payment_id"),
        Index("ix_payment_refunds_order_id", "order_id"),
        Index("ix_payment_refunds_reference", "reference"),
        Index(
            "ix_payment_refunds_waiting",
            "try_at",
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    payment_id: Mapped[int] = mapped_column(Id)
    order_id: Mapped[int | None] = mapped_column(Id)
    provider: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(String(80))
    amount_fen: Mapped[int] = mapped_column(Id)
    reason: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(12))
    reference: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(String(300))


class Mismatch(Base):
    """不符: what does not match and waits for a person, once for its cause.

    `amount` is in the smallest unit of `currency`.
    """

    __tablename__ = "payment_mismatches"
    __table_args__ = (
        UniqueConstraint("cause"),
        Index(
            "ix_payment_mismatches_open",
            "id",
            postgresql_where=text("closed_at IS NULL"),
            sqlite_where=text("closed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    cause: Mapped[str] = mapped_column(String(300))
    kind: Mapped[str] = mapped_column(String(20))
    provider: Mapped[str] = mapped_column(String(16))
    payment_id: Mapped[int | None] = mapped_column(Id)
    order_id: Mapped[int | None] = mapped_column(Id)
    refund_id: Mapped[int | None] = mapped_column(Id)
    amount: Mapped[int] = mapped_column(Id)
    currency: Mapped[str] = mapped_column(String(3))
    expected_fen: Mapped[int | None] = mapped_column(Id)
    reference: Mapped[str] = mapped_column(String(255), index=True)
    detail: Mapped[str] = mapped_column(String(300), default="")
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_by: Mapped[int | None] = mapped_column(Id)
    note: Mapped[str] = mapped_column(String(200), default="")


class BankLine(Base):
    """对账单行: one line of an imported bank statement, in fen; negative is money out. `serial` is the bank's own."""

    __tablename__ = "bank_lines"
    __table_args__ = (
        UniqueConstraint("serial"),
        CheckConstraint("amount_fen <> 0", name="amount"),
        CheckConstraint(_one_of("status", LINE_STATES), name="status"),
        Index("ix_bank_lines_status", "status", "id"),
        Index("ix_bank_lines_payment_id", "payment_id"),
        Index("ix_bank_lines_booked_on", "booked_on"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    serial: Mapped[str] = mapped_column(String(80))
    booked_on: Mapped[date] = mapped_column(Date)
    amount_fen: Mapped[int] = mapped_column(Id)
    counterparty: Mapped[str] = mapped_column(String(120))
    text: Mapped[str] = mapped_column(String(300))
    status: Mapped[str] = mapped_column(String(12))
    payment_id: Mapped[int | None] = mapped_column(Id)
    note: Mapped[str] = mapped_column(String(200), default="", server_default="")
    imported_by: Mapped[int | None] = mapped_column(Id)
    imported_at: Mapped[datetime] = mapped_column(UtcDateTime)
    first_decided_by: Mapped[int | None] = mapped_column(Id)


class Reconciliation(Base):
    """对账: what comparing a day with the providers' lists and the ledger found."""

    __tablename__ = "reconciliations"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    ran_at: Mapped[datetime] = mapped_column(UtcDateTime)
    compared: Mapped[int]
    unchecked: Mapped[int]
    differences: Mapped[list[dict[str, Any]]] = mapped_column(Json)
