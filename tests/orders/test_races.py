"""What can race is raced: gunicorn's real processes on a real PostgreSQL, and many buyers at once."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from flask_migrate import upgrade

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from orders.services import placing
from people.services import tokens
from tests.conftest import SECRET_LOOKING
from tests.factories import MERCHANT_A, SHIP, World
from web.app import create_app
from web.settings import ROOT, Settings


class Shop:
    """A served world, asked over HTTP."""

    def __init__(self, world: World, port: int, url: str) -> None:
        self.world, self.port, self.url = world, port, url

    def ask(self, token: str, method: str, path: str, body=None, key: str | None = None, form: str | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = form or (json.dumps(body) if body is not None else None)
        headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        connection.request(method, path, body=data, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def together(self, calls):
        """Run all calls at the same moment, each on a thread; return their answers."""
        gate = threading.Barrier(len(calls))

        def run(call):
            gate.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, calls))


@pytest.fixture(scope="module")
def shop(new_postgresql_database, tmp_path_factory):
    url = new_postgresql_database("huigong_races")
    app = create_app(Settings(database_url=url, secret_key="races need a secret key too, of length"))
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
    world = World(app, members=200)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        **os.environ,
        "DATABASE_URL": url,
        "SECRET_KEY": "races need a secret key too, of length",
        "HUIGONG_MAX_UNPAID_ORDERS": "100",
        "WEB_CONCURRENCY": "4",
        "HUIGONG_WAIT_MILLISECONDS": "0",  # on a busy machine 200 wait longer than people may
        "PYTHONWARNINGS": "ignore",
    }
    log = open(tmp_path_factory.mktemp("log") / "gunicorn.log", "w")  # noqa: SIM115 it lives as long as the server
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", f"127.0.0.1:{port}", "wsgi:app"]
    server = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        yield Shop(world, port, url)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        log.close()
        assert not SECRET_LOOKING.search(Path(log.name).read_text()), "a phone, a token or an address in the log"
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def tokens_of(shop, count):
    with shop.world.app.app_context():
        return [
            tokens.make_for_login(login=f"138{number:08d}", name="race", now=clock.now())
            for number in range(1, count + 1)
        ]


def order_body(shop, code, quantity, payable_fen):
    return {**shop.world.lines((code, quantity)), "payable_fen": payable_fen, "delivery": SHIP}


def test_200_buyers_after_the_last_50_place_exactly_50_orders(shop):
    tokens = tokens_of(shop, 200)
    body = order_body(shop, "A150", 1, 13000)
    answers = shop.together(
        [lambda token=token: shop.ask(token, "POST", "/api/v1/orders", body, key="rush") for token in tokens]
    )
    statuses = [status for status, _ in answers]
    assert statuses.count(201) == 50
    assert statuses.count(409) == 150
    assert {answer["code"] for status, answer in answers if status == 409} == {"out_of_stock"}
    assert shop.world.stock("A150") == (0, 50, 0)
    assert shop.world.breaches() == []


def test_40_orders_at_once_by_one_member_save_exactly_the_face_value(shop):
    token = tokens_of(shop, 60)[-1]
    with shop.world.app.app_context():
        merchant = tokens.make_for_login(login=MERCHANT_A, name="race", now=clock.now())
    stock = f"/api/v1/merchant/packs/{shop.world.packs['A100']}/stock"
    assert shop.ask(merchant, "POST", stock, {"delta": 100, "reason": "到货"})[0] == 200
    body = order_body(shop, "A100", 1, 8000)
    before = shop.world.voucher(f"138{60:08d}")
    answers = shop.together(
        [lambda n=n: shop.ask(token, "POST", "/api/v1/orders", body, key=f"purse-{n}") for n in range(40)]
    )
    saved = sum(answer["discount_fen"] for status, answer in answers if status == 201)
    assert {answer["code"] for status, answer in answers if status != 201} <= {"price_changed"}
    assert saved == before["balance_fen"]
    after = shop.world.voucher(f"138{60:08d}")
    assert (after["balance_fen"], after["held_fen"]) == (0, 20000)
    assert shop.world.breaches() == []


def test_the_proof_holds_while_people_go_on_buying(shop):
    tokens = tokens_of(shop, 80)[62:]
    stop = threading.Event()
    bought: list[int] = []

    def buy(token, turn=0):
        while not stop.is_set():
            body = order_body(shop, "B150", 1, 13000)
            _, placed = shop.ask(token, "POST", "/api/v1/orders", body, key=f"busy-{turn}")
            if "number" in placed:
                shop.ask(token, "POST", f"/api/v1/orders/{placed['number']}/cancel")
            turn += 1
            bought.append(turn)

    found = []
    with ThreadPoolExecutor(len(tokens)) as pool:
        buyers = [pool.submit(buy, token) for token in tokens]
        with shop.world.app.app_context():
            # However slow the machine is, they buy while it is proved.
            while (len(found) < 12 or len(bought) <= len(tokens)) and len(found) < 500:
                found.append(order_queries.proof())
        stop.set()
    for buyer in buyers:
        buyer.result()
    assert found == [[]] * len(found)
    assert len(bought) > len(tokens), "they bought meanwhile"


def test_the_same_key_at_the_same_instant_places_one_order(shop):
    token = tokens_of(shop, 61)[-1]
    body = order_body(shop, "B40", 1, 4000)
    answers = shop.together([lambda: shop.ask(token, "POST", "/api/v1/orders", body, key="instant") for _ in range(12)])
    assert {status for status, _ in answers} == {201}
    assert len({answer["number"] for _, answer in answers}) == 1


def expire_now(shop, number):
    """Expire an order in this process, as the worker would."""
    with shop.world.app.app_context():
        return placing.expire(order_id=int(number), now=clock.now() + timedelta(hours=1))


def refunds_of(shop, number):
    with shop.world.app.app_context():
        return [refund.amount_fen for refund in gateway_queries.refunds_of(int(number))]


@pytest.mark.parametrize("rival", ["cancel", "expire"])
def test_payment_races_cancel_and_expiry_and_one_of_them_wins(shop, rival):
    token = tokens_of(shop, 62)[-1]
    for turn in range(6):
        name = f"{rival}{turn}"
        _, order = shop.ask(token, "POST", "/api/v1/orders", order_body(shop, "B40", 1, 4000), key=name)
        number = order["number"]
        path = f"/api/v1/orders/{number}"
        _, payment = shop.ask(token, "POST", f"{path}/payments", {"provider": "sandbox"}, key=f"pay-{name}")

        def pay(where=payment["redirect_url"]):
            return shop.ask(token, "POST", where, form="outcome=pay")

        def end(number=number, where=path):
            return expire_now(shop, number) if rival == "expire" else shop.ask(token, "POST", f"{where}/cancel")

        shop.together([pay, end])
        _, after = shop.ask(token, "GET", path)
        # A payment that came after the expiry takes stock and voucher again: they are there.
        expected = [("paid", [])] + ([("cancelled", [4000])] if rival == "cancel" else [])
        assert (after["status"], refunds_of(shop, number)) in expected
    with shop.world.app.app_context():
        pack = catalog_queries.packs_by_id([int(shop.world.packs["B40"])])[int(shop.world.packs["B40"])]
        assert pack.available + pack.held + pack.sold == 50
        assert order_queries.all_breaches() == []


def test_two_packs_in_either_order_never_deadlock(shop):
    tokens = tokens_of(shop, 120)[80:]
    there, back = shop.world.lines(("B150", 1), ("B40", 1)), shop.world.lines(("B40", 1), ("B150", 1))
    answers = shop.together(
        [
            lambda token=token, lines=(there, back)[n % 2]: shop.ask(
                token, "POST", "/api/v1/orders", {**lines, "payable_fen": 17000, "delivery": SHIP}, key="dead"
            )
            for n, token in enumerate(tokens)
        ]
    )
    assert {status for status, _ in answers} <= {201, 409}
    assert [status for status, _ in answers].count(201) >= 30
    assert shop.world.breaches() == []
