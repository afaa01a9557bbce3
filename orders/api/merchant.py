"""What a merchant asks of parcels through the API."""

from typing import Any

from flask.views import MethodView

from kernel import clock
from kernel.doors import ApiBlueprint, who
from kernel.paging import decode_cursor
from kernel.schemas import page
from orders import queries, schemas
from orders.services import fulfilment

bp = ApiBlueprint(
    "api_merchant_parcels", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Own parcels"
)


@bp.route("/parcels")
class Parcels(MethodView):
    """A merchant's parcels."""

    @bp.arguments(schemas.ParcelArgs, location="query")
    @bp.response(200, page(schemas.MerchantParcel))
    def get(self, args: dict[str, Any]) -> Any:
        """List own parcels, newest first."""
        return queries.parcels_of_merchant(
            who().merchant_id,
            status=args["status"],
            limit=args["limit"],
            before=decode_cursor(args["cursor"]),
            now=clock.now(),
        )


@bp.route("/parcels/<parcel>/ship", methods=["POST"])
@bp.arguments(schemas.Ship)
@bp.response(200, schemas.MerchantParcel)
def ship(body: dict[str, Any], parcel: str) -> Any:
    """Ship a parcel with its carrier and tracking number."""
    return fulfilment.ship(parcel=parcel, merchant_id=who().merchant_id, **body, now=clock.now())
