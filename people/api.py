"""Doors to who one is and where one can collect."""

from typing import Any

from kernel.doors import ApiBlueprint, who
from people import queries
from people.rules import masked

signed_in = ApiBlueprint("api_me", __name__, audience="signed_in", url_prefix="/api/v1", description="Who am I")
everyone = ApiBlueprint(
    "api_stations", __name__, audience="everyone", url_prefix="/api/v1", description="Pickup stations"
)


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
@everyone.response(200)
def stations() -> Any:
    """List the pickup stations."""
    items = [
        {"id": str(row.id), "name": row.name, "address": row.address, "hours": row.hours} for row in queries.stations()
    ]
    return {"items": items, "next_cursor": None}
