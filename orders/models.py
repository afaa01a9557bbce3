"""One table of orders for both channels, with lines, recipients and parcels."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import Base, Id, Json, NullableJson, UtcDateTime, caused_by
from orders.rules import GRANT_MOVES, ORDER_MOVES, PARCEL_MOVES, REFUND_MOVES


def _one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


# With the second half only who asks for a time can use the index, not who asks for one member's unpaid orders.
_MAY_EXPIRE = "status IN ('pending_payment', 'approved') AND expires_at IS NOT NULL"


class Order(Base):
    """订单: what one buyer, a member or a union, ordered, or a grant gave, at one moment. Its number is its id.

    The campaign's rule is copied onto it. `idempotency_key`, `request_hash` and `answer` are the placing request's:
    kept here, a repeated request finds its answer by the statement that reads the basket.
    """

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(
            "(buyer_kind = 'member' AND member_id IS NOT NULL) OR (buyer_kind = 'union' AND union_id IS NOT NULL)"
            " OR (buyer_kind = 'grant' AND payable_fen = 0)",
            name="buyer",
        ),
        CheckConstraint(_one_of("status", ORDER_MOVES), name="status"),
        CheckConstraint("discount_fen >= 0 AND payable_fen >= 0", name="not_negative"),
        CheckConstraint("payable_fen = subtotal_fen - discount_fen", name="payable"),
        UniqueConstraint("placed_by", "idempotency_key"),
        Index("ix_orders_member", "member_id", "id"),
        Index("ix_orders_union", "union_id", "id"),
        Index(
            "ix_orders_due",
            "expires_at",
            postgresql_where=text(_MAY_EXPIRE),
            sqlite_where=text(_MAY_EXPIRE),
        ),
        Index(
            "ix_orders_unpaid",
            "member_id",
            postgresql_where=text("status = 'pending_payment'"),
            sqlite_where=text("status = 'pending_payment'"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    buyer_kind: Mapped[str] = mapped_column(String(8))
    member_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
    union_id: Mapped[int | None] = mapped_column(ForeignKey("grassroots_unions.id"))
    placed_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    voucher_id: Mapped[int | None] = mapped_column(ForeignKey("vouchers.id"))
    status: Mapped[str] = mapped_column(String(16))
    step_fen: Mapped[int] = mapped_column(Id)
    save_fen: Mapped[int] = mapped_column(Id)
    subtotal_fen: Mapped[int] = mapped_column(Id)
    discount_fen: Mapped[int] = mapped_column(Id)
    payable_fen: Mapped[int] = mapped_column(Id)
    delivery: Mapped[dict[str, Any]] = mapped_column(Json)
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paid_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    holds: Mapped[int] = mapped_column(default=1)
    submitted_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    submitted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reject_reason: Mapped[str | None] = mapped_column(String(200))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    answer: Mapped[str | None] = mapped_column(Text)


class OrderLine(Base):
    """订单行: pack × quantity at the price of that moment, name and price copied.

    Of its units, `refund_asked` are asked back and not declined, `refunded` of them have been given back.
    `shipped` have left the merchant, `withdrawn` were given back before they left: neither is still to be sent.
    """

    __tablename__ = "order_lines"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint("amount_fen = price_fen * quantity", name="amount"),
        CheckConstraint("discount_fen BETWEEN 0 AND amount_fen", name="share"),
        CheckConstraint("0 <= refunded AND refunded <= refund_asked AND refund_asked <= quantity", name="refunded"),
        CheckConstraint("shipped >= 0 AND withdrawn >= 0 AND shipped + withdrawn <= quantity", name="shipped"),
        Index("ix_order_lines_pack_id", "pack_id"),
    )

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    pack_id: Mapped[int] = mapped_column(ForeignKey("gift_packs.id"))
    pack_name: Mapped[str] = mapped_column(String(80))
    pack_name_en: Mapped[str] = mapped_column(String(160), server_default="")
    picture: Mapped[str] = mapped_column(String(200))
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    merchant_name: Mapped[str] = mapped_column(String(120))
    merchant_name_en: Mapped[str] = mapped_column(String(200), server_default="")
    quantity: Mapped[int]
    price_fen: Mapped[int] = mapped_column(Id)
    amount_fen: Mapped[int] = mapped_column(Id)
    discount_fen: Mapped[int] = mapped_column(Id)
    parcel_no: Mapped[int]
    refund_asked: Mapped[int] = mapped_column(default=0, server_default="0")
    refunded: Mapped[int] = mapped_column(default=0, server_default="0")
    shipped: Mapped[int] = mapped_column(default=0, server_default="0")
    withdrawn: Mapped[int] = mapped_column(default=0, server_default="0")


class Recipient(Base):
    """领取人: a person on a union's roster for one order, what they chose, and that they have it.

    `pack_id` is what the roster says or, from `chosen_at` on, what they chose themselves; None where the roster leaves
    it open. `link_code` is what makes their own link theirs: another roster gives another. `value_fen` is what they
    get at list price, known from submission on. `station_id` is the pickup station their own `delivery` names.
    """

    __tablename__ = "recipients"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint("received_how IN ('link', 'officer', 'station')", name="received_how"),
        Index("ix_recipients_phone", "phone"),
        Index("ix_recipients_pack_id", "pack_id", "order_id"),
        Index(
            "ix_recipients_station",
            "station_id",
            "order_id",
            postgresql_where=text("station_id IS NOT NULL"),
            sqlite_where=text("station_id IS NOT NULL"),
        ),
    )

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    phone: Mapped[str] = mapped_column(String(20))
    employee_no: Mapped[str] = mapped_column(String(40), default="")
    department: Mapped[str] = mapped_column(String(80), default="")
    pack_id: Mapped[int | None] = mapped_column(ForeignKey("gift_packs.id"))
    address: Mapped[str] = mapped_column(String(200), default="")
    quantity: Mapped[int] = mapped_column(default=1, server_default="1")
    link_code: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    value_fen: Mapped[int | None] = mapped_column(Id)
    chosen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivery: Mapped[dict[str, Any] | None] = mapped_column(NullableJson)
    station_id: Mapped[int | None] = mapped_column(ForeignKey("pickup_stations.id"))
    reminded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    asked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_how: Mapped[str | None] = mapped_column(String(8))


class UnionTerms(Base):
    """What a union's order has beside what every order has: self-choice, and what happened to its approval.

    With self-choice, each recipient picks one of `pack_ids`, all of `tier_fen`, until `deadline`; who does not gets
    `default_pack_id`. `voided_at` is when a change last took a submission or an approval back, `voided_was` what it
    was; `cap_override` why an approver let the yearly cap be passed; `warned_at` when the end of its payment term was
    announced. `replaced` are the packs that gave way to others of their tier once stock was held: when, by whom, which.
    """

    __tablename__ = "union_terms"
    __table_args__ = (
        CheckConstraint(
            "tier_fen IS NULL OR (default_pack_id IS NOT NULL AND deadline IS NOT NULL)", name="choice_is_whole"
        ),
    )

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True, autoincrement=False)
    tier_fen: Mapped[int | None] = mapped_column(Id)
    pack_ids: Mapped[list[int]] = mapped_column(Json, default=list, server_default=text("'[]'"))
    default_pack_id: Mapped[int | None] = mapped_column(ForeignKey("gift_packs.id"))
    deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    voided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    voided_was: Mapped[str | None] = mapped_column(String(16))
    cap_override: Mapped[str | None] = mapped_column(String(200))
    overridden_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    copied_from: Mapped[int | None] = mapped_column(ForeignKey("orders.id"))
    warned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    slip_key: Mapped[str | None] = mapped_column(String(200))
    replaced: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default=text("'[]'"))


class RosterUpload(Base):
    """The last roster of an order that had faults, kept for its marked copy; gone with the next good one."""

    __tablename__ = "roster_uploads"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True, autoincrement=False)
    filename: Mapped[str] = mapped_column(String(200))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    faults: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Shortage(Base):
    """缺货: units of a paid order's line its merchant says, before they left, that it cannot send."""

    __tablename__ = "shortages"
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "line_no"], ["order_lines.order_id", "order_lines.line_no"]),
        CheckConstraint("units > 0", name="units"),
    )

    order_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    line_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    units: Mapped[int]
    note: Mapped[str] = mapped_column(String(200), default="")
    told_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ParcelFault(Base):
    """短少或破损: units of a line a union did not get whole, told to the merchant, and what it says to that."""

    __tablename__ = "parcel_faults"
    __table_args__ = (
        CheckConstraint("missing >= 0 AND broken >= 0 AND missing + broken > 0", name="counts"),
        Index("ix_parcel_faults_merchant_id", "merchant_id", "order_id"),
        Index(
            "ix_parcel_faults_open",
            "told_at",
            postgresql_where=text("answered_at IS NULL"),
            sqlite_where=text("answered_at IS NULL"),
        ),
    )

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    parcel_no: Mapped[int]
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    missing: Mapped[int]
    broken: Mapped[int]
    note: Mapped[str] = mapped_column(String(200), default="")
    told_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[str] = mapped_column(String(200), default="", server_default="")
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by()


class Invoice(Base):
    """发票: what a union asks of one merchant of an order, in fen after discount; `amount_fen` is what it asked for.

    A refund later asks for a red one (`kind` 红字 is its sign: a negative amount). `file_key` is the uploaded invoice.
    """

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint("kind IN ('normal', 'special')", name="kind"),
        CheckConstraint("status IN ('requested', 'issued')", name="status"),
        CheckConstraint("amount_fen <> 0", name="amount"),
        UniqueConstraint("order_id", "merchant_id", "part"),
        Index("ix_invoices_merchant_id", "merchant_id", "status", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    part: Mapped[int]
    title: Mapped[str] = mapped_column(String(100))
    tax_no: Mapped[str] = mapped_column(String(18))
    kind: Mapped[str] = mapped_column(String(8))
    amount_fen: Mapped[int] = mapped_column(Id)
    status: Mapped[str] = mapped_column(String(10))
    number: Mapped[str] = mapped_column(String(40), default="")
    file_key: Mapped[str | None] = mapped_column(String(200))
    file_name: Mapped[str] = mapped_column(String(200), default="")
    asked_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    issued_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Parcel(Base):
    """包裹: one merchant's lines of a paid order; it may leave in several packages. Its carrier is the last one's.

    `station_id` is the pickup station its buyer collects it at, copied from the order's place of delivery.
    """

    __tablename__ = "parcels"
    __table_args__ = (
        CheckConstraint(_one_of("status", PARCEL_MOVES), name="status"),
        Index("ix_parcels_merchant", "merchant_id", "status", "order_id"),
        Index(
            "ix_parcels_station",
            "station_id",
            "status",
            "order_id",
            postgresql_where=text("station_id IS NOT NULL"),
            sqlite_where=text("station_id IS NOT NULL"),
        ),
    )

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    parcel_no: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    station_id: Mapped[int | None] = mapped_column(ForeignKey("pickup_stations.id"))
    status: Mapped[str] = mapped_column(String(12))
    carrier: Mapped[str | None] = mapped_column(String(40))
    tracking_no: Mapped[str | None] = mapped_column(String(60))
    shipped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by(last=True)


class ParcelPackage(Base):
    """One package of a parcel: `units` of it by line number, with one carrier and tracking number.

    Where a union wants its order by department, a package may be one `department`'s, and be received by itself.
    """

    __tablename__ = "parcel_packages"
    __table_args__ = (ForeignKeyConstraint(["order_id", "parcel_no"], ["parcels.order_id", "parcels.parcel_no"]),)

    order_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    parcel_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    package_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    carrier: Mapped[str] = mapped_column(String(40))
    tracking_no: Mapped[str] = mapped_column(String(60))
    units: Mapped[dict[str, int]] = mapped_column(Json)
    shipped_at: Mapped[datetime] = mapped_column(UtcDateTime)
    department: Mapped[str | None] = mapped_column(String(80))
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))


class Pickup(Base):
    """自提: the code that hands a parcel over, once. `code` is unique among those that are not used.

    `position` is the recipient of a union's roster whose packet alone it hands over; 0 for the whole parcel.
    """

    __tablename__ = "pickups"
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "parcel_no"], ["parcels.order_id", "parcels.parcel_no"]),
        Index(
            "uq_pickups_code",
            "code",
            unique=True,
            postgresql_where=text("used_at IS NULL"),
            sqlite_where=text("used_at IS NULL"),
        ),
    )

    order_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    parcel_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=0, server_default="0")
    code: Mapped[str] = mapped_column(String(8))
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    used_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))


class OrderRefund(Base):
    """售后: what a buyer gives back at one moment, and why."""

    __tablename__ = "order_refunds"
    __table_args__ = (Index("ix_order_refunds_order_id", "order_id", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    asked_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    reason: Mapped[str] = mapped_column(String(200))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by()


class RefundPart(Base):
    """One merchant's part of a refund: what the merchant decides on. Amounts in fen, final once it is accepted.

    `due_at` is until when the merchant may answer; after it, and after an appeal, the operator answers.
    """

    __tablename__ = "refund_parts"
    __table_args__ = (
        CheckConstraint(_one_of("status", REFUND_MOVES), name="status"),
        CheckConstraint("cash_fen >= 0 AND voucher_fen >= 0", name="not_negative"),
        Index("ix_refund_parts_merchant", "merchant_id", "status", "refund_id"),
    )

    refund_id: Mapped[int] = mapped_column(ForeignKey("order_refunds.id"), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"), primary_key=True)
    parcel_no: Mapped[int]
    shipped: Mapped[bool]
    status: Mapped[str] = mapped_column(String(12))
    cash_fen: Mapped[int] = mapped_column(Id)
    voucher_fen: Mapped[int] = mapped_column(Id)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decline_reason: Mapped[str | None] = mapped_column(String(200))
    appealed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    appeal_reason: Mapped[str | None] = mapped_column(String(200))
    final: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class RefundLine(Base):
    """Units of one order line in a refund; `restocked` of them came back to the merchant and are sold again."""

    __tablename__ = "refund_lines"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint("restocked BETWEEN 0 AND quantity", name="restocked"),
    )

    refund_id: Mapped[int] = mapped_column(ForeignKey("order_refunds.id"), primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    quantity: Mapped[int]
    restocked: Mapped[int] = mapped_column(default=0, server_default="0")


class RefundPicture(Base):
    """A picture of what arrived, uploaded by the buyer (kernel.pictures)."""

    __tablename__ = "refund_pictures"

    refund_id: Mapped[int] = mapped_column(ForeignKey("order_refunds.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)


class WebhookEndpoint(Base):
    """Where a merchant's own system wants to be told. The secret that signs is kept sealed."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index("ix_webhook_endpoints_merchant_id", "merchant_id", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchants.id"))
    url: Mapped[str] = mapped_column(String(400))
    sealed_secret: Mapped[str] = mapped_column(String(400))
    events: Mapped[list[str]] = mapped_column(Json)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WebhookDelivery(Base):
    """One event for one endpoint: what happened is told once (`thing`), tried until it is taken or given up."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "event", "thing"),
        CheckConstraint("status IN ('waiting', 'delivered', 'failed')", name="status"),
        Index(
            "ix_webhook_deliveries_due",
            "next_at",
            postgresql_where=text("status = 'waiting'"),
            sqlite_where=text("status = 'waiting'"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event: Mapped[str] = mapped_column(String(30))
    thing: Mapped[str] = mapped_column(String(80))
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(12))
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[str] = mapped_column(String(200), default="")
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by()


class Grant(Base):
    """慰问: packs, and maybe a voucher of another campaign, given free to a named list until a deadline.

    `lines` are the packs as they were when the grant was made (orders.rules.Line); `cost_fen` is one person's.
    """

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("cost_fen >= 0", name="cost"),
        Index("ix_grants_campaign_id", "campaign_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    name: Mapped[str] = mapped_column(String(120))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    lines: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    cost_fen: Mapped[int] = mapped_column(Id)
    voucher_campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))
    deadline: Mapped[datetime] = mapped_column(UtcDateTime)
    made_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)


class GrantRecipient(Base):
    """领取人 of a grant, and what they answered."""

    __tablename__ = "grant_recipients"
    __table_args__ = (
        UniqueConstraint("grant_id", "phone"),
        CheckConstraint(_one_of("status", GRANT_MOVES), name="status"),
        Index("ix_grant_recipients_member_id", "member_id", "status"),
        Index("ix_grant_recipients_waiting", "grant_id", "status", "position"),
    )

    grant_id: Mapped[int] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    phone: Mapped[str] = mapped_column(String(20))
    member_no: Mapped[str] = mapped_column(String(40), default="")
    member_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
    status: Mapped[str] = mapped_column(String(12))
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id"))
