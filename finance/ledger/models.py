"""The one table of postings. The database refuses to change or delete a row (migration 0001)."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from finance.ledger.rules import MONEY_ACCOUNTS, STOCK_ACCOUNTS
from kernel.db import Base, Id, UtcDateTime


def _in(column: str, kinds: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(kind) for kind in kinds)})"


class PostingRow(Base):
    """分录. `entry` names the cause; lines of one entry are written together by one statement."""

    __tablename__ = "ledger_postings"
    __table_args__ = (
        UniqueConstraint("entry", "line"),
        CheckConstraint("amount > 0", name="positive"),
        CheckConstraint("debit <> credit", name="moves"),
        CheckConstraint(
            f"({_in('debit', MONEY_ACCOUNTS)} AND {_in('credit', MONEY_ACCOUNTS)})"
            f" OR ({_in('debit', STOCK_ACCOUNTS)} AND {_in('credit', STOCK_ACCOUNTS)})",
            name="one_unit",
        ),
        Index("ix_ledger_postings_voucher_id", "voucher_id"),
        Index("ix_ledger_postings_pack_id", "pack_id"),
        Index("ix_ledger_postings_merchant_id", "merchant_id", "campaign_id"),
        Index("ix_ledger_postings_order_id", "order_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    entry: Mapped[str] = mapped_column(String(80))
    line: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    debit: Mapped[str] = mapped_column(String(20))
    credit: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int] = mapped_column(Id)
    campaign_id: Mapped[int | None] = mapped_column(Id)
    voucher_id: Mapped[int | None] = mapped_column(Id)
    pack_id: Mapped[int | None] = mapped_column(Id)
    merchant_id: Mapped[int | None] = mapped_column(Id)
    order_id: Mapped[int | None] = mapped_column(Id)
    actor_id: Mapped[int | None] = mapped_column(Id)
    reason: Mapped[str | None] = mapped_column(String(200))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
