"""Summaries of what was sold and of what became of vouchers: folded from the ledger, so that no page counts it again.

A book is one counting of the whole ledger from its first posting up to `cursor`. The current one is shown; a new one
is counted beside it from the beginning and takes its place in one transaction. A cell moves in the transaction that
moves its book's cursor, so a crash leaves both as they were.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime

MEASURES = ("packs", "sales_fen", "subsidy_fen", "back_packs", "back_fen", "back_subsidy_fen")
VOUCHER_MEASURES = (
    "issued",
    "issued_fen",
    "held_fen",
    "redeemed_fen",
    "released_fen",
    "expired_fen",
    "revoked_fen",
)


class SummaryBook(Base):
    """One counting. `as_of`: every posting committed by then is in it."""

    __tablename__ = "summary_books"
    __table_args__ = (
        Index(
            "uq_summary_books_current",
            "is_current",
            unique=True,
            postgresql_where=text("is_current"),
            sqlite_where=text("is_current"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    is_current: Mapped[bool]
    cursor: Mapped[int] = mapped_column(Id, default=0)
    as_of: Mapped[datetime | None] = mapped_column(UtcDateTime)
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SalesDay(Base):
    """What was sold of one pack in one tier and channel on one day (Asia/Shanghai), amounts in fen at full price.

    `sales_fen` counts on the day an order was paid, `back_fen` on the day a refund of it was accepted.
    """

    __tablename__ = "sales_days"
    __table_args__ = (
        CheckConstraint("packs >= 0 AND sales_fen >= 0 AND subsidy_fen >= 0", name="sold"),
        CheckConstraint("back_packs >= 0 AND back_fen >= 0 AND back_subsidy_fen >= 0", name="back"),
    )

    book_id: Mapped[int] = mapped_column(ForeignKey("summary_books.id"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    merchant_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    pack_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    tier_fen: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    channel: Mapped[str] = mapped_column(String(8), primary_key=True)
    packs: Mapped[int] = mapped_column(Id, default=0)
    sales_fen: Mapped[int] = mapped_column(Id, default=0)
    subsidy_fen: Mapped[int] = mapped_column(Id, default=0)
    back_packs: Mapped[int] = mapped_column(Id, default=0)
    back_fen: Mapped[int] = mapped_column(Id, default=0)
    back_subsidy_fen: Mapped[int] = mapped_column(Id, default=0)


class OrderDay(Base):
    """How many orders there were on a day. `part` is 'all', or 'tier', 'merchant', 'region' with which in `key`.

    An order of two tiers counts once in each of them and once in 'all': sums over parts would count it twice.
    """

    __tablename__ = "order_days"
    __table_args__ = (CheckConstraint("placed >= 0 AND paid >= 0 AND refunds >= 0", name="not_negative"),)

    book_id: Mapped[int] = mapped_column(ForeignKey("summary_books.id"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    channel: Mapped[str] = mapped_column(String(8), primary_key=True)
    part: Mapped[str] = mapped_column(String(8), primary_key=True)
    key: Mapped[str] = mapped_column(String(40), primary_key=True, default="")
    placed: Mapped[int] = mapped_column(Id, default=0)
    paid: Mapped[int] = mapped_column(Id, default=0)
    refunds: Mapped[int] = mapped_column(Id, default=0)


class UnionSales(Base):
    """What one union's people and the union itself bought of one merchant; `union_id` 0 is nobody's (a gift)."""

    __tablename__ = "union_sales"
    __table_args__ = (
        CheckConstraint("orders >= 0 AND packs >= 0 AND sales_fen >= 0 AND subsidy_fen >= 0", name="sold"),
    )

    book_id: Mapped[int] = mapped_column(ForeignKey("summary_books.id"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    union_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    channel: Mapped[str] = mapped_column(String(8), primary_key=True)
    orders: Mapped[int] = mapped_column(Id, default=0)
    packs: Mapped[int] = mapped_column(Id, default=0)
    sales_fen: Mapped[int] = mapped_column(Id, default=0)
    subsidy_fen: Mapped[int] = mapped_column(Id, default=0)
    back_packs: Mapped[int] = mapped_column(Id, default=0)
    back_fen: Mapped[int] = mapped_column(Id, default=0)
    back_subsidy_fen: Mapped[int] = mapped_column(Id, default=0)


class VoucherSums(Base):
    """What became of the vouchers of one union's members in one campaign, in fen; `issued` counts them.

    A member who moves takes what they did along when the books are counted anew, which is every night: until then a
    cell of the new union may be below what it gave back.
    """

    __tablename__ = "voucher_sums"

    book_id: Mapped[int] = mapped_column(ForeignKey("summary_books.id"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    union_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    issued: Mapped[int] = mapped_column(Id, default=0)
    issued_fen: Mapped[int] = mapped_column(Id, default=0)
    held_fen: Mapped[int] = mapped_column(Id, default=0)
    redeemed_fen: Mapped[int] = mapped_column(Id, default=0)
    released_fen: Mapped[int] = mapped_column(Id, default=0)
    expired_fen: Mapped[int] = mapped_column(Id, default=0)
    revoked_fen: Mapped[int] = mapped_column(Id, default=0)


class CampaignTarget(Base):
    """The share of sales, in whole percent, that is to come from paired-assistance regions."""

    __tablename__ = "campaign_targets"
    __table_args__ = (CheckConstraint("assisted_percent BETWEEN 1 AND 100", name="percent"),)

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    assisted_percent: Mapped[int]


class ProofRun(Base):
    """One run of a proof: 'check', 'reconcile' or 'verify'. `found` are the first of the `count` things it found."""

    __tablename__ = "proof_runs"
    __table_args__ = (
        CheckConstraint("kind IN ('check', 'reconcile', 'verify')", name="kind"),
        Index("ix_proof_runs_kind", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(12))
    asked_by: Mapped[int | None] = mapped_column(Id)
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)
    count: Mapped[int]
    found: Mapped[list[str]] = mapped_column(Json)
    said: Mapped[dict[str, Any]] = mapped_column(Json)
