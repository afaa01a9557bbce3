"""慰问 in and out: what is given to whom, and what they answer."""

from marshmallow import fields

from kernel.schemas import Base, IdField, Instant, Length, ListOf, Moment, OneOf, PageArgs, Text
from orders.schemas import MAX_LINES, Delivery, WantedLine
from people.rules import masked


class RecipientEntry(Base):
    """A person a grant is for."""

    name = Text(load_default="")
    phone = Text(load_default="")
    member_no = Text(load_default="")


class NewGrant(Base):
    """慰问: what is given (packs by `lines` or `pack_id`, a `voucher_campaign`), to whom, until when."""

    name = Text(load_default="慰问", validate=Length(min=1, max=120))
    name_en = Text(load_default="", validate=Length(max=200))
    pack_id = IdField(load_default=None, allow_none=True)
    lines = ListOf(fields.Nested(WantedLine), load_default=list, validate=Length(max=MAX_LINES))
    voucher_campaign = Text(load_default=None, allow_none=True, validate=Length(max=40))
    recipients = ListOf(fields.Nested(RecipientEntry), load_default=list, validate=Length(max=20_000))
    honour = Text(load_default=None, allow_none=True, validate=Length(max=40))
    deadline = Instant(load_default=None, allow_none=True)


class TakeGift(Base):
    """Where a gift goes; a gift of a voucher alone goes nowhere."""

    delivery = fields.Nested(Delivery, load_default=None, allow_none=True)


class RecipientArgs(PageArgs):
    """Which recipients to list."""

    status = fields.String(load_default=None, validate=OneOf(("waiting", "confirmed", "declined", "lapsed")))


class GiftLine(Base):
    """A pack of a gift."""

    pack_id = IdField()
    name = fields.String(attribute="pack_name")
    quantity = fields.Integer()
    price_fen = fields.Integer()


class Grant(Base):
    """慰问: `cost_fen` is one person's; `counts` how many answered what."""

    id = IdField()
    campaign = fields.Function(lambda view: view.campaign.slug)
    name = fields.String()
    lines = fields.List(fields.Nested(GiftLine))
    voucher_campaign = fields.Function(lambda view: view.voucher_campaign.slug if view.voucher_campaign else None)
    cost_fen = fields.Integer()
    recipients = fields.Integer()
    counts = fields.Dict()
    deadline = Moment()
    made_at = Moment()


class GrantList(Base):
    """A campaign's grants."""

    items = fields.List(fields.Nested(Grant))


class GrantRecipient(Base):
    """Who a gift is for, and what they answered."""

    position = fields.Integer()
    name = fields.String()
    phone = fields.Function(lambda row: masked(row.phone))
    member_no = fields.String()
    status = fields.String()
    answered_at = Moment(allow_none=True)
    order_number = IdField(attribute="order_id", allow_none=True)
    link = fields.String()


class Gift(Base):
    """A gift as its recipient sees it."""

    id = fields.String()
    name = fields.Function(lambda gift: gift.grant.name)
    lines = fields.Function(lambda gift: GiftLine(many=True).dump(gift.grant.lines))
    voucher_campaign = fields.Function(
        lambda gift: gift.grant.voucher_campaign.slug if gift.grant.voucher_campaign else None
    )
    status = fields.String()
    deadline = Moment(attribute="grant.deadline")
    order_number = IdField(attribute="order_id", allow_none=True)


class GiftList(Base):
    """A member's gifts."""

    items = fields.List(fields.Nested(Gift))
