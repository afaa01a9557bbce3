"""Announcements, questions and ratings."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, UtcDateTime


class Announcement(Base):
    """公告: what the district union tells its members, of one campaign or (None) of all, while it lasts."""

    __tablename__ = "announcements"
    __table_args__ = (
        CheckConstraint("starts_at < ends_at", name="period"),
        Index("ix_announcements_ends_at", "ends_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))
    title: Mapped[str] = mapped_column(String(80))
    title_en: Mapped[str] = mapped_column(String(160))
    body: Mapped[str] = mapped_column(String(2000))
    body_en: Mapped[str] = mapped_column(String(4000))
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    is_pinned: Mapped[bool]
    written_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    written_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Question(Base):
    """提问: what a member asks about a pack or about an own order, answered by its merchant or an operator by `due_at`.

    Without a merchant it is the operators' to answer. `once` makes the same words about the same thing one question.
    Only what was asked about a pack and answered may be shown to everybody, without who asked. `seen_at` is when who
    asked saw the answer; until then their pages say that there is one.
    """

    __tablename__ = "questions"
    __table_args__ = (
        CheckConstraint("(pack_id IS NULL) <> (order_id IS NULL)", name="about_one_thing"),
        CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answered"),
        CheckConstraint("seen_at IS NULL OR answered_at IS NOT NULL", name="seen"),
        CheckConstraint("published_at IS NULL OR (answer IS NOT NULL AND pack_id IS NOT NULL)", name="published"),
        CheckConstraint("answered_as IN ('merchant', 'operator')", name="answered_as"),
        Index("ix_questions_merchant_id", "merchant_id", "id"),
        Index("ix_questions_member_id", "member_id", "id"),
        Index("ix_questions_pack_id", "pack_id", "published_at"),
        Index("ix_questions_order_id", "order_id"),
        Index("ix_questions_answered_at", "answered_at", "due_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    once: Mapped[str] = mapped_column(String(64), unique=True)
    member_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
    pack_id: Mapped[int | None] = mapped_column(ForeignKey("gift_packs.id"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchants.id"))
    words: Mapped[str] = mapped_column(String(500))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[str | None] = mapped_column(String(1000))
    answered_as: Mapped[str | None] = mapped_column(String(8))
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Rating(Base):
    """评价: one member's stars and words for a pack they received: one for each member and pack, however often ordered.

    It names the order it was first given for. Its stars count in the pack's summary (catalog) in the transaction that
    writes them.
    """

    __tablename__ = "ratings"
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "line_no"], ["order_lines.order_id", "order_lines.line_no"]),
        CheckConstraint("stars BETWEEN 1 AND 5", name="stars"),
        CheckConstraint("status IN ('none', 'waiting', 'shown', 'hidden')", name="status"),
        CheckConstraint("(status = 'none') = (words = '')", name="words"),
        UniqueConstraint("order_id", "line_no"),
        UniqueConstraint("pack_id", "member_id"),
        Index("ix_ratings_pack_id_shown", "pack_id", "status", "id"),
        Index("ix_ratings_member_id", "member_id"),
        Index("ix_ratings_status", "status", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(Id)
    line_no: Mapped[int]
    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"))
    member_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
    stars: Mapped[int]
    words: Mapped[str] = mapped_column(String(500))
    status: Mapped[str] = mapped_column(String(8))
    rated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
