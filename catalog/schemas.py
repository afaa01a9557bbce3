"""Packs, merchants and stock in and out."""

from typing import Any

from marshmallow import ValidationError, fields, post_load, validates_schema

from catalog.rules import picture_path
from kernel.schemas import (
    Base,
    IdField,
    Length,
    ListOf,
    Moment,
    OneOf,
    PageArgs,
    Range,
    SheetReport,
    Text,
    fen,
    text,
)


class PackArgs(PageArgs):
    """Which packs to list."""

    campaign = fields.String(load_default=None, validate=Length(max=40))
    tier_fen = fields.Integer(load_default=None, validate=Range(min=0, max=10**13))
    merchant = fields.String(load_default=None, validate=Length(max=40))
    region = Text(load_default=None, validate=Length(max=40))
    q = Text(load_default="", validate=Length(max=100))
    category = fields.String(load_default=None, validate=Length(max=20))
    channel = fields.String(load_default="member", validate=OneOf(("member", "bulk")))


class Content(Base):
    """One product in a pack."""

    name = text(80)
    quantity = fields.Integer(required=True, strict=True, validate=Range(min=1, max=10**6))
    unit = text(12)
    shelf_life = Text(load_default="", validate=Length(max=40))
    origin = Text(load_default="", validate=Length(max=40))


class MerchantRef(Base):
    """Who supplies a pack."""

    id = IdField()
    name = fields.String()
    region = fields.String()
    assisted_region = fields.Boolean()


class Pack(Base):
    """礼包."""

    id = IdField()
    name = fields.String()
    name_en = fields.String()
    price_fen = fields.Integer()
    tier_fen = fields.Integer()
    category = fields.String()
    description = fields.String()
    picture = fields.String()
    picture_url = fields.Function(
        lambda pack: picture_path(pack.picture, 640) if pack.picture else None,
        metadata={"description": "the picture's path on this server; null without one"},
    )
    merchant = fields.Nested(MerchantRef)
    contents = fields.List(fields.Nested(Content))
    available = fields.Integer()


class MerchantPack(Pack):
    """礼包 as its merchant sees it, with stock in packs."""

    status = fields.String()
    held = fields.Integer()
    sold = fields.Integer()
    to_ship = fields.Integer()
    on_hand = fields.Integer()
    alert_below = fields.Integer()
    bulk_share = fields.Integer(allow_none=True)
    bulk_taken = fields.Integer()
    reject_reason = fields.String(allow_none=True)


class Change(Base):
    """What a pack is to become: it sells on as it is until an operator approves."""

    id = IdField()
    details = fields.Dict()
    status = fields.String()
    asked_at = Moment()
    decided_at = Moment(allow_none=True)
    reason = fields.String(allow_none=True)


class OwnPack(MerchantPack):
    """A merchant's pack with the last change that was asked of it."""

    last_change = fields.Nested(Change, allow_none=True)


class Merchant(Base):
    """商户."""

    id = IdField()
    name = fields.String()
    region = fields.String()
    assisted_region = fields.Boolean()
    pack_count = fields.Integer()


class _Offered(Base):
    """What a merchant says of a pack."""

    name_en = Text(validate=Length(max=160))
    price_fen = fen(minimum=1, required=False, allow_none=True)
    tier_fen = fen(minimum=1, required=False, allow_none=True)
    category = fields.String(validate=OneOf(("food", "household")))
    description = Text(validate=Length(max=200))
    description_en = Text(validate=Length(max=400))
    alert_below = fields.Integer(strict=True, validate=Range(min=0, max=10**6))

    @validates_schema(skip_on_field_errors=True)
    def _one_price(self, data: dict[str, Any], **_: Any) -> None:
        price_fen, tier_fen = data.get("price_fen"), data.get("tier_fen")
        if None not in (price_fen, tier_fen) and price_fen != tier_fen:
            raise ValidationError({"price_fen": ["价格必须等于档位。"]})

    @post_load
    def _priced(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """A pack costs what its tier says: one of the two is enough."""
        price_fen = data.pop("price_fen", None) or data.pop("tier_fen", None)
        data.pop("tier_fen", None)
        return data | ({"price_fen": price_fen} if price_fen is not None else {})


class NewPack(_Offered):
    """What a merchant offers."""

    name = text(80)
    contents = ListOf(fields.Nested(Content), required=True, validate=Length(min=1, max=30))

    @validates_schema(skip_on_field_errors=True)
    def _has_price(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("price_fen") is None and data.get("tier_fen") is None:
            raise ValidationError({"tier_fen": ["请填写档位。"]})


class PackChange(_Offered):
    """What a merchant changes of a pack: on and off sale at once, the rest when an operator approves."""

    status = fields.String(validate=OneOf(("on_sale", "off_sale")))
    name = text(80, required=False)
    contents = ListOf(fields.Nested(Content), validate=Length(min=1, max=30))
    bulk_share = fields.Integer(strict=True, allow_none=True, validate=Range(min=0, max=10**9))


class Decision(Base):
    """Which change is decided on, where more than the pack as a whole is meant."""

    change_id = IdField(load_default=None, allow_none=True)


class Rejection(Decision):
    """Why a pack or a change is sent back."""

    reason = text(200)


class StockChange(Base):
    """库存调整: a signed change, or a count of what is on hand; with a reason."""

    delta = fields.Integer(strict=True, validate=Range(min=-(10**9), max=10**9))
    count = fields.Integer(strict=True, validate=Range(min=0, max=10**9))
    reason = text(200)

    @validates_schema(skip_on_field_errors=True)
    def _one(self, data: dict[str, Any], **_: Any) -> None:
        if ("delta" in data) == ("count" in data):
            raise ValidationError({"delta": ["请填写 delta 或 count 其中一个。"]})


class StockFigures(Base):
    """库存, in packs."""

    available = fields.Integer()
    held = fields.Integer()
    sold = fields.Integer()
    to_ship = fields.Integer()
    on_hand = fields.Integer()


class StockOfRow(StockFigures):
    """A pack's figures after its row."""

    row = fields.Integer()
    pack_id = fields.String()


class StockReport(SheetReport):
    """What became of a sheet's rows, and of their packs."""

    rows = fields.List(fields.Nested(StockOfRow))


class Movement(Base):
    """One change of stock."""

    id = IdField()
    kind = fields.String()
    quantity = fields.Integer(attribute="amount")
    source = fields.String(attribute="debit")
    destination = fields.String(attribute="credit")
    available_change = fields.Integer()
    order_number = IdField(attribute="order_id", allow_none=True)
    actor_id = IdField(allow_none=True)
    reason = fields.String(allow_none=True)
    at = Moment()
