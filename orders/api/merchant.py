"""What a merchant asks of parcels and refunds through the API."""

from typing import Any

from flask import current_app, request
from flask.views import MethodView

from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, once, saved, tagged, upload, who
from kernel.errors import NotFound
from kernel.paging import decode_cursor
from kernel.schemas import page
from orders import carriers, queries, schemas, shipments
from orders.papers import parcels as papers
from orders.queries import packing
from orders.queries import refunds as refund_queries
from orders.services import fulfilment, pickup, refunding

bp = ApiBlueprint(
    "api_merchant_parcels", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Own parcels"
)


def ship_seconds() -> int:
    """Return within what time after payment a parcel is to be sent."""
    seconds: int = current_app.config["HUIGONG"].ship_seconds
    return seconds


@bp.route("/parcels")
class Parcels(MethodView):
    """A merchant's parcels."""

    @bp.arguments(schemas.ParcelArgs, location="query")
    @bp.response(200, page(schemas.MerchantParcel))
    def get(self, args: dict[str, Any]) -> Any:
        """List own parcels, newest first; what should have left by now is marked overdue."""
        found = queries.parcels_of_merchant(
            who().merchant_id,
            status=args["status"],
            limit=args["limit"],
            before=decode_cursor(args["cursor"]),
            overdue=args["overdue"],
            ship_seconds=ship_seconds(),
            now=clock.now(),
        )
        return tagged(page(schemas.MerchantParcel)().dump(found))


@bp.route("/parcels/<parcel>")
class OneParcel(MethodView):
    """One of a merchant's parcels."""

    @bp.response(200, schemas.MerchantParcel)
    def get(self, parcel: str) -> Any:
        """Show an own parcel with its packages."""
        return tagged(schemas.MerchantParcel().dump(_parcel(parcel)))

    @bp.arguments(schemas.CorrectShipment)
    @bp.response(200, schemas.MerchantParcel)
    def patch(self, body: dict[str, Any], parcel: str) -> Any:
        """Mend a wrong carrier or tracking number, until the parcel has arrived."""
        body["carrier"] = carriers.known(body["carrier"]) or body["carrier"]
        fulfilment.correct(parcel=parcel, merchant_id=who().merchant_id, **body, now=clock.now())
        return _parcel(parcel)


def _parcel(parcel: str) -> queries.ParcelView:
    return queries.parcel_of_merchant(
        parcel, merchant_id=who().merchant_id, ship_seconds=ship_seconds(), now=clock.now()
    )


@bp.route("/parcels/<parcel>/ship", methods=["POST"])
@bp.arguments(schemas.Ship)
@bp.response(200, schemas.MerchantParcel)
def ship(body: dict[str, Any], parcel: str) -> Any:
    """Ship a parcel, or some of its units in a package of their own, with carrier and tracking number."""
    units = None if body["lines"] is None else {line["line_id"]: line["quantity"] for line in body["lines"]}
    fulfilment.ship(
        parcel=parcel,
        merchant_id=who().merchant_id,
        carrier=carriers.known(body["carrier"]) or body["carrier"],
        tracking_no=body["tracking_no"],
        units=units,
        department=body["department"],
        now=clock.now(),
    )
    return _parcel(parcel)


@bp.route("/shipments", methods=["PUT"])
@bp.response(200, schemas.ShipmentReport)
def put_shipments() -> Any:
    """Ship the parcels of a spreadsheet in the field `file`; all or nothing unless `?partial=1`. May be sent again.

    Columns: 包裹号 (parcel_id), 快递公司 (carrier), 运单号 (tracking_no).
    """
    return fulfilment.ship_by_sheet(
        merchant_id=who().merchant_id or 0,
        rows=shipments.read_file(*upload()),
        partial=request.args.get("partial") == "1",
        now=clock.now(),
    )


@bp.route("/carriers")
@bp.response(200)
def list_carriers() -> Any:
    """List the carriers a parcel can be followed with; others may be named too."""
    return {"items": [{"name": one.name, "other_names": list(one.others)} for one in carriers.CARRIERS]}


@bp.route("/parcels/<paper>.pdf")
@bp.arguments(schemas.PaperArgs, location="query")
@bp.response(200)
def print_parcels(args: dict[str, Any], paper: str) -> Any:
    """Print the parcels to ship, or those named by `parcel`: 'pick-list', 'slips' (A4) or 'labels' (100×150 mm)."""
    return print_of(paper, args["parcel"])


def print_of(paper: str, named: list[str]) -> Any:
    """Print a paper of the parcels named: a label a department or a recipient, where a union wants its order so."""
    found = chosen_parcels(named)
    return saved(papers.printed(paper, found if paper == "pick-list" else packing.as_packed(found)), f"{paper}.pdf")


def chosen_parcels(named: list[str]) -> list[queries.ParcelView]:
    """Return the parcels named, or where none is, those to ship, the oldest first. Raises NotFound for none of ours."""
    now = clock.now()
    if named:
        found = queries.parcels_by_id(named, merchant_id=who().merchant_id, now=now)
        if len(found) < len(set(named)):
            raise NotFound("没有这个包裹。")
        return found
    first = queries.parcels_of_merchant(
        who().merchant_id, status="to_ship", oldest_first=True, limit=papers.MOST_PARCELS, now=now
    )
    return list(first.items)


@bp.route("/pickups/<code>")
@bp.response(200, schemas.MerchantParcel)
def look_up(code: str) -> Any:
    """Show the own parcel that a code hands over; nothing is changed."""
    return pickup.look_up(code, desk=_desk(), now=clock.now()).parcel


@bp.route("/pickups", methods=["POST"])
@bp.arguments(schemas.HandOver)
@bp.response(200, schemas.MerchantParcel)
def hand_over(body: dict[str, Any]) -> Any:
    """Hand an own parcel over for the code its buyer shows: once."""
    return pickup.hand_over(body["code"], desk=_desk(), now=clock.now())


def _desk() -> pickup.Desk:
    merchant_id = who().merchant_id
    assert merchant_id is not None, "the audience is merchants"
    return pickup.Desk(who().person_id, merchant_id=int(merchant_id))


@bp.route("/refunds")
class Refunds(MethodView):
    """After-sales."""

    @bp.arguments(schemas.RefundArgs, location="query")
    @bp.response(200, page(schemas.RefundPart))
    def get(self, args: dict[str, Any]) -> Any:
        """List what buyers give back of own packs, newest first."""
        found = refund_queries.parts_of_merchant(
            who().merchant_id, status=args["status"], limit=args["limit"], before=decode_cursor(args["cursor"])
        )
        return tagged(page(schemas.RefundPart)().dump(found))


@bp.route("/refunds/<refund>/accept", methods=["POST"])
@bp.arguments(schemas.AcceptRefund)
@bp.response(200, schemas.RefundPart)
def accept(body: dict[str, Any], refund: str) -> Any:
    """Take the goods back: the buyer's money and voucher value return; `restock` says what of them is sold again."""
    answer = refunding.accept(
        refund=refund,
        merchant_id=who().merchant_id,
        restock=[refunding.Returned(**line) for line in body["restock"]],
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
