"""What comes short or broken: said by unions when they receive (api.union), answered by merchants, shown operators."""

from typing import Any

from kernel import clock
from kernel.doors import ApiBlueprint, who
from orders import union_schemas
from orders.queries import unions as union_queries
from orders.services import shortages

merchant = ApiBlueprint(
    "api_merchant_faults",
    __name__,
    audience="merchant",
    url_prefix="/api/v1/merchant",
    description="What came short or broken, and what cannot be sent",
)
operator = ApiBlueprint(
    "api_faults", __name__, audience="operator", url_prefix="/api/v1/admin", description="What came short or broken"
)


@merchant.route("/faults")
@merchant.arguments(union_schemas.FaultArgs, location="query")
@merchant.response(200, union_schemas.FaultList)
def own_faults(args: dict[str, Any]) -> Any:
    """List what unions said came short or broken of own parcels, and own shortages."""
    return {"items": union_queries.open_faults(who().merchant_id, answered=args["answered"])}


@merchant.route("/parcels/<parcel>/faults/answer", methods=["POST"])
@merchant.arguments(union_schemas.AnswerFaults)
@merchant.response(200, union_schemas.FaultList)
def answer(body: dict[str, Any], parcel: str) -> Any:
    """Answer what a union said of a parcel: what is sent after it, or why not."""
    shortages.answer(
        parcel=parcel, merchant_id=who().merchant_id, text=body["answer"], actor_id=who().person_id, now=clock.now()
    )
    return {"items": union_queries.open_faults(who().merchant_id)}


@merchant.route("/parcels/<parcel>/shortage", methods=["POST"])
@merchant.arguments(union_schemas.ReportShortage)
@merchant.response(200, union_schemas.FaultList)
def report(body: dict[str, Any], parcel: str) -> Any:
    """Say how many of a union's parcel cannot be sent, before it left: its officer may take others of the tier."""
    report_of(parcel, {line["line_id"]: line["quantity"] for line in body["lines"]}, body["note"])
    return {"items": union_queries.open_faults(who().merchant_id)}


def report_of(parcel: str, units: dict[int, int], note: str) -> None:
    """Note what the merchant who asks cannot send of a parcel."""
    shortages.report(
        parcel=parcel,
        merchant_id=who().merchant_id,
        units=units,
        note=note,
        now=clock.now(),
    )


@operator.route("/faults")
@operator.arguments(union_schemas.FaultArgs, location="query")
@operator.response(200, union_schemas.FaultList)
def all_faults(args: dict[str, Any]) -> Any:
    """List what came short or broken and has no answer yet, and what merchants cannot send, of all merchants."""
    return {"items": union_queries.open_faults(answered=args["answered"])}
