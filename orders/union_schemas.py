"""What grassroots unions, their recipients and merchants' invoices say and are told."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_load, validates_schema

from kernel.schemas import Base, IdField, Instant, Length, ListOf, Moment, OneOf, Range, Text, fen, text
from orders import schemas
from orders.invoices import credit_code, kind_of
from orders.rules import DELIVERY_MODES
from people.rules import masked


class Choice(Base):
    """自选: the packs, all of one tier, each recipient chooses one of, until when; the default for who does not."""

    tier_fen = fen(minimum=1)
    pack_ids = ListOf(IdField(), required=True, validate=Length(min=1, max=schemas.MAX_LINES))
    deadline = Instant(required=True)
    default_pack_id = IdField(load_default=None, allow_none=True)


class BulkDelivery(schemas.BulkDelivery):
    """Where a union's order goes: to the union, to its departments, or to each recipient."""

    mode = fields.String(load_default="union", validate=OneOf(DELIVERY_MODES))


class DraftBulk(Base):
    """What a union orders: packs and counts, or what its people choose from."""

    campaign = text(40)
    lines = ListOf(fields.Nested(schemas.WantedLine), load_default=list, validate=Length(max=schemas.MAX_LINES))
    choice = fields.Nested(Choice, load_default=None, allow_none=True)
    delivery = fields.Nested(BulkDelivery, load_default=lambda: {"mode": "union"})

    @validates_schema(skip_on_field_errors=True)
    def _one_of_both(self, data: dict[str, Any], **_: Any) -> None:
        if bool(data["lines"]) == (data["choice"] is not None):
            raise ValidationError({"lines": [gettext("请填写礼包和份数，或自选的档位和礼包，二者选一。")]})


class ChangeBulk(Base):
    """Other packs and counts."""

    lines = ListOf(fields.Nested(schemas.WantedLine), required=True, validate=Length(min=1, max=schemas.MAX_LINES))


class Copy(Base):
    """In which campaign."""

    campaign = text(40)


class Replace(Base):
    """Which pack is replaced, by which."""

    pack_id = IdField(required=True)
    by_pack_id = IdField(required=True)


class Short(Base):
    """A pack that is short, and what could take its place."""

    pack_id = IdField()
    name = fields.String()
    wanted = fields.Integer()
    available = fields.Integer()
    units = fields.Integer()
    reason = fields.String()
    note = fields.String()
    others = fields.Function(
        lambda short: [
            {"id": str(pack.id), "name": pack.name, "region": pack.merchant.region, "available": pack.available}
            for pack in short.others
        ]
    )


class Replacements(Base):
    """Packs that are short."""

    items = fields.List(fields.Nested(Short))


class ReportShortage(Base):
    """How many of which lines cannot be sent; 0 takes it back."""

    lines = ListOf(fields.Nested(lambda: ShortLine()), required=True, validate=Length(min=1, max=schemas.MAX_LINES))
    note = Text(load_default="", validate=Length(max=200))


class ShortLine(Base):
    """Units of a line."""

    line_id = IdField(required=True)
    quantity = fields.Integer(required=True, strict=True, validate=Range(min=0, max=schemas.MAX_QUANTITY))


class AnswerFaults(Base):
    """What a merchant does about what came short or broken."""

    answer = text(200)


class FaultArgs(Base):
    """Which to list."""

    answered = fields.Boolean(load_default=False)


class FaultRow(Base):
    """What of a parcel came short or broken (fault), or cannot be sent (shortage)."""

    kind = fields.String()
    order_number = fields.Function(lambda row: str(row.order_id))
    parcel_id = fields.String()
    line_id = fields.Function(lambda row: str(row.line_no))
    merchant = fields.String(attribute="merchant_name")
    pack = fields.String(attribute="pack_name")
    missing = fields.Integer()
    broken = fields.Integer()
    note = fields.String()
    told_at = Moment()
    answer = fields.String()
    answered_at = Moment(allow_none=True)


class FaultList(Base):
    """What came short or broken."""

    items = fields.List(fields.Nested(FaultRow))


class Approve(Base):
    """An approver's word; the reason lets the yearly cap be passed."""

    override_reason = Text(load_default="", validate=Length(max=200))


class Choose(Base):
    """One pack, and where to."""

    pack_id = IdField(required=True)
    delivery = fields.Nested(schemas.Delivery, load_default=None, allow_none=True)
    address = Text(load_default="", validate=Length(max=200))


class ChoiceArgs(schemas.PageArgs):
    """Whose choices to list."""

    waiting = fields.Boolean(load_default=False)
    department = Text(load_default=None, allow_none=True, validate=Length(max=80))


class PartlyReceived(Base):
    """What of a parcel's line was missing or broken."""

    line_id = IdField(required=True)
    missing = fields.Integer(load_default=0, strict=True, validate=Range(min=0, max=schemas.MAX_QUANTITY))
    broken = fields.Integer(load_default=0, strict=True, validate=Range(min=0, max=schemas.MAX_QUANTITY))
    note = Text(load_default="", validate=Length(max=200))


class Receive(Base):
    """A parcel that has arrived, and what of it came short or broken."""

    faults = ListOf(fields.Nested(PartlyReceived), load_default=list, validate=Length(max=schemas.MAX_LINES))


class Received(Base):
    """Who has signed on paper, by their position on the roster."""

    positions = ListOf(
        fields.Integer(strict=True, validate=Range(min=1, max=10**6)), required=True, validate=Length(min=1, max=20_000)
    )


class AskInvoice(Base):
    """To whom the invoices are made out: a unified social credit code with a right check digit, and the kind."""

    title = text(100)
    tax_no = text(30)
    kind = Text(load_default="normal", validate=Length(max=20))

    @validates_schema(skip_on_field_errors=True)
    def _right(self, data: dict[str, Any], **_: Any) -> None:
        errors = {}
        if credit_code(data["tax_no"]) is None:
            errors["tax_no"] = [gettext("统一社会信用代码应为 18 位，请核对，校验位不正确。")]
        if kind_of(data["kind"]) is None:
            errors["kind"] = [gettext("请填写其中之一：%(choices)s。", choices="normal, special")]
        if errors:
            raise ValidationError(errors)


class PlanArgs(Base):
    """At most how many invoices, and how much one may say at most (fen; 0: no limit)."""

    max_invoices = fields.Integer(load_default=None, validate=Range(min=1, max=1000))
    ceiling_fen = fields.Integer(load_default=0, validate=Range(min=0, max=10**13))

    @pre_load
    def _without_empty(self, data: Any, **_: Any) -> dict[str, Any]:
        return {name: data[name] for name in data if data[name] != ""}


def _choice_body(view: Any) -> dict[str, Any] | None:
    choice = view.choice
    if choice is None:
        return None
    return {
        "tier_fen": choice.tier_fen,
        "pack_ids": [str(pack_id) for pack_id in choice.pack_ids],
        "default_pack_id": str(choice.default_pack_id),
        "deadline": Moment()._serialize(choice.deadline, None, None),
    }


class UnionParcel(schemas.Parcel):
    """包裹 as its union sees it, with its packages: a department's box each, where it is wanted so."""

    packages = fields.List(fields.Nested(schemas.Package))


class BulkOrder(schemas.BulkOrder):
    """A union's order, with its self-choice, what voided its approval, and what to look at twice."""

    parcels = fields.List(fields.Nested(UnionParcel))

    choice = fields.Function(_choice_body)
    approval_voided_at = fields.Function(lambda view: Moment()._serialize(view.terms.voided_at, None, None))
    cap_override = fields.Function(lambda view: view.terms.cap_override)
    replaced = fields.Function(lambda view: [{**one, "by": str(one["by"])} for one in view.terms.replaced])
    copied_from = fields.Function(lambda view: str(view.terms.copied_from) if view.terms.copied_from else None)
    warnings = fields.Function(lambda view: schemas.sentences(view.warnings))


class RosterReport(schemas.RosterReport):
    """What became of a roster's rows, what to look at twice, and whether an approval is void by it."""

    warnings = fields.List(fields.Nested(schemas.RowFault))
    approval_voided = fields.Boolean()
    status = fields.String()


class Chooser(Base):
    """A recipient with what they chose and their own link."""

    position = fields.Integer()
    name = fields.String()
    phone = fields.Function(lambda row: masked(row["phone"]))
    employee_no = fields.String()
    department = fields.String()
    status = fields.Function(lambda row: "chosen" if row["chosen_at"] else "waiting")
    pack_id = IdField(allow_none=True)
    chosen_at = Moment(allow_none=True)
    reminded_at = Moment(allow_none=True)
    received_at = Moment(allow_none=True)
    delivery = schemas.Place(allow_none=True)
    token = fields.String()
    link = fields.String()


class DepartmentProgress(Base):
    """How far a department is."""

    department = fields.String()
    people = fields.Integer()
    chosen = fields.Integer()
    received = fields.Integer()


class Choices(Base):
    """Who chose what, and how far each department is."""

    items = fields.List(fields.Nested(Chooser))
    next_cursor = fields.String(allow_none=True)
    departments = fields.List(fields.Nested(DepartmentProgress))
    people = fields.Integer()
    chosen = fields.Integer()
    deadline = Moment(allow_none=True)
    board_link = fields.String()


class OwnPack(Base):
    """A pack to choose, and how many are left."""

    id = IdField()
    name = fields.String()
    price_fen = fields.Integer()
    left = fields.Integer()


class OwnChoice(Base):
    """What an own link shows its recipient."""

    order_number = fields.Function(lambda view: view.order.number)
    status = fields.Function(lambda view: view.order.status)
    name = fields.String()
    pack_id = IdField(allow_none=True)
    chosen_at = Moment(allow_none=True)
    deadline = fields.Function(
        lambda view: Moment()._serialize(view.order.choice.deadline, None, None) if view.order.choice else None
    )
    address = fields.String()
    delivery = schemas.Place(allow_none=True)
    received_at = Moment(allow_none=True)
    packs = fields.Function(
        lambda view: [
            {"id": str(pack.id), "name": pack.name, "price_fen": pack.price_fen, "left": view.left.get(pack.id)}
            for pack in view.packs
        ]
    )


class Reminded(Base):
    """How many people a reminder went to."""

    reminded = fields.Integer()


class NotedReceived(Base):
    """For how many people it was new."""

    received = fields.Integer()


class Invoice(Base):
    """发票, in fen after discount; a negative amount is a red one."""

    id = IdField()
    order_number = fields.Function(lambda row: str(row.order_id))
    merchant_id = IdField()
    title = fields.String()
    tax_no = fields.String()
    kind = fields.String()
    amount_fen = fields.Integer()
    status = fields.String()
    number = fields.String()
    asked_at = Moment()
    issued_at = Moment(allow_none=True)
    has_file = fields.Function(lambda row: row.file_key is not None)


class InvoiceList(Base):
    """Invoices."""

    items = fields.List(fields.Nested(Invoice))
    total_fen = fields.Function(lambda found: sum(_amount(row) for row in found["items"]))


def _amount(row: Any) -> int:
    return int(row["amount_fen"] if isinstance(row, dict) else row.amount_fen)


class PlannedItem(Base):
    """One line of a proposed invoice."""

    name = fields.String()
    quantity = fields.Integer()
    net_fen = fields.Integer()


class Planned(Base):
    """A proposed invoice."""

    merchant = fields.Function(lambda one: {"id": str(one.merchant_id), "name": one.merchant_name})
    amount_fen = fields.Integer()
    red = fields.Boolean(attribute="is_red")
    items = fields.List(fields.Nested(PlannedItem))


class InvoicePlan(Base):
    """The fewest invoices that add up."""

    items = fields.List(fields.Nested(Planned), attribute="invoices")
    total_fen = fields.Integer()
    max_invoices = fields.Integer(attribute="at_most")
    fits = fields.Boolean()
