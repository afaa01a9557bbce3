"""Doors to who one is and where one can collect."""

from typing import Any

from marshmallow import fields

from kernel.doors import ApiBlueprint, tagged, who
from kernel.paging import decode_cursor, part_of
from kernel.schemas import Base, IdField, PageArgs, page
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
    address = fields.String()
    hours = fields.String()


@signed_in.route("/me")
@signed_in.response(200)
def me() -> Any:
    """Say who is signed in."""
    identity = who()
    union = queries.union(identity.member_union_id or identity.union_id)
    merchant = queries.merchant(identity.merchant_id)
    return {
        "id": str(identity.person_id),
        "name": identity.name,
        "phone": masked(identity.phone),
        "roles": identity.roles,
        "union": {"id": str(union.id), "name": union.name} if union else None,
        "merchant": {"id": str(merchant.id), "name": merchant.name} if merchant else None,
    }


@everyone.route("/stations")
@everyone.arguments(PageArgs, location="query")
@everyone.response(200, page(Station))
def stations(args: dict[str, Any]) -> Any:
    """List the pickup stations."""
    after = decode_cursor(args["cursor"])
    found = part_of(queries.stations(), limit=args["limit"], after=after, key=lambda row: row.id)
    return tagged(page(Station)().dump(found))
