"""Packs, their contents and their stock."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime

PACK_MOVES = {
    "pending": {"on_sale", "rejected"},
    "on_sale": {"off_sale"},
    "off_sale": {"on_sale"},
    "rejected": {"pending"},
}
CHANGE_MOVES = {"pending": {"approved", "rejected", "withdrawn"}}
LOW_STOCK = 20
"""Below how many available packs a merchant is warned, where it has said nothing else."""


class GiftPack(Base):
    """礼包: products sold together at the price of its tier (fen). On sale in every campaign that has the tier.

    `picture` is a file of ours (a path under static) or an upload's name (kernel.pictures). `rating_count` and
    `rating_stars` sum up its ratings, kept by those who write them, so that no list has to count.
    """

    __tablename__ = "gift_packs"
    __table_args__ = (
        CheckConstraint("price_fen > 0", name="price"),
        CheckConstraint("alert_below >= 0", name="alert_below"),
        CheckConstraint("rating_stars BETWEEN rating_count AND 5 * rating_count", name="rating"),
        CheckConstraint("status IN ('pending', 'on_sale', 'off_sale', 'rejected')", name="status"),
        Index("ix_gift_packs_listing", "status", "price_fen", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(40), unique=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    name_en: Mapped[str] = mapped_column(String(160), default="")
    price_fen: Mapped[int] = mapped_column(Id)
    category: Mapped[str] = mapped_column(String(20), default="food")
    description: Mapped[str] = mapped_column(String(200), default="")
    description_en: Mapped[str] = mapped_column(String(400), default="")
    picture: Mapped[str] = mapped_column(String(200), default="")
    search: Mapped[str] = mapped_column(String(2000), default="")
    alert_below: Mapped[int] = mapped_column(default=LOW_STOCK, server_default=str(LOW_STOCK))
    status: Mapped[str] = mapped_column(String(12))
    reject_reason: Mapped[str | None] = mapped_column(String(200))
    rating_count: Mapped[int] = mapped_column(default=0, server_default="0")
    rating_stars: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PackContent(Base):
    """One product in a pack, with its quantity and unit."""

    __tablename__ = "pack_contents"

    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    name_en: Mapped[str] = mapped_column(String(160), default="")
    quantity: Mapped[int]
    unit: Mapped[str] = mapped_column(String(12))
    shelf_life: Mapped[str] = mapped_column(String(40), default="", server_default="")
    origin: Mapped[str] = mapped_column(String(40), default="", server_default="")


class PackChange(Base):
    """What a merchant wants a pack to become: the pack sells on as it is until an operator approves.

    `details` are the fields that change, as `GiftPack` has them, and maybe `contents`. One waits at a time.
    """

    __tablename__ = "pack_changes"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'approved', 'rejected', 'withdrawn')", name="status"),
        Index(
            "uq_pack_changes_waiting",
            "pack_id",
            unique=True,
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),
        Index("ix_pack_changes_pack_id", "pack_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"))
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    status: Mapped[str] = mapped_column(String(12))
    asked_by: Mapped[int | None] = mapped_column(Id)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[int | None] = mapped_column(Id)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(String(200))


class Stock(Base):
    """库存, in packs: taken in = available + held + sold, and available is never below 0.

    `sold` counts every pack sold, `shipped` those of them that have left; what is in the merchant's hands (on hand)
    is taken in − shipped. Where `bulk_share` is set, so many are kept for unions' orders and no more go to them;
    `bulk_taken` is what unions' orders hold or have bought, those given back to the shelf taken off.
    """

    __tablename__ = "stocks"
    __table_args__ = (
        CheckConstraint("held >= 0 AND sold >= 0 AND shipped >= 0 AND shipped <= sold", name="not_negative"),
        CheckConstraint("taken_in >= held + sold", name="not_oversold"),
        CheckConstraint("bulk_taken >= 0 AND (bulk_share IS NULL OR bulk_taken <= bulk_share)", name="bulk_share"),
    )

    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"), primary_key=True, autoincrement=False)
    taken_in: Mapped[int] = mapped_column(Id, default=0)
    held: Mapped[int] = mapped_column(Id, default=0)
    sold: Mapped[int] = mapped_column(Id, default=0)
    shipped: Mapped[int] = mapped_column(Id, default=0)
    bulk_share: Mapped[int | None] = mapped_column(Id)
    bulk_taken: Mapped[int] = mapped_column(Id, default=0, server_default="0")

    @hybrid_property
    def available(self) -> int:
        """可售."""
        return self.taken_in - self.held - self.sold


class LowStock(Base):
    """Since when a pack has been below its merchant's threshold: one alert each time it falls below."""

    __tablename__ = "low_stocks"

    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"), primary_key=True, autoincrement=False)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
