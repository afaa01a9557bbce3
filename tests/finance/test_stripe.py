"""Paying by Stripe: the real library against a double over HTTP. What is paid is paid once; nothing is lost."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.db import db
from orders.services import placing
from tests import stripe_double
from tests.factories import APPROVER, OFFICER, OPERATOR
from tests.finance.conftest import M1, M2


def expire(shop, number):
    """Let an order's payment time run out."""
    with shop.app.app_context():
        later = clock.now() + timedelta(hours=1)
        assert placing.expire(order_id=int(number), now=later)
        db.session.remove()


def test_a_session_says_what_is_bought_and_for_how_long(shop):
    number, answer = shop.start()
    assert (answer.status_code, answer.json["status"], answer.json["amount_fen"]) == (201, "pending", 24000)
    session = shop.stripe.sessions[shop.stripe.last_session()]
    assert answer.json["redirect_url"] == session["url"]
    assert (session["amount_total"], session["currency"]) == (24000, "cny")
    assert session["payment_method_types"] == ["card", "alipay", "wechat_pay"]
    assert session["client_reference_id"] == number
    assert session["metadata"] == {"order_number": number, "campaign": "spring", "payment_id": answer.json["id"]}
    assert session["success_url"] == f"http://localhost/orders/{number}?returned=1"
    # Stripe's least is 30 minutes from now; the order's own 30 minutes began a moment earlier.
    assert 1800 <= session["expires_at"] - time.time() <= 1870
    assert session["locale"] == "zh"


def test_the_page_chooses_the_language_of_the_payment(shop):
    number = shop.place(M1, ("A150", 1)).json["number"]
    headers = {"Authorization": f"Bearer {shop.token(M1)}", "Idempotency-Key": "k", "Accept-Language": "en"}
    body = {"provider": "stripe"}
    assert (
        shop.app.test_client().post(f"/api/v1/orders/{number}/payments", json=body, headers=headers).status_code == 201
    )
    assert shop.stripe.sessions[shop.stripe.last_session()]["locale"] == "en"


def test_paid_is_paid_once_however_often_it_is_told(shop):
    number, _ = shop.start()
    shop.stripe.pay()
    shop.deliver(times=3)
    shop.stripe.waiting = list(shop.stripe.sent)
    shop.deliver()
    assert shop.status(number) == "paid"
    assert shop.payments(number) == [(24000, "succeeded")]
    assert shop.stock("A150") == (48, 0, 2)
    assert shop.voucher(M1)["redeemed_fen"] == 6000
    assert shop.refunds(number) == []
    assert shop.proven()


def test_a_slow_method_is_paid_when_its_money_comes_in_whatever_order_it_is_told(shop):
    number, _ = shop.start()
    session = shop.stripe.last_session()
    shop.stripe.pay_slowly(session)
    shop.deliver()
    assert (shop.status(number), shop.payments(number)) == ("pending_payment", [(24000, "pending")])
    shop.stripe.waiting = list(shop.stripe.sent)
    shop.stripe.sent.clear()
    shop.stripe.finish(session, paid=True)
    shop.deliver(order=-1)
    assert shop.status(number) == "paid"
    assert shop.proven()


def test_a_slow_method_that_fails_leaves_the_order_to_be_paid_again(shop):
    number, _ = shop.start()
    session = shop.stripe.last_session()
    shop.stripe.pay_slowly(session)
    shop.stripe.finish(session, paid=False)
    shop.deliver()
    assert (shop.status(number), shop.payments(number)) == ("pending_payment", [(24000, "declined")])
    assert shop.pay_by_stripe(M1, number).status_code == 201
    shop.stripe.pay()
    shop.deliver()
    assert shop.status(number) == "paid"
    assert shop.payments(number) == [(24000, "succeeded"), (24000, "declined")]
    assert shop.proven()


def test_an_expired_session_ends_its_payment_and_comes_too_late_for_a_paid_one(shop):
    number, _ = shop.start()
    shop.stripe.expire(shop.stripe.last_session())
    shop.deliver()
    assert (shop.status(number), shop.payments(number)) == ("pending_payment", [(24000, "expired")])
    paid = shop.bought(M2)
    shop.stripe.tell("checkout.session.expired", shop.stripe.sessions[shop.stripe.last_session()])
    shop.deliver()
    assert (shop.status(paid, M2), shop.payments(paid)) == ("paid", [(24000, "succeeded")])


@pytest.mark.parametrize("broken", ["", "t=1,v1=00", "nonsense", "old", "other"])
def test_a_signature_that_is_not_stripes_is_refused_and_nothing_is_kept(shop, broken):
    number, _ = shop.start()
    shop.stripe.pay()
    event = shop.stripe.waiting[-1]
    body, signature = shop.stripe.signed(event)
    signature = {
        "old": shop.stripe.signed(event, int(time.time()) - 301)[1],
        "other": shop.stripe.signed(event, None, "whsec_another")[1],
    }.get(broken, broken)
    answer = shop.app.test_client().post("/webhooks/stripe", data=body, headers={"Stripe-Signature": signature})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_signature")
    assert answer.content_type == "application/problem+json"
    assert shop.status(number) == "pending_payment"
    with shop.app.app_context():
        assert gateway_queries.events_of("stripe") == []


def test_without_settings_no_signature_is_right_and_stripe_is_not_offered(world):
    client = world.app.test_client()
    body, signature = stripe_double.StripeDouble.signed(None, {"id": "evt_1", "type": "x"}, None, " ")  # type: ignore[arg-type]
    answer = client.post("/webhooks/stripe", data=body, headers={"Stripe-Signature": signature})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_signature")
    number = world.place(M1, ("A150", 1)).json["number"]
    answer = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "stripe"})
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert "provider" in answer.json["errors"]
    assert client.post("/webhooks/nobody", data=b"{}").status_code == 404
    assert client.post("/webhooks/bank_transfer", data=b"{}").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"nothing",
        b"[]",
        b'{"id": "evt_1"}',
        b'{"id": 7, "type": "x"}',
        b'{"id": "e", "type": "x", "n": NaN}',
        b'{"id": "e", "type": "\\u0000"}',
        b'{"id": "e", "type": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_signed_nonsense_is_refused(shop, body):
    import stripe

    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), stripe_double.WEBHOOK_SECRET)
    answer = shop.app.test_client().post("/webhooks/stripe", data=body, headers={"Stripe-Signature": signature})
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("invoice.paid", {"id": "in_1", "object": "invoice"}),
        ("checkout.session.completed", {"id": "cs_1"}),
        (
            "checkout.session.completed",
            {"id": "cs_1", "payment_status": "paid", "status": "complete", "amount_total": -1},
        ),
        ("charge.refunded", "nothing"),
        ("refund.updated", {"id": "re_1", "status": "succeeded", "amount": "7", "currency": "cny"}),
    ],
)
def test_what_we_do_not_know_is_kept_and_answered(shop, kind, thing):
    shop.stripe.tell(kind, thing)
    shop.deliver(times=2)
    with shop.app.app_context():
        (event,) = gateway_queries.events_of("stripe")
        assert (event.kind, event.acted_at is not None) == (kind, True)
    assert shop.mismatches() == ([] if kind == "invoice.paid" else [("event", 0, "cny")])


def test_who_the_buyer_is_is_not_kept(shop):
    shop.start()
    session = shop.stripe.sessions[shop.stripe.last_session()]
    session["customer_details"]["email"] = "wang.fang@example.com"
    shop.stripe.pay()
    shop.deliver()
    with shop.app.app_context():
        (event,) = gateway_queries.events_of("stripe")
        assert "wang.fang" not in json.dumps(event.payload)
        assert event.payload["data"]["object"]["payment_status"] == "paid"


@pytest.mark.parametrize(
    ("paid", "kind"),
    [({"amount": 23999}, "amount"), ({"amount": 24001}, "amount"), ({"currency": "usd"}, "currency")],
)
def test_another_amount_or_currency_is_never_paid_and_never_lost(shop, paid, kind):
    number, _ = shop.start()
    intent = shop.stripe.pay(**paid)
    shop.deliver(times=2)
    assert shop.status(number) == "pending_payment"
    assert shop.mismatches() == [(kind, paid.get("amount", 24000), paid.get("currency", "cny"))]
    assert shop.stock("A150") == (48, 2, 0)
    assert shop.breaches() == []
    found = shop.call(OPERATOR, "GET", "/admin/mismatches").json["items"][0]
    assert (found["order_number"], found["expected_fen"], found["reference"]) == (number, 24000, intent)
    if kind == "currency":
        assert shop.differences() == [("missing_here", 0, 24000)]
        path = f"/admin/mismatches/{found['id']}/send-back"
        assert shop.call(OPERATOR, "POST", path).json["code"] == "state_conflict"
        path = f"/admin/mismatches/{found['id']}/close"
        assert shop.call(OPERATOR, "POST", path, {"note": "sent back in the dashboard"}).status_code == 200
    else:
        assert shop.payments(number) == [(paid["amount"], "unmatched")]
        assert shop.differences() == []
        for _ in range(2):
            path = f"/admin/mismatches/{found['id']}/send-back"
            answer = shop.call(OPERATOR, "POST", path, key="once")
            assert answer.status_code == 200, answer.text
        assert shop.refunds(number) == [(paid["amount"], "succeeded")]
        assert [one["amount"] for one in shop.stripe.refunds.values()] == [paid["amount"]]
        shop.deliver()
    assert shop.mismatches() == []
    assert shop.differences() == []
    assert shop.pay_by_stripe(M1, number).status_code == 201


def test_money_for_no_order_of_ours_waits_for_a_person_and_goes_back(shop):
    number, _ = shop.start()
    session = shop.stripe.sessions[shop.stripe.last_session()]
    session["metadata"], session["client_reference_id"] = {"order_number": "42"}, "42"
    session["id"] = "cs_test_of_another_shop"
    shop.stripe.sessions[session["id"]] = session
    shop.stripe.pay(session["id"])
    shop.stripe.tell("checkout.session.async_payment_succeeded", session)
    shop.deliver()
    assert shop.mismatches() == [("unknown_order", 24000, "cny")]
    assert shop.status(number) == "pending_payment"
    assert shop.proven()
    (found,) = shop.call(OPERATOR, "GET", "/admin/mismatches").json["items"]
    assert found["order_number"] is None
    assert shop.call(OPERATOR, "POST", f"/admin/mismatches/{found['id']}/send-back").status_code == 200
    assert [one["amount"] for one in shop.stripe.refunds.values()] == [24000]
    shop.deliver()
    assert shop.proven()


def test_a_payment_we_do_not_remember_still_pays_its_order(shop):
    """Signed by Stripe for an order of ours, in the right amount: a backup may have lost the payment's row."""
    number = shop.place(M1, ("A150", 2)).json["number"]
    intent = shop.stripe.charge(24000, "cny", {"order_number": number})
    session = {"id": "cs_lost", "object": "checkout.session", "status": "complete", "payment_status": "paid"}
    session |= {"amount_total": 24000, "currency": "cny", "payment_intent": intent, "client_reference_id": number}
    shop.stripe.tell("checkout.session.completed", session)
    shop.deliver(times=2)
    assert (shop.status(number), shop.payments(number)) == ("paid", [(24000, "succeeded")])
    assert shop.proven()


def test_two_payments_of_one_order_pay_it_once_and_the_other_goes_back(shop):
    number, first = shop.start()
    assert shop.pay_by_stripe(M1, number).json["redirect_url"] == first.json["redirect_url"], "one is enough"
    one = shop.stripe.last_session()
    sandbox = shop.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    shop.stripe.pay(one)
    shop.app.test_client().post(sandbox["redirect_url"], data={"outcome": "pay"})
    shop.deliver()
    assert shop.status(number) == "paid"
    assert sorted(shop.payments(number)) == [(24000, "refunded"), (24000, "succeeded")]
    assert shop.refunds(number) == [(24000, "succeeded")]
    assert len(shop.stripe.refunds) == 1, "the sandbox was told first: Stripe's goes back"
    shop.deliver()
    assert shop.proven()


def test_a_late_payment_takes_stock_and_voucher_again(shop):
    number, _ = shop.start()
    expire(shop, number)
    assert shop.stock("A150") == (50, 0, 0)
    shop.stripe.pay()
    shop.deliver()
    assert (shop.status(number), shop.stock("A150")) == ("paid", (48, 0, 2))
    assert shop.voucher(M1)["redeemed_fen"] == 6000
    assert shop.proven()


@pytest.mark.parametrize("gone", ["voucher", "cancelled"])
def test_a_late_payment_that_can_no_longer_be_served_goes_back_in_full(shop, gone):
    number, _ = shop.start()
    if gone == "voucher":
        expire(shop, number)
        shop.bought(M1, ("A100", 8))
        assert shop.voucher(M1)["balance_fen"] == 4000
        shop.stripe.pay(next(iter(shop.stripe.sessions)))
    else:
        assert shop.call(M1, "POST", f"/orders/{number}/cancel").status_code == 200
        shop.stripe.pay()
    before = shop.stock("A150")
    shop.deliver(times=2)
    assert shop.status(number) == ("expired" if gone == "voucher" else "cancelled")
    assert shop.refunds(number) == [(24000, "succeeded")]
    assert [one["amount"] for one in shop.stripe.refunds.values()] == [24000]
    assert shop.stock("A150") == before
    page = shop.browser(M1).get(f"/orders/{number}").text
    assert "¥240" in page
    assert "已原路退回" in page
    shop.deliver()
    assert shop.proven()


def test_no_answer_takes_nothing_and_the_same_request_goes_on(shop):
    number = shop.place(M1, ("A150", 2)).json["number"]
    shop.stripe.fail_next("/sessions", "timeout", times=2)
    answer = shop.pay_by_stripe(M1, number, key="mine")
    assert (answer.status_code, answer.json["code"]) == (503, "payment_unavailable")
    shop.stripe.fail_next("/sessions", "lost", times=2)
    assert shop.pay_by_stripe(M1, number, key="mine").status_code == 503
    assert len(shop.stripe.sessions) == 1
    answers = [shop.pay_by_stripe(M1, number, key="mine") for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].text == answers[1].text
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(shop.stripe.sessions) == 1
    assert len({key for method, path, key in shop.stripe.requests if method == "POST"}) == 1
    other = shop.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}, key="mine")
    assert other.json["code"] == "idempotency_conflict"
    assert shop.payments(number) == [(24000, "pending")]


def test_an_answer_lost_once_is_not_noticed(shop):
    shop.stripe.fail_next("/sessions", "lost")
    _, answer = shop.start()
    assert answer.status_code == 201
    assert len(shop.stripe.sessions) == 1


def test_what_no_event_told_is_asked(shop):
    number, _ = shop.start()
    shop.stripe.pay(tell=False)
    assert shop.sweep(minutes=1)["payments asked about"] == 0
    assert shop.status(number) == "pending_payment"
    assert shop.sweep(minutes=10)["payments asked about"] == 1
    assert (shop.status(number), shop.payments(number)) == ("paid", [(24000, "succeeded")])
    assert shop.sweep(hours=5)["payments asked about"] == 0
    assert shop.proven()


def test_a_session_that_outlives_its_order_is_closed_and_takes_no_money(shop):
    number, _ = shop.start()
    session = shop.stripe.last_session()
    shop.stripe.fail_next("/expire", "error", times=2)
    shop.sweep(minutes=40)
    assert (shop.status(number), shop.stripe.sessions[session]["status"]) == ("expired", "open")
    shop.sweep(hours=3)
    assert shop.stripe.sessions[session]["status"] == "expired"
    assert shop.payments(number) == [(24000, "expired")]
    shop.deliver()
    assert shop.proven()


def test_a_session_paid_while_it_was_to_be_closed_is_a_late_payment(shop):
    number, _ = shop.start()
    assert shop.call(M1, "POST", f"/orders/{number}/cancel").status_code == 200
    shop.stripe.pay(tell=False)
    shop.sweep(minutes=10)
    assert shop.refunds(number) == [(24000, "succeeded")]
    shop.deliver()
    assert shop.proven()


def test_who_comes_back_from_paying_sees_it_paid_before_the_event(shop):
    number, _ = shop.start()
    shop.stripe.pay(tell=False)
    page = shop.browser(M1).get(f"/orders/{number}?returned=1").text
    assert shop.status(number) == "paid"
    assert "去付款" not in page


def test_an_event_that_cannot_be_acted_on_is_tried_again(shop, monkeypatch):
    number = shop.bought(M1)
    intent = next(iter(shop.stripe.charges))
    shop.stripe.refund_by_hand(intent, 1000)
    shop.stripe.fail_next("/refunds", "error", times=4)
    shop.deliver()
    with shop.app.app_context():
        waiting = [one for one in gateway_queries.events_of("stripe") if one.acted_at is None]
        assert [(one.tries, one.error.split(":")[0]) for one in waiting] == [(1, "ProviderDown")] * 2
    assert shop.mismatches() == []
    assert shop.sweep(seconds=1)["events acted on"] == 0
    assert shop.sweep(seconds=30)["events acted on"] == 2
    assert shop.mismatches() == [("refund_unknown", 1000, "cny")]
    assert shop.status(number) == "paid"


def test_a_refund_made_at_stripe_by_hand_is_named_until_a_person_says_why(shop):
    shop.bought(M1)
    shop.stripe.refund_by_hand(next(iter(shop.stripe.charges)), 1000)
    shop.deliver(times=2, order=-1)
    assert shop.mismatches() == [("refund_unknown", 1000, "cny")]
    assert shop.differences() == [("missing_here", 0, 1000)]
    (found,) = shop.call(OPERATOR, "GET", "/admin/mismatches").json["items"]
    assert shop.call(OPERATOR, "POST", f"/admin/mismatches/{found['id']}/close", {"note": ""}).status_code == 422
    answer = shop.call(OPERATOR, "POST", f"/admin/mismatches/{found['id']}/close", {"note": "a gift"})
    assert answer.status_code == 200
    assert shop.differences() == []


@pytest.mark.parametrize(("verdict", "left"), [("won", 0), ("lost", 1)])
def test_a_dispute_waits_for_a_person_until_it_is_won(shop, verdict, left):
    number = shop.bought(M1)
    intent = next(iter(shop.stripe.charges))
    shop.stripe.dispute(intent, "needs_response", "created")
    shop.deliver()
    assert shop.mismatches() == [("dispute", 24000, "cny")]
    shop.stripe.dispute(intent, verdict, "closed")
    shop.deliver(times=2)
    assert len(shop.mismatches()) == left
    assert shop.status(number) == "paid"


def test_a_union_pays_by_stripe(shop):
    number = shop.call(OFFICER, "POST", "/bulk/orders", shop.lines(("A150", 10))).json["number"]
    assert shop.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 200
    assert shop.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").status_code == 200
    answer = shop.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "stripe"})
    assert (answer.status_code, answer.json["amount_fen"]) == (201, 120000)
    session = shop.stripe.sessions[shop.stripe.last_session()]
    assert session["url"] == answer.json["redirect_url"]
    assert session["expires_at"] <= datetime.now(UTC).timestamp() + 86400
    shop.stripe.pay()
    shop.deliver()
    assert shop.call(OFFICER, "GET", f"/bulk/orders/{number}").json["status"] == "paid"
    assert shop.proven()
