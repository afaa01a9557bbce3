"""The sandbox's cashier (development only): what a buyer does there becomes events, sent through the webhook."""

from datetime import datetime
from typing import Any

from finance.gateway import providers
from finance.gateway import queries as gateway_queries
from finance.gateway.rules import SANDBOX
from finance.gateway.sandbox import Sandbox
from kernel.db import transaction
from kernel.errors import Invalid, NotFound
from orders.services import events
from orders.services.placing import close

OUTCOMES = ("pay", "decline", "late", "twice", "reversed")


def act(*, reference: str, outcome: str, now: datetime) -> None:
    """Do as the buyer: pay, decline, pay late, be told of twice, be told of out of order.

    Returns when our webhook has taken the events. Raises NotFound for an unknown payment, Invalid for an outcome.
    """
    gateway = providers.find(SANDBOX)
    payment = gateway_queries.by_reference(reference)
    if not isinstance(gateway, Sandbox) or payment is None or payment.provider != SANDBOX:
        raise NotFound("没有这笔付款。")
    if outcome not in OUTCOMES:
        raise Invalid(errors={"outcome": ["请选择 pay、decline、late、twice 或 reversed。"]})
    assert payment.order_id is not None
    facts: dict[str, Any] = {
        "payment_id": payment.id,
        "reference": reference,
        "order_number": str(payment.order_id),
        "amount_fen": payment.amount_fen,
    }
    paid, declined = gateway.event("completed", **facts), gateway.event("async_payment_failed", **facts)
    if outcome == "late":
        with transaction():
            close(order_id=payment.order_id, sources=("pending_payment",), to="expired", now=now)
    told = {
        "pay": [paid],
        "late": [paid],
        "decline": [declined],
        "twice": [paid, paid, gateway.event("async_payment_succeeded", **facts)],
        "reversed": [paid, declined],
    }[outcome]
    for event in told:
        body, signed = gateway.signed(event)
        events.receive(provider=SANDBOX, body=body, signed=signed, now=now)
