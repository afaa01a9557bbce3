"""Statements that are closed, and which of them each posting is on."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from finance.settlement.rules import STATEMENT_MOVES
from kernel.db import Base, Id, UtcDateTime

_STATUSES = ", ".join(repr(status) for status in STATEMENT_MOVES if status != "open")


class Statement(Base):
    """结算单 of one merchant for one campaign and month (Asia/Shanghai), amounts in fen.

    Its lines, and so its figures, are fixed when it is closed: a later correction is on the next one.
    """

    __tablename__ = "statements"
    __table_args__ = (
        UniqueConstraint("merchant_id", "campaign_id", "month"),
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        CheckConstraint(
            "paid_fen >= 0 AND subsidy_fen >= 0 AND refund_cash_fen >= 0 AND refund_subsidy_fen >= 0",
            name="not_negative",
        ),
        CheckConstraint(
            "net_fen = paid_fen + subsidy_fen - refund_cash_fen - refund_subsidy_fen + correction_fen", name="net"
        ),
        CheckConstraint("status <> 'paid' OR bank_reference IS NOT NULL OR net_fen = 0", name="paid"),
        Index("ix_statements_status", "status", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    month: Mapped[str] = mapped_column(String(7))
    status: Mapped[str] = mapped_column(String(12))
    paid_fen: Mapped[int] = mapped_column(Id, default=0)
    subsidy_fen: Mapped[int] = mapped_column(Id, default=0)
    refund_cash_fen: Mapped[int] = mapped_column(Id, default=0)
    refund_subsidy_fen: Mapped[int] = mapped_column(Id, default=0)
    correction_fen: Mapped[int] = mapped_column(Id, default=0)
    net_fen: Mapped[int] = mapped_column(Id, default=0)
    closed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    dispute_reason: Mapped[str | None] = mapped_column(String(200))
    reply: Mapped[str | None] = mapped_column(String(200))
    replied_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    replied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    bank_reference: Mapped[str | None] = mapped_column(String(80))
    paid_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    paid_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class StatementLine(Base):
    """Which statement a posting is on: one, for good."""

    __tablename__ = "statement_lines"
    __table_args__ = (Index("ix_statement_lines_statement_id", "statement_id"),)

    posting_id: Mapped[int] = mapped_column(Id, ForeignKey("ledger_postings.id"), primary_key=True, autoincrement=False)
    statement_id: Mapped[int] = mapped_column(ForeignKey("statements.id"))
