"""A world whose Stripe is the double, asked by the real library over HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from finance.gateway import queries as gateway_queries
from kernel import clock
from orders.queries import money
from orders.services import placing, tending
from tests import stripe_double
from tests.factories import World
from tests.stripe_double import StripeDouble
from web.app import providers_of

M1, M2 = "13800000001", "13800000002"


class Shop(World):
    """A world with Stripe."""

    def __init__(self, app: Flask, stripe: StripeDouble) -> None:
        super().__init__(app)
        self.stripe = stripe
        self.notes: dict[str, Any] = {}

    def start(self, login: str = M1, *wanted: tuple[str, int], key: str = "new") -> tuple[str, Any]:
        """Place an order and begin to pay it: its number and the answer."""
        number = self.place(login, *(wanted or (("A150", 2),))).json["number"]
        return number, self.pay_by_stripe(login, number, key=key)

    def pay_by_stripe(self, login: str, number: str, *, key: str = "new") -> Any:
        return self.call(login, "POST", f"/orders/{number}/payments", {"provider": "stripe"}, key=key)

    def deliver(self, **how: Any) -> None:
        """Stripe sends what it has to tell; our webhook takes it."""
        statuses = self.stripe.deliver(self.app.test_client(), **how)
        assert set(statuses) <= {200}, statuses

    def bought(self, login: str = M1, *wanted: tuple[str, int]) -> str:
        """An order paid by Stripe."""
        number, answer = self.start(login, *wanted)
        assert answer.status_code == 201, answer.text
        self.stripe.pay()
        self.deliver()
        assert self.status(number, login) == "paid"
        return number

    def status(self, number: str, login: str = M1) -> str:
        return self.call(login, "GET", f"/orders/{number}").json["status"]

    def sweep(self, **later: Any) -> dict[str, int]:
        """What the worker does, at a later time."""
        with self.app.app_context():
            now = clock.now() + timedelta(**later)
            placing.expire_due(now=now)
            return tending.tend(second_person_fen=20_000_000, now=now)

    def payments(self, number: str) -> list[tuple[int, str]]:
        with self.app.app_context():
            return [(one.amount_fen, one.status) for one in gateway_queries.of_order(int(number))]

    def refunds(self, number: str) -> list[tuple[int, str]]:
        with self.app.app_context():
            return [(one.amount_fen, one.status) for one in gateway_queries.refunds_of(int(number))]

    def mismatches(self) -> list[tuple[str, int, str]]:
        with self.app.app_context():
            return [(one.kind, one.amount, one.currency) for one in gateway_queries.mismatches()]

    def differences(self, **later: Any) -> list[tuple[str, int | None, int | None]]:
        """What reconciling finds, when nothing is on its way any more."""
        with self.app.app_context():
            found = money.compare_lately(now=clock.now() + timedelta(**(later or {"hours": 1})))
            return [(one.kind, one.ours_fen, one.theirs_fen) for one in found.differences]

    def proven(self) -> bool:
        """The rules hold and the books agree with Stripe's."""
        assert self.breaches() == []
        assert self.differences() == []
        return True


@pytest.fixture
def stripe() -> Iterator[StripeDouble]:
    with stripe_double.running() as double:
        yield double


@pytest.fixture
def shop(app: Flask, stripe: StripeDouble) -> Iterator[Shop]:
    before = {name: app.config[name] for name in ("HUIGONG", "PROVIDERS")}
    settings = replace(
        app.config["HUIGONG"],
        stripe_secret_key=stripe_double.KEY,
        stripe_webhook_secret=stripe_double.WEBHOOK_SECRET,
        stripe_api_base=stripe.url,
        stripe_seconds=0.5,
    )
    app.config.update(HUIGONG=settings, PROVIDERS=providers_of(settings))
    yield Shop(app, stripe)
    app.config.update(before)
