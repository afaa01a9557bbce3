"""What a grassroots union asks of orders through the API."""

from typing import Any

from flask import current_app, request, url_for
from flask.views import MethodView

from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, locale_of, once, who
from kernel.errors import Forbidden, Invalid
from kernel.ids import as_id
from kernel.paging import decode_cursor
from kernel.schemas import PageArgs, page
from orders import queries, roster, schemas, union_schemas
from orders.api.member import returned_of, wanted_of
from orders.links import asked_again
from orders.queries import refunds as refund_queries
from orders.queries import why as why_queries
from orders.rules import District
from orders.services import bulk, copying, fulfilment, paying, refunding, replacing, rostering
from orders.services.bulk import WantedChoice
from orders.services.rostering import Upload
from people.rules import APPROVER, OFFICER

bp = ApiBlueprint(
    "api_bulk", __name__, audience="union", url_prefix="/api/v1/bulk", description="A grassroots union's orders"
)


def as_officer() -> None:
    """Refuse who is no officer of the union; an approver decides, and asks for nothing."""
    if OFFICER not in who().roles:
        raise Forbidden("需要经办人权限。")


def district() -> District:
    """Return what the district settled for its unions."""
    settings = current_app.config["HUIGONG"]
    return District(
        refuse_twice=settings.on_two_rosters == "refuse",
        yearly_cap_fen=settings.yearly_cap_fen,
        refuse_over_cap=settings.over_yearly_cap == "refuse",
    )


@bp.route("/quotes", methods=["POST"])
@bp.arguments(schemas.QuoteRequest)
@bp.response(200, schemas.Quote)
def quote(body: dict[str, Any]) -> Any:
    """Say what these packs would cost a union now; nothing is changed."""
    priced = bulk.price(slug=body["campaign"], wanted=wanted_of(body), now=clock.now())
    return schemas.bulk_quote_body(priced)


@bp.route("/orders")
class Orders(MethodView):
    """A union's orders."""

    @bp.arguments(union_schemas.DraftBulk)
    @bp.response(201, union_schemas.BulkOrder)
    def post(self, body: dict[str, Any]) -> Any:
        """Draft an order; nothing is held until it is approved."""
        as_officer()
        answer = bulk.draft(
            slug=body["campaign"],
            union_id=who().union_id,
            wanted=wanted_of(body),
            choice=WantedChoice(**body["choice"]) if body["choice"] else None,
            delivery=body["delivery"],
            once=once(body=request.get_json()),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 201))

    @bp.arguments(PageArgs, location="query")
    @bp.response(200, page(union_schemas.BulkOrder))
    def get(self, args: dict[str, Any]) -> Any:
        """List the union's orders, newest first."""
        return queries.orders_of_union(
            who().union_id, limit=args["limit"], before=decode_cursor(args["cursor"]), now=clock.now()
        )


@bp.route("/orders/<number>")
@bp.response(200, union_schemas.BulkOrder)
def show(number: str) -> Any:
    """Show one of the union's orders."""
    return queries.order_of_union(number, union_id=who().union_id, now=clock.now())


@bp.route("/orders/<number>/roster", methods=["PUT"])
@bp.response(200, union_schemas.RosterReport)
def put_roster(number: str) -> Any:
    """Put the roster: JSON, or a spreadsheet in the field `file`; all or nothing unless `?partial=1`.

    With self-choice, people can choose from then on. What was submitted or approved is void by it.
    """
    as_officer()
    rows, upload = _rows()
    return rostering.put_roster(
        number=number,
        union_id=who().union_id,
        rows=rows,
        upload=upload,
        partial=request.args.get("partial") == "1",
        district=district(),
        now=clock.now(),
    )


def _rows() -> tuple[list[tuple[int, dict[str, str]]], Upload | None]:
    sent = request.files.get("file")
    if sent is not None:
        with sent.stream:
            upload = Upload(sent.filename or "", sent.read())
        return roster.read_file(upload.content, upload.filename), upload
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Invalid("请上传花名册文件，或提交 recipients。", errors={"file": ["请上传花名册文件。"]})
    entries = schemas.Roster().load(body)["recipients"]
    return [
        (row, {**entry, "pack": entry["pack_id"] or "", "quantity": str(entry["quantity"])})
        for row, entry in enumerate(entries, start=1)
    ], None


@bp.route("/orders/<number>/lines", methods=["PUT"])
@bp.arguments(union_schemas.ChangeBulk)
@bp.response(200, union_schemas.BulkOrder)
def change(body: dict[str, Any], number: str) -> Any:
    """Change packs and counts before payment; what was submitted or approved is void by it."""
    as_officer()
    return bulk.change_lines(
        number=number,
        union_id=who().union_id,
        wanted=wanted_of(body),
        actor_id=who().person_id,
        now=clock.now(),
    )


@bp.route("/orders/<number>/copy", methods=["POST"])
@bp.arguments(union_schemas.Copy)
@bp.response(201, union_schemas.BulkOrder)
def copy(body: dict[str, Any], number: str) -> Any:
    """Begin a new order like this one: its packs that are still on sale, and its people."""
    as_officer()
    answer = copying.copy(
        number=number,
        union_id=who().union_id,
        slug=body["campaign"],
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 201))


@bp.route("/orders/<number>/replacements")
class Replacements(MethodView):
    """Packs that ran out, and what could take their place."""

    @bp.response(200, union_schemas.Replacements)
    def get(self, number: str) -> Any:
        """List packs of the order that are short, each with others of its tier, those of its region first."""
        order = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
        return {"items": replacing.replacements(order)}

    @bp.arguments(union_schemas.Replace)
    @bp.response(200, union_schemas.BulkOrder)
    def post(self, body: dict[str, Any], number: str) -> Any:
        """Put another pack of the same tier in a pack's place; with self-choice its people are asked again.

        Once stock is held, only what is short, at the same amounts: the approval stands.
        """
        as_officer()
        answer = replacing.replace_pack(
            number=number,
            union_id=who().union_id,
            old_id=body["pack_id"],
            new_id=body["by_pack_id"],
            texts=asked_again(),
            actor_id=who().person_id,
            once=once(body=request.get_json(), required=False),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 200))


@bp.route("/orders/<number>/submit", methods=["POST"])
@bp.response(200, union_schemas.BulkOrder)
def submit(number: str) -> Any:
    """Hand the order to the approver."""
    as_officer()
    return bulk.submit(
        number=number, union_id=who().union_id, actor_id=who().person_id, district=district(), now=clock.now()
    )


@bp.route("/orders/<number>/approve", methods=["POST"])
@bp.response(200, union_schemas.BulkOrder)
def approve(number: str) -> Any:
    """Approve, as a second person: budget and stock are held. The body's `override_reason` passes the yearly cap."""
    body = request.get_json(silent=True)
    reason = union_schemas.Approve().load(body)["override_reason"] if isinstance(body, dict) else ""
    answer = bulk.approve(
        number=number,
        union_id=who().union_id,
        actor_id=who().person_id,
        may_approve=APPROVER in who().roles,
        override_reason=reason,
        district=district(),
        once=once(body=body, required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/orders/<number>/reject", methods=["POST"])
@bp.arguments(schemas.Reject)
@bp.response(200, union_schemas.BulkOrder)
def reject(body: dict[str, Any], number: str) -> Any:
    """Send the order back with a reason, as a second person."""
    return bulk.reject(
        number=number,
        union_id=who().union_id,
        actor_id=who().person_id,
        may_approve=APPROVER in who().roles,
        reason=body["reason"],
        now=clock.now(),
    )


@bp.route("/orders/<number>/cancel", methods=["POST"])
@bp.response(200, union_schemas.BulkOrder)
def cancel(number: str) -> Any:
    """Cancel an order that is not paid; what was held goes back."""
    sent = once(body=request.get_json(silent=True), required=False)
    answer = bulk.cancel(number=number, union_id=who().union_id, once=sent, now=clock.now())
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/orders/<number>/payments", methods=["POST"])
@bp.arguments(schemas.StartPayment)
@bp.response(201, schemas.Payment)
def pay(body: dict[str, Any], number: str) -> Any:
    """Ask how to pay: a bank transfer's reference and account."""
    settings = current_app.config["HUIGONG"]
    answer = paying.start_payment(
        number=number,
        union_id=who().union_id,
        provider=body["provider"],
        allowed=settings.union_providers,
        bank_account=settings.bank_account,
        return_url=url_for("union.order", number=number, _external=True),
        locale=locale_of(),
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 201))


@bp.route("/orders/<number>/why")
@bp.response(200, schemas.Why)
def why(number: str) -> Any:
    """Say how the order's discount and refunds came about."""
    found = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
    returned = refund_queries.refunds_of(found.id)
    return schemas.why_body(why_queries.of_order(found), list(why_queries.of_refunds(returned, found).items()))


@bp.route("/orders/<number>/refunds")
class Refunds(MethodView):
    """What was given back of a union's order."""

    @bp.arguments(schemas.AskRefund)
    @bp.response(201, schemas.Refund)
    def post(self, body: dict[str, Any], number: str) -> Any:
        """Give units back: at once what was not shipped; what was, when its merchant accepts."""
        as_officer()
        answer = refunding.ask(
            number=number,
            union_id=who().union_id,
            wanted=returned_of(body),
            reason=body["reason"],
            reply_seconds=current_app.config["HUIGONG"].refund_reply_seconds,
            once=once(body=request.get_json()),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 201))

    @bp.response(200, schemas.RefundList)
    def get(self, number: str) -> Any:
        """List the order's refunds, the oldest first."""
        order = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
        return {"items": refund_queries.refunds_of(order.id)}


@bp.route("/orders/<number>/parcels/<parcel>/receive", methods=["POST"])
@bp.response(200, union_schemas.BulkOrder)
def receive(number: str, parcel: str) -> Any:
    """Say that a parcel has arrived; `faults` in the body tell the merchant what was missing or broken."""
    body = request.get_json(silent=True)
    faults = union_schemas.Receive().load(body)["faults"] if isinstance(body, dict) else []
    return fulfilment.receive_for_union(
        number=number, parcel=parcel, union_id=who().union_id, faults=faults, now=clock.now()
    )


@bp.route("/orders/<number>/parcels/<parcel>/packages/<package>/receive", methods=["POST"])
@bp.response(200, union_schemas.BulkOrder)
def receive_package(number: str, parcel: str, package: str) -> Any:
    """Say that one package has arrived, a department's box for example; with the last the parcel has."""
    body = request.get_json(silent=True)
    faults = union_schemas.Receive().load(body)["faults"] if isinstance(body, dict) else []
    return fulfilment.receive_package(
        number=number,
        parcel=parcel,
        package_no=as_id(package) or 0,
        union_id=who().union_id,
        faults=faults,
        actor_id=who().person_id,
        now=clock.now(),
    )
