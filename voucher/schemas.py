"""Campaigns and vouchers in and out."""

from flask_babel import gettext
from marshmallow import fields, validate

from kernel.schemas import Base, Day, IdField, Instant, Length, ListOf, Moment, OneOf, Range, Text, fen, text

SLUG = r"^[a-z0-9][a-z0-9-]{0,39}\Z"


class Rule(Base):
    """满减, in fen."""

    step_fen = fen(minimum=1)
    save_fen = fen()
    face_fen = fen()


class Campaign(Base):
    """活动."""

    slug = fields.String()
    name = fields.String()
    starts_at = Moment()
    ends_at = Moment()
    status = fields.String()
    rule = fields.Function(
        lambda view: {
            "step_fen": view.offer.step_fen,
            "save_fen": view.offer.save_fen,
            "face_fen": view.face_fen,
        }
    )
    tiers_fen = fields.List(fields.Integer())
    issue_mode = fields.String()


class AdminCampaign(Campaign):
    """活动, with its budgets."""

    member_budget_fen = fields.Integer()
    member_committed_fen = fields.Integer()
    bulk_budget_fen = fields.Integer()
    bulk_committed_fen = fields.Integer()
    grant_budget_fen = fields.Integer(allow_none=True)
    grant_committed_fen = fields.Integer()
    pack_limit = fields.Integer(allow_none=True)
    recipient_cap_fen = fields.Integer(allow_none=True)
    bulk_payment_days = fields.Integer()
    eligible = fields.Dict()
    launch = fields.String()
    warnings = fields.Function(lambda view: [gettext(text) for text in view.warnings])


class Eligible(Base):
    """Who may have a campaign's voucher: each limit that is given holds; none, everybody."""

    union_ids = ListOf(IdField(), load_default=list, validate=Length(max=10_000))
    joined_by = Day(load_default=None, allow_none=True)
    honour = Text(load_default=None, allow_none=True, validate=Length(max=40))


class Version(Base):
    """A campaign's settings from one change to the next."""

    version = fields.Integer()
    changed_at = Moment()
    settings = fields.Dict()


class VersionList(Base):
    """Every version, the latest first."""

    items = fields.List(fields.Nested(Version))


class NewCampaign(Base):
    """What makes a campaign."""

    slug = fields.String(
        required=True, validate=validate.Regexp(SLUG, error="请用小写字母、数字和连字符，最多 40 个。")
    )
    name = text(120)
    name_en = Text(load_default="", validate=Length(max=200))
    starts_at = Instant(required=True)
    ends_at = Instant(required=True)
    rule = fields.Nested(Rule, required=True)
    tiers_fen = ListOf(fen(minimum=1), required=True, validate=Length(min=1, max=20))
    member_budget_fen = fen()
    bulk_budget_fen = fen(required=False, load_default=0)
    grant_budget_fen = fen(required=False, load_default=None, allow_none=True)
    issue_mode = fields.String(load_default="push", validate=OneOf(("push", "claim")))
    pack_limit = fields.Integer(load_default=None, allow_none=True, strict=True, validate=Range(min=1, max=10**6))
    recipient_cap_fen = fen(required=False, load_default=None, allow_none=True)
    bulk_payment_days = fields.Integer(load_default=7, strict=True, validate=Range(min=1, max=90))
    eligible = fields.Nested(Eligible, load_default=dict)
    launch = fields.String(load_default="free", validate=OneOf(("free", "waiting")))


class RuleChange(Base):
    """A part of the rule."""

    step_fen = fen(required=False, minimum=1)
    save_fen = fen(required=False)
    face_fen = fen(required=False)


class CampaignChange(Base):
    """What changes of a campaign; what is not named stays."""

    name = text(120, required=False)
    name_en = Text(validate=Length(max=200))
    starts_at = Instant()
    ends_at = Instant()
    rule = fields.Nested(RuleChange)
    tiers_fen = ListOf(fen(minimum=1), validate=Length(min=1, max=20))
    member_budget_fen = fen(required=False)
    bulk_budget_fen = fen(required=False)
    grant_budget_fen = fen(required=False, allow_none=True)
    issue_mode = fields.String(validate=OneOf(("push", "claim")))
    pack_limit = fields.Integer(allow_none=True, strict=True, validate=Range(min=1, max=10**6))
    recipient_cap_fen = fen(required=False, allow_none=True)
    bulk_payment_days = fields.Integer(strict=True, validate=Range(min=1, max=90))
    eligible = fields.Nested(Eligible)


class Voucher(Base):
    """福利券, in fen."""

    id = IdField()
    campaign = fields.String()
    code = fields.String()
    face_fen = fields.Integer()
    balance_fen = fields.Integer()
    held_fen = fields.Integer()
    redeemed_fen = fields.Integer()
    expired_fen = fields.Integer()
    revoked_fen = fields.Integer()
    status = fields.String()
    expires_at = Moment()


class Entry(Base):
    """One line of a voucher's history, in fen."""

    kind = fields.String()
    amount_fen = fields.Integer(attribute="amount")
    change_fen = fields.Integer()
    balance_fen = fields.Integer()
    order_number = IdField(attribute="order_id", allow_none=True)
    at = Moment()


class AudienceChoice(Base):
    """Who gets vouchers: exactly one of these."""

    all = fields.Boolean(load_default=False)
    union_ids = ListOf(IdField(), load_default=list, validate=Length(max=10_000))
    member_nos = ListOf(Text(), load_default=list, validate=Length(max=30_000))
    honour = Text(load_default=None, allow_none=True, validate=Length(max=40))
    joined_since = Day(load_default=None, allow_none=True)


class Revoke(Base):
    """Why a voucher is taken back."""

    reason = text(200)


class Issue(Base):
    """An issue's audience."""

    audience = fields.Nested(AudienceChoice, required=True)


class Job(Base):
    """How far a job is."""

    id = IdField()
    status = fields.String()
    done = fields.Integer()
    total = fields.Integer()
    error = fields.String(allow_none=True)


class IssueJob(Job):
    """A job that issues vouchers, as it begins."""

    unknown_member_nos = fields.List(
        fields.String(), metadata={"description": "numbers that are no member's, where there are any"}
    )
