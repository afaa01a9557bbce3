"""What an operator asks of orders and money through the API."""

import hashlib
from typing import Any

from flask import current_app, request

from kernel import clock, sheets
from kernel.doors import ApiBlueprint, json_answer, once, who
from kernel.errors import Invalid
from kernel.ids import as_id
from kernel.paging import decode_cursor
from kernel.schemas import page
from orders import grant_schemas, queries, schemas
from orders.api.member import wanted_of
from orders.queries import grants as grant_queries
from orders.queries import refunds as refund_queries
from orders.rules import Wanted
from orders.services import granting, refunding
from orders.views_grants import link_of
from voucher import queries as voucher_queries

bp = ApiBlueprint(
    "api_operator_orders", __name__, audience="operator", url_prefix="/api/v1/admin", description="Money and proof"
)


@bp.route("/refunds")
@bp.response(200, schemas.PartList)
def refunds() -> Any:
    """List the refunds that wait for an operator: unanswered too long, or appealed."""
    return {"items": refund_queries.parts_for_operator(now=clock.now())}


@bp.route("/refunds/<refund>/<merchant_id>/accept", methods=["POST"])
@bp.arguments(schemas.AcceptRefund)
@bp.response(200, schemas.RefundPart)
def accept_refund(body: dict[str, Any], refund: str, merchant_id: str) -> Any:
    """Decide for the buyer; this is final. `restock` says what of the goods the merchant has back is sold again."""
    answer = refunding.accept_for_operator(
        refund=refund,
        merchant_id=as_id(merchant_id),
        restock=[refunding.Returned(**line) for line in body["restock"]],
        actor_id=who().person_id,
        once=once(body=request.get_json(silent=True)),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/refunds/<refund>/<merchant_id>/decline", methods=["POST"])
@bp.arguments(schemas.Reason)
@bp.response(200, schemas.RefundPart)
def decline_refund(body: dict[str, Any], refund: str, merchant_id: str) -> Any:
    """Decide for the merchant; this is final."""
    answer = refunding.decline(
        refund=refund,
        merchant_id=as_id(merchant_id),
        reason=body["reason"],
        actor_id=who().person_id,
        once=once(body=request.get_json()),
        final=True,
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/campaigns/<slug>/report")
@bp.response(200)
def report(slug: str) -> Any:
    """Say what was issued, held and redeemed, what was sold by whom, and the budget left."""
    return queries.campaign_report(slug, now=clock.now())


@bp.route("/campaigns/<slug>/grants", methods=["POST"])
@bp.response(201, grant_schemas.Grant)
def make_grant(slug: str) -> Any:
    """Give packs (or a voucher of another campaign) to a named list: JSON, or a form with a spreadsheet in `file`."""
    upload = request.files.get("file")
    given = request.form.to_dict() if upload is not None else request.get_json(silent=True)
    if not isinstance(given, dict):
        raise Invalid("请提交名单，或上传名单文件。", errors={"recipients": ["名单是空的。"]})
    body = grant_schemas.NewGrant().load(given)
    wanted = wanted_of(body) + ([Wanted(body["pack_id"], 1)] if body["pack_id"] is not None else [])
    answer = granting.make(
        slug=slug,
        name=body["name"],
        name_en=body["name_en"],
        wanted=wanted,
        voucher_slug=body["voucher_campaign"],
        rows=_rows_of(body, upload),
        deadline=body["deadline"],
        once=once(body=[given, hashlib.sha256(upload.read()).hexdigest() if upload else None]),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 201))


def _rows_of(body: dict[str, Any], upload: Any) -> sheets.Rows:
    if upload is not None:
        rows = granting.read_list(upload.read(), upload.filename or "")
        upload.seek(0)
        return rows
    if body["honour"]:
        return granting.honour_list(body["honour"])
    return [(row, {**entry}) for row, entry in enumerate(body["recipients"], start=1)]


@bp.route("/campaigns/<slug>/grants", methods=["GET"])
@bp.response(200, grant_schemas.GrantList)
def grants(slug: str) -> Any:
    """List a campaign's grants, with how many have answered what."""
    campaign = voucher_queries.campaign(slug, now=clock.now())
    return {"items": grant_queries.grants(campaign.id, now=clock.now())}


@bp.route("/grants/<grant_id>/recipients")
@bp.arguments(grant_schemas.RecipientArgs, location="query")
@bp.response(200, page(grant_schemas.GrantRecipient))
def recipients(args: dict[str, Any], grant_id: str) -> Any:
    """List who a grant is for and what they answered, each with the own link."""
    found = grant_queries.grant(as_id(grant_id), now=clock.now())
    listed = grant_queries.recipients_of(
        found.id, status=args["status"], limit=args["limit"], after=decode_cursor(args["cursor"])
    )
    for row in listed.items:
        row.link = link_of(found.id, row.position)
    return listed
