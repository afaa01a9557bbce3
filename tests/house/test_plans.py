"""No list and no filter reads a table that grows with the orders from end to end: PostgreSQL's own plans say so."""

import itertools
import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from benchmarks import fill, plans, postgres
from finance.gateway import steps as gateway_steps
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from orders.services import placing, summing, webhooks
from people.services import messages
from tests.factories import SHIP

ORDERS, MEMBERS = 20_000, 5_000  # enough for the planner to prefer an index wherever there is one
# Papers and settings of one thing that the filled campaign has none of: they begin from its own id.
PARTS_OF_ONE_THING = re.compile(r"<(?:(?!slug|number|name)\w+:)?\w+>")


@pytest.fixture(scope="module")
def filled(new_postgresql_database):
    app = postgres.app_on(new_postgresql_database("huigong_plans"))
    fill.people(app, members=MEMBERS)
    fill.vouchers(app)
    fill.orders(app, count=ORDERS)
    with app.app_context():
        summing.rebuild(now=clock.now())
        db.session.remove()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def test_every_list_and_filter_finds_its_rows_by_an_index(filled):
    asked, left_out = plans.walk(filled)
    assert len(asked) > 150
    assert {"/api/v1/merchant/parcels?overdue=true", "/admin/transfers"} <= {one.path for one in asked}
    assert any("api_tokens" in one.sql for one in asked if one.raw), "what goes past SQLAlchemy is heard too"
    assert not [path for path in left_out if not PARTS_OF_ONE_THING.search(path)]
    findings, _ = plans.explain(filled, asked)
    assert [str(one)[:300] for one in findings] == []


@pytest.fixture(scope="module")
def work_of_an_order(filled):
    """What is sent for orders, by what is done: placed, cancelled, expired and paid."""
    [token] = fill.tokens(filled, at_most=1)
    done, keys = {}, itertools.count()

    def call(path, body):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"work-{next(keys)}"}
        answer = filled.test_client().post(f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json

    def place():
        basket = {"campaign": fill.SLUG, "lines": [{"pack_id": pack, "quantity": 1} for pack in packs]}
        payable_fen = call("/quotes", basket)["payable_fen"]
        return call("/orders", {**basket, "payable_fen": payable_fen, "delivery": SHIP})["number"]

    def pay(number):
        address = call(f"/orders/{number}/payments", {"provider": "sandbox"})["redirect_url"]
        assert filled.test_client().post(address, data={"outcome": "pay"}).status_code == 200

    def expire(number):
        with filled.app_context():
            assert placing.expire(order_id=int(number), now=clock.now() + timedelta(days=1))

    def look_for_more():
        with filled.app_context():
            order_queries.due_holding([int(packs[0])], now=clock.now())

    packs = fill.pack_ids(filled)[:2]
    unpaid = [place() for _ in range(3)]
    work = {
        "place": place,
        "cancel": lambda: call(f"/orders/{unpaid[0]}/cancel", {}),
        "expire": lambda: expire(unpaid[1]),
        "pay": lambda: pay(unpaid[2]),
        "look for what is due when a pack is sold out": look_for_more,
    }
    with filled.app_context():
        engine = db.engine
    for name, doing in work.items():
        recorder = plans.Recorder(changes=True)
        with plans.recording(recorder, engine):
            doing()
        done[name] = list(recorder.asked.values())
    return done


OF_ONE = {"uq_orders_placed_by_idempotency_key", "ix_orders_member", "ix_orders_unpaid", "pk_orders", "pk_order_lines"}
OF_MANY = {
    # One member's due orders are looked for among all that are due: the worker leaves few.
    "place": {"ix_orders_due"},
    "look for what is due when a pack is sold out": {"ix_orders_due"},
}


@pytest.mark.parametrize("waiting", [0, 1, 100, 1000, 10_000])
def test_in_a_rush_that_was_not_counted_yet_an_order_is_found_by_what_is_its_own(filled, work_of_an_order, waiting):
    """What PostgreSQL has counted is from before the rush: no order waited then, and all ways to one look as short."""
    came = "UPDATE orders SET status = 'pending_payment', expires_at = :later WHERE id IN"
    came += " (SELECT id FROM orders WHERE status = 'completed' ORDER BY id DESC LIMIT :waiting)"
    with filled.app_context():
        db.session.execute(text(came), {"later": clock.now() + timedelta(days=1), "waiting": waiting})
        driver = db.session.connection().connection.driver_connection
        read = {
            what: set().union(*(indexes_read(driver, asked) for asked in sent))
            for what, sent in work_of_an_order.items()
        }
        db.session.rollback()
    strange = {what: found - OF_ONE - OF_MANY.get(what, set()) for what, found in read.items()}
    assert not any(strange.values()), strange
    assert all(read.values())


def indexes_read(driver, asked):
    """Return by which indexes a statement finds orders and their lines; a table's own name where by none."""
    sql = f"EXPLAIN ({'GENERIC_PLAN, ' if asked.raw else ''}FORMAT JSON) {asked.sql}"
    cursor = driver.cursor()
    [[[told]]] = (cursor.execute(sql) if asked.raw else cursor.execute(sql, asked.values)).fetchall()
    nodes = list(plans._nodes(told["Plan"]))
    by_bitmap = [one["Index Name"] for one in nodes if one["Node Type"] == "Bitmap Index Scan"]
    scans = [
        one for one in nodes if one.get("Relation Name") in ("orders", "order_lines") and "Scan" in one["Node Type"]
    ]
    direct = [one.get("Index Name", one["Relation Name"]) for one in scans if one["Node Type"] != "Bitmap Heap Scan"]
    return {name for name in by_bitmap + direct if "order" in name and "recipient" not in name}


def test_what_is_taken_by_its_id_is_found_by_nothing_else(filled):
    """Even without the tables' own keys no index of those that wait serves these; else it might look as short."""
    taking = {
        "messages": lambda now: messages._claimed(1, now=now),
        "payment_refunds": lambda now: (
            gateway_steps.take_refund(1, now=now),
            gateway_steps.put_refund_off(1, error=None, reference=None, now=now),
        ),
        "webhook_deliveries": lambda now: webhooks._send(1, key="", private=False, now=now),
    }
    with filled.app_context():
        recorders = {table: plans.Recorder(changes=True) for table in taking}
        for table, take in taking.items():
            with plans.recording(recorders[table], db.engine):
                take(clock.now())
        db.session.rollback()
        driver = db.session.connection().connection.driver_connection
        driver.execute("SET LOCAL enable_seqscan = off")
        of_some_rows = "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
        partial = {name for (name,) in driver.execute(of_some_rows).fetchall()}
        for table, recorder in recorders.items():
            driver.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table} CASCADE")
            sent = [one for one in recorder.asked.values() if one.sql.startswith(f"UPDATE {table} ")]
            assert sent
            for one in sent:
                [[[told]]] = driver.execute(f"EXPLAIN (FORMAT JSON) {one.sql}", one.values).fetchall()
                read = {node["Index Name"] for node in plans._nodes(told["Plan"]) if "Index Name" in node}
                assert not read & partial, one.sql
        db.session.rollback()


def test_a_list_without_its_index_is_found_out(filled):
    with filled.app_context():
        with db.engine.begin() as connection:
            connection.execute(text("DROP INDEX ix_payments_provider_status"))
        asked = [plans.Asked("SELECT id FROM payments WHERE provider = 'bank' AND status = 'pending'", (), "/a-list")]
        findings, _ = plans.explain(filled, asked)
        with db.engine.begin() as connection:
            connection.execute(text("CREATE INDEX ix_payments_provider_status ON payments (provider, status)"))
    assert [(one.table, one.path) for one in findings] == [("payments", "/a-list")]


def test_what_was_filled_agrees_with_the_ledger_and_has_its_indexes_again(filled):
    with filled.app_context():
        assert order_queries.proof() == []
        made = set(db.session.scalars(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")))
        db.session.remove()
    wanted = {index.name for name in fill.FILLED for index in db.metadata.tables[name].indexes}
    assert wanted <= made
