"""Events at once, the cashier's events, and what was stored and not acted on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from finance.gateway import queries as gateway_queries
from finance.gateway.sandbox import Sandbox
from kernel.db import db
from tests.factories import OPERATOR
from tests.finance.conftest import M1


def at_once(count, work):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_the_same_event_at_once_pays_once(shop):
    number, _ = shop.start()
    shop.stripe.pay()
    body, signature = shop.stripe.signed(shop.stripe.waiting[0])

    def send(_):
        return shop.app.test_client().post("/webhooks/stripe", data=body, headers={"Stripe-Signature": signature})

    assert {answer.status_code for answer in at_once(8, send)} == {200}
    assert (shop.status(number), shop.payments(number)) == ("paid", [(24000, "succeeded")])
    assert shop.refunds(number) == []
    assert shop.stock("A150") == (48, 0, 2)
    assert shop.proven()


def test_paying_and_cancelling_at_once_is_one_of_them(shop):
    for _ in range(4):
        number, _ = shop.start(M1, ("A100", 1))
        shop.stripe.pay()

        def race(which, number=number):
            if which:
                return shop.call(M1, "POST", f"/orders/{number}/cancel").status_code
            return shop.deliver()

        at_once(2, race)
        shop.deliver()
        status = shop.status(number)
        assert (status, [one for _, one in shop.refunds(number)]) in (("paid", []), ("cancelled", ["succeeded"]))
    assert shop.proven()


def test_beginning_to_pay_at_once_is_one_session(shop):
    number = shop.place(M1, ("A150", 2)).json["number"]
    answers = at_once(4, lambda _: shop.pay_by_stripe(M1, number, key="one"))
    assert {answer.status_code for answer in answers} <= {201, 503}
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    assert len(shop.stripe.sessions) == 1
    assert shop.payments(number) == [(24000, "pending")]


@pytest.mark.parametrize(
    ("outcome", "status", "payment", "events"),
    [
        ("pay", "paid", "succeeded", 1),
        ("decline", "pending_payment", "declined", 1),
        ("late", "paid", "succeeded", 1),
        ("twice", "paid", "succeeded", 2),
        ("reversed", "paid", "succeeded", 2),
    ],
)
def test_the_cashiers_events_have_been_acted_on_when_it_answers(world, outcome, status, payment, events):
    number = world.place(M1, ("A150", 2)).json["number"]
    answer = world.pay(M1, number, outcome)
    assert (answer.json["order_status"], answer.json["payment_status"]) == (status, payment)
    with world.app.app_context():
        told = gateway_queries.events_of("sandbox")
        assert [one.acted_at is not None for one in told] == [True] * events
        assert {one.payload["object"] for one in told} == {"event"}
    assert world.call(OPERATOR, "GET", "/admin/reconcile").json["ok"] is True


def test_the_sandbox_has_a_webhook_that_checks_its_signature(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    reference = payment["redirect_url"].rpartition("/")[2]
    facts = {"payment_id": int(payment["id"]), "reference": reference, "order_number": number, "amount_fen": 13000}
    client = world.app.test_client()
    forged = Sandbox(secret="somebody else's")
    body, signature = forged.signed(forged.event("completed", **facts))
    answer = client.post("/webhooks/sandbox", data=body, headers={"Stripe-Signature": signature})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_signature")
    body, signature = world.app.config["PROVIDERS"]["sandbox"].signed(forged.event("completed", **facts))
    assert client.post("/webhooks/sandbox", data=body, headers={"Stripe-Signature": signature}).status_code == 200
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "paid"


def test_what_was_stored_and_not_acted_on_is_picked_up(shop):
    number, _ = shop.start()
    shop.stripe.pay()
    shop.deliver()
    with shop.app.app_context():
        db.session.execute(text("UPDATE payment_events SET acted_at = NULL"))
        db.session.commit()
    assert shop.sweep()["events acted on"] == 1
    assert shop.sweep()["events acted on"] == 0
    assert (shop.status(number), shop.payments(number)) == ("paid", [(24000, "succeeded")])
    assert shop.proven()
