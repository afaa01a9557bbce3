"""What a member asks of orders through the API."""

from typing import Any

from flask import current_app, request, url_for
from flask.views import MethodView

from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, locale_of, once, upload, who
from kernel.ids import as_id
from kernel.paging import decode_cursor
from kernel.pictures import at_width
from kernel.schemas import PageArgs, page
from orders import grant_schemas, queries, schemas
from orders.queries import grants as grant_queries
from orders.queries import refunds as refund_queries
from orders.queries import why as why_queries
from orders.rules import Wanted
from orders.services import evidence, fulfilment, granting, paying, pickup, placing, refunding

bp = ApiBlueprint(
    "api_member_orders", __name__, audience="member", url_prefix="/api/v1", description="A member's quotes and orders"
)


def wanted_of(body: dict[str, Any]) -> list[Wanted]:
    """Return the lines a body asks for."""
    return [Wanted(line["pack_id"], line["quantity"]) for line in body["lines"]]


def returned_of(body: dict[str, Any]) -> list[refunding.Returned]:
    """Return the units a body gives back."""
    return [refunding.Returned(line["line_id"], line["quantity"]) for line in body["lines"]]


@bp.route("/quotes", methods=["POST"])
@bp.arguments(schemas.QuoteRequest)
@bp.response(200, schemas.Quote)
def quote(body: dict[str, Any]) -> Any:
    """Say what these packs would cost now; nothing is changed."""
    return schemas.quote_body(
        placing.price_basket(slug=body["campaign"], member_id=who().member_id, wanted=wanted_of(body), now=clock.now())
    )


@bp.route("/orders")
class Orders(MethodView):
    """A member's orders."""

    @bp.arguments(schemas.PlaceOrder)
    @bp.response(201, schemas.Order)
    def post(self, body: dict[str, Any]) -> Any:
        """Place an order at the price that was quoted, and hold what it needs."""
        settings = current_app.config["HUIGONG"]
        answer = placing.place_order(
            slug=body["campaign"],
            member_id=who().member_id,
            wanted=wanted_of(body),
            payable_fen=body["payable_fen"],
            delivery=body["delivery"],
            once=once(body=request.get_json()),
            terms=placing.Terms(settings.payment_seconds, settings.max_unpaid),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 201))

    @bp.arguments(PageArgs, location="query")
    @bp.response(200, page(schemas.Order))
    def get(self, args: dict[str, Any]) -> Any:
        """List own orders, newest first."""
        now = clock.now()
        placing.expire_own(member_id=who().member_id, now=now)
        return queries.orders_of_member(
            who().member_id, limit=args["limit"], before=decode_cursor(args["cursor"]), now=now
        )


@bp.route("/orders/<number>")
@bp.response(200, schemas.Order)
def show(number: str) -> Any:
    """Show an own order."""
    now = clock.now()
    placing.expire_own(member_id=who().member_id, now=now)
    return queries.order_of_member(number, member_id=who().member_id, now=now)


@bp.route("/orders/<number>/payments", methods=["POST"])
@bp.arguments(schemas.StartPayment)
@bp.response(201, schemas.Payment)
def pay(body: dict[str, Any], number: str) -> Any:
    """Begin to pay an order; `redirect_url` is where the buyer pays."""
    settings = current_app.config["HUIGONG"]
    answer = paying.start_payment(
        number=number,
        member_id=who().member_id,
        provider=body["provider"],
        allowed=settings.member_providers,
        bank_account=settings.bank_account,
        return_url=url_for("member.order", number=number, _external=True),
        locale=locale_of(),
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 201))


@bp.route("/orders/<number>/cancel", methods=["POST"])
@bp.response(200, schemas.Order)
def cancel(number: str) -> Any:
    """Cancel an order that is not paid; all it held goes back. An Idempotency-Key makes it safe to send again."""
    answer = placing.cancel(
        number=number,
        member_id=who().member_id,
        once=once(body=request.get_json(silent=True), required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/orders/<number>/why")
@bp.response(200, schemas.Why)
def why(number: str) -> Any:
    """Say how the order's discount and refunds came about."""
    found = queries.order_of_member(number, member_id=who().member_id, now=clock.now())
    returned = refund_queries.refunds_of(found.id)
    return schemas.why_body(why_queries.of_order(found), list(why_queries.of_refunds(returned, found).items()))


@bp.route("/orders/<number>/refunds")
class Refunds(MethodView):
    """What was given back of an own order."""

    @bp.arguments(schemas.AskRefund)
    @bp.response(201, schemas.Refund)
    def post(self, body: dict[str, Any], number: str) -> Any:
        """Give units back: at once what was not shipped; what was, when its merchant accepts."""
        answer = refunding.ask(
            number=number,
            member_id=who().member_id,
            wanted=returned_of(body),
            reason=body["reason"],
            reply_seconds=current_app.config["HUIGONG"].refund_reply_seconds,
            once=once(body=request.get_json()),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 201))

    @bp.response(200, schemas.RefundList)
    def get(self, number: str) -> Any:
        """List an own order's refunds, the oldest first."""
        order = queries.order_of_member(number, member_id=who().member_id, now=clock.now())
        return {"items": refund_queries.refunds_of(order.id)}


@bp.route("/orders/<number>/refunds/<refund>/appeal", methods=["POST"])
@bp.arguments(schemas.Reason)
@bp.response(200, schemas.Refund)
def appeal(body: dict[str, Any], number: str, refund: str) -> Any:
    """Ask the operator to look at what a merchant declined."""
    now = clock.now()
    refunding.appeal(number=number, refund=refund, member_id=who().member_id, reason=body["reason"], now=now)
    return refund_queries.refund(as_id(refund) or 0, now=now)


@bp.route("/orders/<number>/refunds/<refund>/pictures", methods=["POST"])
@bp.response(201)
def add_picture(number: str, refund: str) -> Any:
    """Show what arrived: a picture (JPEG, PNG or WebP) in the field `file`, up to six a refund."""
    name = evidence.add_picture(
        number=number,
        refund=refund,
        member_id=who().member_id,
        content=upload()[0],
        store=current_app.config["FILES"],
        now=clock.now(),
    )
    return {"picture": f"/refund-pictures/{at_width(name, 1280)}"}


@bp.route("/orders/<number>/parcels/<parcel>/pickup-code", methods=["POST"])
@bp.response(200, schemas.PickupCode)
def pickup_code(number: str, parcel: str) -> Any:
    """The code that collects a parcel, the same each time; show it as digits or as a QR code."""
    code = pickup.code_for(number=number, parcel=parcel, member_id=who().member_id, now=clock.now())
    return {"code": code}


@bp.route("/orders/<number>/parcels/<parcel>/receive", methods=["POST"])
@bp.response(200, schemas.Order)
def receive(number: str, parcel: str) -> Any:
    """Say that a parcel has arrived."""
    return fulfilment.receive(number=number, parcel=parcel, member_id=who().member_id, now=clock.now())


@bp.route("/me/gifts")
@bp.response(200, grant_schemas.GiftList)
def gifts() -> Any:
    """List what the union gives the member free of charge."""
    return {"items": grant_queries.gifts_of_member(who().member_id, now=clock.now())}


@bp.route("/me/gifts/<gift>/confirm", methods=["POST"])
@bp.arguments(grant_schemas.TakeGift)
@bp.response(200, grant_schemas.Gift)
def take_gift(body: dict[str, Any], gift: str) -> Any:
    """Take a gift and say where it goes; taking it again changes nothing."""
    own = grant_queries.gift_of_member(gift, member_id=who().member_id, now=clock.now())
    granting.confirm(
        grant_id=own.grant.id,
        position=own.position,
        delivery=body["delivery"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return grant_queries.gift(own.grant.id, own.position, now=clock.now())


@bp.route("/me/gifts/<gift>/decline", methods=["POST"])
@bp.response(200, grant_schemas.Gift)
def decline_gift(gift: str) -> Any:
    """Do not want a gift; what was held for it goes back."""
    own = grant_queries.gift_of_member(gift, member_id=who().member_id, now=clock.now())
    granting.decline(grant_id=own.grant.id, position=own.position, actor_id=who().person_id, now=clock.now())
    return grant_queries.gift(own.grant.id, own.position, now=clock.now())
