"""A member's order, from quote to parcel, and what must not happen on the way."""

from datetime import timedelta

import pytest
from sqlalchemy import event, text

from kernel import clock
from kernel.db import db
from kernel.money import yuan
from orders import queries as order_queries
from orders.services import placing
from tests.factories import MERCHANT_A, MERCHANT_B, OPERATOR, SHIP

M1, M2 = "13800000001", "13800000002"


def nothing_held(world, login=M1):
    voucher = world.voucher(login)
    return (voucher["balance_fen"], voucher["held_fen"]) == (20000, 0) and all(
        world.stock(code)[1:] == (0, 0) for code in world.packs
    )


def test_an_order_is_placed_paid_shipped_and_received(world):
    order = world.place(M1, ("A150", 1), ("B150", 1))
    assert order.status_code == 201
    assert (order.json["subtotal_fen"], order.json["discount_fen"], order.json["payable_fen"]) == (30000, 6000, 24000)
    assert [line["discount_fen"] for line in order.json["lines"]] == [3000, 3000]
    assert world.voucher(M1)["balance_fen"] == 14000
    assert world.stock("A150") == (49, 1, 0)

    number = order.json["number"]
    assert world.pay(M1, number).json["order_status"] == "paid"
    voucher = world.voucher(M1)
    assert (voucher["balance_fen"], voucher["held_fen"], voucher["redeemed_fen"]) == (14000, 0, 6000)
    assert world.stock("A150") == (49, 0, 1)

    mine = world.call(MERCHANT_A, "GET", "/merchant/parcels?status=to_ship").json["items"]
    assert [parcel["order_number"] for parcel in mine] == [number]
    other = world.call(
        MERCHANT_B, "POST", f"/merchant/parcels/{mine[0]['id']}/ship", {"carrier": "顺丰", "tracking_no": "1"}
    )
    assert other.status_code == 404
    for login in (MERCHANT_A, MERCHANT_B):
        parcel = world.call(login, "GET", "/merchant/parcels").json["items"][0]["id"]
        shipped = world.call(
            login, "POST", f"/merchant/parcels/{parcel}/ship", {"carrier": "顺丰", "tracking_no": "SF1"}
        )
        assert shipped.json["status"] == "shipped"
        again = world.call(login, "POST", f"/merchant/parcels/{parcel}/ship", {"carrier": "顺丰", "tracking_no": "SF2"})
        assert again.json["code"] == "state_conflict"
        received = world.call(M1, "POST", f"/orders/{number}/parcels/{parcel}/receive")
        assert received.status_code == 200
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "completed"
    assert world.breaches() == []


def test_a_voucher_tells_its_history(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.call(M1, "POST", f"/orders/{number}/cancel")
    own = world.voucher(M1)["id"]
    entries = world.call(M1, "GET", f"/me/vouchers/{own}/entries").json["items"]
    assert [(row["kind"], row["balance_fen"]) for row in entries] == [
        ("issue", 20000),
        ("hold", 18000),
        ("release", 20000),
    ]
    assert world.call(M2, "GET", f"/me/vouchers/{own}/entries").status_code == 404


def test_the_same_key_places_one_order_and_repeats_its_answer(world):
    first = world.place(M1, ("A150", 2), key="once")
    world.pay(M1, first.json["number"])
    again = world.place(M1, ("A150", 2), payable_fen=24000, key="once")
    assert again.status_code == 201
    assert again.data == first.data
    assert again.headers["Idempotent-Replayed"] == "true"
    other = world.place(M1, ("A150", 1), payable_fen=13000, key="once")
    assert (other.status_code, other.json["code"]) == (409, "idempotency_conflict")
    assert world.stock("A150") == (48, 0, 2)
    missing = world.place(M1, ("A150", 1), key=None)
    assert (missing.status_code, missing.json["code"]) == (400, "idempotency_key_required")


def test_the_same_key_cancels_once_and_repeats_its_answer(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    path = f"/orders/{number}/cancel"
    first = world.call(M1, "POST", path, key="cancel-1")
    assert (first.status_code, first.json["status"]) == (200, "cancelled")
    again = world.call(M1, "POST", path, key="cancel-1")
    assert (again.status_code, again.data, again.headers["Idempotent-Replayed"]) == (200, first.data, "true")
    assert world.call(M1, "POST", path, {"other": 1}, key="cancel-1").json["code"] == "idempotency_conflict"
    for key in ("cancel-2", None):
        assert world.call(M1, "POST", path, key=key).json["code"] == "state_conflict"
    paid = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, paid)
    assert world.call(M1, "POST", f"/orders/{paid}/cancel", key="cancel-3").json["code"] == "state_conflict"
    assert world.voucher(M1)["balance_fen"] == 18000
    assert world.breaches() == []


def test_a_changed_price_is_refused_with_the_new_quote_and_nothing_is_held(world):
    refused = world.place(M1, ("A150", 2), payable_fen=30000)
    assert (refused.status_code, refused.json["code"]) == (409, "price_changed")
    assert refused.json["quote"]["payable_fen"] == 24000
    assert nothing_held(world)


def test_where_one_merchant_is_out_of_stock_nothing_is_held_anywhere(world):
    refused = world.place(M1, ("A150", 1), ("B150", 51))
    assert (refused.status_code, refused.json["code"]) == (409, "out_of_stock")
    assert [pack["id"] for pack in refused.json["packs"]] == [world.packs["B150"]]
    assert nothing_held(world)


def test_two_lines_of_one_pack_do_not_sell_the_last_one_twice(world):
    assert world.place(M1, ("A100", 25), ("A100", 26)).json["code"] == "out_of_stock"
    assert nothing_held(world)
    assert world.place(M1, ("A100", 25), ("A100", 25)).status_code == 201
    assert world.stock("A100") == (0, 50, 0)


def test_an_unpaid_order_expires_without_a_worker_and_gives_everything_back(world):
    number = world.place(M1, ("A150", 50)).json["number"]
    with world.app.app_context():
        db.session.execute(text("UPDATE orders SET expires_at = :past"), {"past": clock.now() - timedelta(minutes=1)})
        db.session.commit()
    # Another buyer is not kept waiting for a sweeper, and the owner sees it expired.
    assert world.place(M2, ("A150", 1)).status_code == 201
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "expired"
    assert world.voucher(M1)["balance_fen"] == 20000
    assert world.stock("A150") == (49, 1, 0)
    assert world.call(M1, "POST", f"/orders/{number}/cancel").json["code"] == "state_conflict"
    with world.app.app_context():
        assert placing.expire_due(now=clock.now()) == 0
    assert world.breaches() == []


def test_the_limit_of_a_pack_counts_what_is_held_or_bought_whether_or_not_a_worker_came_by(world):
    with world.app.app_context():
        db.session.execute(text("UPDATE campaigns SET pack_limit = 2"))
        db.session.commit()
    world.place(M1, ("A150", 2))
    refused = world.place(M1, ("A150", 1), payable_fen=13000)
    assert (refused.status_code, refused.json["code"]) == (409, "over_limit")
    assert "礼包A150" in refused.json["detail"]
    assert world.place(M2, ("A150", 2)).status_code == 201
    with world.app.app_context():
        db.session.execute(text("UPDATE orders SET expires_at = :past"), {"past": clock.now() - timedelta(minutes=1)})
        db.session.commit()
    assert world.place(M1, ("A150", 3), payable_fen=37000).json["code"] == "over_limit"
    assert world.place(M1, ("A150", 2), payable_fen=24000).status_code == 201
    assert world.breaches() == []


@pytest.mark.parametrize("outcome", ["pay", "twice", "reversed", "late"])
def test_however_often_and_late_the_events_come_an_order_is_paid_once(world, outcome):
    number = world.place(M1, ("A150", 2)).json["number"]
    assert world.pay(M1, number, outcome).json["order_status"] == "paid"
    voucher = world.voucher(M1)
    assert (voucher["held_fen"], voucher["redeemed_fen"]) == (0, 6000)
    assert world.stock("A150") == (48, 0, 2)
    assert world.breaches() == []


def test_a_declined_payment_leaves_the_order_to_be_paid(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    assert world.pay(M1, number, "decline").json == {
        "order_number": number,
        "order_status": "pending_payment",
        "payment_status": "declined",
    }
    assert world.pay(M1, number).json["order_status"] == "paid"


def test_a_late_payment_whose_stock_is_gone_is_refunded_in_full(world):
    number = world.place(M1, ("A150", 50)).json["number"]
    payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    world.call(M1, "POST", f"/orders/{number}/cancel")
    assert world.place(M2, ("A150", 1)).status_code == 201
    paid = world.app.test_client().post(
        payment["redirect_url"], data={"outcome": "pay"}, headers={"Accept": "application/json"}
    )
    assert (paid.json["order_status"], paid.json["payment_status"]) == ("cancelled", "refunded")
    assert world.stock("A150") == (49, 1, 0)
    assert world.voucher(M1)["balance_fen"] == 20000
    assert world.breaches() == []


def test_three_unpaid_orders_are_the_limit(world):
    placed = [world.place(M1, ("B40", 1)).status_code for _ in range(4)]
    assert placed == [201, 201, 201, 409]
    assert world.stock("B40")[1] == 3


def test_anothers_order_does_not_exist(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/payments")):
        body = {"provider": "sandbox"} if path == "/payments" else None
        refused = world.call(M2, method, f"/orders/{number}{path}", body)
        assert (refused.status_code, refused.json["code"]) == (404, "not_found")


def test_placing_an_order_issues_at_most_eight_statements_and_stock_comes_last(world):
    world.call(M1, "GET", "/me")
    statements = []
    with world.app.app_context():
        engine = db.engine

    def record(connection, cursor, statement, parameters, context, executemany):
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        placed = world.place(M1, ("A150", 1), ("B150", 1), payable_fen=24000)
    finally:
        event.remove(engine, "before_cursor_execute", record)
    assert placed.status_code == 201
    work = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert len(work) <= 8, work
    assert "UPDATE stocks" in work[-1]


BAD_BODIES = [
    None,
    [],
    "x",
    {},
    {"lines": 5},
    {"lines": []},
    {"lines": [{}] * 101},
    {"lines": [{"pack_id": None, "quantity": 1}]},
    {"lines": [{"pack_id": "1", "quantity": "2"}]},
    {"lines": [{"pack_id": "1", "quantity": 1.5}]},
    {"lines": [{"pack_id": "1", "quantity": -1}]},
    {"lines": [{"pack_id": "1", "quantity": 0}]},
    {"lines": [{"pack_id": "1", "quantity": 10**30}]},
    {"lines": [{"pack_id": "1", "quantity": True}]},
    {"lines": [{"pack_id": "99999999999999999999", "quantity": 1}]},
    {"lines": [{"pack_id": "9223372036854775807", "quantity": 1}]},
    {"lines": [{"pack_id": {"a": 1}, "quantity": 1}]},
    {"campaign": "\x00", "lines": [{"pack_id": "1", "quantity": 1}]},
    {"campaign": 7, "lines": [{"pack_id": "1", "quantity": 1}]},
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=str)
def test_no_input_yields_a_500_and_bad_input_changes_nothing(world, body):
    if isinstance(body, dict):
        body = {"campaign": "spring", **body}
    for path in ("/quotes", "/orders"):
        whole = {**body, "payable_fen": 0, "delivery": SHIP} if isinstance(body, dict) and path == "/orders" else body
        refused = world.call(M1, "POST", path, whole)
        assert refused.status_code in (400, 404, 415, 422), refused.text
        assert refused.content_type == "application/problem+json"
        assert {"type", "title", "status", "detail", "code"} <= refused.json.keys()
    assert nothing_held(world)


def test_broken_json_cursors_and_ids_are_clear_errors(world):
    headers = {"Authorization": f"Bearer {world.token(M1)}", "Idempotency-Key": "x", "Content-Type": "application/json"}
    client = world.app.test_client()
    for data in (b"{", b"\xff\xfe", b"[" * 100_000):
        assert client.post("/api/v1/orders", data=data, headers=headers).status_code in (400, 422)
    for path in ("/orders?cursor=zz", "/orders?limit=0", "/orders?limit=x", "/packs?cursor=%00", "/packs?tier_fen=1e9"):
        assert world.call(M1, "GET", path).status_code == 422, path
    for path in ("/orders/x", "/orders/-1", "/orders/99999999999999999999", "/packs/0x1", "/campaigns/nope"):
        assert world.call(M1, "GET", path).json["code"] == "not_found", path
    huge = world.call(M1, "POST", "/quotes", {"campaign": "spring", "lines": [{"pack_id": "1" * 10**7}] * 2})
    assert huge.status_code in (413, 422)


def test_field_errors_are_named_by_their_place(world):
    refused = world.call(M1, "POST", "/quotes", {"campaign": "spring", "lines": [{"pack_id": "1", "quantity": 0}]})
    assert list(refused.json["errors"]) == ["lines.0.quantity"]


@pytest.mark.parametrize(
    ("rule", "count", "discount_fen"),
    [((15000, 3500, 12000), 3, 10500), ((4000, 999, 5000), 1, 2997), ((10000, 0, 20000), 2, 0)],
)
def test_the_rule_is_the_campaigns_own(world, rule, count, discount_fen):
    step_fen, save_fen, face_fen = rule
    made = world.call(
        OPERATOR,
        "POST",
        "/admin/campaigns",
        {
            "slug": "other",
            "name": "另一个",
            "starts_at": (clock.now() - timedelta(hours=1)).isoformat(),
            "ends_at": (clock.now() + timedelta(days=2)).isoformat(),
            "rule": {"step_fen": step_fen, "save_fen": save_fen, "face_fen": face_fen},
            "tiers_fen": [15000],
            "member_budget_fen": face_fen,
            "bulk_budget_fen": 0,
            "issue_mode": "claim",
        },
    )
    assert made.status_code == 201, made.text
    assert world.call(M1, "POST", "/campaigns/other/claim").status_code == 201
    assert world.call(M1, "POST", "/campaigns/other/claim").status_code == 200
    assert world.call(M2, "POST", "/campaigns/other/claim").json["code"] == "over_limit"
    quoted = world.call(
        M1, "POST", "/quotes", {"campaign": "other", "lines": [{"pack_id": world.packs["A150"], "quantity": count}]}
    )
    assert quoted.json["discount_fen"] == discount_fen
    body = {"campaign": "other", "lines": [{"pack_id": world.packs["A150"], "quantity": count}]}
    placed = world.call(M1, "POST", "/orders", {**body, "payable_fen": quoted.json["payable_fen"], "delivery": SHIP})
    world.pay(M1, placed.json["number"])
    pages = world.browser(M1)
    left = yuan(face_fen - discount_fen)
    assert left in pages.get("/vouchers").text
    for path in ("/", "/orders", f"/orders/{placed.json['number']}"):
        assert pages.get(path).status_code == 200, path
    assert world.browser(OPERATOR).get("/admin/?campaign=other").status_code == 200
    assert world.breaches() == []


def test_a_breach_planted_by_hand_is_found(world):
    with world.app.app_context():
        db.session.execute(text("UPDATE vouchers SET redeemed_fen = redeemed_fen + 1 WHERE member_id = 1"))
        db.session.execute(text("UPDATE stocks SET taken_in = taken_in + 1 WHERE pack_id = 1"))
        db.session.execute(text("UPDATE campaigns SET bulk_committed_fen = 5"))
        db.session.commit()
    found = world.breaches()
    assert any(breach.startswith("rule 1: voucher") for breach in found)
    assert any(breach.startswith("rule 2: campaign spring") for breach in found)
    assert any(breach.startswith("rule 3: pack 1") for breach in found)
    assert not any(breach.startswith(("rule 4", "rule 5")) for breach in found)


def test_a_paid_order_that_does_not_add_up_is_found(world):
    number = world.place(M1, ("A150", 1), ("B150", 1)).json["number"]
    world.pay(M1, number)
    assert world.breaches() == []
    posting = (
        "INSERT INTO ledger_postings (id, entry, line, kind, debit, credit, amount, merchant_id, order_id, at)"
        " VALUES (999999, 'planted:1', 1, 'paid', 'cash', 'merchant.owed', 7, 1, {order}, '2026-01-01 00:00:00')"
    )
    with world.app.app_context():
        db.session.execute(text(posting.format(order=number)))
        db.session.execute(text(f"UPDATE order_lines SET discount_fen = discount_fen + 1 WHERE order_id = {number}"))
        db.session.commit()
    found = [breach for breach in world.breaches() if f"order {number}" in breach]
    assert [breach[:6] for breach in found] == ["rule 4", "rule 4", "rule 4"]
    assert "merchant 1 is owed 15007" in found[0]


def test_money_owed_to_the_wrong_merchant_is_found(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, number)
    moved = (
        "INSERT INTO ledger_postings (id, entry, line, kind, debit, credit, amount, merchant_id, order_id, at)"
        " VALUES ({id}, 'planted:1', {id}, 'paid', '{debit}', '{credit}', 100, {merchant}, {order},"
        " '2026-01-01 00:00:00')"
    )
    with world.app.app_context():
        for key, debit, credit, merchant in (
            (999998, "merchant.owed", "cash", 1),
            (999999, "cash", "merchant.owed", 2),
        ):
            plant = moved.format(id=key, debit=debit, credit=credit, merchant=merchant, order=number)
            db.session.execute(text(plant))
        db.session.commit()
    found = world.breaches()
    assert found == [
        f"rule 4: order {number}: kept 15000, merchant 1 is owed 14900; subsidy 2000, posted 2000",
        f"rule 4: order {number}: merchant 2 has owed 100, and sold it nothing",
    ]


def test_a_posting_that_is_no_transfer_is_found(world):
    with world.app.app_context():
        postgresql = db.engine.dialect.name == "postgresql"
        if postgresql:
            db.session.execute(text("ALTER TABLE ledger_postings DROP CONSTRAINT ck_ledger_postings_one_unit"))
        else:
            db.session.execute(text("PRAGMA ignore_check_constraints = ON"))
        db.session.execute(
            text(
                "INSERT INTO ledger_postings (id, entry, line, kind, debit, credit, amount, at)"
                " VALUES (999999, 'planted:1', 1, 'x', 'cash', 'stock.held', 7, '2026-01-01 00:00:00')"
            )
        )
        assert order_queries.all_breaches() == ["rule 5: posting 999999 of planted:1 is no transfer"]
        db.session.rollback()
        if not postgresql:
            db.session.execute(text("PRAGMA ignore_check_constraints = OFF"))
            db.session.rollback()


def test_the_report_counts_what_was_released(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.call(M1, "POST", f"/orders/{number}/cancel")
    world.place(M2, ("A100", 1))
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert (report["released_fen"], report["held_fen"], report["redeemed_fen"]) == (6000, 2000, 0)


def test_the_ledger_refuses_to_be_rewritten(world):
    for statement in ("UPDATE ledger_postings SET amount = 1", "DELETE FROM ledger_postings"):
        with world.app.app_context():
            with pytest.raises(Exception, match="append-only"):
                db.session.execute(text(statement))
            db.session.rollback()


def test_queries_of_a_list_do_not_grow_with_it(world):
    for _ in range(3):
        world.place(M1, ("B40", 1))
    with world.app.app_context():
        engine = db.engine
    counts = [len(_statements(world, engine, f"/orders?limit={limit}")) for limit in (1, 3)]
    assert counts[0] == counts[1]


def _statements(world, engine, path):
    seen = []

    def listen(connection, cursor, statement, *rest):
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    world.call(M1, "GET", path)
    event.remove(engine, "before_cursor_execute", listen)
    return seen
