"""Orders in and out."""

from collections.abc import Iterable
from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, validates_schema

from kernel.doors import figures_here
from kernel.pictures import at_width
from kernel.schemas import (
    Base,
    IdField,
    Length,
    ListOf,
    Moment,
    OneOf,
    PageArgs,
    Range,
    RowFault,
    SheetReport,
    Text,
    fen,
    text,
)
from orders.rules import PARCEL_MOVES
from orders.why import Sentence
from people.rules import normal_phone

MAX_LINES = 100
MAX_QUANTITY = 100_000


class WantedLine(Base):
    """One line a buyer asks for."""

    pack_id = IdField(required=True)
    quantity = fields.Integer(required=True, strict=True, validate=Range(min=1, max=MAX_QUANTITY))


class QuoteRequest(Base):
    """What to price."""

    campaign = text(40)
    lines = ListOf(fields.Nested(WantedLine), required=True, validate=Length(min=1, max=MAX_LINES))


class Place(fields.Dict):
    """A `delivery` as it is shown: its station's id is opaque text, as every id is."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if value and value.get("station_id") is not None:
            return {**value, "station_id": str(value["station_id"])}
        return value


class Delivery(Base):
    """Where a member's order goes: shipped to an address, or to a pickup station."""

    kind = fields.String(required=True, validate=OneOf(("ship", "pickup")))
    name = text(80)
    phone = text(20)
    region = Text(load_default="", validate=Length(max=80))
    address = Text(load_default="", validate=Length(max=200))
    station_id = IdField(load_default=None, allow_none=True)

    @validates_schema(skip_on_field_errors=True)
    def _complete(self, data: dict[str, Any], **_: Any) -> None:
        errors = {}
        if normal_phone(data["phone"]) is None:
            errors["phone"] = ["请填写 11 位手机号。"]
        if data["kind"] == "ship" and not data["address"]:
            errors["address"] = ["请填写收货地址。"]
        if data["kind"] == "pickup" and data["station_id"] is None:
            errors["station_id"] = ["请选择自提点。"]
        if errors:
            raise ValidationError(errors)


class PlaceOrder(QuoteRequest):
    """A quote's body, the price the buyer saw, and where it goes."""

    payable_fen = fen()
    delivery = fields.Nested(Delivery, required=True)


class BulkDelivery(Base):
    """Where a union's order goes."""

    name = Text(load_default="", validate=Length(max=80))
    phone = Text(load_default="", validate=Length(max=20))
    address = Text(load_default="", validate=Length(max=200))


class RosterEntry(Base):
    """A person on a roster."""

    name = Text(load_default="")
    phone = Text(load_default="")
    employee_no = Text(load_default="")
    department = Text(load_default="")
    pack_id = Text(load_default="", allow_none=True)
    address = Text(load_default="")
    quantity = fields.Integer(load_default=1, strict=True, validate=Range(min=1, max=1000))


class Roster(Base):
    """A roster as JSON."""

    recipients = ListOf(fields.Nested(RosterEntry), required=True, validate=Length(min=1, max=20_000))


class Reject(Base):
    """Why an order is sent back."""

    reason = text(200)


class StartPayment(Base):
    """How to pay."""

    provider = fields.String(required=True, validate=OneOf(("stripe", "sandbox", "bank_transfer")))


class ConfirmTransfer(Base):
    """What arrived."""

    amount_fen = fen()


class Ship(Base):
    """Who carries a parcel."""

    carrier = text(40)
    tracking_no = text(60)
    lines = fields.List(
        fields.Nested(lambda: ReturnedLine()),
        load_default=None,
        allow_none=True,
        validate=Length(min=1, max=MAX_LINES),
        metadata={"description": "the units in this package; all that is still to be sent where nothing is said"},
    )
    department = Text(
        load_default=None,
        allow_none=True,
        validate=Length(max=80),
        metadata={"description": "whose box this package is, where a union wants its order by department"},
    )


class PaperArgs(Base):
    """Which parcels to print: repeat `parcel`, or leave it out for all that are to be sent."""

    parcel = fields.List(fields.String(validate=Length(max=40)), load_default=list, validate=Length(max=500))


class CorrectShipment(Base):
    """The right carrier and number of a package: the last one's where none is named."""

    carrier = text(40)
    tracking_no = text(60)
    package_no = fields.Integer(load_default=None, allow_none=True, strict=True, validate=Range(min=1, max=10**6))


class ShippedRow(Base):
    """A row of a sheet whose parcel has left."""

    row = fields.Integer()
    parcel_id = fields.String()


class ShipmentReport(SheetReport):
    """What became of a sheet's rows."""

    rows = fields.List(fields.Nested(ShippedRow))


class PickupCode(Base):
    """The eight digits (also shown as a QR code) that hand a parcel over, once."""

    code = fields.String()


class HandOver(Base):
    """What a buyer shows: eight digits."""

    code = text(200)


class ReturnedLine(Base):
    """Units of an order line to give back."""

    line_id = IdField(required=True)
    quantity = fields.Integer(required=True, strict=True, validate=Range(min=1, max=MAX_QUANTITY))


class AskRefund(Base):
    """What to give back, and why."""

    lines = ListOf(fields.Nested(ReturnedLine), required=True, validate=Length(min=1, max=MAX_LINES))
    reason = Text(load_default="", validate=Length(max=200))


class Reason(Base):
    """Why."""

    reason = text(200)


class SentBack(Base):
    """Under which bank reference money was sent back."""

    reference = text(60)


class RefundArgs(PageArgs):
    """Which refunds to list."""

    status = fields.String(load_default=None, validate=OneOf(("requested", "accepted", "declined")))


class ParcelArgs(PageArgs):
    """Which parcels to list."""

    status = fields.String(load_default=None, validate=OneOf(tuple(PARCEL_MOVES)))
    overdue = fields.Boolean(load_default=False, metadata={"description": "only those that should have left by now"})


class QuotedLine(Base):
    """A line with its price, in fen."""

    pack_id = IdField()
    quantity = fields.Integer()
    amount_fen = fields.Integer()
    discount_fen = fields.Integer()


class NextSaving(Base):
    """What spending a little more would save."""

    spend_more_fen = fields.Integer()
    save_more_fen = fields.Integer()


class QuotedVoucher(Base):
    """What the voucher pays, in fen."""

    balance_fen = fields.Integer()
    draw_fen = fields.Integer()
    balance_after_fen = fields.Integer()


class Quote(Base):
    """试算."""

    subtotal_fen = fields.Integer()
    discount_fen = fields.Integer()
    payable_fen = fields.Integer()
    lines = fields.List(fields.Nested(QuotedLine))
    voucher = fields.Nested(QuotedVoucher, allow_none=True)
    next_saving = fields.Nested(NextSaving, allow_none=True)
    reason = fields.String(allow_none=True)
    why = fields.List(fields.String(), metadata={"description": "how the price comes about, step by step"})


class Why(Base):
    """How amounts came about, step by step, from what the ledger has."""

    discount = fields.List(fields.String())
    refunds = fields.List(fields.Dict())


class OrderLine(Base):
    """订单行, as it was bought."""

    id = fields.Function(lambda line: str(line.line_no))
    pack_id = IdField()
    name = fields.String(attribute="pack_name")
    quantity = fields.Integer()
    price_fen = fields.Integer()
    amount_fen = fields.Integer()
    discount_fen = fields.Integer()
    refunded = fields.Integer(metadata={"description": "units that were given back"})


class AcceptRefund(Base):
    """What of the goods that had left came back and is sold again; what is not named is not."""

    restock = ListOf(fields.Nested(ReturnedLine), load_default=list, validate=Length(max=MAX_LINES))


class RefundedLine(Base):
    """Units of a line in a refund."""

    line_id = fields.Function(lambda pair: str(pair[0].line_no))
    pack_id = fields.Function(lambda pair: str(pair[0].pack_id))
    name = fields.Function(lambda pair: pair[0].pack_name)
    quantity = fields.Function(lambda pair: pair[1])


class RefundPart(Base):
    """One merchant's part of a refund, in fen; what the merchant answers."""

    id = fields.Function(lambda part: str(part.refund_id))
    order_number = fields.Function(lambda part: str(part.order_id))
    merchant = fields.Function(lambda part: {"id": str(part.merchant_id), "name": part.merchant_name})
    parcel_id = fields.Function(lambda part: f"{part.order_id}-{part.parcel_no}")
    status = fields.String()
    shipped = fields.Boolean()
    reason = fields.String()
    cash_back_fen = fields.Integer(attribute="cash_fen")
    voucher_back_fen = fields.Integer(attribute="voucher_fen")
    asked_at = Moment()
    due_at = Moment(allow_none=True)
    decided_at = Moment(allow_none=True)
    decline_reason = fields.String(allow_none=True)
    appeal_reason = fields.String(allow_none=True)
    pictures = fields.Function(
        lambda part: [f"/refund-pictures/{at_width(name, 1280)}" for name in part.pictures],
        metadata={"description": "paths on this server, for whom the refund concerns"},
    )
    lines = fields.List(fields.Nested(RefundedLine))
    restocked = fields.Function(
        lambda part: [
            {"line_id": str(line_no), "quantity": count} for line_no, count in part.restocked.items() if count
        ],
        metadata={"description": "units that had left, came back and are sold again"},
    )


class Refund(Base):
    """退款, in fen: what comes back to the buyer and to the voucher; `voucher_to` is 'balance', 'budget' or null."""

    id = IdField()
    order_number = fields.Function(lambda refund: str(refund.order_id))
    status = fields.String()
    reason = fields.String()
    cash_back_fen = fields.Integer()
    voucher_back_fen = fields.Integer()
    voucher_to = fields.String(allow_none=True)
    asked_at = Moment()
    parts = fields.List(fields.Nested(RefundPart))


class PartList(Base):
    """Merchants' parts of refunds."""

    items = fields.List(fields.Nested(RefundPart))


class RefundList(Base):
    """An order's refunds."""

    items = fields.List(fields.Nested(Refund))


class ParcelMerchant(Base):
    """Who sends a parcel."""

    id = IdField()
    name = fields.String()


class Parcel(Base):
    """包裹."""

    id = fields.String()
    merchant = fields.Function(lambda parcel: {"id": str(parcel.merchant_id), "name": parcel.merchant_name})
    status = fields.String()
    carrier = fields.String(allow_none=True)
    tracking_no = fields.String(allow_none=True)
    tracking_url = fields.String(attribute="link", allow_none=True)
    shipped_at = Moment(allow_none=True)
    delivered_at = Moment(allow_none=True)
    lines = fields.List(fields.Nested(OrderLine))


class Package(Base):
    """One package of a parcel; `units` by line id, empty where it held everything."""

    package_no = fields.Integer()
    carrier = fields.String()
    tracking_no = fields.String()
    tracking_url = fields.String(attribute="link", allow_none=True)
    shipped_at = Moment()
    units = fields.Dict(keys=fields.String(), values=fields.Integer())
    department = fields.String(allow_none=True)
    received_at = Moment(allow_none=True)


class ParcelLine(OrderLine):
    """An order's line as its merchant packs it: `to_send` units of it are still to be sent."""

    to_send = fields.Integer()
    shipped = fields.Integer()


class Box(Base):
    """What of a parcel goes to one department, and what of that is still to be sent."""

    department = fields.String()
    lines = fields.Function(lambda box: _units(box.units))
    to_send = fields.Function(lambda box: _units(box.to_send))


def _units(units: Any) -> list[dict[str, Any]]:
    return [{"line_id": str(line_no), "quantity": count} for line_no, count in units.items()]


class MerchantParcel(Parcel):
    """包裹 as its merchant sees it: of the buyer, what the label needs; `to_send` is what is still to be sent."""

    lines = fields.List(fields.Nested(ParcelLine))
    packages = fields.List(fields.Nested(Package))
    due_at = Moment(allow_none=True)
    overdue = fields.Boolean()
    boxes = fields.List(fields.Nested(lambda: Box()))

    order_number = fields.Function(lambda parcel: str(parcel.order_id))
    delivery = Place()
    paid_at = Moment(allow_none=True)


class Order(Base):
    """订单."""

    number = fields.String()
    campaign = fields.String()
    status = fields.String()
    subtotal_fen = fields.Integer()
    discount_fen = fields.Integer()
    payable_fen = fields.Integer()
    delivery = Place()
    placed_at = Moment()
    expires_at = Moment(allow_none=True)
    paid_at = Moment(allow_none=True)
    lines = fields.List(fields.Nested(OrderLine))
    parcels = fields.List(fields.Nested(Parcel))


class BulkOrder(Order):
    """A union's order."""

    submitted_at = Moment(allow_none=True)
    decided_at = Moment(allow_none=True)
    reject_reason = fields.String(allow_none=True)
    recipient_count = fields.Integer()


class Payment(Base):
    """支付: where to go to pay."""

    id = fields.String()
    order_number = fields.String()
    provider = fields.String()
    status = fields.String()
    amount_fen = fields.Integer()
    redirect_url = fields.String(allow_none=True)
    reference = fields.String()
    pay_to = fields.Dict()


class SentRefund(Base):
    """退款: money on its way back; `attempt` counts the provider's refusals."""

    id = fields.String()
    order_number = fields.String(attribute="order_id", allow_none=True)
    provider = fields.String()
    amount_fen = fields.Integer()
    reason = fields.String()
    status = fields.String()
    attempt = fields.Integer()
    error = fields.String(allow_none=True)
    created_at = Moment()


class BankLine(Base):
    """A line of a bank statement."""

    id = fields.String()
    serial = fields.String()
    booked_on = fields.Date()
    amount_fen = fields.Integer()
    counterparty = fields.String()
    text = fields.String()
    status = fields.String()
    payment_id = fields.String(allow_none=True)


class DecideLine(Base):
    """What becomes of a statement line."""

    verdict = fields.String(required=True, validate=OneOf(("assign", "take", "send_back", "ignore")))
    reference = text(40, required=False, load_default="")
    note = text(200, required=False, load_default="")


class Note(Base):
    """What was done, in words."""

    note = text(200)


class Mismatch(Base):
    """不符: `amount` is in the smallest unit of `currency`."""

    id = fields.String()
    kind = fields.String()
    provider = fields.String()
    payment_id = fields.String(allow_none=True)
    order_number = fields.String(attribute="order_id", allow_none=True)
    refund_id = fields.String(allow_none=True)
    amount = fields.Integer()
    currency = fields.String()
    expected_fen = fields.Integer(allow_none=True)
    reference = fields.String()
    detail = fields.String()
    opened_at = Moment()


class RosterReport(Base):
    """What became of a roster's rows."""

    accepted = fields.Integer()
    rejected = fields.Integer()
    errors = fields.List(fields.Nested(RowFault))


def quote_body(priced: Any) -> dict[str, Any]:
    """Return a member's priced basket as the API says it."""
    quoted = priced.quote
    purse = priced.purse
    active = purse.status == "active"
    return {
        "subtotal_fen": quoted.subtotal_fen,
        "discount_fen": quoted.discount_fen,
        "payable_fen": quoted.payable_fen,
        "lines": _lines(priced.lines),
        "voucher": {
            "balance_fen": purse.balance_fen,
            "draw_fen": quoted.discount_fen,
            "balance_after_fen": purse.balance_fen - quoted.discount_fen,
        }
        if active
        else None,
        "next_saving": quoted.next_saving.__dict__ if quoted.next_saving else None,
        "reason": priced.reason,
        "why": sentences(priced.why),
    }


def sentences(steps: Iterable[Sentence]) -> list[str]:
    """Return a derivation in the reader's language."""
    return [gettext(step.text, **figures_here(step.figures)) for step in steps]


def _lines(lines: Any) -> list[dict[str, Any]]:
    return [
        {
            "pack_id": str(line.pack_id),
            "quantity": line.quantity,
            "amount_fen": line.amount_fen,
            "discount_fen": line.discount_fen,
        }
        for line in lines
    ]


def bulk_quote_body(priced: Any) -> dict[str, Any]:
    """Return a union's priced basket as the API says it."""
    quoted = priced.quote
    return {
        "subtotal_fen": quoted.subtotal_fen,
        "discount_fen": quoted.discount_fen,
        "payable_fen": quoted.payable_fen,
        "lines": _lines(priced.lines),
        "voucher": None,
        "next_saving": quoted.next_saving.__dict__ if quoted.next_saving else None,
        "reason": "bulk_budget_limited" if quoted.reason == "balance_limited" else quoted.reason,
        "why": sentences(priced.why),
    }


def why_body(discount: Iterable[Sentence], refunds: Iterable[tuple[int, Iterable[Sentence]]]) -> dict[str, Any]:
    """Return how an order's amounts came about as the API says it."""
    return {
        "discount": sentences(discount),
        "refunds": [{"id": str(refund_id), "why": sentences(steps)} for refund_id, steps in refunds],
    }
