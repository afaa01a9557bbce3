"""The process dies after each step of paying and of refunding in turn: afterwards every order is paid or refunded once.

A real process (a fork of the test's) does the work and is killed by the kernel's own means (`os._exit`, no clean-up) at
the n-th step: just before a commit, just after one, before a request reaches the provider, or when the provider has
done its work and its answer is not read. The table is as long as the work has steps: it goes on until the process
survives. Then a new process sweeps, at later times, and the books must be whole.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from kernel.db import db
from tests.conftest import emptied
from tests.factories import APPROVER, OFFICER, OPERATOR
from tests.finance.conftest import M1, Shop
from tests.finance.test_bank import TODAY, bring, sheet

DIED = 9
MOST_STEPS = 60


class Steps:
    """Counts the steps of a process, and ends it at one of them."""

    def __init__(self, die_at: int) -> None:
        self.die_at, self.count = die_at, 0

    def step(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.die_at:
            os._exit(DIED)


def run_and_die(shop: Shop, work: Callable[[Shop], None], die_at: int) -> bool:
    """Run the work in a process of its own that dies at a step; return whether it died."""
    told, read = os.pipe()[::-1]
    with shop.app.app_context():
        db.session.remove()
        db.engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child uses none of them
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            steps = Steps(die_at)
            event.listen(Session, "before_commit", steps.step)
            event.listen(Session, "after_commit", steps.step)
            _around_requests(steps)
            work(shop)
            code = 0
        except BaseException as error:
            os.write(told, f"{type(error).__name__}: {error}".encode()[:2000])
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED), said
    return code == DIED


def _around_requests(steps: Steps) -> None:
    """A step before each request to Stripe, and one when its answer is here and not read."""
    import requests

    send = requests.Session.request

    def around(*args: Any, **options: Any) -> Any:
        steps.step()
        answer = send(*args, **options)
        steps.step()
        return answer

    requests.Session.request = around


def pay_by_stripe(shop: Shop) -> None:
    number = shop.notes["number"]
    answer = shop.call(M1, "POST", f"/orders/{number}/payments", {"provider": "stripe"}, key="pay")
    assert answer.status_code == 201, answer.text


def take_event(shop: Shop) -> None:
    shop.deliver()


def pay_at_the_cashier(shop: Shop) -> None:
    path = shop.notes["cashier"]
    answer = shop.app.test_client().post(path, data={"outcome": "twice"}, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text


def give_back(shop: Shop) -> None:
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    answer = shop.call(M1, "POST", f"/orders/{shop.notes['number']}/refunds", body, key="back")
    assert answer.status_code == 201, answer.text


def import_statement(shop: Shop) -> None:
    answer = bring(shop, content=shop.notes["statement"], key="statement")
    assert answer.status_code == 200, answer.text


def ordered(shop: Shop) -> None:
    shop.notes["number"] = shop.place(M1, ("A150", 2)).json["number"]
    shop.token(M1)


def paid_there(shop: Shop) -> None:
    ordered(shop)
    pay_by_stripe(shop)
    shop.stripe.pay()


def paid_there_late(shop: Shop) -> None:
    paid_there(shop)
    assert shop.call(M1, "POST", f"/orders/{shop.notes['number']}/cancel").status_code == 200


def paid_by_stripe(shop: Shop) -> None:
    shop.notes["number"] = shop.bought()


def at_the_cashier(shop: Shop) -> None:
    ordered(shop)
    answer = shop.call(M1, "POST", f"/orders/{shop.notes['number']}/payments", {"provider": "sandbox"})
    shop.notes["cashier"] = answer.json["redirect_url"]


def paid_at_the_cashier(shop: Shop) -> None:
    at_the_cashier(shop)
    pay_at_the_cashier(shop)


def transfer_waits(shop: Shop) -> None:
    number = shop.call(OFFICER, "POST", "/bulk/orders", shop.lines(("A150", 3))).json["number"]
    shop.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    shop.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    payment = shop.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    shop.notes |= {"number": number, "statement": sheet([TODAY, "S1", "370", "", "x", payment["reference"]])}
    shop.token(OPERATOR)


def statuses(shop: Shop) -> tuple[str, list[str], list[tuple[int, str]]]:
    from orders.models import Order

    number = int(shop.notes["number"])
    with shop.app.app_context():
        order = db.session.get(Order, number, populate_existing=True)
        # A payment that ended before its buyer was told where to pay took no money and is no payment.
        paid = sorted(status for _, status in shop.payments(number) if status != "expired")
        return order.status, paid, shop.refunds(number)


CASES: dict[str, tuple[Any, Any, int, Any]] = {
    # name: what went before, the work that dies, the least steps it has, what must be true in the end
    "starting at Stripe": (ordered, pay_by_stripe, 6, ("paid", ["succeeded"], [])),
    "Stripe's event": (paid_there, take_event, 4, ("paid", ["succeeded"], [])),
    "a late payment's refund": (paid_there_late, take_event, 10, ("cancelled", ["refunded"], [(24000, "succeeded")])),
    "a refund by Stripe": (paid_by_stripe, give_back, 8, ("paid", ["succeeded"], [(12000, "succeeded")])),
    "the cashier": (at_the_cashier, pay_at_the_cashier, 6, ("paid", ["succeeded"], [])),
    "a refund by the sandbox": (paid_at_the_cashier, give_back, 8, ("paid", ["succeeded"], [(12000, "succeeded")])),
    "a bank statement": (transfer_waits, import_statement, 4, ("paid", ["succeeded"], [])),
}


def recover(shop: Shop, work: Callable[[Shop], None]) -> None:
    """What happens after a restart: the worker sweeps; who got no answer asks again, as people and Stripe do."""
    before = statuses(shop)
    for later in ({}, {"minutes": 10}, {"hours": 2}):
        if later != {"hours": 2} or before[0] != "pending_payment":
            shop.sweep(**later)
    if work in (pay_by_stripe, give_back, import_statement, pay_at_the_cashier):
        work(shop)
    if work is pay_by_stripe:
        shop.stripe.pay()
    # Stripe sends again what got no 200, and here everything it ever sent.
    shop.stripe.waiting = shop.stripe.sent + shop.stripe.waiting
    shop.deliver()
    shop.sweep(minutes=10)


@pytest.mark.parametrize("case", list(CASES))
def test_a_crash_at_any_step_pays_and_refunds_once(app, shop, case):
    before, work, least, expected = CASES[case]
    steps = 0
    for die_at in range(1, MOST_STEPS):
        if die_at > 1:
            shop = fresh(app, shop.stripe)
        before(shop)
        died = run_and_die(shop, work, die_at)
        recover(shop, work)
        assert statuses(shop) == expected, f"died at step {die_at}"
        sent = [one["amount"] for one in shop.stripe.refunds.values()]
        if "sandbox" not in case:
            assert sent == [amount for amount, _ in expected[2]], f"died at step {die_at}"
        assert len(shop.stripe.charges) <= 1
        assert shop.mismatches() == []
        assert shop.breaches() == [], f"died at step {die_at}"
        assert shop.differences() == [], f"died at step {die_at}"
        if not died:
            break
        steps = die_at
    assert least <= steps < MOST_STEPS - 1


def fresh(app, stripe):
    """Another world for the next step of the table: the database emptied, a Stripe that knows nothing."""
    emptied(app)
    for things in (stripe.sessions, stripe.charges, stripe.refunds, stripe.answers, stripe.waiting, stripe.sent):
        things.clear()
    return Shop(app, stripe)
