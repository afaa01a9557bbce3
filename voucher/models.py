"""Campaigns with their budgets, and members' vouchers. What must never be negative is checked by the tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime


class Campaign(Base):
    """活动: a time-boxed programme with its rule and budgets, all amounts in fen.

    `member_committed_fen` is the face value of the vouchers out; `bulk_committed_fen` what bulk orders hold or have
    redeemed; `grant_committed_fen` what grants hold or gave, of at most `grant_budget_fen` where that is set.
    `eligible` is who may have its voucher (voucher.rules.Eligible); empty, everybody. `launch` is 'free' where it opens
    by its start alone; else it opens once it is 'launched', which takes two people where it promises more than it has.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("starts_at < ends_at", name="period"),
        CheckConstraint("step_fen > 0 AND save_fen >= 0 AND save_fen <= step_fen AND face_fen >= 0", name="rule"),
        CheckConstraint("member_committed_fen BETWEEN 0 AND member_budget_fen", name="member_budget"),
        CheckConstraint("bulk_committed_fen BETWEEN 0 AND bulk_budget_fen", name="bulk_budget"),
        CheckConstraint("grant_committed_fen >= 0", name="grant_not_negative"),
        CheckConstraint("grant_budget_fen IS NULL OR grant_committed_fen <= grant_budget_fen", name="grant_budget"),
        CheckConstraint("issue_mode IN ('push', 'claim')", name="issue_mode"),
        CheckConstraint("launch IN ('free', 'waiting', 'asked', 'launched')", name="launch"),
        CheckConstraint(
            "launched_by IS NULL OR launch_asked_by IS NULL OR launched_by <> launch_asked_by", name="two_people"
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    step_fen: Mapped[int] = mapped_column(Id)
    save_fen: Mapped[int] = mapped_column(Id)
    face_fen: Mapped[int] = mapped_column(Id)
    tiers_fen: Mapped[list[int]] = mapped_column(Json)
    member_budget_fen: Mapped[int] = mapped_column(Id)
    member_committed_fen: Mapped[int] = mapped_column(Id, default=0)
    bulk_budget_fen: Mapped[int] = mapped_column(Id)
    bulk_committed_fen: Mapped[int] = mapped_column(Id, default=0)
    grant_budget_fen: Mapped[int | None] = mapped_column(Id)
    grant_committed_fen: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    issue_mode: Mapped[str] = mapped_column(String(10))
    pack_limit: Mapped[int | None]
    recipient_cap_fen: Mapped[int | None] = mapped_column(Id)
    bulk_payment_days: Mapped[int] = mapped_column(default=7)
    eligible: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default=text("'{}'"))
    launch: Mapped[str] = mapped_column(String(12), default="free", server_default="free")
    launch_asked_by: Mapped[int | None] = mapped_column(Id)
    launched_by: Mapped[int | None] = mapped_column(Id)


class CampaignVersion(Base):
    """A campaign's settings as they were from one change to the next: never changed, never deleted."""

    __tablename__ = "campaign_versions"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    changed_by: Mapped[int | None] = mapped_column(Id)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Voucher(Base):
    """福利券: one member's purse of savings in one campaign. What is not held, redeemed or ended is its balance."""

    __tablename__ = "vouchers"
    __table_args__ = (
        UniqueConstraint("campaign_id", "member_id"),
        CheckConstraint(
            "held_fen >= 0 AND redeemed_fen >= 0 AND expired_fen >= 0 AND revoked_fen >= 0", name="not_negative"
        ),
        CheckConstraint("held_fen + redeemed_fen + expired_fen + revoked_fen <= face_fen", name="within_face"),
        Index(
            "ix_vouchers_live",
            "campaign_id",
            "id",
            postgresql_where=text("expired_at IS NULL AND revoked_at IS NULL"),
            sqlite_where=text("expired_at IS NULL AND revoked_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"), index=True)
    code: Mapped[str] = mapped_column(String(60), unique=True)
    face_fen: Mapped[int] = mapped_column(Id)
    held_fen: Mapped[int] = mapped_column(Id, default=0)
    redeemed_fen: Mapped[int] = mapped_column(Id, default=0)
    expired_fen: Mapped[int] = mapped_column(Id, default=0)
    revoked_fen: Mapped[int] = mapped_column(Id, default=0)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @hybrid_property
    def balance_fen(self) -> int:
        """可用余额, in fen."""
        return self.face_fen - self.held_fen - self.redeemed_fen - self.expired_fen - self.revoked_fen
