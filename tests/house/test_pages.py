"""A page costs a fixed number of queries, however much it shows."""

import pytest
from sqlalchemy import event

from catalog import services as catalog_services
from kernel import clock
from kernel.db import db
from tests.factories import MERCHANT_A, OFFICER, OPERATOR

M1 = "13800000001"
AT_MOST = 14


def statements(client, engine, path):
    seen = []

    def listen(connection, cursor, statement, *rest):
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    return seen


def fill(world, times):
    """More packs, orders, parcels and union orders."""
    with world.app.app_context():
        catalog_services.bring_in_packs(
            [
                {
                    "code": f"X{times}-{number}",
                    "merchant": "A",
                    "name": f"新礼包{times}-{number}",
                    "price_fen": 10000,
                    "contents": [{"name": "米", "quantity": 1, "unit": "袋"}],
                    "stock": 5,
                }
                for number in range(times * 3)
            ],
            now=clock.now(),
        )
    for _ in range(times):
        number = world.place(M1, ("A150", 1), ("B40", 1)).json["number"]
        world.pay(M1, number)
        bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 1))).json["number"]
        world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/submit")


@pytest.mark.parametrize(
    ("login", "path"),
    [
        (None, "/"),
        (M1, "/"),
        (M1, "/packs/{pack}"),
        (M1, "/cart"),
        (M1, "/checkout"),
        (M1, "/orders"),
        (M1, "/vouchers"),
        (OFFICER, "/union/"),
        (OFFICER, "/union/orders/new"),
        (MERCHANT_A, "/merchant/"),
        (MERCHANT_A, "/merchant/parcels"),
        (MERCHANT_A, "/merchant/packs/{pack}"),
        (OPERATOR, "/admin/"),
        (OPERATOR, "/admin/transfers"),
        (OPERATOR, "/admin/people/"),
        (OPERATOR, "/admin/audit/"),
        (M1, "/account/"),
    ],
)
def test_a_pages_queries_are_few_and_do_not_grow(world, login, path):
    client = world.browser(login) if login else world.app.test_client()
    with client.session_transaction() as session:
        session["cart"] = {world.packs["A150"]: 1}
    with world.app.app_context():
        engine = db.engine
    path = path.format(pack=world.packs["A150"])
    fill(world, 1)
    few = statements(client, engine, path)
    fill(world, 3)
    many = statements(client, engine, path)
    assert len(many) == len(few)
    assert len(many) <= AT_MOST, "\n".join(many)
