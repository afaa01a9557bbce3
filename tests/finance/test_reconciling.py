"""Reconciling: a missing, doubled or different amount is named, on either side and against the ledger."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.db import db
from orders.services import reconciling
from tests.factories import OPERATOR, csrf_of
from tests.finance.conftest import M1, M2
from tests.finance.test_sending_back import give_back
from web import cli


def run(shop, *arguments):
    """Run a command in the app's own database."""
    from click.testing import CliRunner

    before, cli._app = cli._app, lambda: shop.app
    try:
        return CliRunner().invoke(cli.main, list(arguments))
    finally:
        cli._app = before


def change(shop, statement):
    with shop.app.app_context():
        db.session.execute(text(statement))
        db.session.commit()


def today():
    return clock.local(clock.now()).date()


def test_a_day_that_agrees(shop):
    number = shop.bought()
    give_back(shop, number)
    shop.deliver()
    sandbox = shop.place(M2, ("A100", 1)).json["number"]
    shop.pay(M2, sandbox, "twice")
    give_back_by(shop, M2, sandbox)
    answer = shop.call(OPERATOR, "GET", "/admin/reconcile").json
    assert (answer["ok"], answer["breaches"], answer["differences"]) == (True, [], [])
    assert (answer["compared"], answer["unchecked"]) == (4, 0)
    answer = shop.call(OPERATOR, "GET", f"/admin/reconcile?day={today()}").json
    assert (answer["ok"], answer["compared"]) == (True, 4)
    assert shop.call(OPERATOR, "GET", "/admin/reconcile?day=2026-01-01").json["compared"] == 0
    for wrong in ("tomorrow", "9999-12-31", "0001-01-01"):
        assert shop.call(OPERATOR, "GET", f"/admin/reconcile?day={wrong}").status_code in (200, 422)


def give_back_by(shop, login, number):
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    assert shop.call(login, "POST", f"/orders/{number}/refunds", body).status_code == 201


@pytest.mark.parametrize(
    ("harm", "kind", "ours", "theirs"),
    [
        ("missing_there", "missing_there", 24000, 0),
        ("amount_there", "amount", 24000, 23000),
        ("missing_here", "missing_here", 0, 24000),
        ("doubled", "doubled", 24000, 24000),
        ("unknown", "missing_here", 0, 500),
        ("refund_amount", "amount", 12000, 11000),
        ("refund_doubled", "doubled", 12000, 12000),
        ("refund_missing", "missing_there", 12000, 0),
    ],
)
def test_what_differs_is_named(shop, harm, kind, ours, theirs):
    number = shop.bought()
    give_back(shop, number)
    shop.deliver()
    assert shop.differences() == []
    (charge,) = shop.stripe.charges.values()
    (refund,) = shop.stripe.refunds.values()
    if harm == "missing_there":
        shop.stripe.charges.clear()
        shop.stripe.sessions[shop.stripe.last_session()]["payment_status"] = "unpaid"
    elif harm == "amount_there":
        charge["amount"] = 23000
    elif harm == "missing_here":
        shop.start(M2)
        shop.stripe.pay(tell=False)
    elif harm == "doubled":
        shop.stripe.charge(24000, "cny", charge["metadata"])
    elif harm == "unknown":
        shop.stripe.charge(500, "cny", {})
    elif harm == "refund_amount":
        refund["amount"] = 11000
    elif harm == "refund_doubled":
        shop.stripe.refunds["re_twice"] = {**refund, "id": "re_twice"}
    elif harm == "refund_missing":
        shop.stripe.refunds.clear()
    assert shop.differences() == [(kind, ours, theirs)]
    told = run(shop, "reconcile")
    if harm in ("missing_there", "amount_there", "refund_amount", "refund_missing"):  # the rest may be on its way
        assert told.exit_code == 1
        assert f"money: {kind}: stripe" in told.output
        answer = shop.call(OPERATOR, "GET", "/admin/reconcile").json
        assert (answer["ok"], answer["differences"][0]["kind"]) == (False, kind)
        assert answer["breaches"] == [answer["differences"][0]["text"]]
        assert number in answer["breaches"][0]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE payments SET amount_fen = amount_fen + 1", "ledger_in"),
        ("UPDATE payments SET status = 'declined'", "ledger_in"),
        ("UPDATE payment_refunds SET amount_fen = amount_fen - 1", "ledger_out"),
        ("UPDATE payment_refunds SET status = 'pending'", "ledger_out"),
    ],
)
def test_what_the_ledger_does_not_say_is_named(world, statement, kind):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    give_back_by(world, M1, number)
    assert run(world, "reconcile").exit_code == 0
    change(world, statement)
    told = run(world, "reconcile")
    assert told.exit_code == 1
    assert f"money: {kind}: ledger" in told.output
    assert number in told.output


def test_a_provider_that_does_not_answer_is_a_difference(shop):
    shop.bought()
    shop.stripe.fail_next("/charges", "error", times=2)
    assert [one[0] for one in shop.differences()] == ["unanswered"]
    assert shop.differences() == []


def test_each_night_the_day_before_once_and_a_difference_raises_the_metric(shop):
    number = shop.bought()
    client = shop.app.test_client()
    assert "huigong_reconcile_differences 0.0" in client.get("/metrics").text
    tomorrow = clock.start_of_day(today() + timedelta(days=1))
    next(iter(shop.stripe.charges.values()))["amount"] = 1
    with shop.app.app_context():
        assert reconciling.reconcile_nightly(now=tomorrow + timedelta(hours=1)) is None, "not before two"
        found = reconciling.reconcile_nightly(now=tomorrow + timedelta(hours=3))
        assert [one.order_number for one in found.differences] == [number]
        assert reconciling.reconcile_nightly(now=tomorrow + timedelta(hours=4)) is None, "once"
        kept = gateway_queries.reconciliation(today())
        assert (kept.compared, [one["kind"] for one in kept.differences]) == (1, ["amount"])
    assert "huigong_reconcile_differences 1.0" in client.get("/metrics").text
    page = shop.browser(OPERATOR).get("/admin/reconcile").text
    assert "金额不同" in page
    assert number in page


def test_the_page_reconciles_a_day(shop):
    shop.bought()
    client = shop.browser(OPERATOR)
    form = {"csrf_token": csrf_of(client.get("/admin/reconcile").text), "day": today().isoformat()}
    assert "1 笔付款和退款全部相符" in client.post("/admin/reconcile", data=form, follow_redirects=True).text
    for wrong in ("", "x", "2999-01-01"):
        assert client.post("/admin/reconcile", data={**form, "day": wrong}).status_code == 422
    assert run(shop, "reconcile", "--day", today().isoformat()).output.startswith("1 payments and refunds agree")
