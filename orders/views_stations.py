"""自提点: the page that finds the nearest, and the operators' list of them."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, locale_of, said, saved, upload, who
from kernel.errors import DomainError
from kernel.ids import as_id
from kernel.schemas import SheetReport
from orders.queries.stations import waiting_at_stations
from people import queries, station_sheet
from people.places import Position, Spot, degrees_e6, drawn, shown_degrees
from people.services import stations as services

everyone = PageBlueprint("stations", __name__, audience="everyone", url_prefix="/stations")
operator = PageBlueprint("station_list", __name__, audience="operator", url_prefix="/admin/stations")

LISTED = 12
FIELDS = (*station_sheet.MOST, "latitude", "longitude")


def stations_near(near: str, *, here: Position | None = None, listed: int = LISTED) -> dict[str, Any]:
    """Return what a page shows of stations: all, the nearest first; the map of the first `listed`; the districts."""
    near = near.strip()[:100]
    found, place = queries.nearest_stations(near=near, here=here)
    chinese = locale_of() == "zh"
    spots = [
        Spot(
            one.position,
            number if number <= listed else None,
            one.station.name if chinese else one.station.name_en or one.station.name,
        )
        for number, one in enumerate(found, start=1)
        if one.position is not None
    ]
    return {
        "near": near,
        "stations": [one.station for one in found],
        "distances": {one.station.id: one.distance_m for one in found},
        "listed": listed,
        "map": drawn(spots, here=place),
        "place_known": place is not None,
        "districts": sorted({one.station.district for one in found if one.station.district}),
    }


def position_told(form: Any) -> Position | None:
    """Return where a browser says that it is; None where it did not say, or no such place is."""
    lat = degrees_e6(form.get("latitude", ""), most=90)
    lon = degrees_e6(form.get("longitude", ""), most=180)
    return Position(lat, lon) if lat is not None and lon is not None else None


@everyone.route("/", methods=["GET", "POST"], strict_slashes=False)
def find() -> ResponseReturnValue:
    """The stations, the nearest first. A browser's position comes by POST, so that it stands in no address or log."""
    here = position_told(request.form)
    more = as_id(request.values.get("more", "")) or LISTED
    return render_template(
        "member/stations.html",
        **stations_near(request.values.get("near", ""), here=here, listed=max(LISTED, min(more, 500))),
        by_position=here is not None,
    )


@operator.get("/")
def home() -> ResponseReturnValue:
    """Every station, and the parcels that wait for it."""
    rows = queries.stations(closed=True)
    waiting = waiting_at_stations()
    return render_template("operator/stations.html", stations=rows, waiting=waiting)


@operator.get("/stations.xlsx")
def sheet() -> ResponseReturnValue:
    """Every station as a spreadsheet that can be changed and read again."""
    return saved(station_sheet.written(queries.stations(closed=True)), "stations.xlsx")


@operator.route("/new", methods=["GET", "POST"])
def new() -> ResponseReturnValue:
    """Add a station."""
    return _edit(None, {})


@operator.route("/<station_id>/edit", methods=["GET", "POST"])
def edit(station_id: str) -> ResponseReturnValue:
    """Change a station."""
    row = queries.station_for_operator(as_id(station_id))
    kept = {name: getattr(row, name) for name in station_sheet.MOST}
    position = {"latitude": shown_degrees(row.lat_e6), "longitude": shown_degrees(row.lon_e6)}
    return _edit(row.id, {**kept, **position})


def _edit(station_id: int | None, kept: dict[str, str]) -> ResponseReturnValue:
    form: Any = kept
    errors: dict[str, list[str]] = {}
    problem, status = None, 200
    if request.method == "POST":
        form = request.form
        texts = {name: form.get(name, "")[:1000] for name in FIELDS}
        try:
            services.save(station_id=station_id, texts=texts, actor_id=who().person_id, now=clock.now())
        except DomainError as refused:
            errors, status = refused.extra.get("errors", {}), refused.status
            problem = None if errors else said(refused)
        else:
            flash(gettext("自提点已保存。"), "success")
            return redirect(url_for("station_list.home"), 303)
    page = render_template("operator/station.html", form=form, errors=errors, problem=problem, station_id=station_id)
    return page, status


@operator.post("/<station_id>/open")
def open_or_close(station_id: str) -> ResponseReturnValue:
    """Offer a station to members, or no longer."""
    is_open = request.form.get("open") == "1"
    services.open_or_close(station_id=as_id(station_id), is_open=is_open, actor_id=who().person_id, now=clock.now())
    flash(gettext("自提点已开放。") if is_open else gettext("自提点已关闭，已经下的单不变。"), "success")
    return redirect(url_for("station_list.home"), 303)


@operator.route("/import", methods=["GET", "POST"])
def bring_in() -> ResponseReturnValue:
    """Make and change stations by a spreadsheet."""
    report, done = None, None
    if request.method == "POST":
        done = services.bring_in(
            rows=station_sheet.read_file(*upload()),
            partial="partial" in request.form,
            actor_id=who().person_id,
            now=clock.now(),
        )
        report = SheetReport().dump(done)
    page = render_template(
        "operator/stations_import.html", report=report, done=done, columns=station_sheet.COLUMN_NAMES
    )
    return page, 422 if report and not report["accepted"] and report["errors"] else 200
