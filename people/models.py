"""People, the organizations they belong to, the seats they hold and the ways they sign in."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, Text, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, UtcDateTime, caused_by
from kernel.ids import new_id
from people.rules import SCOPES


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
    """会员: a person in a union. Who left (`left_on`) stays, and is given nothing new; no member's door opens."""

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), unique=True)
    member_no: Mapped[str] = mapped_column(String(40), unique=True)
    union_id: Mapped[int] = mapped_column(ForeignKey("grassroots_unions.id"), index=True)
    department: Mapped[str] = mapped_column(String(80), default="")
    joined_on: Mapped[date | None] = mapped_column(Date)
    left_on: Mapped[date | None] = mapped_column(Date)


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
            "(role IN ('union_officer', 'union_approver') AND union_id IS NOT NULL AND merchant_id IS NULL"
            " AND station_id IS NULL)"
            " OR (role = 'merchant' AND merchant_id IS NOT NULL AND union_id IS NULL AND station_id IS NULL)"
            " OR (role = 'station' AND station_id IS NOT NULL AND union_id IS NULL AND merchant_id IS NULL)"
            " OR (role = 'operator' AND merchant_id IS NULL AND union_id IS NULL AND station_id IS NULL)",
            name="one_organization",
        ),
        Index("ix_seats_person_id", "person_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    role: Mapped[str] = mapped_column(String(20))
    union_id: Mapped[int | None] = mapped_column(ForeignKey("grassroots_unions.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchants.id"))
    station_id: Mapped[int | None] = mapped_column(ForeignKey("pickup_stations.id"))
    granted_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    granted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PickupStation(Base):
    """自提点: where a member can collect instead of having a pack shipped. A closed one is offered to nobody.

    Its position (WGS-84) is kept in millionths of a degree; both or none. Where there is no English name or address the
    Chinese is shown.
    """

    __tablename__ = "pickup_stations"
    __table_args__ = (
        CheckConstraint(
            "(lat_e6 IS NULL AND lon_e6 IS NULL) OR (lat_e6 BETWEEN -90000000 AND 90000000"
            " AND lon_e6 BETWEEN -180000000 AND 180000000)",
            name="position",
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    name_en: Mapped[str] = mapped_column(String(160), default="", server_default="")
    address: Mapped[str] = mapped_column(String(200))
    address_en: Mapped[str] = mapped_column(String(300), default="", server_default="")
    hours: Mapped[str] = mapped_column(String(120), default="")
    district: Mapped[str] = mapped_column(String(40), default="", server_default="")
    services: Mapped[str] = mapped_column(String(200), default="", server_default="")
    phone: Mapped[str] = mapped_column(String(30), default="", server_default="")
    lat_e6: Mapped[int | None]
    lon_e6: Mapped[int | None]
    is_open: Mapped[bool] = mapped_column(default=True, server_default=true())


class SignInCode(Base):
    """The one live one-time code of a phone: six digits, five minutes, five tries, stored hashed."""

    __tablename__ = "sign_in_codes"
    __table_args__ = (CheckConstraint("tries_left >= 0", name="tries_left"),)

    phone: Mapped[str] = mapped_column(String(20), primary_key=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    tries_left: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiToken(Base):
    """A bearer token, stored as its SHA-256 only. With a `merchant_id` it opens that merchant's seat alone."""

    __tablename__ = "api_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[int] = mapped_column(Id, unique=True, default=new_id)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    scopes: Mapped[str] = mapped_column(String(60), default=" ".join(SCOPES))
    method: Mapped[str] = mapped_column(String(16), server_default="totp")
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchants.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Credential(Base):
    """How staff sign in: a name, a password (argon2id) and a time-based code whose secret is kept sealed.

    `last_step` is the last time step a code was taken for: none is taken twice.
    """

    __tablename__ = "credentials"

    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    login: Mapped[str] = mapped_column(String(80), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    must_change: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    totp_sealed: Mapped[str | None] = mapped_column(String(200))
    totp_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_step: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RecoveryCode(Base):
    """A code that stands in for the time-based one, once."""

    __tablename__ = "recovery_codes"

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SignIn(Base):
    """A browser that is signed in, known by the hash of its cookie's secret. Ends when idle, or after its limit."""

    __tablename__ = "sign_ins"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[int] = mapped_column(Id, unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    method: Mapped[str] = mapped_column(String(16))
    seat_id: Mapped[int | None] = mapped_column(ForeignKey("seats.id"))
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(120))
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    idle_seconds: Mapped[int]
    idle_until: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


MESSAGE_STATES = ("waiting", "sending", "sent", "failed", "unsure", "unknown")


class Message(Base):
    """A message to somebody, written in the transaction of what it tells; each tells its person a thing once.

    `recipient` is whom it is for: a person ("p" and their id), or a phone where there is none. `details` are the values
    in its words, `sealed` those that open something; `said` is what was sent, without them. "unsure" is what a provider
    may have sent and did not say: it is never sent again unless a person says so. `kind` is "code" for a one-time code,
    of which each is its own: it has no `recipient`. A row without an `event` was written before there were any: what is
    sealed is its whole text.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("recipient", "event", "thing", "channel"),
        CheckConstraint(f"status IN ({', '.join(map(repr, MESSAGE_STATES))})", name="status"),
        CheckConstraint("channel IN ('sms', 'email')", name="channel"),
        Index(
            "ix_messages_waiting",
            "kind",
            "send_at",
            postgresql_where=text("status = 'waiting'"),
            sqlite_where=text("status = 'waiting'"),
        ),
        Index(
            "ix_messages_open",
            "status",
            "claimed_at",
            postgresql_where=text("status IN ('sending', 'unsure')"),
            sqlite_where=text("status IN ('sending', 'unsure')"),
        ),
        Index(
            "ix_messages_failed",
            "id",
            postgresql_where=text("status = 'failed'"),
            sqlite_where=text("status = 'failed'"),
        ),
        Index("ix_messages_event", "event", "id"),
        Index("ix_messages_made_at", "made_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"), index=True)
    recipient: Mapped[str | None] = mapped_column(String(40))
    phone: Mapped[str] = mapped_column(String(20), index=True, default="")
    kind: Mapped[str] = mapped_column(String(20))
    event: Mapped[str] = mapped_column(String(30), default="", server_default="")
    thing: Mapped[str] = mapped_column(String(80), default="", server_default="")
    channel: Mapped[str] = mapped_column(String(8), default="sms", server_default="sms")
    details: Mapped[dict[str, str]] = mapped_column(Json, default=dict, server_default=text("'{}'"))
    sealed: Mapped[str] = mapped_column(Text, default="")
    said: Mapped[str] = mapped_column(Text, default="", server_default="")
    status: Mapped[str] = mapped_column(String(12))
    tries: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(String(200), default="")
    send_at: Mapped[datetime] = mapped_column(UtcDateTime)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by()
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class MessageTemplate(Base):
    """An operator's own words for a kind of message in a language, in the place of those in people.texts."""

    __tablename__ = "message_templates"

    event: Mapped[str] = mapped_column(String(30), primary_key=True)
    language: Mapped[str] = mapped_column(String(2), primary_key=True)
    subject: Mapped[str] = mapped_column(String(80))
    words: Mapped[str] = mapped_column(String(500))
    changed_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Contact(Base):
    """How a person wants to be told: by which channel, in which language, and whether of what they may do without.

    `new_email` waits for its code; only a confirmed `email` is ever written to, but for that code.
    """

    __tablename__ = "contacts"
    __table_args__ = (
        CheckConstraint("channel = 'sms' OR (channel = 'email' AND email IS NOT NULL)", name="channel"),
        CheckConstraint("language IN ('zh', 'en')", name="language"),
    )

    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True, autoincrement=False)
    channel: Mapped[str] = mapped_column(String(8), default="sms")
    language: Mapped[str] = mapped_column(String(2), default="zh")
    news: Mapped[bool] = mapped_column(default=True)
    email: Mapped[str | None] = mapped_column(String(254))
    new_email: Mapped[str | None] = mapped_column(String(254))
    code_hash: Mapped[str] = mapped_column(String(64), default="")
    code_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries_left: Mapped[int] = mapped_column(default=0)
