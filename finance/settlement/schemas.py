"""Statements in and out, in fen."""

from marshmallow import ValidationError, fields, validates

from finance.settlement.rules import STATEMENT_MOVES
from kernel.schemas import Base, IdField, Moment, OneOf, PageArgs, Range, page, text


def _figure(name: str, meaning: str) -> fields.Integer:
    return fields.Integer(attribute=f"figures.{name}", metadata={"description": meaning})


class Figures(Base):
    """A statement's figures: what the union owes is goods less refunds, and corrections."""

    goods_fen = _figure("goods_fen", "goods at full price: paid by buyers and subsidy together")
    paid_fen = _figure("paid_fen", "paid by members and unions")
    subsidy_fen = _figure("subsidy_fen", "paid by the district union")
    refunds_fen = _figure("refunds_fen", "given back, at full price")
    refund_cash_fen = _figure("refund_cash_fen", "of that, to the buyers")
    refund_subsidy_fen = _figure("refund_subsidy_fen", "of that, to the district union")
    correction_fen = _figure("correction_fen", "signed")
    net_fen = _figure("net_fen", "what the union owes; below zero, what the merchant owes")


class Statement(Figures):
    """结算单 of a campaign and month. While the month lasts its status is 'open', and it has no id."""

    id = fields.Function(lambda one: None if one.statement.id is None else str(one.statement.id))
    period = fields.String(metadata={"description": "its name in addresses, as 2026-11-spring; 2026-11 names all"})
    month = fields.Function(lambda one: one.statement.month)
    campaign = fields.String()
    campaign_name = fields.String()
    merchant = fields.Function(lambda one: {"id": str(one.statement.merchant_id), "name": one.merchant_name})
    status = fields.String(attribute="statement.status")
    closed_at = Moment(attribute="statement.closed_at", allow_none=True)
    dispute_reason = fields.String(attribute="statement.dispute_reason", allow_none=True)
    reply = fields.String(attribute="statement.reply", allow_none=True)
    bank_reference = fields.String(attribute="statement.bank_reference", allow_none=True)
    paid_at = Moment(attribute="statement.paid_at", allow_none=True)


class Line(Figures):
    """One entry of the ledger on a statement: 'paid', 'gift', 'refund', 'correct'."""

    id = IdField(attribute="posting_id")
    at = Moment()
    kind = fields.String()
    order_number = IdField(attribute="order_id", allow_none=True)
    reason = fields.String(allow_none=True)


class StatementWithLines(Statement):
    """A statement and a page of its entries."""

    lines = fields.Nested(page(Line))


class StatementArgs(PageArgs):
    """Which statements to list."""

    status = fields.String(load_default=None, validate=OneOf(tuple(STATEMENT_MOVES)))


class Dispute(Base):
    """Why a statement is wrong."""

    reason = text(200)


class Reply(Base):
    """What the operator says to a dispute."""

    reply = text(200)


class Paid(Base):
    """The bank's own reference of the transfer."""

    bank_reference = text(80)


class Correction(Base):
    """What a merchant is owed more (or, below zero, less), and why: an entry of the next statement."""

    merchant_id = IdField(required=True)
    campaign = text(40)
    amount_fen = fields.Integer(required=True, strict=True, validate=Range(min=-(10**13), max=10**13))
    reason = text(200)

    @validates("amount_fen")
    def _something(self, value: int, **_: object) -> None:
        if value == 0:
            raise ValidationError("更正的金额不能是 0。")


class Corrected(Base):
    """A correction that was posted."""

    id = fields.String()
    amount_fen = fields.Integer()
    reason = fields.String()
