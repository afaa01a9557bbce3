"""What a merchant asks of parcels and refunds through the API."""

from typing import Any

from flask import current_app, request
from flask.views import MethodView

from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, once, who
from kernel.paging import decode_cursor
from kernel.schemas import page
from orders import queries, schemas
from orders.queries import refunds as refund_queries
from orders.services import fulfilment, refunding

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


@bp.route("/refunds")
class Refunds(MethodView):
    """After-sales."""

    @bp.arguments(schemas.RefundArgs, location="query")
    @bp.response(200, page(schemas.RefundPart))
    def get(self, args: dict[str, Any]) -> Any:
        """List what buyers give back of own packs, newest first."""
        return refund_queries.parts_of_merchant(
            who().merchant_id, status=args["status"], limit=args["limit"], before=decode_cursor(args["cursor"])
        )


@bp.route("/refunds/<refund>/accept", methods=["POST"])
@bp.response(200, schemas.RefundPart)
def accept(refund: str) -> Any:
    """Take the goods back: the buyer's money and voucher value return."""
    answer = refunding.accept(
        refund=refund,
        merchant_id=who().merchant_id,
        actor_id=who().person_id,
        once=once(body=request.get_json(silent=True), required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/refunds/<refund>/decline", methods=["POST"])
@bp.arguments(schemas.Reason)
@bp.response(200, schemas.RefundPart)
def decline(body: dict[str, Any], refund: str) -> Any:
    """Refuse, and say why; the buyer may appeal to the operator."""
    answer = refunding.decline(
        refund=refund,
        merchant_id=who().merchant_id,
        reason=body["reason"],
        actor_id=who().person_id,
        once=once(body=request.get_json(), required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))
