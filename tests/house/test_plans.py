"""No list and no filter reads a table that grows with the orders from end to end: PostgreSQL's own plans say so."""

import re

import pytest
from sqlalchemy import text

from benchmarks import fill, plans, postgres
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from orders.services import summing

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
    assert not [path for path in left_out if not PARTS_OF_ONE_THING.search(path)]
    findings, _ = plans.explain(filled, asked)
    assert [str(one)[:300] for one in findings] == []


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
