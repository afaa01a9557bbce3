"""Every form of a merchant's pages, filled in as it stands there: what it changes, what it refuses, what it leaves."""

import io

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import func, select

from finance.settlement.models import Statement
from kernel import sheets
from kernel.db import db
from orders.models import WebhookEndpoint
from people import queries as people_queries
from tests.factories import MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, csrf_of
from tests.finance.test_settlement import close, this_month
from tests.forms import form_of, send, submit
from tests.kernel.test_files import picture
from tests.orders.test_departments import paid as union_paid
from tests.orders.test_parcels import bought, code_of, collected, parcel
from tests.orders.test_webhooks import deliveries, listen, work

M1 = "13800000001"


@pytest.fixture
def merchant(world):
    return world.browser(MERCHANT_A)


def file_of(rows, name="表.xlsx"):
    return io.BytesIO(sheets.write(rows)), name


def stock_page(world, code="A150"):
    return f"/merchant/packs/{world.packs[code]}"


# Packs and stock


def test_stock_is_adjusted_counted_and_refused_beside_its_field(world, merchant):
    page = stock_page(world)
    assert submit(merchant, page, "/stock", kind="delta", number="+7", reason="到货").location == page
    assert world.stock("A150") == (57, 0, 0)
    assert submit(merchant, page, "/stock", kind="delta", number="-3", reason="破损").status_code == 303
    assert submit(merchant, page, "/stock", kind="count", number="60", reason="盘点").status_code == 303
    assert world.stock("A150") == (60, 0, 0)
    for number, reason, told in (
        ("七", "到货", "请填写一个整数"),
        ("", "到货", "请填写一个整数"),
        ("9" * 30, "到货", "请填写一个整数"),
        ("1", " ", "请填写原因"),
        ("-61", "破损", "库存"),
    ):
        wrong = submit(merchant, page, "/stock", kind="delta", number=number, reason=reason)
        assert (wrong.status_code in (409, 422), told in wrong.text) == (True, True), (number, wrong.status_code)
        assert f'value="{number}"' in wrong.text, "what was typed is still there"
    assert submit(merchant, page, "/stock", kind="count", number="-1", reason="盘点").status_code == 422
    assert world.stock("A150") == (60, 0, 0)
    assert world.breaches() == []


def test_a_stock_form_sent_twice_counts_once(world, merchant):
    page = stock_page(world)
    form = form_of(merchant, page, "/stock")
    for _ in range(2):
        assert send(merchant, page, form, kind="delta", number="7", reason="到货").status_code == 303
    assert world.stock("A150") == (57, 0, 0)


def test_many_packs_by_a_sheet_and_the_rows_that_are_wrong(world, merchant):
    right = [["礼包编号", "增减", "原因"], ["A150", 5, "到货"], ["A100", -2, "破损"]]
    done = submit(merchant, "/merchant/stock", file=file_of(right))
    assert (done.status_code, world.stock("A150"), world.stock("A100")) == (200, (55, 0, 0), (48, 0, 0))
    wrong = submit(merchant, "/merchant/stock", file=file_of([*right, ["B150", 1, "别人的"]]))
    assert (wrong.status_code, "有 1 处问题，什么都没有改" in wrong.text) == (422, True)
    assert (world.stock("A150"), world.stock("B150")) == ((55, 0, 0), (50, 0, 0))
    some = submit(merchant, "/merchant/stock", file=file_of([*right, ["B150", 1, "别人的"]]), partial="1")
    assert (some.status_code, world.stock("A150"), world.stock("B150")) == (200, (60, 0, 0), (50, 0, 0))
    assert submit(merchant, "/merchant/stock").status_code == 422, "no file"
    assert submit(merchant, "/merchant/stock", file=(io.BytesIO(b"x"), "a.xlsx")).status_code == 422


def test_a_pack_is_offered_changed_approved_and_sent_back(world, merchant):
    filled = {"name": "年货礼包", "price": "150", "name_0": "米", "quantity_0": "2", "unit_0": "袋"}
    for field, value, told in (("name", "", "required"), ("price", "15元", "tier"), ("quantity_0", "0", "quantity")):
        wrong = submit(merchant, "/merchant/packs/new", **{**filled, field: value})
        assert (wrong.status_code, "is-invalid" in wrong.text) == (422, True), told
    assert len(world.call(MERCHANT_A, "GET", "/merchant/packs").json["items"]) == 2, "nothing was offered"
    offered = submit(merchant, "/merchant/packs/new", **filled)
    assert offered.status_code == 303
    page = offered.location
    desk = world.browser(OPERATOR)
    assert "年货礼包" in desk.get("/admin/packs/").text
    number = page.rsplit("/", 1)[1]
    assert submit(desk, "/admin/packs/", f"/{number}/approve").status_code == 303
    assert submit(merchant, f"{page}/edit", name="年货礼包二").status_code == 303
    assert "年货礼包二" not in world.app.test_client().get(f"/packs/{number}").text, "the old version sells on"
    blank = submit(desk, "/admin/packs/", f"/{number}/reject", reason=" ")
    assert blank.status_code == 422
    assert submit(desk, "/admin/packs/", f"/{number}/reject", reason="名字不清楚").status_code == 303
    assert "名字不清楚" in merchant.get(page).text


def test_sale_alert_split_and_picture(world, merchant):
    page = stock_page(world)
    assert submit(merchant, page, "/sale").status_code == 303
    assert world.place(M1, ("A150", 1), payable_fen=13000).json["detail"] == "有礼包已下架或不存在。"
    assert submit(merchant, page, "/sale").status_code == 303, "and on again"
    assert world.place(M1, ("A150", 1)).status_code == 201
    assert "0 种礼包" in merchant.get("/merchant/").text
    assert submit(merchant, page, "/alert", alert_below="60").status_code == 303
    assert "1 种礼包" in merchant.get("/merchant/").text, "it is among those that run out"
    assert submit(merchant, page, "/alert", alert_below="多").status_code == 422
    assert submit(merchant, page, "/split", bulk_share="10").status_code == 303
    assert submit(merchant, page, "/split", bulk_share="x").status_code == 422
    own = world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs['A150']}").json
    assert (own["alert_below"], own["bulk_share"]) == (60, 10), "what was refused left what was there"
    assert submit(merchant, page, "/split", bulk_share="").status_code == 303
    assert submit(merchant, page, "/picture", file=(io.BytesIO(picture()), "米.jpg")).status_code == 303
    assert submit(merchant, page, "/picture", file=(io.BytesIO(b"GIF89a no"), "米.jpg")).status_code == 422
    path = f"{page}/sale"
    odd = {"csrf_token": csrf_of(merchant.get(page).text), "status": "draft"}
    assert merchant.post(path, data=odd).status_code == 404
    other = world.browser(MERCHANT_B)
    for action, filled in (
        ("sale", {"status": "off_sale"}),
        ("alert", {"alert_below": "1"}),
        ("split", {"bulk_share": "1"}),
        ("stock", {"kind": "delta", "number": "1", "reason": "x"}),
    ):
        foreign = {"csrf_token": csrf_of(other.get(stock_page(world, "B150")).text), **filled}
        assert other.post(f"{page}/{action}", data=foreign).status_code == 404, action
    assert world.stock("A150") == (49, 1, 0)


# Parcels


def test_a_parcel_leaves_whole_or_in_parts_and_its_number_is_corrected(world, merchant):
    number = bought(world, ("A150", 2), ("A100", 1))
    name = f"{number}-1"
    page = f"/merchant/parcels/{name}"
    part = submit(merchant, page, "/ship", carrier="顺丰", tracking_no="SF1", some="1", units_1="1", units_2="0")
    assert (part.status_code, parcel(world, name)["status"]) == (303, "to_ship")
    for filled, told in (
        ({"carrier": "飞鸽", "tracking_no": "1"}, "请选择快递公司"),
        ({"carrier": "顺丰", "tracking_no": " "}, "请填写运单号"),
        ({"carrier": "顺丰", "tracking_no": "SF\x07"}, "请填写运单号"),
        ({"carrier": "顺丰", "tracking_no": "SF2", "some": "1", "units_1": "9", "units_2": "0"}, "SF2"),
        ({"carrier": "顺丰", "tracking_no": "SF2", "some": "1", "units_1": "0", "units_2": "0"}, "SF2"),
    ):
        wrong = submit(merchant, page, "/ship", **filled)
        assert (wrong.status_code in (409, 422), told in wrong.text) == (True, True), filled
    assert submit(merchant, page, "/ship", carrier="中通", tracking_no="ZT1").status_code == 303
    assert parcel(world, name)["status"] == "shipped"
    assert world.breaches() == []
    assert world.browser(MERCHANT_B).get(page).status_code == 404


def test_a_wrong_tracking_number_is_corrected_on_the_page_until_it_arrived(world, merchant):
    number = bought(world, ("A150", 1))
    page = f"/merchant/parcels/{number}-1"
    submit(merchant, page, "/ship", carrier="顺丰", tracking_no="SF1")
    form = form_of(merchant, page, "/correct")
    assert submit(merchant, page, "/correct", carrier="圆通", tracking_no="").status_code == 422
    assert submit(merchant, page, "/correct", carrier="圆通", tracking_no="YT9").status_code == 303
    assert parcel(world, f"{number}-1")["tracking_no"] == "YT9"
    world.call(M1, "POST", f"/orders/{number}/parcels/{number}-1/receive")
    assert send(merchant, page, form, carrier="圆通", tracking_no="YT8").status_code == 409
    assert parcel(world, f"{number}-1")["tracking_no"] == "YT9"


def test_many_parcels_leave_by_the_sheet_the_page_gave(world, merchant):
    names = [f"{bought(world, ('A150', 1))}-1" for _ in range(2)]
    given = merchant.get("/merchant/shipments.xlsx").data
    rows = CalamineWorkbook.from_filelike(io.BytesIO(given)).get_sheet_by_index(0).to_python()
    assert sorted(row[0] for row in rows[1:]) == sorted(names)
    for count, row in enumerate(rows[1:]):
        row[1:3] = ["顺丰", f"SF{count}"]
    wrong = submit(merchant, "/merchant/shipments", file=file_of([*rows, ["7-1", "顺丰", "SF7"]]))
    assert (wrong.status_code, "有 1 处问题，什么都没有改" in wrong.text) == (422, True)
    assert {parcel(world, name)["status"] for name in names} == {"to_ship"}
    assert submit(merchant, "/merchant/shipments", file=file_of(rows)).status_code == 200
    assert {parcel(world, name)["status"] for name in names} == {"shipped"}


def test_a_parcel_is_handed_over_on_the_pickup_page(world, merchant):
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    assert submit(merchant, "/merchant/pickup", "/merchant/pickup", code="00000000").status_code == 404
    asked = submit(merchant, "/merchant/pickup", "/merchant/pickup", code=f"{code[:4]} {code[4:]}")
    assert (asked.status_code, "王芳" in asked.text, "交给买家" in asked.text) == (200, True, True)
    assert parcel(world, f"{number}-1")["status"] == "to_ship", "looked at, not handed over"
    done = {"csrf_token": csrf_of(asked.text), "code": code, "hand_over": "1"}
    assert merchant.post("/merchant/pickup", data=done).status_code == 303
    assert parcel(world, f"{number}-1")["status"] == "delivered"
    again = merchant.post("/merchant/pickup", data=done)
    assert (again.status_code, "已" in again.text) == (409, True)


def test_what_a_union_missed_is_answered_and_what_is_short_is_told(world, merchant):
    number = union_paid(world, mode="union")
    page = f"/merchant/parcels/{number}-1"
    assert submit(merchant, page, "/shortage", short_1="1", note="米卖完了").status_code == 303
    assert "米卖完了" in world.browser(OFFICER).get(f"/union/orders/{number}").text
    submit(merchant, page, "/ship", carrier="自送", tracking_no="1")
    fault = {"line_id": "1", "missing": 1, "broken": 0, "note": "少一份"}
    path = f"/bulk/orders/{number}/parcels/{number}-1/receive"
    assert world.call(OFFICER, "POST", path, {"faults": [fault]}).status_code == 200
    assert submit(merchant, page, "/faults", answer=" ").status_code == 422
    assert submit(merchant, page, "/faults", answer="明天补").status_code == 303
    assert "明天补" in world.browser(OFFICER).get(f"/union/orders/{number}").text


# Statements


def test_a_statement_is_disputed_answered_confirmed_and_paid(world, merchant):
    bought(world, ("A150", 1))
    close(world)
    page, desk = f"/merchant/statements/{this_month()}-spring", world.browser(OPERATOR)
    with world.app.app_context():
        look = f"/admin/statements/{db.session.scalar(select(Statement.id))}"
    confirm = form_of(merchant, page, "/confirm")
    assert submit(merchant, page, "/dispute", reason=" ").status_code == 422
    assert submit(merchant, page, "/dispute", reason="少了一单").status_code == 303
    assert "少了一单" in desk.get(look).text
    assert send(merchant, page, confirm).status_code == 409, "a page opened before cannot confirm what is disputed"
    assert submit(desk, look, "/reply", reply="").status_code == 422
    assert submit(desk, look, "/reply", reply="下月补记").status_code == 303
    assert "下月补记" in merchant.get(page).text
    assert submit(merchant, page, "/confirm").status_code == 303
    assert submit(desk, look, "/paid", bank_reference=" ").status_code == 422
    form = form_of(desk, look, "/paid")
    for _ in range(2):
        assert send(desk, look, form, bank_reference="招行 001").status_code == 303
    assert ("招行 001" in merchant.get(page).text, "已付款" in merchant.get(page).text) == (True, True)
    assert world.breaches() == []


def test_a_correction_is_on_the_next_statement_once_and_a_wrong_one_nowhere(world, merchant):
    bought(world, ("A150", 1))
    desk, page = world.browser(OPERATOR), "/admin/statements/"
    with world.app.app_context():
        merchant_id = str(next(one.id for one in people_queries.merchants() if one.code == "A"))
    filled = {"merchant_id": merchant_id, "campaign": "spring", "amount": "-12.50", "reason": "运费多算"}
    for field, value in (("amount", "十元"), ("amount", "0"), ("amount", "1.234"), ("reason", " ")):
        wrong = submit(desk, page, "/corrections", **{**filled, field: value})
        assert (wrong.status_code, "alert-danger" in wrong.text) == (422, True), (field, value)
        assert 'value="运费多算"' in wrong.text or field == "reason"
    owed = merchant.get("/merchant/").text
    form = form_of(desk, page, "/corrections")
    for _ in range(2):
        assert send(desk, page, form, **filled).status_code == 303
    now = world.call(MERCHANT_A, "GET", "/merchant/statements").json["items"]
    assert [(one["correction_fen"], one["net_fen"]) for one in now] == [(-1250, 15000 - 1250)]
    assert ("¥150" in owed, "¥137.50" in merchant.get("/merchant/").text) == (True, True)
    assert world.breaches() == []


# A system of the merchant's own


def test_an_address_is_added_ended_and_what_it_missed_is_sent_again(world, merchant, http_server):
    page = "/merchant/hooks/"
    assert submit(merchant, page, page, url="ftp://example.com/x").status_code == 422
    assert submit(merchant, page, page, url="https://example.com/x", events=None).status_code == 422
    with world.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(WebhookEndpoint)) == 0
    answers = [500]
    server = http_server(lambda *_: (answers.pop() if answers else 204, ""))
    listen(world, f"{server.url}/hook")
    bought(world, ("A150", 1))
    work(world)
    assert deliveries(world)[0]["status"] == "waiting"
    assert submit(merchant, page, "/replay").status_code == 303
    work(world)
    assert (deliveries(world)[0]["status"], len(server.seen)) == ("delivered", 2)
    desk = world.browser(OPERATOR)
    told = desk.get("/admin/webhooks/").text
    assert ("已送达" in told, server.url in told, "青岛甲" in told) == (True, True, True)
    with world.app.app_context():
        ids = {one.code: one.id for one in people_queries.merchants()}
    assert server.url in desk.get(f"/admin/webhooks/?merchant={ids['A']}").text
    assert server.url not in desk.get(f"/admin/webhooks/?merchant={ids['B']}").text
    other = world.browser(MERCHANT_B)
    form = form_of(merchant, page, "/end")
    token = {"csrf_token": csrf_of(other.get(page).text)}
    assert other.post(form.action, data=token).status_code == 404
    assert send(merchant, page, form).status_code == 303
    bought(world, ("A150", 1))
    work(world)
    assert len(server.seen) == 2
