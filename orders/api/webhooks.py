"""Where payment providers tell us what happened. Nobody is signed in here: the signature says who it is."""

from typing import Any

from flask import request

from kernel import clock
from kernel.doors import ApiBlueprint
from orders.services import events

bp = ApiBlueprint(
    "webhooks", __name__, audience="everyone", url_prefix="/webhooks", description="Events of payment providers"
)


@bp.route("/<provider>", methods=["POST"])
@bp.response(200)
def receive(provider: str) -> Any:
    """Take a signed event (header `Stripe-Signature`): stored, then acted on once, in any order, safe to replay."""
    events.receive(
        provider=provider,
        body=request.get_data(),
        signed=request.headers.get("Stripe-Signature", ""),
        now=clock.now(),
    )
    return {"received": True}
