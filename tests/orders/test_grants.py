"""Gifts to a named list: held for everybody, taken once by each, and what is not taken up goes back."""

import io
import re
import threading
from datetime import timedelta

import pytest

from kernel import clock, sheets
from kernel.db import db
from orders.services import granting
from tests.factories import MERCHANT_A, OPERATOR, SHIP, csrf_of

M1, M2, M3 = "13800000001", "13800000002", "13800000003"
STRANGER = "13911112222"


def people(*phones):
    return [{"name": f"人{phone[-2:]}", "phone": phone} for phone in phones]


def give(world, *phones, key="new", **more):
    body = {
        "name": "劳模慰问",
        "lines": [{"pack_id": world.packs["A150"], "quantity": 1}],
        "recipients": people(*phones),
        **more,
    }
    return world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", body, key=key)


def own(world, login):
    return world.call(login, "GET", "/me/gifts").json["items"][0]


def take(world, login, gift_id, delivery=SHIP):
    return world.call(login, "POST", f"/me/gifts/{gift_id}/confirm", {"delivery": delivery})


def committed(world):
    return world.call(OPERATOR, "GET", "/admin/campaigns/spring").json["grant_committed_fen"]


def counts(world, grant_id):
    items = world.call(OPERATOR, "GET", "/admin/campaigns/spring/grants").json["items"]
    return next(item["counts"] for item in items if item["id"] == grant_id)


def link(world, grant_id, position=1):
    items = world.call(OPERATOR, "GET", f"/admin/grants/{grant_id}/recipients").json["items"]
    return re.sub(r"^https?://[^/]+", "", items[position - 1]["link"])


def test_a_gift_is_held_taken_sent_and_owed_in_full(world):
    made = give(world, M1, M2)
    assert made.status_code == 201, made.text
    assert (made.json["cost_fen"], made.json["recipients"], made.json["counts"]) == (15000, 2, {"waiting": 2})
    assert world.stock("A150") == (48, 2, 0)
    assert committed(world) == 30000
    gift = own(world, M1)
    assert take(world, M2, gift["id"]).status_code == 404
    taken = take(world, M1, gift["id"])
    assert (taken.status_code, taken.json["status"]) == (200, "confirmed")
    assert gift["deadline"].endswith("+08:00"), "in the campaign's zone"
    again = take(world, M1, gift["id"])
    assert again.json["order_number"] == taken.json["order_number"]
    elsewhere = take(world, M1, gift["id"], {**SHIP, "address": "别处 2 号"})
    assert (elsewhere.status_code, elsewhere.json["code"]) == (409, "state_conflict")
    order = world.call(M1, "GET", f"/orders/{taken.json['order_number']}").json
    assert order["delivery"]["address"] == SHIP["address"]
    assert world.stock("A150") == (48, 1, 1)
    order = world.call(M1, "GET", f"/orders/{taken.json['order_number']}").json
    assert (order["status"], order["subtotal_fen"], order["payable_fen"]) == ("paid", 15000, 0)
    assert world.voucher(M1)["balance_fen"] == 20000
    parcels = world.call(MERCHANT_A, "GET", "/merchant/parcels?status=to_ship").json["items"]
    assert [parcel["order_number"] for parcel in parcels] == [order["number"]]
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "不要"}
    refused = world.call(M1, "POST", f"/orders/{order['number']}/refunds", body)
    assert refused.json["code"] == "state_conflict"
    assert counts(world, made.json["id"]) == {"confirmed": 1, "waiting": 1}
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert report["sales_by_channel"][0]["channel"] == "grant"
    assert world.breaches() == []


def test_declined_and_lapsed_gifts_go_back(world):
    made = give(world, M1, M2, M3).json
    assert world.call(M1, "POST", f"/me/gifts/{own(world, M1)['id']}/decline").json["status"] == "declined"
    assert world.stock("A150") == (48, 2, 0)
    assert take(world, M1, own(world, M1)["id"]).json["code"] == "state_conflict"
    take(world, M2, own(world, M2)["id"])
    later = clock.now() + timedelta(days=40)
    with world.app.app_context():
        with pytest.raises(Exception, match="不能再领取"):
            granting.confirm(grant_id=int(made["id"]), position=3, delivery=SHIP, actor_id=None, now=later)
        assert granting.lapse_due(now=later) == 1
        assert granting.lapse_due(now=later) == 0
    assert counts(world, made["id"]) == {"confirmed": 1, "declined": 1, "lapsed": 1}
    assert world.stock("A150") == (49, 0, 1)
    assert committed(world) == 15000
    assert world.breaches() == []


def test_the_same_key_gives_once_and_a_short_budget_or_stock_gives_nothing(world):
    first = give(world, M1, key="once")
    assert give(world, M1, key="once").data == first.data
    assert world.stock("A150") == (49, 1, 0)
    phones = [f"139{number:08d}" for number in range(60)]
    short = give(world, *phones)
    assert (short.json["code"], short.json["packs"][0]["available"]) == ("out_of_stock", 49)
    assert world.call(OPERATOR, "PATCH", "/admin/campaigns/spring", {"grant_budget_fen": 20000}).status_code == 200
    assert give(world, M2).json["code"] == "over_limit"
    lower = world.call(OPERATOR, "PATCH", "/admin/campaigns/spring", {"grant_budget_fen": 100})
    assert lower.json["code"] == "over_limit"
    assert world.stock("A150") == (49, 1, 0)
    assert committed(world) == 15000
    assert world.breaches() == []


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"recipients": []}, ["recipients"]),
        ({"lines": []}, ["lines"]),
        ({"lines": [{"pack_id": "999", "quantity": 1}]}, ["lines.0.pack_id"]),
        ({"lines": [{"pack_id": "1", "quantity": 0}]}, ["lines.0.quantity"]),
        ({"deadline": "2020-01-01T00:00:00+08:00"}, ["deadline"]),
        ({"deadline": "soon"}, ["deadline"]),
        ({"recipients": "everyone"}, ["recipients"]),
    ],
)
def test_bad_grants_are_refused(world, more, fields):
    refused = give(world, M1, **more)
    assert (refused.status_code, sorted(refused.json["errors"])) == (422, fields), refused.text
    assert world.stock("A150") == (50, 0, 0)


def test_a_list_is_reported_row_by_row_and_is_all_or_nothing(world):
    rows = [["劳模名单"], ["姓名", "手机号"], ["甲", M1], ["", "123"], ["乙", f"{M1[:3]} {M1[3:7]} {M1[7:]}"]]
    file = (io.BytesIO(sheets.write(rows)), "list.xlsx")
    data = {"file": file, "pack_id": world.packs["A150"], "name": "慰问"}
    refused = world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", data=data)
    assert refused.status_code == 422
    told = [(row["row"], row["column"]) for row in refused.json["rows"]]
    assert told == [(4, "姓名"), (4, "手机号"), (5, "手机号")]
    assert world.stock("A150") == (50, 0, 0)
    data["file"] = (io.BytesIO(sheets.write([*rows[:3], ["丙", STRANGER]])), "list.xlsx")
    made = world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", data=data)
    assert (made.status_code, made.json["recipients"]) == (201, 2)


def test_a_stranger_takes_a_gift_by_the_own_link_only(world):
    made = give(world, STRANGER).json
    path = link(world, made["id"])
    client = world.app.test_client()
    page = client.get(path)
    assert page.status_code == 200
    assert "礼包A150" in page.text
    assert STRANGER not in page.text
    form = {"csrf_token": csrf_of(page.text), "answer": "take", "kind": "ship", "name": "王芳", "address": ""}
    wrong = client.post(path, data=form)
    assert (wrong.status_code, "请填写收货地址" in wrong.text) == (422, True)
    assert client.post(path, data={**form, "address": "海尔路 1 号"}).status_code == 303
    assert "已领取" in client.get(path).text
    assert world.stock("A150") == (49, 0, 1)
    parcel = world.call(MERCHANT_A, "GET", "/merchant/parcels").json["items"][0]
    assert parcel["delivery"]["phone"] == STRANGER
    for other in (
        path[:-9] + ("A" if path[-9] != "A" else "B") + path[-8:],
        "/gifts/WzEsMV0.x",
        "/gifts/x",
        "/gifts/" + "a" * 3000,
    ):
        assert client.get(other).status_code == 404
    assert world.breaches() == []


def test_a_strangers_gift_is_announced_to_nobody_else(world):
    give(world, STRANGER, M1)
    seen = {login: "/my-gifts/" in world.browser(login).get("/").text for login in (M1, M2, MERCHANT_A, OPERATOR)}
    assert seen == {M1: True, M2: False, MERCHANT_A: False, OPERATOR: False}


def test_a_gift_may_hand_out_a_voucher_of_another_campaign(world):
    now = clock.now()
    body = {
        "slug": "newyear",
        "name": "年货券",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(days=9)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 6000},
        "tiers_fen": [4000],
        "member_budget_fen": 18000,
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201
    assert give(world, STRANGER, voucher_campaign="newyear").json["rows"][0]["row"] == 1
    assert give(world, M1, M2, M3, "13800000004", voucher_campaign="newyear").json["code"] == "over_limit"
    assert world.stock("A150") == (50, 0, 0)
    assert give(world, M1, M2, M3, voucher_campaign="newyear", lines=[]).status_code == 201
    seen = world.call(OPERATOR, "GET", "/admin/campaigns/newyear").json
    assert seen["member_committed_fen"] == 18000
    world.call(M1, "POST", f"/me/gifts/{own(world, M1)['id']}/confirm", {})
    world.call(M2, "POST", f"/me/gifts/{own(world, M2)['id']}/decline")
    vouchers = {one["campaign"]: one for one in world.call(M1, "GET", "/me/vouchers").json["items"]}
    assert (vouchers["newyear"]["balance_fen"], vouchers["spring"]["balance_fen"]) == (6000, 20000)
    entries = world.call(M1, "GET", f"/me/vouchers/{vouchers['newyear']['id']}/entries").json["items"]
    assert [(row["kind"], row["change_fen"]) for row in entries] == [("gift", 6000)]
    quoted = world.call(M1, "POST", "/quotes", {**world.lines(("B40", 5)), "campaign": "newyear"}).json
    assert quoted["discount_fen"] == 4000
    with world.app.app_context():
        granting.lapse_due(now=now + timedelta(days=10))
    assert world.call(OPERATOR, "GET", "/admin/campaigns/newyear").json["member_committed_fen"] == 6000
    assert world.breaches() == []


def test_taking_and_declining_at_once_ends_in_one_of_them(world):
    made = give(world, *[f"138{number:08d}" for number in range(1, 7)]).json
    answers = []

    def run(verb, position):
        with world.app.app_context():
            try:
                if verb == "take":
                    granting.confirm(
                        grant_id=int(made["id"]), position=position, delivery=SHIP, actor_id=None, now=clock.now()
                    )
                else:
                    granting.decline(grant_id=int(made["id"]), position=position, actor_id=None, now=clock.now())
                answers.append((position, verb))
            except Exception as error:
                answers.append((position, type(error).__name__))
            finally:
                db.session.remove()

    threads = [
        threading.Thread(target=run, args=(verb, position))
        for position in range(1, 7)
        for verb in ("take", "decline", "take")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = counts(world, made["id"])
    assert told.get("confirmed", 0) + told.get("declined", 0) == 6
    for position in range(1, 7):
        kinds = {verb for where, verb in answers if where == position}
        assert kinds in ({"take", "StateConflict"}, {"decline", "StateConflict"}), answers
    assert world.stock("A150") == (50 - told.get("confirmed", 0), 0, told.get("confirmed", 0))
    assert world.breaches() == []


def test_operators_pages_make_a_gift_and_show_who_has_answered(world):
    operator = world.browser(OPERATOR)
    shown = operator.get("/admin/campaigns/spring/grants/new").text
    form = {"csrf_token": csrf_of(shown), "name": "五福礼", "pack_1": world.packs["A150"], "to": "honour"}
    form |= {"idempotency_key": "k", "deadline": (clock.now() + timedelta(days=3)).date().isoformat()}
    made = operator.post("/admin/campaigns/spring/grants/new", data=form)
    assert made.status_code == 303, made.text
    assert operator.post("/admin/campaigns/spring/grants/new", data=form).location == made.location
    page = operator.get(made.location).text
    assert "138****0001" in page
    assert M1 not in page
    file = operator.get(made.location + "/recipients.xlsx").data
    rows = sheets.read(file, "x.xlsx", {"name": ("姓名",), "link": ("领取链接",)}, required=("name", "link"))
    assert rows[0][1]["link"].startswith("http")
    wrong = operator.post("/admin/campaigns/spring/grants/new", data={**form, "pack_1": "", "idempotency_key": "l"})
    assert (wrong.status_code, "什么都还没有发出" in wrong.text) == (422, True)
    bad = (io.BytesIO(b"\x00\x01nothing"), "list.xlsx")
    wrong = operator.post("/admin/campaigns/spring/grants/new", data={**form, "to": "file", "file": bad})
    assert (wrong.status_code, "不是可读取的表格" in wrong.text) == (422, True)
    member = world.browser(M1)
    assert "一份慰问" in member.get("/").text
    assert "五福礼" in member.get("/my-gifts/").text
    assert world.breaches() == []
