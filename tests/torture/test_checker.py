"""The checker finds what it is there to find: the same clients, with a bug planted in the product for one run."""

import itertools
import subprocess
import sys
import threading

import pytest
from sqlalchemy.orm import Session

from catalog import services as catalog_services
from finance.gateway.stripe import Stripe
from kernel.db import db
from kernel.statements import together
from orders.services import placing, refunding
from tests.finance.conftest import shop, stripe  # noqa: F401 these are fixtures
from tests.torture import checker, history, run
from tests.torture.clients import SHIP, Member, Merchant, Shared, Told
from tests.torture.place import unexpected_in
from web.settings import ROOT


class Inside:
    """A wire to the application in this process."""

    def __init__(self, app) -> None:
        self.app = app

    def send(self, token, method, path, *, body, key, form):
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = {"json": body} if form is None and body is not None else {}
        if form is not None:
            data = {"data": form, "content_type": "application/x-www-form-urlencoded"}
        answer = self.app.test_client().open(path, method=method, headers=headers, **data)
        return Told(answer.status_code, answer.text, answer.headers.get("Idempotent-Replayed") == "true")


class Small:
    """A few people who act by turns."""

    def __init__(self, shop, folder) -> None:  # noqa: F811
        self.shop, self.folder = shop, folder
        packs = [shop.packs[code] for code in ("A150", "A100")]
        self.shared = Shared(Inside(shop.app), shop.stripe, folder, packs, 1, threading.Event(), 0, 0)
        self.merchant = Merchant(self.shared, "merchant", shop.token("13700000001"), packs)
        self.members = [Member(self.shared, f"member-{n:04d}", shop.token(f"138{n:08d}")) for n in (1, 2, 3)]
        with shop.app.app_context():
            found = db.session.execute(db.text("SELECT pack_id, taken_in FROM stocks"))
            self.before = checker.Before({row.pack_id: row.taken_in for row in found})
            db.session.remove()

    def order(self, member, pack="A150"):
        """Place an order as that member does; its number."""
        basket = {"campaign": "spring", "lines": [{"pack_id": self.shop.packs[pack], "quantity": 2}]}
        quoted = self.shared.wire.send(member.token, "POST", "/api/v1/quotes", body=basket, key=None, form=None)
        body = {**basket, "payable_fen": quoted.answer["payable_fen"], "delivery": SHIP}
        return member.ask("order", "/orders", body, key=member.key("order")).answer["number"]

    def give_back(self, member, number):
        """Give a unit back."""
        key = member.key("refund")
        body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": key}
        assert member.ask("refund", f"/orders/{number}/refunds", body, key=key).status == 201

    def stock(self, delta):
        """Count stock in."""
        key, pack = self.merchant.key("stock"), self.shop.packs["A100"]
        body = {"delta": delta, "reason": key}
        more = {"pack": pack, "delta": delta}
        assert self.merchant.ask("stock", f"/merchant/packs/{pack}/stock", body, key=key, more=more).status == 200

    def all_of_it(self):
        """Everything once: orders paid, given back, cancelled; stock counted in twice."""
        self.stock(5)
        self.stock(3)
        for member in self.members:
            number = self.order(member)
            member.pay_by_stripe(number, "pay")
            self.shop.deliver()
            if member is self.members[0]:
                self.give_back(member, number)
                self.shop.deliver()
        number = self.order(self.members[2], "A100")
        self.members[2].ask("cancel", f"/orders/{number}/cancel", more={"number": number})

    def breaches(self):
        """What the checker finds."""
        for client in (self.merchant, *self.members):
            client.history.close()
        run.settle(self.shop.app)
        with self.shop.app.app_context():
            found = checker.find(history.read(self.folder), self.shop.stripe, self.before)
            db.session.remove()
        return found


@pytest.fixture
def small(shop, tmp_path):  # noqa: F811
    return Small(shop, tmp_path)


def test_without_a_bug_nothing_is_found(small):
    small.all_of_it()
    assert small.breaches() == []
    assert small.shop.breaches() == []


def test_a_lost_update_is_found(small, monkeypatch):
    """Stock counted in twice from the same reading: the second overwrites the first, posting and all."""
    real, count = catalog_services._post_stock, itertools.count()

    def forgetful(pack_id, change, **more):
        if next(count) == 1:  # the second change: as if it had read before the first wrote
            db.session.execute(db.text("UPDATE stocks SET taken_in = taken_in - 5 WHERE pack_id = :p"), {"p": pack_id})
        real(pack_id, change, **more)

    monkeypatch.setattr(catalog_services, "_post_stock", forgetful)
    small.all_of_it()
    pack = small.shop.packs["A100"]
    assert small.breaches() == [f"pack {pack}: took in 53, acknowledged were 58 to 58"]


def test_a_change_of_stock_that_was_never_written_is_found(small, monkeypatch):
    monkeypatch.setattr(catalog_services, "_post_stock", lambda *_, **__: None)
    small.all_of_it()
    assert "merchant-stock-1: a change of stock was acknowledged and is there 0 times" in small.breaches()


def test_a_refund_sent_twice_is_found(small, monkeypatch):
    """A retry under another key: Stripe does the work again."""
    real = Stripe.refund

    def twice(self, wanted):
        answer = real(self, wanted)
        with small.shop.stripe.lock:
            for key in list(small.shop.stripe.answers):
                if key.startswith("huigong-refund"):
                    del small.shop.stripe.answers[key]
        real(self, wanted)
        return answer

    monkeypatch.setattr(Stripe, "refund", twice)
    small.all_of_it()
    found = small.breaches()
    assert any("Stripe sent it back 2 times" in one for one in found)
    assert any("12000 went back, Stripe says 24000 and 24000" in one for one in found)


def test_a_refund_given_twice_for_one_asking_is_found(small, monkeypatch):
    """A key that is not claimed: asked again, it is done again."""
    monkeypatch.setattr(refunding.idempotency, "begin", lambda once: None)
    monkeypatch.setattr(refunding.idempotency, "finish", lambda once, content: refunding.idempotency.answer_of(content))
    member = small.members[0]
    number = small.order(member)
    member.pay_by_stripe(number, "pay")
    small.shop.deliver()
    key = member.key("refund")
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": key}
    for _ in range(2):
        assert member.ask("refund", f"/orders/{number}/refunds", body, key=key).status == 201
    found = small.breaches()
    assert any("told 2 different things under one key" in one for one in found)
    assert any("refund" in one and "was acknowledged, there are" in one for one in found)


def test_a_swallowed_commit_is_found(small, monkeypatch):
    """An order's commit does not happen, nobody notices, and the member is told that it was placed."""
    real, place = Session.commit, placing._place

    def commit(self):
        if self.info.pop("swallow", False):
            self.rollback()
        else:
            real(self)

    def place_and_lose(**request):
        db.session().info["swallow"] = True
        return place(**request)

    small.order(small.members[0])
    monkeypatch.setattr(Session, "commit", commit)
    monkeypatch.setattr(placing, "_place", place_and_lose)
    # On PostgreSQL the COMMIT goes along with the writes: for this run it is the session's, as elsewhere.
    monkeypatch.setattr(placing, "together", lambda **options: together(**{**options, "commits": False}))
    number = small.order(small.members[1])
    assert small.breaches() == [f"member-0002-order-1: order {number} was acknowledged and is not there"]
    assert small.shop.breaches() == [], "the rules alone do not see it: nothing is there to be wrong"


def test_an_order_that_nobody_asked_for_and_one_that_was_refused_are_found(small):
    number = small.order(small.members[0])
    other = small.order(small.members[1])
    with small.shop.app.app_context():
        db.session.execute(db.text("UPDATE orders SET idempotency_key = 'x' WHERE id = :id"), {"id": int(number)})
        db.session.commit()
    member = small.members[1]
    asked = member.history.ask("order", "member-0002-late", "/orders", {})
    member.history.told(asked, 409, {"code": "out_of_stock"}, text="{}")
    with small.shop.app.app_context():
        db.session.execute(
            db.text("UPDATE orders SET idempotency_key = 'member-0002-late' WHERE id = :id"), {"id": int(other)}
        )
        db.session.commit()
    found = small.breaches()
    assert f"order {number}: nobody asked for it" in found
    assert f"member-0002-late: order {other} was refused and is there" in found


@pytest.mark.parametrize(("text", "found"), [("unexpected error", True), ("another error", False)])
def test_an_error_that_nobody_expected_is_found_in_the_log_with_its_tracebacks_end(text, found):
    code = (
        "import logging; from kernel import logs; logs.install('text', 'info'); log = logging.getLogger('huigong')\n"
        "log.info('before')\n"
        "try: {}['the key']\n"
        f"except KeyError: log.exception({text!r})\n"
        "log.info('after')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    told = unexpected_in(ran.stdout + ran.stderr)
    assert [one.endswith("KeyError: 'the key'") for one in told] == [True] * found, ran
