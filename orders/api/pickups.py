"""A pickup station's doors: what waits there, and handing it over for a code."""

from typing import Any

from marshmallow import fields
from marshmallow.validate import OneOf

from kernel import clock
from kernel.doors import ApiBlueprint, who
from kernel.paging import decode_cursor
from kernel.schemas import PageArgs, page
from orders import schemas
from orders.queries import stations as station_queries
from orders.services import pickup
from people.rules import masked

station = ApiBlueprint(
    "api_station", __name__, audience="station", url_prefix="/api/v1/station", description="A pickup station's desk"
)


class StationArgs(PageArgs):
    """Which parcels: sent here (`shipped`), still with their merchants (`to_ship`), or collected (`delivered`)."""

    status = fields.String(load_default="shipped", validate=OneOf(("shipped", "to_ship", "delivered")))


class StationParcel(schemas.Parcel):
    """包裹 as a pickup station sees it: of who collects it, the name and a masked phone."""

    name = fields.Function(lambda parcel: parcel.delivery.get("name", ""))
    phone = fields.Function(lambda parcel: masked(parcel.delivery.get("phone", "")))


@station.route("/parcels")
@station.arguments(StationArgs, location="query")
@station.response(200, page(StationParcel))
def parcels(args: dict[str, Any]) -> Any:
    """List the own station's parcels, newest first."""
    return station_queries.parcels_at(
        _desk().station_id,
        status=args["status"],
        limit=args["limit"],
        before=decode_cursor(args["cursor"]),
        now=clock.now(),
    )


@station.route("/pickups/<code>")
@station.response(200, StationParcel)
def look_up(code: str) -> Any:
    """Show what a code hands over here; nothing is changed."""
    return pickup.look_up(code, desk=_desk(), now=clock.now()).parcel


@station.route("/pickups", methods=["POST"])
@station.arguments(schemas.HandOver)
@station.response(200, StationParcel)
def hand_over(body: dict[str, Any]) -> Any:
    """Hand over what a code is for: once."""
    return pickup.hand_over(body["code"], desk=_desk(), now=clock.now())


def _desk() -> pickup.Desk:
    station_id = who().station_id
    assert station_id is not None, "the audience is stations"
    return pickup.Desk(who().person_id, station_id=int(station_id))
