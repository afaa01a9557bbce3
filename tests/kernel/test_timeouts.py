"""What hangs is given up after a time: 503 with Retry-After, nothing changed, nothing tried again by ourselves."""

import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from flask_migrate import upgrade
from psycopg.errors import SerializationFailure
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from kernel.db import db, transaction
from tests.factories import SHIP, World
from web import cli
from web.app import create_app
from web.settings import ROOT, Settings, UnsafeSetting, read

M1, M2 = "13800000001", "13800000002"
SECRET = "a time-out's secret key of some length"


def settings(url, **chosen):
    quick = {"statement_seconds": 2, "lock_seconds": 1, "pool_size": 1}
    return Settings(database_url=url, secret_key=SECRET, **{**quick, "pool_overflow": 0, "pool_seconds": 1, **chosen})


@pytest.fixture(scope="module")
def migrated(new_postgresql_database):
    url = new_postgresql_database("huigong_timeouts")
    app = create_app(Settings(database_url=url, secret_key=SECRET))
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        world = World(app)
        db.session.remove()
        db.engine.dispose()
    return url, world


@pytest.fixture
def impatient(migrated):
    """The same world, served with time-outs of one second, one connection in its pool."""
    url, world = migrated
    app = create_app(settings(url))
    old, world.app = world.app, app
    yield world, url.replace("postgresql+psycopg://", "postgresql://", 1)
    world.app = old
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def is_unavailable(answer):
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable"), answer.text
    assert answer.headers["Retry-After"] == "2"
    return True


@contextmanager
def before(part, statement):
    """Say a statement on the same connection before the first one that has `part` in it."""
    seen = []

    def listen(_connection, cursor, said, *_):
        if part in said and not seen:
            seen.append(said)
            cursor.execute(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def test_a_stuck_statement_is_given_up_and_nothing_is_changed(impatient):
    world, _ = impatient
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": SHIP}
    world.token(M1)
    stock = world.stock("A150")
    with before("INSERT INTO orders", "SELECT pg_sleep(30)") as seen:
        began = time.monotonic()
        assert is_unavailable(world.call(M1, "POST", "/orders", body, key="stuck"))
        assert time.monotonic() - began < 15
    assert len(seen) == 1, "tried once"
    assert world.stock("A150") == stock
    placed = world.call(M1, "POST", "/orders", body, key="stuck")
    assert placed.status_code == 201
    assert world.call(M1, "POST", f"/orders/{placed.json['number']}/cancel").status_code == 200
    assert world.breaches() == []


def test_a_lock_is_waited_for_no_longer_than_said(impatient):
    world, url = impatient
    world.token(M1)
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": SHIP}
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM stocks FOR UPDATE")
        began = time.monotonic()
        assert is_unavailable(world.call(M1, "POST", "/orders", body, key="locked"))
        assert time.monotonic() - began < 15
        other.rollback()
    assert world.call(M1, "POST", "/orders", body, key="locked").status_code == 201
    assert world.breaches() == []


def test_a_transaction_that_nobody_goes_on_with_is_ended_and_holds_no_lock(impatient):
    world, url = impatient

    def hang():
        with transaction():
            db.session.execute(text("SELECT * FROM stocks FOR UPDATE"))
            time.sleep(2.5)
            db.session.execute(text("SELECT 1"))

    hasty = create_app(settings(url.replace("postgresql://", "postgresql+psycopg://"), idle_transaction_seconds=1))
    with hasty.app_context():
        with pytest.raises(DBAPIError, match=r"idle-in-transaction|terminat|closed"):
            hang()
        db.session.remove()
        db.engine.dispose()
    with psycopg.connect(url) as other:
        assert other.execute("SELECT count(*) FROM (SELECT 1 FROM stocks FOR UPDATE NOWAIT) AS free").fetchone()[0] == 4
    assert world.call(M1, "GET", "/me").status_code == 200


def test_who_gets_no_connection_from_the_pool_is_told_so(impatient):
    world, _ = impatient
    world.token(M1)
    held, done = threading.Event(), threading.Event()

    def hold():
        with world.app.app_context():
            db.session.execute(text("SELECT 1"))
            held.set()
            done.wait(30)
            db.session.remove()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        assert is_unavailable(world.call(M1, "GET", "/me"))
    finally:
        done.set()
        thread.join()
    assert world.call(M1, "GET", "/me").status_code == 200


@pytest.mark.parametrize("lost", [False, True])
def test_an_order_refused_by_the_database_is_not_tried_again_by_us(impatient, lost):
    """A serialization failure, or a lost connection within a use-case: whoever asked decides (ADR 19)."""
    world, _ = impatient
    world.token(M2)
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": SHIP}
    tries = []

    def refuse(_connection, _cursor, said, *_):
        if "INSERT INTO orders" in said:
            tries.append(said)
            error = SerializationFailure("could not serialize access")
            raise OperationalError(said, None, error, connection_invalidated=lost)

    stock = world.stock("A150")
    event.listen(Engine, "before_cursor_execute", refuse)
    try:
        answer = world.call(M2, "POST", "/orders", body, key="conflict")
    finally:
        event.remove(Engine, "before_cursor_execute", refuse)
    assert is_unavailable(answer)
    assert len(tries) == 1
    assert world.stock("A150") == stock
    assert world.breaches() == []


def test_the_time_outs_are_those_of_the_settings_and_commands_have_time(migrated, monkeypatch):
    url, _ = migrated
    shown = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "application_name")

    def asked(app):
        with app.app_context():
            found = tuple(db.session.execute(text(f"SHOW {name}")).scalar_one() for name in shown)
            db.session.remove()
            db.engine.dispose()
        return found

    chosen = settings(url, statement_seconds=7, lock_seconds=8, idle_transaction_seconds=9, pool_size=3)
    app = create_app(chosen)
    assert asked(app) == ("7s", "8s", "9s", "huigong")
    with app.app_context():
        assert (db.engine.pool.size(), db.engine.pool._timeout, db.engine.pool._max_overflow) == (3, 1, 0)
    assert asked(create_app(Settings(database_url=url, secret_key=SECRET))) == ("30s", "20s", "1min", "huigong")
    monkeypatch.setenv("DATABASE_URL", url)
    assert asked(cli._app()) == ("0", "20s", "10min", "huigong")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("HUIGONG_STATEMENT_SECONDS", "-1"),
        ("HUIGONG_LOCK_SECONDS", "0"),
        ("HUIGONG_IDLE_TRANSACTION_SECONDS", "x"),
        ("HUIGONG_CONNECT_SECONDS", "0"),
        ("HUIGONG_POOL_SIZE", "0"),
        ("HUIGONG_POOL_OVERFLOW", "-1"),
        ("HUIGONG_POOL_SECONDS", "0"),
        ("HUIGONG_DRAIN_SECONDS", "1.5"),
    ],
)
def test_what_is_no_time_and_no_size_is_refused_by_name(name, wrong):
    with pytest.raises(UnsafeSetting, match=name):
        read({name: wrong})
