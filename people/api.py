"""Doors to who one is and where one can collect."""

from typing import Any

from marshmallow import fields

from kernel.doors import ApiBlueprint, tagged, who
from kernel.paging import decode_cursor, part_of
from kernel.schemas import Base, IdField, Length, PageArgs, page
from people import queries
from people.rules import masked

signed_in = ApiBlueprint("api_me", __name__, audience="signed_in", url_prefix="/api/v1", description="Who am I")
everyone = ApiBlueprint(
    "api_stations", __name__, audience="everyone", url_prefix="/api/v1", description="Pickup stations"
)


class Station(Base):
    """自提点."""

    id = IdField()
    name = fields.String()
    name_en = fields.String()
    address = fields.String()
    address_en = fields.String()
    hours = fields.String()
    district = fields.String()
    services = fields.String()
    phone = fields.String()
    lat_e6 = fields.Integer(allow_none=True)
    lon_e6 = fields.Integer(allow_none=True)
    distance_m = fields.Integer(allow_none=True)


class StationArgs(PageArgs):
    """Which stations first: `near` is a district, or a part of a name or an address."""

    near = fields.String(load_default="", validate=Length(max=100))


@signed_in.route("/me")
@signed_in.response(200)
def me() -> Any:
    """Say who is signed in."""
    identity = who()
    union = queries.union(identity.member_union_id or identity.union_id)
    merchant = queries.merchant(identity.merchant_id)
    station = queries.station_for_operator(identity.station_id) if identity.station_id is not None else None
    return {
        "id": str(identity.person_id),
        "name": identity.name,
        "phone": masked(identity.phone),
        "roles": identity.roles,
        "union": {"id": str(union.id), "name": union.name} if union else None,
        "merchant": {"id": str(merchant.id), "name": merchant.name} if merchant else None,
        "station": {"id": str(station.id), "name": station.name} if station else None,
    }


@everyone.route("/stations")
@everyone.arguments(StationArgs, location="query")
@everyone.response(200, page(Station))
def stations(args: dict[str, Any]) -> Any:
    """List the pickup stations that are open; with `near`, the nearest first and how far each is (metres)."""
    after = decode_cursor(args["cursor"])
    near, _ = queries.nearest_stations(near=args["near"])
    rows = [{**{name: getattr(one.station, name) for name in _FIELDS}, "distance_m": one.distance_m} for one in near]
    found = part_of(rows, limit=args["limit"], after=after, key=lambda row: int(row["id"]))
    return tagged(page(Station)().dump(found))


_FIELDS = (
    "id",
    "name",
    "name_en",
    "address",
    "address_en",
    "hours",
    "district",
    "services",
    "phone",
    "lat_e6",
    "lon_e6",
)
