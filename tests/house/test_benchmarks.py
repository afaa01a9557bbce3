"""What the performance figures come from runs, at a tiny size, and its tables add up. Never for speed."""

from benchmarks import fill, postgres, scale
from kernel.db import db
from orders import queries as order_queries


def test_filled_tables_agree_with_their_postings(new_postgresql_database):
    app = postgres.app_on(new_postgresql_database("huigong_filled"))
    fill.people(app, members=50, stock=1000)
    assert scale.bare(app) > 0
    fill.vouchers(app)
    fill.orders(app, count=400)
    with app.app_context():
        assert order_queries.proof() == []
        figures = order_queries.report(1)
        assert figures["orders"] == {"cancelled": 20, "paid": 20, "completed": 360}
        assert figures["sales_fen"] == 380 * 200_00
        db.session.remove()
        db.engine.dispose()
