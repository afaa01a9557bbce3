"""An operator's pages before a campaign opens: as a member will see it, its forecast, its worst case, its launch."""

from typing import Any

from flask import Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError
from kernel.ids import as_id
from orders import forecast_chart
from orders.queries import forecast as forecast_queries
from orders.queries.forecast import Forecast
from people import queries as people_queries
from voucher import launching
from voucher import queries as voucher_queries

bp = PageBlueprint("setup", __name__, audience="operator", url_prefix="/admin/campaigns")


def _chosen() -> dict[str, Any]:
    """Return what the forecast's form says; what makes no sense is left out."""
    percent, packs = as_id(request.args.get("take_up", "")), as_id(request.args.get("packs", ""))
    return {
        "like": request.args.get("like") or None,
        "take_up_permille": percent * 10 if percent is not None and percent <= 100 else None,
        "packs_per_100": packs if packs is not None and packs <= 10_000 else None,
    }


def _forecast(slug: str) -> Forecast:
    return forecast_queries.of_campaign(slug, now=clock.now(), **_chosen())


@bp.get("/<slug>/forecast")
def forecast(slug: str) -> ResponseReturnValue:
    """What the campaign may cost by day, and the stock it needs."""
    now = clock.now()
    campaign = voucher_queries.campaign(slug, now=now)
    return render_template(
        "operator/forecast.html",
        campaign=campaign,
        found=_forecast(slug),
        others=[one for one in voucher_queries.campaigns(now=now) if one.status != "upcoming"],
        chosen={name: request.args[name] for name in ("take_up", "packs", "like") if request.args.get(name)},
    )


@bp.get("/<slug>/forecast.svg")
def picture(slug: str) -> ResponseReturnValue:
    """The forecast's lines as a picture."""
    campaign, found = voucher_queries.campaign(slug, now=clock.now()), _forecast(slug)
    drawn = forecast_chart.forecast_lines(
        found.lines, budget_fen=campaign.member_budget_fen, claimed=campaign.issue_mode == "claim"
    )
    response = Response(drawn, mimetype="image/svg+xml")
    # The picture's own styles are written into it; nothing in it runs.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Cache-Control"] = "private, max-age=60"
    return response


@bp.get("/<slug>/preview")
def preview(slug: str) -> ResponseReturnValue:
    """The campaign as a member with a fresh voucher will see it."""
    campaign = voucher_queries.campaign(slug, now=clock.now())
    wanted = catalog_queries.Filter(tiers_fen=campaign.tiers_fen)
    merchants = catalog_queries.merchants()
    return render_template(
        "member/home.html",
        preview=True,
        campaign=campaign,
        campaigns=[campaign],
        voucher={"balance_fen": campaign.face_fen, "face_fen": campaign.face_fen, "held_fen": 0},
        has_gift=False,
        packs=catalog_queries.packs(wanted, limit=24),
        merchants=merchants,
        regions=sorted({merchant.region for merchant in merchants}),
        wanted=wanted,
        chosen={},
        categories=("food", "household"),
        days_left=(campaign.ends_at - max(campaign.starts_at, clock.now())).days + 1,
    )


@bp.get("/<slug>/launch")
def launch(slug: str) -> ResponseReturnValue:
    """What the campaign promises at worst, and who lets it open."""
    return _launch_page(slug)


def _launch_page(slug: str, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    found = forecast_queries.of_campaign(slug, now=clock.now())
    page = render_template(
        "operator/launch.html",
        campaign=voucher_queries.campaign(slug, now=clock.now()),
        worst=found.worst,
        runs_out_on=found.lines[-1].runs_out_on,
        names=people_queries.names([found.worst["launch_asked_by"], found.worst["launched_by"]]),
        problem=problem,
        me=who().person_id,
    )
    return page, status


@bp.post("/<slug>/launch")
def do_launch(slug: str) -> ResponseReturnValue:
    """Let it open, or ask for a second person to."""
    return _act(slug, launching.launch)


@bp.post("/<slug>/launch/approve")
def approve(slug: str) -> ResponseReturnValue:
    """Let it open: another person asked."""
    return _act(slug, launching.approve_launch)


def _act(slug: str, act: Any) -> ResponseReturnValue:
    try:
        to = act(slug=slug, actor_id=who().person_id, now=clock.now())
    except DomainError as refused:
        if refused.status == 404:
            raise
        return _launch_page(slug, said(refused), refused.status)
    flash(gettext("活动已启动。") if to == "launched" else gettext("已提请启动，请另一位运营批准。"), "success")
    return redirect(url_for("setup.launch", slug=slug), 303)
