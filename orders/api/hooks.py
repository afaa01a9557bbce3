"""What a merchant's own system asks of its webhooks through the API."""

from typing import Any

from flask import current_app
from flask.views import MethodView
from marshmallow import fields

from kernel import clock
from kernel.doors import ApiBlueprint, tagged, who
from kernel.ids import as_id
from kernel.paging import decode_cursor
from kernel.schemas import Base, IdField, Length, Moment, PageArgs, page, text
from orders.queries import webhooks as queries
from orders.services import webhooks

bp = ApiBlueprint(
    "api_merchant_webhooks", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Webhooks"
)


class NewWebhook(Base):
    """Where to be told, and of what."""

    url = text(400)
    events = fields.List(fields.String(), load_default=list(webhooks.EVENTS), validate=Length(min=1, max=10))


class WebhookEndpoint(Base):
    """An address that is told. The secret is shown once, when it is made."""

    id = IdField()
    url = fields.String()
    events = fields.List(fields.String())
    made_at = Moment()
    secret = fields.String()


class WebhookDelivery(Base):
    """What an address was told, how often it was tried, and what it said."""

    id = IdField()
    endpoint_id = IdField()
    event = fields.String()
    status = fields.String()
    attempts = fields.Integer()
    next_at = Moment()
    answer = fields.String()
    made_at = Moment()
    delivered_at = Moment(allow_none=True)


@bp.route("/webhooks")
class Endpoints(MethodView):
    """A merchant's addresses."""

    @bp.response(200)
    def get(self) -> Any:
        """List own addresses."""
        return {"items": WebhookEndpoint(many=True).dump(queries.endpoints(who().merchant_id)), "next_cursor": None}

    @bp.arguments(NewWebhook)
    @bp.response(201, WebhookEndpoint)
    def post(self, body: dict[str, Any]) -> Any:
        """Have an address told of events, each signed: `Huigong-Signature: t=…,v1=HMAC-SHA256(secret, t.body)`."""
        settings, now = current_app.config["HUIGONG"], clock.now()
        endpoint_id, secret = webhooks.add(
            merchant_id=who().merchant_id,
            url=body["url"],
            events=body["events"],
            private=settings.webhook_private,
            key=settings.secret_key,
            actor_id=who().person_id,
            now=now,
        )
        made = next(one for one in queries.endpoints(who().merchant_id) if one.id == endpoint_id)
        return {**made._mapping, "secret": secret}


@bp.route("/webhooks/<endpoint_id>", methods=["DELETE"])
@bp.response(204)
def end(endpoint_id: str) -> None:
    """Tell an address nothing more."""
    webhooks.end(
        endpoint_id=as_id(endpoint_id), merchant_id=who().merchant_id, actor_id=who().person_id, now=clock.now()
    )


@bp.route("/webhooks/deliveries")
@bp.arguments(PageArgs, location="query")
@bp.response(200, page(WebhookDelivery))
def deliveries(args: dict[str, Any]) -> Any:
    """List what own addresses were told, newest first."""
    found = queries.deliveries(who().merchant_id, limit=args["limit"], before=decode_cursor(args["cursor"]))
    return tagged(page(WebhookDelivery)().dump(found))


@bp.route("/webhooks/deliveries/<delivery_id>/replay", methods=["POST"])
@bp.response(202)
def replay(delivery_id: str) -> Any:
    """Send a delivery again."""
    webhooks.replay(delivery_id=as_id(delivery_id), merchant_id=who().merchant_id, now=clock.now())
    return {"id": delivery_id, "status": "waiting"}
