"""A connection to PostgreSQL that is lost is no 500: the request is answered, or says that it may be asked again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import psycopg
import pytest
from flask_migrate import upgrade
from psycopg.pq import ConnStatus
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from kernel import clock, trips
from kernel.db import db, insert_many, transaction
from kernel.idempotency import IdempotencyRecord
from orders.services import tending
from tests.factories import SHIP, World
from web.app import create_app
from web.settings import ROOT, Settings

M1 = "13800000001"


@pytest.fixture
def cut_world(new_postgresql_database):
    url = new_postgresql_database("huigong_lost")
    app = create_app(Settings(database_url=url, secret_key="a lost connection's secret key of length"))
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.engine.dispose()
    world = World(app)
    world.token(M1)
    yield world, url.replace("postgresql+psycopg://", "postgresql://", 1)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def cut(url: str) -> int:
    """End every other connection to the database."""
    with psycopg.connect(url, autocommit=True) as own:
        others = own.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(others)


@contextmanager
def cut_before(at: int, url: str) -> Iterator[list[int]]:
    """End every connection before the `at`-th statement of the block; what is given is not empty once that was so."""
    count, reached = 0, []

    def listen(connection, cursor, statement, parameters, context, executemany):
        nonlocal count
        count += 1
        if count == at:
            reached.append(cut(url))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield reached
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def test_a_connection_lost_while_it_waited_is_no_requests_error(cut_world):
    world, url = cut_world
    assert world.call(M1, "GET", "/me").status_code == 200
    assert cut(url) >= 1
    assert world.call(M1, "GET", "/me").status_code == 200
    assert cut(url) >= 1
    assert world.place(M1, ("A150", 2)).status_code == 201
    client = world.browser(M1)
    assert cut(url) >= 1
    assert client.get("/orders").status_code == 200


def test_a_connection_lost_before_any_statement_of_an_order_says_ask_again_and_again_places_it_once(cut_world):
    world, url = cut_world
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": SHIP}
    seen: list[int] = []
    for at in range(1, 40):
        key = f"lost-{at}"
        with cut_before(at, url) as reached:
            answer = world.call(M1, "POST", "/orders", body, key=key)
        assert answer.status_code in (201, 503), answer.text
        if answer.status_code == 503:
            assert (answer.json["code"], answer.headers["Retry-After"]) == ("unavailable", "2")
            assert "没有变动" not in answer.json["detail"], "nobody knows that at this moment"
        seen.append(answer.status_code)
        again = world.call(M1, "POST", "/orders", body, key=key)
        assert again.status_code == 201
        if answer.status_code == 201:
            assert again.text == answer.text
        assert world.stock("A150") == (49, 1, 0)
        assert world.call(M1, "POST", f"/orders/{again.json['number']}/cancel").status_code == 200
        if not reached:
            break
    assert 503 in seen
    assert seen[-1] == 201
    assert world.breaches() == []


def test_a_connection_lost_before_any_statement_of_a_payments_news_leaves_it_to_be_acted_on_once(cut_world):
    """The news is kept before it is acted on: where acting failed, that is noted, on another connection."""
    world, url = cut_world
    seen: list[int] = []
    for at in range(1, 40):
        number = world.place(M1, ("B40", 1)).json["number"]
        payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"})
        with cut_before(at, url) as reached:
            answer = world.app.test_client().post(
                payment.json["redirect_url"], data={"outcome": "pay"}, headers={"Accept": "application/json"}
            )
        assert answer.status_code in (200, 503), answer.text
        seen.append(answer.status_code)
        with world.app.app_context():
            tending.tend(second_person_fen=20_000_000, now=clock.now() + timedelta(minutes=5))
            db.session.remove()
        if answer.status_code == 503 and world.call(M1, "GET", f"/orders/{number}").json["status"] != "paid":
            assert world.pay(M1, number).status_code == 200
        assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "paid"
        assert world.stock("B40")[1:] == (0, at)
        if not reached:
            break
    assert 503 in seen
    assert seen[-1] == 200
    assert len(seen) > 5
    assert world.breaches() == []


def test_copying_on_a_lost_connection_raises_what_every_statement_raises(cut_world):
    world, url = cut_world
    with world.app.app_context():
        db.session.execute(text("SELECT 1"))
        cut(url)
        with pytest.raises(OperationalError) as lost:
            insert_many(IdempotencyRecord, ["person_id", "key", "request_hash"], [(1, "k", "h")])
        assert lost.value.connection_invalidated
        db.session.rollback()
        assert db.session.execute(text("SELECT 1")).scalar_one() == 1
        db.session.remove()


def test_a_connection_lost_after_the_work_is_no_error_of_the_tidying_up(cut_world):
    world, url = cut_world

    def lose(response):
        cut(url)
        return response

    world.app.after_request_funcs.setdefault(None, []).append(lose)
    assert world.call(M1, "POST", "/quotes", world.lines(("A150", 1))).status_code == 200
    assert world.place(M1, ("A150", 2)).status_code == 201
    world.app.after_request_funcs[None].remove(lose)
    assert world.call(M1, "GET", "/me").status_code == 200
    assert world.stock("A150") == (48, 2, 0)
    assert world.breaches() == []


def test_a_session_whose_connection_is_gone_is_put_away_and_the_next_one_works(cut_world):
    """What the worker does when a look failed."""
    world, url = cut_world
    with world.app.app_context():
        db.session.execute(text("SELECT 1"))
        cut(url)
        db.session.remove()
        assert db.session.execute(text("SELECT 1")).scalar_one() == 1
        db.session.remove()


def test_a_connection_cut_in_the_middle_of_a_trip_is_given_up_and_said_to_be_so(cut_world, monkeypatch):
    world, _ = cut_world
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": SHIP}
    cuts = []

    def cut_in_the_middle(pgconn):
        cuts.append(pgconn)
        yield from ()
        raise psycopg.OperationalError("cut in the middle")

    with monkeypatch.context() as patched:
        patched.setattr(trips, "_received", cut_in_the_middle)
        answer = world.call(M1, "POST", "/orders", body, key="stuck")
    assert (answer.status_code, answer.json["code"], len(cuts) > 0) == (503, "unavailable", True), answer.text
    assert [pgconn.status for pgconn in cuts] == [ConnStatus.BAD] * len(cuts)
    assert world.call(M1, "POST", "/orders", body, key="stuck").status_code == 201
    assert world.stock("A150") == (49, 1, 0)
    assert world.breaches() == []


def test_a_session_with_a_connection_of_no_use_is_put_away(cut_world):
    world, _ = cut_world
    with world.app.app_context():
        driver = db.session.connection().connection.driver_connection
        driver.pgconn.enter_pipeline_mode()
        driver.pgconn.send_query_params(b"SELECT 1", None)
        db.session.remove()
        assert driver.closed
        assert db.session.execute(text("SELECT 1")).scalar_one() == 1
        db.session.remove()


def test_a_use_case_begun_after_a_read_that_failed_is_begun_on_another_connection(cut_world):
    world, url = cut_world
    with world.app.app_context():
        db.session.execute(text("SELECT 1"))
        cut(url)
        with suppress(OperationalError):
            db.session.execute(text("SELECT 1"))
        with transaction():
            assert db.session.execute(text("SELECT 1")).scalar_one() == 1
        db.session.remove()


def test_what_was_refused_and_could_not_be_undone_may_be_asked_again(cut_world, monkeypatch):
    world, url = cut_world
    real, cuts = trips.ask, []

    def ask(driver, *questions, **options):
        try:
            return real(driver, *questions, **options)
        except psycopg.errors.InvalidTextRepresentation:
            cuts.append(cut(url))
            raise

    with monkeypatch.context() as patched:
        patched.setattr(trips, "ask", ask)
        answer = world.place(M1, ("A150", 51))
    assert (answer.status_code, answer.json["code"], len(cuts)) == (503, "unavailable", 1), answer.text
    assert world.place(M1, ("A150", 51)).json["code"] == "out_of_stock"
    assert world.stock("A150") == (50, 0, 0)
    assert world.breaches() == []


def test_what_was_refused_as_the_server_went_away_is_still_told(cut_world, monkeypatch):
    world, _ = cut_world
    real, gone = trips.ask, []

    def ask(driver, *questions, **options):
        try:
            return real(driver, *questions, **options)
        except psycopg.errors.InvalidTextRepresentation:
            gone.append(driver)
            driver.close()
            raise

    monkeypatch.setattr(trips, "ask", ask)
    refused = world.place(M1, ("A150", 51))
    assert (refused.status_code, refused.json["code"], len(gone)) == (409, "out_of_stock", 1), refused.text
    assert world.place(M1, ("A150", 1)).status_code == 201
    assert world.stock("A150") == (49, 1, 0)
    assert world.breaches() == []
