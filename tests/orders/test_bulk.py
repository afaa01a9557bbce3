"""A grassroots union's order: two people, one roster, a bank transfer."""

import io

import xlsxwriter

from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, OTHER_OFFICER

M1 = "13800000001"


def sheet(*rows):
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    page = book.add_worksheet()
    for number, row in enumerate(rows):
        page.write_row(number, 0, row)
    book.close()
    file.seek(0)
    return file


def draft(world, *wanted):
    made = world.call(OFFICER, "POST", "/bulk/orders", world.lines(*wanted))
    assert made.status_code == 201, made.text
    return made.json["number"]


def test_from_roster_to_parcel(world):
    number = draft(world, ("A150", 40))
    upload = sheet(["姓名", "手机号", "工号"], ["王芳", 13800000011, "1"], ["李强", "138-0000-0012", "2"])
    put = world.call(
        OFFICER,
        "PUT",
        f"/bulk/orders/{number}/roster",
        data={"file": (upload, "r.xlsx")},
        content_type="multipart/form-data",
    )
    assert put.json == {
        "accepted": 2,
        "rejected": 0,
        "errors": [],
        "warnings": [],
        "approval_voided": False,
        "status": "draft",
    }
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").json["status"] == "submitted"
    assert world.stock("A150") == (50, 0, 0)
    alone = world.call(OFFICER, "POST", f"/bulk/orders/{number}/approve")
    assert (alone.status_code, alone.json["code"]) == (403, "forbidden")
    assert world.call(OTHER_OFFICER, "POST", f"/bulk/orders/{number}/approve").status_code == 404
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").json["status"] == "approved"
    assert world.stock("A150") == (10, 40, 0)
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    assert payment["amount_fen"] == 600000 - 120000
    assert payment["reference"]
    path = f"/admin/payments/{payment['id']}/confirm"
    assert world.call(OPERATOR, "POST", path, {"amount_fen": 1}).status_code == 422
    assert world.call(OPERATOR, "POST", path, {"amount_fen": 480000}).json["order_status"] == "paid"
    assert world.call(OPERATOR, "POST", path, {"amount_fen": 480000}).json["code"] == "state_conflict"
    assert world.stock("A150") == (10, 0, 40)
    parcels = world.call(MERCHANT_A, "GET", "/merchant/parcels?status=to_ship").json["items"]
    assert [parcel["order_number"] for parcel in parcels] == [number]
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert report["bulk_budget_left_fen"] == 400000 - 120000
    assert world.breaches() == []


def test_a_faulty_roster_is_reported_by_row_and_nothing_of_it_is_kept(world):
    number = draft(world, ("A150", 5))
    rows = [["姓名", "手机号"], ["王芳", "13800000011"], ["", "123"], ["李强", "13800000011"]]
    path = f"/bulk/orders/{number}/roster"
    options = {"content_type": "multipart/form-data"}
    put = world.call(OFFICER, "PUT", path, data={"file": (sheet(*rows), "r.xlsx")}, **options)
    assert put.json["accepted"] == 0
    assert [(fault["row"], fault["column"]) for fault in put.json["errors"]] == [
        (3, "姓名"),
        (3, "手机号"),
        (4, "手机号"),
    ]
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["recipient_count"] == 0
    good = world.call(OFFICER, "PUT", path + "?partial=1", data={"file": (sheet(*rows), "r.xlsx")}, **options)
    assert (good.json["accepted"], good.json["rejected"]) == (1, 2)
    for data, name in ((b"PK\x03\x04no", "r.xlsx"), (b"\xff\x00", "r.csv"), (b"", "r.xlsx")):
        broken = world.call(OFFICER, "PUT", path, data={"file": (io.BytesIO(data), name)}, **options)
        assert broken.status_code == 422


def test_both_channels_after_the_last_pack_sell_it_once(world):
    number = draft(world, ("A150", 50))
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert world.place(M1, ("A150", 1)).status_code == 201
    refused = world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    assert refused.json["code"] == "out_of_stock"
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["status"] == "submitted"
    assert world.stock("A150") == (49, 1, 0)
    assert world.breaches() == []


def test_the_bulk_budget_is_never_overdrawn(world):
    first, second = draft(world, ("A150", 50)), draft(world, ("B150", 50), ("A100", 50), ("B40", 50))
    for number in (first, second):
        world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert world.call(APPROVER, "POST", f"/bulk/orders/{first}/approve").status_code == 200
    refused = world.call(APPROVER, "POST", f"/bulk/orders/{second}/approve")
    assert (refused.status_code, refused.json["code"]) == (409, "over_limit")
    assert world.stock("B150") == (50, 0, 0)
    cancelled = world.call(OFFICER, "POST", f"/bulk/orders/{first}/cancel")
    assert cancelled.json["status"] == "cancelled"
    assert world.call(APPROVER, "POST", f"/bulk/orders/{second}/approve").status_code == 200
    assert world.breaches() == []


def test_a_merchant_counts_and_adjusts_only_its_own(world):
    path = f"/merchant/packs/{world.packs['A150']}/stock"
    world.place(M1, ("A150", 3))
    assert world.call(MERCHANT_A, "POST", path, {"delta": 5, "reason": "到货"}).json["available"] == 52
    assert world.call(MERCHANT_A, "POST", path, {"delta": 5, "reason": "到货"}, key="d").status_code == 200
    assert world.call(MERCHANT_A, "POST", path, {"delta": 5, "reason": "到货"}, key="d").json["available"] == 57
    counted = world.call(MERCHANT_A, "POST", path, {"count": 10, "reason": "盘点"}).json
    assert (counted["available"], counted["held"], counted["on_hand"]) == (7, 3, 10)
    refused = world.call(MERCHANT_A, "POST", path, {"count": 2, "reason": "盘点"})
    assert refused.json["code"] == "out_of_stock"
    assert world.call("13700000002", "POST", path, {"delta": 5, "reason": "x"}).status_code == 404
    for body in ({}, {"delta": 1}, {"delta": 1, "count": 1, "reason": "x"}, {"count": -1, "reason": "x"}):
        assert world.call(MERCHANT_A, "POST", path, body).status_code == 422
    moves = world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs['A150']}/movements").json["items"]
    assert [move["available_change"] for move in moves] == [-50, 5, 5, -3, 50]
    assert world.breaches() == []


def test_approving_and_cancelling_with_a_key_may_be_sent_again(world):
    number = draft(world, ("A150", 40))
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    first = world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve", key="yes")
    again = world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve", key="yes")
    assert (first.status_code, first.json["status"]) == (200, "approved")
    assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve", key="other").json["code"] == "state_conflict"
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve", key=None).json["code"] == "state_conflict"
    assert world.stock("A150") == (10, 40, 0)
    ended = world.call(OFFICER, "POST", f"/bulk/orders/{number}/cancel", key="no")
    assert ended.json["status"] == "cancelled"
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/cancel", key="no").data == ended.data
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/cancel").json["code"] == "state_conflict"
    assert world.stock("A150") == (50, 0, 0)
    assert world.breaches() == []


def test_an_approver_is_led_to_what_waits_and_not_to_ordering(world):
    approver, officer = world.browser(APPROVER), world.browser(OFFICER)
    assert "等您审批" in approver.get("/union/").text, "nothing yet, and what will come"
    assert "/union/orders/new" not in approver.get("/union/").text
    number = draft(world, ("A150", 2))
    assert "个订单等您审批" not in approver.get("/union/").text, "a draft waits for nobody"
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    page = approver.get("/union/").text
    assert f'<a href="/union/orders/{number}">有 1 个订单等您审批</a>' in page
    assert "Waiting for your approval: 1" in approver.get("/union/", headers={"Accept-Language": "en"}).text
    page = officer.get("/union/").text
    assert "等您审批" not in page
    assert "/union/orders/new" in page
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    assert "个订单等您审批" not in approver.get("/union/").text
