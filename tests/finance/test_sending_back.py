"""Refunds by Stripe: sent once whatever goes wrong, tried again, then a person's."""

import pytest

from finance.gateway import queries as gateway_queries
from tests.factories import OPERATOR
from tests.finance.conftest import M1


def give_back(shop, number, units=1):
    answer = shop.call(
        M1, "POST", f"/orders/{number}/refunds", {"lines": [{"line_id": "1", "quantity": units}], "reason": "x"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json


def at_stripe(shop):
    return [(one["amount"], one["status"]) for one in shop.stripe.refunds.values()]


def cash_back(shop, number):
    """What the ledger says went back, in fen."""
    from finance.ledger import queries as ledger_queries

    with shop.app.app_context():
        rows = ledger_queries.of_order(int(number))
        went = sum(row.amount for row in rows if row.credit == "cash")
        return went - sum(row.amount for row in rows if row.debit == "cash" and row.kind == "came_back")


def test_parts_go_back_through_stripe_and_end_at_the_whole(shop):
    number = shop.bought()
    for _ in range(2):
        give_back(shop, number)
    assert at_stripe(shop) == [(12000, "succeeded")] * 2
    assert shop.refunds(number) == [(12000, "succeeded")] * 2
    assert shop.payments(number) == [(24000, "refunded")]
    shop.deliver(times=2, order=-1)
    assert shop.refunds(number) == [(12000, "succeeded")] * 2
    assert shop.mismatches() == []
    assert cash_back(shop, number) == 24000
    assert shop.proven()


@pytest.mark.parametrize("fault", ["timeout", "lost", "error", "busy"])
def test_a_refund_without_an_answer_is_sent_once(shop, fault):
    number = shop.bought()
    shop.stripe.fail_next("/refunds", fault, times=2)
    give_back(shop, number)
    assert shop.refunds(number) == [(12000, "pending")]
    assert len(shop.stripe.refunds) == (1 if fault == "lost" else 0)
    page = shop.browser(M1).get(f"/orders/{number}").text
    assert "还没有到账" in page
    assert shop.sweep(seconds=1)["refunds sent"] == 0, "not before its time"
    for minutes in (5, 30, 120, 600):
        shop.sweep(minutes=minutes)
    assert shop.refunds(number) == [(12000, "succeeded")]
    assert at_stripe(shop) == [(12000, "succeeded")]
    shop.deliver()
    assert cash_back(shop, number) == 12000
    assert shop.proven()


def test_an_idempotency_key_that_stripe_forgot_does_not_pay_twice(shop):
    number = shop.bought()
    shop.stripe.fail_next("/refunds", "lost", times=2)
    give_back(shop, number)
    shop.stripe.answers.clear()  # keys live for a day
    shop.sweep(days=2)
    assert at_stripe(shop) == [(12000, "succeeded")]
    assert shop.refunds(number) == [(12000, "succeeded")]
    assert shop.stripe.asked("POST", "/refunds") == 2
    assert shop.proven()


def test_a_refund_that_finishes_later_is_waited_for(shop):
    number = shop.bought()
    shop.stripe.refund_status = "pending"
    give_back(shop, number)
    assert shop.refunds(number) == [(12000, "pending")]
    assert cash_back(shop, number) == 0
    shop.deliver()
    assert shop.refunds(number) == [(12000, "pending")]
    assert shop.stripe.asked("POST", "/refunds") == 1
    (refund_id,) = shop.stripe.refunds
    shop.stripe.finish_refund(refund_id, "succeeded")
    shop.sweep(hours=2)  # no event: it is asked
    assert shop.refunds(number) == [(12000, "succeeded")]
    assert shop.stripe.asked("POST", "/refunds") == 1
    shop.deliver()
    assert cash_back(shop, number) == 12000
    assert shop.proven()


def test_a_refund_that_failed_is_another_attempt_and_then_a_persons(shop):
    number = shop.bought()
    shop.stripe.refund_status = "failed"
    give_back(shop, number)
    shop.stripe.waiting.clear()
    for hours in (1, 10, 100, 1000):
        assert shop.refunds(number) == [(12000, "pending")]
        shop.sweep(hours=hours)
    assert shop.refunds(number) == [(12000, "failed")]
    assert at_stripe(shop) == [(12000, "failed")] * 5
    keys = {key for method, path, key in shop.stripe.requests if (method, path) == ("POST", "/v1/refunds")}
    assert len(keys) == 5
    assert shop.sweep(hours=5000)["refunds sent"] == 0
    assert shop.mismatches() == [("refund_failed", 12000, "cny")]
    assert cash_back(shop, number) == 0
    (failed,) = shop.call(OPERATOR, "GET", "/admin/payment-refunds").json["items"]
    assert (failed["order_number"], failed["status"], failed["attempt"]) == (number, "failed", 5)
    assert "¥120" in shop.browser(OPERATOR).get("/admin/refunds").text
    shop.stripe.refund_status = "succeeded"
    answers = [shop.call(OPERATOR, "POST", f"/admin/payment-refunds/{failed['id']}/retry", key="again") for _ in "ab"]
    assert [one.status_code for one in answers] == [200, 200]
    assert shop.refunds(number) == [(12000, "succeeded")]
    assert shop.call(OPERATOR, "POST", f"/admin/payment-refunds/{failed['id']}/retry").json["code"] == "state_conflict"
    assert at_stripe(shop)[-1] == (12000, "succeeded")
    assert shop.mismatches() == []
    assert shop.breaches() == []
    assert shop.differences() == []


def test_a_failed_refund_may_be_sent_another_way_once(shop):
    number = shop.bought()
    for _ in range(20):
        shop.stripe.fail_next("/refunds", "error")
    give_back(shop, number)
    for hours in (1, 10, 100, 1000, 5000, 9000, 20000, 40000):
        shop.sweep(hours=hours)
    shop.stripe.faults.clear()
    with shop.app.app_context():
        (refund,) = gateway_queries.refunds_of(int(number))
    if refund.status == "pending":
        pytest.fail(f"never given up: {refund.tries} tries, {refund.attempt} attempts")
    path = f"/admin/payment-refunds/{refund.id}/sent"
    assert shop.call(OPERATOR, "POST", path, {"reference": "B1"}).status_code == 200
    assert shop.call(OPERATOR, "POST", path, {"reference": "B2"}).json["code"] == "state_conflict"
    assert (shop.refunds(number), at_stripe(shop)) == ([(12000, "succeeded")], [])
    assert cash_back(shop, number) == 12000
    assert shop.breaches() == []


def test_a_refund_the_buyers_bank_sends_back_is_due_again(shop):
    number = shop.bought()
    give_back(shop, number, units=2)
    shop.deliver()
    assert shop.payments(number) == [(24000, "refunded")]
    (refund_id,) = shop.stripe.refunds
    shop.stripe.finish_refund(refund_id, "failed", "expired_or_canceled_card")
    shop.deliver(times=2, order=-1)
    assert shop.refunds(number) == [(24000, "failed")]
    assert shop.payments(number) == [(24000, "succeeded")]
    assert shop.mismatches() == [("refund_failed", 24000, "cny")]
    assert cash_back(shop, number) == 0
    assert shop.proven()
    with shop.app.app_context():
        (refund,) = gateway_queries.refunds_of(int(number))
    assert shop.call(OPERATOR, "POST", f"/admin/payment-refunds/{refund.id}/retry").status_code == 200
    assert shop.refunds(number) == [(24000, "succeeded")]
    assert shop.payments(number) == [(24000, "refunded")]
    assert [one["status"] for one in shop.stripe.refunds.values()] == ["failed", "succeeded"]
    shop.deliver(times=2)
    assert shop.mismatches() == []
    assert cash_back(shop, number) == 24000
    assert shop.proven()


def test_two_workers_send_a_refund_once(shop):
    from concurrent.futures import ThreadPoolExecutor

    from orders.services import sending

    number = shop.bought()
    shop.stripe.fail_next("/refunds", "busy")
    give_back(shop, number)
    with shop.app.app_context():
        (refund,) = gateway_queries.refunds_of(int(number))
        due = refund.try_at

    def work(_):
        with shop.app.app_context():
            sending.send_refund(refund_id=refund.id, now=due)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert at_stripe(shop) == [(12000, "succeeded")]
    assert shop.stripe.asked("POST", "/refunds") == 2, "one that was busy, and one of six workers"
    assert shop.refunds(number) == [(12000, "succeeded")]
    assert cash_back(shop, number) == 12000
    assert shop.proven()
