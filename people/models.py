"""People, the organizations they belong to, the seats they hold and the ways they sign in."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, UtcDateTime


class Person(Base):
    """Somebody who can sign in, by phone."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    phone: Mapped[str] = mapped_column(String(20), unique=True)


class GrassrootsUnion(Base):
    """基层工会: a unit's union; buys for all its people."""

    __tablename__ = "grassroots_unions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(200), default="")


class Merchant(Base):
    """商户: a partner who supplies packs and is paid."""

    __tablename__ = "merchants"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    short_name: Mapped[str] = mapped_column(String(40))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    region: Mapped[str] = mapped_column(String(40), index=True)
    assisted_region: Mapped[bool]
    intro: Mapped[str] = mapped_column(String(400), default="")
    intro_en: Mapped[str] = mapped_column(String(600), default="")


class Member(Base):
    """会员: a person in a union."""

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), unique=True)
    member_no: Mapped[str] = mapped_column(String(40), unique=True)
    union_id: Mapped[int] = mapped_column(ForeignKey("grassroots_unions.id"), index=True)
    department: Mapped[str] = mapped_column(String(80), default="")
    joined_on: Mapped[date | None] = mapped_column(Date)


class Honour(Base):
    """A name on an honour roll (376 劳动模范): entitled to what the district gives that roll."""

    __tablename__ = "honours"
    __table_args__ = (UniqueConstraint("kind", "phone"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(80))
    phone: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(80), default="")
    year: Mapped[int | None]
    unit: Mapped[str] = mapped_column(String(120), default="")
    member_no: Mapped[str | None] = mapped_column(String(40))


class SeatRow(Base):
    """岗位权限: a person's role in one organization; the district's operators belong to none."""

    __tablename__ = "seats"
    __table_args__ = (
        CheckConstraint(
            "(role IN ('union_officer', 'union_approver') AND union_id IS NOT NULL AND merchant_id IS NULL)"
            " OR (role = 'merchant' AND merchant_id IS NOT NULL AND union_id IS NULL)"
            " OR (role = 'operator' AND merchant_id IS NULL AND union_id IS NULL)",
            name="one_organization",
        ),
        Index("ix_seats_person_id", "person_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    role: Mapped[str] = mapped_column(String(20))
    union_id: Mapped[int | None] = mapped_column(ForeignKey("grassroots_unions.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchants.id"))
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PickupStation(Base):
    """自提点: where a member can collect instead of having a pack shipped."""

    __tablename__ = "pickup_stations"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    address: Mapped[str] = mapped_column(String(200))
    hours: Mapped[str] = mapped_column(String(120), default="")


class SignInCode(Base):
    """The one live one-time code of a phone: six digits, five minutes, five tries, stored hashed."""

    __tablename__ = "sign_in_codes"
    __table_args__ = (CheckConstraint("tries_left >= 0", name="tries_left"),)

    phone: Mapped[str] = mapped_column(String(20), primary_key=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    tries_left: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiToken(Base):
    """A bearer token, stored as its SHA-256 only."""

    __tablename__ = "api_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
