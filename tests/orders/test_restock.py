"""What of a return is sold again: the merchant says so by line when it accepts, once, and no more than had left."""

import threading

import pytest

from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, csrf_of
from tests.forms import form_of, send, submit
from tests.orders.test_refunds import M1, bought, refund, sent_back, ship


def accept(world, asked, *restock, login=MERCHANT_A, **options):
    body = {"restock": [{"line_id": str(line), "quantity": count} for line, count in restock]}
    return world.call(login, "POST", f"/merchant/refunds/{asked}/accept", body, **options)


def returned(world, *lines):
    """An order of 3 A150 and 1 A100 that was shipped whole, and of which these units were asked back: the refund."""
    number = bought(world, ("A150", 3), ("A100", 1))
    ship(world, MERCHANT_A, number)
    asked = refund(world, number, *lines)
    assert (asked.status_code, asked.json["status"]) == (201, "requested"), asked.text
    return asked.json["id"]


def movements(world, code):
    found = world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs[code]}/movements").json["items"]
    return [(one["kind"], one["available_change"], one["order_number"] is not None) for one in found]


def on_hand(world, code):
    found = world.call(MERCHANT_A, "GET", "/merchant/packs").json["items"]
    return next((one["on_hand"], one["to_ship"]) for one in found if one["id"] == world.packs[code])


def test_what_came_back_whole_is_sold_again_and_the_rest_is_not(world):
    asked = returned(world, (1, 2), (2, 1))
    assert world.stock("A150") == (47, 0, 3)
    assert on_hand(world, "A150") == (47, 0)
    done = accept(world, asked, (1, 1))
    assert (done.status_code, done.json["restocked"]) == (200, [{"line_id": "1", "quantity": 1}]), done.text
    assert (world.stock("A150"), world.stock("A100")) == ((48, 0, 2), (49, 0, 1))
    assert on_hand(world, "A150") == (48, 0)
    assert movements(world, "A150")[0] == ("refund", 1, True)
    assert movements(world, "A100")[0][0] != "refund"
    audit = world.call(OPERATOR, "GET", "/admin/audit?object=refund").json["items"]
    assert next(one["after"]["restocked"] for one in audit if one["action"] == "refund.accept") == {"1": 1}
    assert world.breaches() == []


def test_without_a_word_nothing_comes_back_to_stock(world):
    asked = returned(world, (1, 2))
    assert world.call(MERCHANT_A, "POST", f"/merchant/refunds/{asked}/accept").json["restocked"] == []
    assert world.stock("A150") == (47, 0, 3)
    assert world.breaches() == []


@pytest.mark.parametrize(
    "restock", [[(1, 3)], [(1, 1), (1, 2)], [(2, 1)], [(9, 1)]], ids=["more", "twice", "another line", "no line"]
)
def test_more_than_had_left_is_refused_and_changes_nothing(world, restock):
    asked = returned(world, (1, 2))
    answer = accept(world, asked, *restock)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert list(answer.json["errors"]) == [f"restock.{len(restock) - 1}.quantity"]
    waiting = world.call(MERCHANT_A, "GET", "/merchant/refunds?status=requested").json["items"]
    assert [one["id"] for one in waiting] == [asked]
    assert world.stock("A150") == (47, 0, 3)
    assert world.breaches() == []


def test_of_a_parcel_that_left_in_part_only_what_left_can_come_back(world):
    number = bought(world, ("A150", 3))
    body = {"carrier": "顺丰", "tracking_no": "1", "lines": [{"line_id": "1", "quantity": 2}]}
    assert world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", body).status_code == 200
    asked = refund(world, number, (1, 3)).json["id"]
    assert accept(world, asked, (1, 3)).status_code == 422
    assert accept(world, asked, (1, 2)).status_code == 200
    assert world.stock("A150") == (50, 0, 0)
    assert on_hand(world, "A150") == (50, 0)
    assert world.breaches() == []


def test_said_twice_it_comes_back_once(world):
    asked = returned(world, (1, 2))
    first = accept(world, asked, (1, 2), key="once")
    again = accept(world, asked, (1, 2), key="once")
    assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
    assert accept(world, asked, (1, 1), key="once").json["code"] == "idempotency_conflict"
    assert accept(world, asked, (1, 2)).json["code"] == "state_conflict"
    assert world.stock("A150") == (49, 0, 1)
    assert len(sent_back(world, world.call(M1, "GET", "/orders").json["items"][0]["number"])) == 1


def test_two_at_once_bring_it_back_once(world):
    asked = returned(world, (1, 2))
    world.token(MERCHANT_A)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(accept(world, asked, (1, 2)).status_code)) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409]
    assert world.stock("A150") == (49, 0, 1)
    assert world.breaches() == []


def test_what_a_union_gave_back_is_kept_for_unions_again(world):
    path = f"/merchant/packs/{world.packs['A100']}"
    assert world.call(MERCHANT_A, "PATCH", path, {"bulk_share": 10}).status_code == 200
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A100", 10))).json["number"]
    people = [{"name": f"人{one}", "phone": f"138111100{one:02d}"} for one in range(10)]
    world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people})
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    confirm = {"amount_fen": payment["amount_fen"]}
    assert world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", confirm).status_code == 200
    ship(world, MERCHANT_A, number)
    body = {"lines": [{"line_id": "1", "quantity": 4}], "reason": "多了"}
    asked = world.call(OFFICER, "POST", f"/bulk/orders/{number}/refunds", body).json["id"]
    assert accept(world, asked, (1, 3)).status_code == 200

    def seen(channel):
        items = world.call(M1, "GET", f"/packs?campaign=spring&channel={channel}&limit=100").json["items"]
        return next(one["available"] for one in items if one["id"] == world.packs["A100"])

    assert (seen("member"), seen("bulk")) == (40, 3)
    assert world.breaches() == []


def test_the_page_asks_by_line_and_keeps_what_was_typed(world):
    asked = returned(world, (1, 2), (2, 1))
    client = world.browser(MERCHANT_A)
    page = client.get("/merchant/refunds").text
    assert 'name="restock_1"' in page
    form = {"csrf_token": csrf_of(page), "restock_1": "3", "restock_2": "0"}
    path = f"/merchant/refunds/{asked}"
    wrong = client.post(f"{path}/accept", data=form)
    assert (wrong.status_code, "回到库存的份数不能多于退回的份数" in wrong.text) == (422, True)
    assert 'value="3"' in wrong.text
    assert client.post(f"{path}/accept", data={**form, "restock_1": "两份"}).status_code == 422
    assert client.post(f"{path}/decline", data={**form, "reason": " "}).status_code == 422
    assert client.post(f"{path}/nothing", data=form).status_code == 404
    assert world.stock("A150") == (47, 0, 3)
    other = world.browser(MERCHANT_B)
    foreign = {**form, "csrf_token": csrf_of(other.get("/merchant/refunds").text)}
    assert other.post(f"{path}/accept", data=foreign).status_code == 404
    done = client.post(f"{path}/accept", data={**form, "restock_1": "2"})
    assert (done.status_code, done.location) == (303, "/merchant/refunds")
    assert "回到库存" in client.get("/merchant/refunds?status=accepted").text
    assert (world.stock("A150"), world.stock("A100")) == ((49, 0, 1), (49, 0, 1))
    assert world.breaches() == []


def test_an_operator_who_decides_for_the_buyer_says_what_is_sold_again(world):
    asked = returned(world, (1, 2), (2, 1))
    declined = world.call(MERCHANT_A, "POST", f"/merchant/refunds/{asked}/decline", {"reason": "已拆封"}).json
    number = world.call(M1, "GET", "/orders").json["items"][0]["number"]
    assert world.call(M1, "POST", f"/orders/{number}/refunds/{asked}/appeal", {"reason": "没拆"}).status_code == 200
    path = f"/admin/refunds/{asked}/{declined['merchant']['id']}/accept"
    more = {"restock": [{"line_id": "1", "quantity": 3}]}
    assert world.call(OPERATOR, "POST", path, more).json["code"] == "invalid"
    desk = world.browser(OPERATOR)
    wrong = submit(desk, "/admin/refunds", path, restock_1="9")
    assert (wrong.status_code, 'value="9"' in wrong.text, "不能多于退回的份数" in wrong.text) == (422, True, True)
    assert submit(desk, "/admin/refunds", path.replace("accept", "decline"), reason=" ").status_code == 422
    assert world.stock("A150") == (47, 0, 3)
    form = form_of(desk, "/admin/refunds", path)
    for _ in range(2):
        assert send(desk, "/admin/refunds", form, restock_1="2").status_code == 303
    assert (world.stock("A150"), world.stock("A100")) == ((49, 0, 1), (49, 0, 1))
    assert "回到库存" in world.browser(MERCHANT_A).get("/merchant/refunds?status=accepted").text
    assert world.breaches() == []
