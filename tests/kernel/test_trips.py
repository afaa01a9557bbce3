"""A trip to PostgreSQL: what is prepared, what an error leaves, and what begins a transaction."""

import threading
import time

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from kernel import trips
from kernel.trips import Prepared, ask

ONE, TWICE, WRONG = b"SELECT $1::bigint AS n", b"SELECT 2 * $1::bigint, $2::text", b"SELECT 1 / $1::int"


@pytest.fixture(scope="module")
def url(new_postgresql_database):
    return new_postgresql_database("huigong_trips").replace("postgresql+psycopg://", "postgresql://", 1)


@pytest.fixture
def driver(url):
    with psycopg.connect(url, prepare_threshold=None) as connection:
        yield connection


def state(driver):
    return driver.info.transaction_status


def names(driver):
    found = driver.execute("SELECT name FROM pg_prepared_statements ORDER BY name").fetchall()
    return [name for (name,) in found]


def test_values_go_and_rows_come_and_each_text_is_prepared_once(driver):
    prepared = Prepared()
    for turn in range(3):
        answers = ask(
            driver, [(ONE, [turn]), (TWICE, [turn, "券'\\"]), (ONE, [None])], prepared=prepared, commits=False
        )
        assert [answer.rows() for answer in answers] == [[(turn,)], [(2 * turn, "券'\\")], [(None,)]]
        assert state(driver) == TransactionStatus.INTRANS
    assert sorted(prepared) == sorted([trips.BEGIN, ONE, TWICE])
    assert names(driver) == ["huigong_0", "huigong_1", "huigong_2"]


def test_what_commits_is_there_for_others_and_what_does_not_is_not(driver, url):
    prepared = Prepared()
    ask(driver, [(b"CREATE TABLE kept (n bigint CHECK (n < 9))", [])], prepared=prepared, commits=True)
    assert state(driver) == TransactionStatus.IDLE
    insert = b"INSERT INTO kept SELECT generate_series(1, $1::int)"
    [answer] = ask(driver, [(insert, [3])], prepared=prepared, commits=True)
    assert answer.changed == 3
    ask(driver, [(insert, [2])], prepared=prepared, commits=False)
    with psycopg.connect(url) as other:
        assert other.execute("SELECT count(*) FROM kept").fetchone() == (3,)
    driver.rollback()
    with pytest.raises(psycopg.errors.CheckViolation):
        ask(driver, [(insert, [2]), (insert, [10])], prepared=prepared, commits=True)
    assert state(driver) == TransactionStatus.INERROR
    driver.rollback()
    assert driver.execute("SELECT count(*) FROM kept").fetchone() == (3,)


def test_an_error_is_raised_and_what_was_prepared_before_it_is_known(driver):
    prepared = Prepared()
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask(driver, [(ONE, [1]), (WRONG, [0]), (TWICE, [1, "x"])], prepared=prepared, commits=False)
    assert TWICE not in prepared, "it was never parsed"
    driver.rollback()
    with pytest.raises(psycopg.errors.SyntaxError):
        ask(driver, [(b"SELEC 1", [])], prepared=prepared, commits=False)
    driver.rollback()
    answers = ask(driver, [(WRONG, [1]), (TWICE, [4, "x"]), (ONE, [5])], prepared=prepared, commits=False)
    assert [answer.rows() for answer in answers] == [[(1,)], [(8, "x")], [(5,)]]


def test_a_connection_remembers_no_more_than_so_many(driver, monkeypatch):
    monkeypatch.setattr(trips, "MOST_PREPARED", 3)
    prepared = Prepared()
    for _ in range(2):
        for number in range(9):
            [answer] = ask(driver, [(b"SELECT %d + $1::int" % number, [1])], prepared=prepared, commits=False)
            assert answer.rows() == [(number + 1,)]
    assert len(names(driver)) == 3


def test_behind_a_pooler_nothing_is_prepared(driver):
    for _ in range(3):
        [answer] = ask(driver, [(ONE, [7])], prepared=None, commits=True)
        assert answer.rows() == [(7,)]
    assert names(driver) == []


def test_another_isolation_is_begun_as_asked(driver):
    driver.isolation_level = IsolationLevel.REPEATABLE_READ
    [answer] = ask(driver, [(b"SHOW transaction_isolation", [])], prepared=None, commits=False)
    assert answer.rows() == [("repeatable read",)]
    driver.rollback()
    driver.isolation_level, driver.autocommit = None, True
    ask(driver, [(ONE, [1])], prepared=None, commits=False)
    assert state(driver) == TransactionStatus.IDLE


def test_waiting_holds_no_other_thread_up(url, driver):
    """Somebody's lock is waited for; whoever has it may be another thread of this very process."""
    driver.execute("CREATE TABLE IF NOT EXISTS wanted AS SELECT 1 AS n")
    driver.commit()
    ask(driver, [(b"SELECT n FROM wanted FOR UPDATE", [])], prepared=Prepared(), commits=False)
    done = []

    def wait():
        with psycopg.connect(url) as other:
            [answer] = ask(other, [(b"SELECT n FROM wanted FOR UPDATE", [])], prepared=Prepared(), commits=True)
            done.append(answer.rows())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    assert done == []
    driver.rollback()
    thread.join(10)
    assert done == [[(1,)]]


def test_much_is_sent_and_much_received(driver):
    text = "券" * 2_000_000
    answers = ask(driver, [(TWICE, [turn, text]) for turn in range(3)], prepared=Prepared(), commits=False)
    assert [answer.rows()[0][1] == text for answer in answers] == [True] * 3


def test_whoever_breaks_in_leaves_no_connection_that_might_answer_another(driver, monkeypatch):
    def end(_pgconn):
        raise SystemExit

    monkeypatch.setattr(trips, "_received", end)
    with pytest.raises(SystemExit):
        ask(driver, [(ONE, [1])], prepared=Prepared(), commits=False)
    assert driver.closed


def test_a_plan_made_for_an_empty_table_does_not_outlive_its_emptiness(driver, url, monkeypatch):
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE crowd (n bigint, who bigint) WITH (autovacuum_enabled = off)")
        other.execute("CREATE INDEX ix_crowd_who ON crowd (who)")
        other.execute("ANALYZE crowd")
    prepared, mine = Prepared(), b"SELECT count(*) FROM crowd WHERE who = $1"

    def ask_often():
        for turn in range(8):
            ask(driver, [(mine, [turn])], prepared=prepared, commits=True)
        found = driver.execute(f"EXPLAIN EXECUTE {prepared[mine].decode()} (1)").fetchall()
        driver.commit()
        return "\n".join(line for (line,) in found)

    assert "Seq Scan on crowd" in ask_often()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("INSERT INTO crowd SELECT n, n FROM generate_series(1, 20000) n")
    assert "Seq Scan on crowd" in ask_often(), "nobody has counted them yet"
    begun = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun + trips.PLAN_ANEW_SECONDS)
    assert "ix_crowd_who" in ask_often()
    assert prepared.planning() == [], "not with every statement"
    monkeypatch.undo()
    assert driver.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = 'huigong_1'").fetchone() == (1,)
