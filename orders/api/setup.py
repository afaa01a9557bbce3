"""What an operator asks before a campaign opens: its forecast, its worst case, and to let it open."""

from typing import Any

from marshmallow import fields

from kernel import clock
from kernel.doors import ApiBlueprint, who
from kernel.schemas import Base, IdField, Length, Range
from orders.queries import forecast as forecast_queries
from orders.queries.forecast import Forecast
from voucher import launching

bp = ApiBlueprint(
    "api_setup", __name__, audience="operator", url_prefix="/api/v1/admin/campaigns", description="Before a campaign"
)


class ForecastArgs(Base):
    """What a forecast rests on, where it is not usual figures."""

    like = fields.String(load_default=None, validate=Length(max=40))
    take_up_permille = fields.Integer(load_default=None, validate=Range(min=0, max=1000))
    packs_per_100 = fields.Integer(load_default=None, validate=Range(min=0, max=10_000))


class WorstCase(Base):
    """What a campaign promises at worst, in fen."""

    campaign = fields.String()
    members = fields.Integer()
    face_fen = fields.Integer()
    promised_fen = fields.Integer()
    issued_fen = fields.Integer()
    held_fen = fields.Integer()
    redeemed_fen = fields.Integer()
    bulk_held_fen = fields.Integer()
    member_budget_fen = fields.Integer()
    member_budget_left_fen = fields.Integer()
    over_fen = fields.Integer()
    unserved_members = fields.Integer()
    could_overspend = fields.Boolean()
    runs_out_on = fields.Date(allow_none=True)
    launch = fields.String()
    launch_asked_by = IdField(allow_none=True)
    launched_by = IdField(allow_none=True)


class ForecastDay(Base):
    """One day, in fen."""

    day = fields.Date()
    spent_fen = fields.Integer()
    total_fen = fields.Integer()
    committed_fen = fields.Integer()


class TierStock(Base):
    """How many packs of a tier are needed."""

    tier_fen = fields.Integer()
    packs = fields.Integer()


class ForecastLine(Base):
    """The low, middle or high line."""

    name = fields.String()
    buyers = fields.Integer()
    packs = fields.Integer()
    stock = fields.Function(lambda line: [{"tier_fen": tier, "packs": count} for tier, count in line.stock.items()])
    sales_fen = fields.Integer()
    subsidy_fen = fields.Integer()
    runs_out_on = fields.Date(allow_none=True)
    days = fields.List(fields.Nested(ForecastDay))


class ForecastAnswer(Base):
    """A campaign's forecast and what it rests on."""

    campaign = fields.Function(lambda found: found.worst["campaign"])
    like = fields.String(allow_none=True)
    members = fields.Function(lambda found: found.assumed.members)
    take_up_permille = fields.Function(lambda found: found.assumed.take_up_permille)
    packs_per_100 = fields.Function(lambda found: found.assumed.packs_per_100)
    member_budget_fen = fields.Function(lambda found: found.worst["member_budget_fen"])
    lines = fields.List(fields.Nested(ForecastLine))


def worst_of(found: Forecast) -> dict[str, Any]:
    """Return a campaign's worst case with the day its budget could run out: the high line's."""
    return {**found.worst, "runs_out_on": found.lines[-1].runs_out_on}


@bp.route("/<slug>/forecast")
@bp.arguments(ForecastArgs, location="query")
@bp.response(200, ForecastAnswer)
def forecast(args: dict[str, Any], slug: str) -> Any:
    """Forecast a campaign from a take-up, or as another campaign (`like`) went: low, middle and high."""
    return forecast_queries.of_campaign(slug, now=clock.now(), **args)


@bp.route("/<slug>/worst-case")
@bp.response(200, WorstCase)
def worst_case(slug: str) -> Any:
    """Say what a campaign promises at worst, what is held now, its budget, and the day that could run out."""
    return worst_of(forecast_queries.of_campaign(slug, now=clock.now()))


@bp.route("/<slug>/launch", methods=["POST"])
@bp.response(200, WorstCase)
def launch(slug: str) -> Any:
    """Let a campaign open; where it promises more than its budget, ask for a second person to."""
    launching.launch(slug=slug, actor_id=who().person_id, now=clock.now())
    return worst_of(forecast_queries.of_campaign(slug, now=clock.now()))


@bp.route("/<slug>/launch/approve", methods=["POST"])
@bp.response(200, WorstCase)
def approve(slug: str) -> Any:
    """Let a campaign open that another operator asked for."""
    launching.approve_launch(slug=slug, actor_id=who().person_id, now=clock.now())
    return worst_of(forecast_queries.of_campaign(slug, now=clock.now()))
