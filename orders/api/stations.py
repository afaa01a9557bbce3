"""Pickup stations for operators through the API."""

from typing import Any

from flask import request
from flask.views import MethodView
from marshmallow import fields, pre_load

from kernel import clock
from kernel.doors import ApiBlueprint, upload, who
from kernel.ids import as_id
from kernel.paging import decode_cursor, part_of
from kernel.schemas import Base, IdField, PageArgs, Range, SheetReport, page, text
from orders.queries.stations import waiting_at_stations
from people import queries, station_sheet
from people.places import shown_degrees
from people.services import stations as services

operator = ApiBlueprint(
    "api_operator_stations", __name__, audience="operator", url_prefix="/api/v1/admin", description="Pickup stations"
)


class StationFields(Base):
    """What a station says of itself; a position has both parts or none, in millionths of a degree (WGS-84)."""

    code = text(20)
    name = text(80)
    name_en = text(160, minimum=0, required=False, load_default="")
    address = text(200)
    address_en = text(300, minimum=0, required=False, load_default="")
    district = text(40, minimum=0, required=False, load_default="")
    hours = text(120, minimum=0, required=False, load_default="")
    services = text(200, minimum=0, required=False, load_default="")
    phone = text(30, minimum=0, required=False, load_default="")
    lat_e6 = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=Range(min=-90_000_000, max=90_000_000)
    )
    lon_e6 = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=Range(min=-180_000_000, max=180_000_000)
    )
    is_open = fields.Boolean(load_default=True)


class StationKept(StationFields):
    """A station with the parcels that wait for it."""

    id = IdField()
    parcels_waiting = fields.Integer()


class StationChange(StationFields):
    """What of a station changes: what is left out stays."""

    @pre_load
    def _over_what_is(self, data: Any, **_: Any) -> Any:
        """Fill in what the station says already."""
        if not isinstance(data, dict):
            return data
        row = queries.station_for_operator(as_id((request.view_args or {}).get("station_id", "")))
        return {**{name: getattr(row, name) for name in self.fields}, **data}


class StationsReport(SheetReport):
    """What became of a sheet of stations."""

    added = fields.Integer()
    changed = fields.Integer()
    unchanged = fields.Integer()


def _texts(body: dict[str, Any]) -> dict[str, str]:
    kept = {name: body[name] for name in station_sheet.MOST}
    position = {"latitude": shown_degrees(body["lat_e6"]), "longitude": shown_degrees(body["lon_e6"])}
    return {**kept, **position, "open": "是" if body["is_open"] else "否"}


def _one(station_id: int | None) -> dict[str, Any]:
    row = queries.station_for_operator(station_id)
    return _kept(row, waiting_at_stations())


def _kept(row: Any, waiting: dict[int, int]) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in ("id", *services.FIELDS)}
    return {**kept, "parcels_waiting": waiting.get(row.id, 0)}


@operator.route("/stations")
class Stations(MethodView):
    """Every station."""

    @operator.arguments(PageArgs, location="query")
    @operator.response(200, page(StationKept))
    def get(self, args: dict[str, Any]) -> Any:
        """List every station, closed ones too, with the parcels that wait."""
        waiting = waiting_at_stations()
        rows = [_kept(row, waiting) for row in queries.stations(closed=True)]
        return part_of(rows, limit=args["limit"], after=decode_cursor(args["cursor"]), key=lambda row: int(row["id"]))

    @operator.arguments(StationFields)
    @operator.response(201, StationKept)
    def post(self, body: dict[str, Any]) -> Any:
        """Make a station."""
        return _one(services.save(station_id=None, texts=_texts(body), actor_id=who().person_id, now=clock.now()))


@operator.route("/stations/<station_id>", methods=["PATCH"])
@operator.arguments(StationChange)
@operator.response(200, StationKept)
def change(body: dict[str, Any], station_id: str) -> Any:
    """Change some of a station, open or close it."""
    return _one(
        services.save(
            station_id=queries.station_for_operator(as_id(station_id)).id,
            texts=_texts(body),
            actor_id=who().person_id,
            now=clock.now(),
        )
    )


@operator.route("/stations/import", methods=["POST"])
@operator.response(200, StationsReport)
def bring_in() -> Any:
    """Make and change stations by a spreadsheet (.xlsx or .csv); `partial=1` takes the good rows only."""
    return services.bring_in(
        rows=station_sheet.read_file(*upload()),
        partial=request.args.get("partial") == "1",
        actor_id=who().person_id,
        now=clock.now(),
    )
