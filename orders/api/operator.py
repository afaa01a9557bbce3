"""What an operator asks of orders and money through the API."""

from typing import Any

from flask import current_app, request

from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, once, who
from kernel.ids import as_id
from orders import queries, schemas
from orders.queries import refunds as refund_queries
from orders.services import paying, refunding

bp = ApiBlueprint(
    "api_operator_orders", __name__, audience="operator", url_prefix="/api/v1/admin", description="Money and proof"
)


@bp.route("/payments/<payment_id>/confirm", methods=["POST"])
@bp.arguments(schemas.ConfirmTransfer)
@bp.response(200, schemas.Payment)
def confirm(body: dict[str, Any], payment_id: str) -> Any:
    """Say that a bank transfer has arrived."""
    answer = paying.confirm_transfer(
        payment_id=as_id(payment_id),
        amount_fen=body["amount_fen"],
        actor_id=who().person_id,
        second_person_fen=current_app.config["HUIGONG"].second_person_fen,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/refunds")
@bp.response(200, schemas.PartList)
def refunds() -> Any:
    """List the refunds that wait for an operator: unanswered too long, or appealed."""
    return {"items": refund_queries.parts_for_operator(now=clock.now())}


@bp.route("/refunds/<refund>/<int:merchant_id>/accept", methods=["POST"])
@bp.response(200, schemas.RefundPart)
def accept_refund(refund: str, merchant_id: int) -> Any:
    """Decide for the buyer; this is final."""
    answer = refunding.accept_for_operator(
        refund=refund,
        merchant_id=merchant_id,
        actor_id=who().person_id,
        once=once(body=request.get_json(silent=True)),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/refunds/<refund>/<int:merchant_id>/decline", methods=["POST"])
@bp.arguments(schemas.Reason)
@bp.response(200, schemas.RefundPart)
def decline_refund(body: dict[str, Any], refund: str, merchant_id: int) -> Any:
    """Decide for the merchant; this is final."""
    answer = refunding.decline(
        refund=refund,
        merchant_id=merchant_id,
        reason=body["reason"],
        actor_id=who().person_id,
        once=once(body=request.get_json()),
        final=True,
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/payment-refunds/<refund_id>/sent", methods=["POST"])
@bp.arguments(schemas.SentBack)
@bp.response(200)
def refund_sent(body: dict[str, Any], refund_id: str) -> Any:
    """Say that money of a bank transfer was sent back, under which bank reference."""
    answer = refunding.record_sent(
        refund_id=as_id(refund_id),
        reference=body["reference"],
        actor_id=who().person_id,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/campaigns/<slug>/report")
@bp.response(200)
def report(slug: str) -> Any:
    """Say what was issued, held and redeemed, what was sold by whom, and the budget left."""
    return queries.campaign_report(slug, now=clock.now())


@bp.route("/reconcile")
@bp.response(200)
def reconcile() -> Any:
    """Check the conservation rules over the whole database."""
    breaches = queries.all_breaches()
    return {"ok": not breaches, "breaches": breaches}
