"""Refunds by line and quantity, in parts: what comes back, to whom, once; and what must not come back."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.db import db
from orders.rules import give_back
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, csrf_of
from voucher import services as voucher_services

M1, M2 = "13800000001", "13800000002"


def bought(world, *wanted):
    number = world.place(M1, *wanted).json["number"]
    assert world.pay(M1, number).json["order_status"] == "paid"
    return number


def refund(world, number, *lines, login=M1, **options):
    body = {"lines": [{"line_id": str(line), "quantity": quantity} for line, quantity in lines], "reason": "不想要了"}
    return world.call(login, "POST", f"/orders/{number}/refunds", body, **options)


def ship(world, login, number):
    parcels = world.call(login, "GET", "/merchant/parcels?status=to_ship").json["items"]
    own = next(parcel["id"] for parcel in parcels if parcel["order_number"] == number)
    body = {"carrier": "顺丰", "tracking_no": "SF1"}
    assert world.call(login, "POST", f"/merchant/parcels/{own}/ship", body).status_code == 200
    return own


def sent_back(world, number):
    with world.app.app_context():
        return [(one.amount_fen, one.status) for one in gateway_queries.refunds_of(int(number))]


@pytest.mark.parametrize(
    ("lines", "returned", "cash", "voucher"),
    [
        ([("A150", 1), ("B150", 1)], (1, 1), 12000, 3000),  # rules.md: ¥150 + ¥150, return one
        ([("A100", 1), ("B40", 1)], (2, 1), 3429, 571),  # ¥140: ¥20 off, B40's share is 571 fen
    ],
)
def test_a_returned_unit_takes_its_share_along(world, lines, returned, cash, voucher):
    number = bought(world, *lines)
    balance = world.voucher(M1)["balance_fen"]
    code = lines[returned[0] - 1][0]
    before = world.stock(code)
    answer = refund(world, number, returned)
    assert answer.status_code == 201, answer.text
    assert (answer.json["cash_back_fen"], answer.json["voucher_back_fen"]) == (cash, voucher)
    assert (answer.json["status"], answer.json["voucher_to"]) == ("accepted", "balance")
    assert world.voucher(M1)["balance_fen"] == balance + voucher
    assert world.stock(code) == (before[0] + 1, 0, before[2] - 1)
    assert sent_back(world, number) == [(cash, "succeeded")]
    order = world.call(M1, "GET", f"/orders/{number}").json
    assert [line["refunded"] for line in order["lines"]] == [
        int(line["id"] == str(returned[0])) for line in order["lines"]
    ]
    assert order["status"] == "paid"
    assert world.breaches() == []


def test_three_refunds_of_one_end_at_one_refund_of_three(world):
    number = bought(world, ("A100", 1), ("B40", 3))  # ¥220: ¥40 off; the odd fen fall on one unit
    line = world.call(M1, "GET", f"/orders/{number}").json["lines"][1]
    answers = [refund(world, number, (2, 1)).json for _ in range(3)]
    assert sum(answer["voucher_back_fen"] for answer in answers) == line["discount_fen"]
    assert sum(answer["cash_back_fen"] for answer in answers) == line["amount_fen"] - line["discount_fen"]
    order = world.call(M1, "GET", f"/orders/{number}").json
    assert [parcel["status"] for parcel in order["parcels"]] == ["to_ship", "cancelled"]
    assert refund(world, number, (1, 1)).status_code == 201
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "refunded"
    assert world.voucher(M1)["balance_fen"] == 20000
    assert world.stock("B40") == (50, 0, 0)
    assert sum(amount for amount, _ in sent_back(world, number)) == 18000
    assert world.breaches() == []


def test_parts_end_at_the_whole_for_any_split():
    for quantity in range(1, 8):
        for discount in (0, 1, 7, 99, 100 * quantity):
            line = {"amount_fen": 100 * quantity, "discount_fen": discount, "quantity": quantity}
            for first in range(1, quantity):
                parts = [
                    give_back(**line, before=0, units=first),
                    give_back(**line, before=first, units=quantity - first),
                ]
                assert sum(part.voucher_fen for part in parts) == discount
                assert sum(part.cash_fen for part in parts) == 100 * quantity - discount
                assert all(part.cash_fen >= 0 for part in parts)


def test_more_than_was_bought_is_refused_and_nothing_moves(world):
    number = bought(world, ("A150", 2))
    for lines in ([(1, 3)], [(1, 2), (1, 1)]):
        refused = refund(world, number, *lines)
        assert (refused.status_code, refused.json["code"]) == (409, "over_limit")
    assert refund(world, number, (1, 2)).status_code == 201
    again = refund(world, number, (1, 1))
    assert (again.status_code, again.json["code"]) == (409, "over_limit")  # all of it went back
    assert world.voucher(M1)["balance_fen"] == 20000
    assert sent_back(world, number) == [(24000, "succeeded")]
    assert world.breaches() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"lines": []},
        {"lines": [{"line_id": "1", "quantity": 0}]},
        {"lines": [{"line_id": "1", "quantity": -1}]},
        {"lines": [{"line_id": "1", "quantity": 1.5}]},
        {"lines": [{"line_id": "9", "quantity": 1}]},
        {"lines": [{"line_id": [], "quantity": 1}]},
        {"lines": [{"line_id": "1", "quantity": 10**9}]},
        {"lines": [{"line_id": "1", "quantity": 1}], "reason": "长" * 201},
    ],
)
def test_bad_requests_are_refused(world, body):
    number = bought(world, ("A150", 1))
    refused = world.call(M1, "POST", f"/orders/{number}/refunds", body)
    assert (refused.status_code, refused.json["code"]) == (422, "invalid"), refused.text
    assert sent_back(world, number) == []


def test_an_unpaid_order_and_anothers_are_not_refunded(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    assert refund(world, number, (1, 1)).json["code"] == "state_conflict"
    world.pay(M1, number)
    assert refund(world, number, (1, 1), login=M2).status_code == 404
    assert refund(world, number, (1, 1), key=None).json["code"] == "idempotency_key_required"
    assert world.stock("A150") == (49, 0, 1)


def test_the_same_key_refunds_once(world):
    number = bought(world, ("A150", 2))
    first = refund(world, number, (1, 1), key="once")
    again = refund(world, number, (1, 1), key="once")
    assert again.data == first.data
    assert again.headers["Idempotent-Replayed"] == "true"
    assert refund(world, number, (1, 2), key="once").json["code"] == "idempotency_conflict"
    assert len(sent_back(world, number)) == 1


def test_what_was_shipped_waits_for_its_merchant(world):
    number = bought(world, ("A150", 1), ("B150", 1))
    ship(world, MERCHANT_A, number)
    asked = refund(world, number, (1, 1), (2, 1)).json
    assert (asked["status"], asked["cash_back_fen"], asked["voucher_back_fen"]) == ("requested", 24000, 6000)
    assert sent_back(world, number) == [(12000, "succeeded")]  # B's part had not left
    assert world.stock("B150") == (50, 0, 0)
    waiting = world.call(MERCHANT_A, "GET", "/merchant/refunds?status=requested").json["items"]
    assert [(part["id"], part["cash_back_fen"]) for part in waiting] == [(asked["id"], 12000)]
    assert "phone" not in str(waiting)
    assert [part["status"] for part in world.call(MERCHANT_B, "GET", "/merchant/refunds").json["items"]] == ["accepted"]

    assert refund(world, number, (1, 1)).json["code"] == "over_limit"  # it is asked back already
    accepted = world.call(MERCHANT_A, "POST", f"/merchant/refunds/{asked['id']}/accept")
    assert (accepted.status_code, accepted.json["status"]) == (200, "accepted")
    again = world.call(MERCHANT_A, "POST", f"/merchant/refunds/{asked['id']}/accept")
    assert again.json["code"] == "state_conflict"
    assert world.stock("A150") == (49, 0, 1)  # it left: it does not come back to the shelf by itself
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "refunded"
    assert world.voucher(M1)["balance_fen"] == 20000
    assert world.breaches() == []


def test_a_decline_is_appealed_to_the_operator(world):
    number = bought(world, ("A150", 2))
    ship(world, MERCHANT_A, number)
    asked = refund(world, number, (1, 1)).json["id"]
    path = f"/merchant/refunds/{asked}"
    assert world.call(MERCHANT_B, "POST", f"{path}/decline", {"reason": "不行"}).status_code == 404
    assert world.call(MERCHANT_A, "POST", f"{path}/decline", {}).status_code == 422
    declined = world.call(MERCHANT_A, "POST", f"{path}/decline", {"reason": "已拆封"})
    assert (declined.json["status"], declined.json["decline_reason"]) == ("declined", "已拆封")
    assert world.call(MERCHANT_A, "POST", f"{path}/accept").json["code"] == "state_conflict"
    assert world.call(OPERATOR, "GET", "/admin/refunds").json["items"] == []
    merchant_id = declined.json["merchant"]["id"]
    decide = f"/admin/refunds/{asked}/{merchant_id}/accept"
    assert world.call(OPERATOR, "POST", decide).json["code"] == "state_conflict"

    other = world.call(M2, "POST", f"/orders/{number}/refunds/{asked}/appeal", {"reason": "没有拆"})
    assert other.status_code == 404
    appealed = world.call(M1, "POST", f"/orders/{number}/refunds/{asked}/appeal", {"reason": "没有拆"})
    assert appealed.status_code == 200
    assert [part["appeal_reason"] for part in world.call(OPERATOR, "GET", "/admin/refunds").json["items"]] == ["没有拆"]
    assert world.call(OPERATOR, "POST", decide).json["status"] == "accepted"
    assert sent_back(world, number) == [(12000, "succeeded")]
    assert world.breaches() == []


def test_the_operators_no_is_final(world):
    number = bought(world, ("A150", 1))
    ship(world, MERCHANT_A, number)
    asked = refund(world, number, (1, 1)).json
    merchant_id = asked["parts"][0]["merchant"]["id"]
    world.call(MERCHANT_A, "POST", f"/merchant/refunds/{asked['id']}/decline", {"reason": "已拆封"})
    world.call(M1, "POST", f"/orders/{number}/refunds/{asked['id']}/appeal", {"reason": "没有拆"})
    path = f"/admin/refunds/{asked['id']}/{merchant_id}"
    assert world.call(OPERATOR, "POST", f"{path}/decline", {"reason": "照片显示已拆封"}).status_code == 200
    again = world.call(M1, "POST", f"/orders/{number}/refunds/{asked['id']}/appeal", {"reason": "再看"})
    assert again.json["code"] == "state_conflict"
    assert world.call(OPERATOR, "POST", f"{path}/accept").json["code"] == "state_conflict"
    assert sent_back(world, number) == []
    assert world.breaches() == []


def test_a_merchant_that_does_not_answer_leaves_it_to_the_operator(world, monkeypatch):
    number = bought(world, ("A150", 1))
    ship(world, MERCHANT_A, number)
    asked = refund(world, number, (1, 1)).json
    assert world.call(OPERATOR, "GET", "/admin/refunds").json["items"] == []
    later = clock.now() + timedelta(days=4)
    monkeypatch.setattr(clock, "now", lambda: later)
    waiting = world.call(OPERATOR, "GET", "/admin/refunds").json["items"]
    assert [part["id"] for part in waiting] == [asked["id"]]
    merchant_id = waiting[0]["merchant"]["id"]
    assert world.call(OPERATOR, "POST", f"/admin/refunds/{asked['id']}/{merchant_id}/accept").status_code == 200
    assert sent_back(world, number) == [(12000 + 1000, "succeeded")]


def test_an_ended_vouchers_value_goes_to_the_budget_and_the_answer_says_so(world):
    number = bought(world, ("A150", 2))
    with world.app.app_context():
        db.session.execute(text("UPDATE campaigns SET ends_at = :now"), {"now": clock.now() - timedelta(seconds=1)})
        db.session.commit()
        voucher_services.expire_ended(now=clock.now())
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    answer = refund(world, number, (1, 1)).json
    assert (answer["voucher_back_fen"], answer["voucher_to"]) == (3000, "budget")
    voucher = world.voucher(M1)
    assert (voucher["balance_fen"], voucher["status"]) == (0, "expired")
    after = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert after["member_budget_left_fen"] == report["member_budget_left_fen"] + 3000
    assert world.breaches() == []


def test_only_what_is_left_is_shipped(world):
    number = bought(world, ("A150", 2))
    refund(world, number, (1, 1))
    ship(world, MERCHANT_A, number)
    assert world.stock("A150") == (49, 0, 1)
    with world.app.app_context():
        assert db.session.execute(text("SELECT max(shipped) FROM stocks")).scalar_one() == 1
    assert world.breaches() == []


def test_an_order_with_a_returned_parcel_is_completed_by_the_others(world):
    number = bought(world, ("A150", 1), ("B150", 1))
    refund(world, number, (2, 1))
    parcel = ship(world, MERCHANT_A, number)
    assert world.call(M1, "POST", f"/orders/{number}/parcels/{parcel}/receive").json["status"] == "completed"
    gone = world.call(MERCHANT_B, "GET", "/merchant/parcels").json["items"][0]
    refused = world.call(
        MERCHANT_B, "POST", f"/merchant/parcels/{gone['id']}/ship", {"carrier": "顺丰", "tracking_no": "1"}
    )
    assert (gone["status"], refused.json["code"]) == ("cancelled", "state_conflict")


def test_returned_units_can_be_bought_again_within_the_limit(world):
    with world.app.app_context():
        db.session.execute(text("UPDATE campaigns SET pack_limit = 1"))
        db.session.commit()
    number = bought(world, ("A150", 1))
    assert world.place(M1, ("A150", 1)).json["code"] == "over_limit"
    refund(world, number, (1, 1))
    assert world.place(M1, ("A150", 1)).status_code == 201


def test_the_report_counts_what_was_kept(world):
    number = bought(world, ("A150", 1), ("B150", 1))
    refund(world, number, (2, 1))
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert report["sales_fen"] == 15000
    assert report["redeemed_fen"] == 3000
    assert [row["subsidy_fen"] for row in report["sales_by_tier"]] == [3000]


def test_a_transfer_goes_back_by_the_operators_hand(world):
    draft = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 3))).json
    path = f"/bulk/orders/{draft['number']}"
    people = [{"name": f"人{n}", "phone": f"1380000{n:04d}", "employee_no": str(n)} for n in range(3)]
    assert world.call(OFFICER, "PUT", f"{path}/roster", {"recipients": people}).json["rejected"] == 0
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/approve").status_code == 200
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    assert (
        world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", {"amount_fen": 37000}).status_code
        == 200
    )
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "一人离职"}
    answer = world.call(OFFICER, "POST", f"{path}/refunds", body)
    assert answer.status_code == 201, answer.text
    share = 8000 // 3
    assert (answer.json["cash_back_fen"], answer.json["voucher_back_fen"]) == (15000 - share, share)
    assert answer.json["voucher_to"] == "budget"
    assert sent_back(world, draft["number"]) == [(15000 - share, "pending")]
    with world.app.app_context():
        waiting = gateway_queries.waiting_refunds(provider="bank_transfer")[0].id
    send = f"/admin/payment-refunds/{waiting}/sent"
    assert world.call(OPERATOR, "POST", send, {"reference": "B1"}).status_code == 200
    assert world.call(OPERATOR, "POST", send, {"reference": "B2"}).json["code"] == "state_conflict"
    assert sent_back(world, draft["number"]) == [(15000 - share, "succeeded")]
    assert world.breaches() == []


def test_an_order_paid_twice_gives_each_payment_back_once(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    cashiers = [
        world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json["redirect_url"]
        for _ in range(2)
    ]
    for cashier in cashiers:
        world.app.test_client().post(cashier, data={"outcome": "pay"})
    assert sent_back(world, number) == [(13000, "succeeded")]  # the second payment, at once
    assert refund(world, number, (1, 1)).json["cash_back_fen"] == 13000
    assert sent_back(world, number) == [(13000, "succeeded"), (13000, "succeeded")]
    with world.app.app_context():
        payments = gateway_queries.of_order(int(number))
        assert [(one.amount_fen, one.status) for one in payments] == [(13000, "refunded")] * 2
    assert world.breaches() == []


def test_pages_return_goods_from_preview_to_the_operators_verdict(world):
    number = bought(world, ("A150", 2))
    ship(world, MERCHANT_A, number)
    member = world.browser(M1)
    shown = member.get(f"/orders/{number}/refund?line_1=1&preview=1").text
    assert "¥120" in shown
    assert "2 份共 ¥300，其中优惠 ¥60" in shown
    assert "最多还能退 2 份" in member.get(f"/orders/{number}/refund?line_1=3&preview=1").text
    assert sent_back(world, number) == []
    form = {"csrf_token": csrf_of(shown), "line_1": "1", "reason": "坏了", "idempotency_key": "k"}
    assert member.post(f"/orders/{number}/refund", data=form).status_code == 303
    assert member.post(f"/orders/{number}/refund", data=form).status_code == 303  # a double tap asks once
    page = member.get(f"/orders/{number}").text
    assert page.count("等商户答复") == 1

    merchant = world.browser(MERCHANT_A)
    queue = merchant.get("/merchant/refunds").text
    refund_id = world.call(MERCHANT_A, "GET", "/merchant/refunds").json["items"][0]["id"]
    token = {"csrf_token": csrf_of(queue)}
    assert "坏了" in queue
    merchant.post(f"/merchant/refunds/{refund_id}/decline", data=token)
    assert "待处理" in merchant.get("/merchant/refunds").text
    merchant.post(f"/merchant/refunds/{refund_id}/decline", data={**token, "reason": "没坏"})
    page = member.get(f"/orders/{number}").text
    assert "没坏" in page
    member.post(f"/orders/{number}/refunds/{refund_id}/appeal", data={"csrf_token": csrf_of(page), "reason": "看照片"})

    operator = world.browser(OPERATOR)
    queue = operator.get("/admin/refunds").text
    assert "看照片" in queue
    merchant_id = world.call(OPERATOR, "GET", "/admin/refunds").json["items"][0]["merchant"]["id"]
    operator.post(f"/admin/refunds/{refund_id}/{merchant_id}/accept", data={"csrf_token": csrf_of(queue)})
    assert sent_back(world, number) == [(12000, "succeeded")]
    assert "账上：付款退回 ¥120，优惠退回 ¥30" in member.get(f"/orders/{number}").text


def test_why_is_told_from_the_ledger(world):
    first = bought(world, ("A150", 2))
    number = bought(world, ("A150", 10))
    told = world.call(M1, "GET", f"/orders/{number}/why").json["discount"]
    assert told == [
        "10 × ¥150 = ¥1,500",
        "每满 ¥100 省 ¥20：¥1,500 里有 15 个整 ¥100，15 × ¥20 = ¥300。",
        "福利券余额只有 ¥140，所以只优惠 ¥140。",
        "¥1,500 − ¥140 = ¥1,360",
    ]
    refund(world, number, (1, 3))
    refund(world, number, (1, 4))
    why = world.call(M1, "GET", f"/orders/{number}/why").json["refunds"]
    assert "¥140 × 7 ÷ 10 = ¥98（不足一分舍去），减去以前退过的 ¥42，退回优惠 ¥56。" in why[1]["why"][1]
    assert why[1]["why"][3] == "账上：付款退回 ¥544，优惠退回 ¥56。"
    assert world.call(M1, "GET", f"/orders/{first}/why").json["discount"][2].startswith("福利券余额是 ¥200，够用")
    assert world.call(M2, "GET", f"/orders/{first}/why").status_code == 404
    quoted = world.call(M2, "POST", "/quotes", world.lines(("A100", 1), ("B40", 1))).json["why"]
    assert quoted[-1] == "“礼包B40”按金额分摊到优惠 ¥5.71。"
