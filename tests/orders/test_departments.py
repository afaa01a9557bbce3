"""Delivery by department: a box each, labelled, sent in batches, received one by one; what comes short is answered."""

import io

from pypdf import PdfReader
from python_calamine import CalamineWorkbook

from orders.rules import Line, boxes
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, OTHER_OFFICER

PEOPLE = [
    {"name": "王芳", "phone": "13800000011", "employee_no": "1", "department": "门诊", "pack_id": "A150"},
    {"name": "李强", "phone": "13800000012", "employee_no": "2", "department": "门诊", "pack_id": "B40"},
    {"name": "赵敏", "phone": "13800000013", "employee_no": "3", "department": "后勤", "pack_id": "A150"},
]
SENT = {"carrier": "顺丰", "tracking_no": "SF1"}


def paid(world, mode="department"):
    """A paid order of 3 A150 and 1 B40 for two departments: its number."""
    delivery = {"mode": mode, "name": "工会", "phone": OFFICER, "address": "海尔路 1 号"}
    body = {**world.lines(("A150", 3), ("B40", 1)), "delivery": delivery}
    number = world.call(OFFICER, "POST", "/bulk/orders", body).json["number"]
    path = f"/bulk/orders/{number}"
    assert world.call(OFFICER, "PUT", f"{path}/roster", {"recipients": PEOPLE}).json["accepted"] == 3
    world.call(OFFICER, "POST", f"{path}/submit")
    world.call(APPROVER, "POST", f"{path}/approve")
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    confirm = {"amount_fen": payment["amount_fen"]}
    world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", confirm)
    return number


def ship(world, number, login=MERCHANT_A, parcel=1, **more):
    return world.call(login, "POST", f"/merchant/parcels/{number}-{parcel}/ship", {**SENT, **more})


def receive(world, number, package, parcel=1, login=OFFICER, **body):
    path = f"/bulk/orders/{number}/parcels/{number}-{parcel}/packages/{package}/receive"
    return world.call(login, "POST", path, body)


def line(line_no, pack_id, quantity, **more):
    words = {"pack_name": "", "pack_name_en": "", "picture": "", "merchant_name": "", "merchant_name_en": ""}
    amounts = {"price_fen": 1, "amount_fen": quantity, "discount_fen": 0}
    return Line(line_no, pack_id, merchant_id=1, quantity=quantity, parcel_no=1, **words, **amounts, **more)


def test_boxes_share_a_parcel_out_by_department():
    lines = [line(1, 7, 5, refunded=1, refund_asked=1, withdrawn=1), line(2, 8, 1)]
    people = [("门诊", 7, 2), ("后勤", 7, 1), ("后勤", 8, 3)]
    found = boxes(lines, people, {"门诊": {1: 1}})
    assert [(box.department, box.units, box.to_send) for box in found] == [
        ("门诊", {1: 2}, {1: 1}),
        ("后勤", {1: 1, 2: 1}, {1: 1, 2: 1}),
        ("", {1: 1}, {1: 1}),
    ]
    nobodys = boxes([line(1, 7, 2)], [("甲", None, 1), ("乙", 7, 1)], {})
    assert [(box.department, box.units) for box in nobodys] == [("乙", {1: 1}), ("", {1: 1})]


def test_each_departments_box_is_sent_and_received_by_itself(world):
    number = paid(world)
    path = f"/merchant/parcels/{number}-1"
    shown = world.call(MERCHANT_A, "GET", path).json
    assert shown["boxes"] == [
        {"department": name, "lines": units, "to_send": units}
        for name in ("门诊", "后勤", "")
        for units in [[{"line_id": "1", "quantity": 1}]]
    ]
    assert world.call(MERCHANT_B, "GET", f"/merchant/parcels/{number}-2").json["boxes"][0]["department"] == "门诊"
    assert ship(world, number, department="食堂").json["code"] == "invalid"
    two = [{"line_id": "1", "quantity": 2}]
    assert ship(world, number, department="门诊", lines=two).json["code"] == "invalid"
    first = ship(world, number, department="门诊")
    assert (first.json["status"], first.json["boxes"][0]["to_send"]) == ("to_ship", [])
    assert ship(world, number, department="门诊").json["code"] == "state_conflict"
    assert ship(world, number, department="后勤").json["status"] == "to_ship"
    assert receive(world, number, 2).json["parcels"][0]["status"] == "to_ship"
    assert ship(world, number).json["status"] == "shipped"
    order = receive(world, number, 1).json
    packages = order["parcels"][0]["packages"]
    assert [(one["department"], one["received_at"] is not None) for one in packages] == [
        ("门诊", True),
        ("后勤", True),
        (None, False),
    ]
    assert order["parcels"][0]["status"] == "shipped"
    assert receive(world, number, 3).json["parcels"][0]["status"] == "delivered"
    assert receive(world, number, 9).json["code"] == "not_found"
    assert receive(world, number, 1, login=OTHER_OFFICER).json["code"] == "not_found"
    assert world.breaches() == []


def test_faults_of_two_boxes_add_up_and_a_box_is_received_once(world):
    number = paid(world)
    for department in ("门诊", "后勤"):
        ship(world, number, department=department)
    fault = {"line_id": "1", "missing": 1, "broken": 0, "note": "少一份"}
    assert receive(world, number, 1, faults=[{**fault, "missing": 2}]).json["code"] == "invalid"
    for package in (1, 1, 2, 2):
        assert receive(world, number, package, faults=[fault]).status_code == 200
    (told,) = world.call(MERCHANT_A, "GET", "/merchant/faults").json["items"]
    assert (told["missing"], told["broken"], told["parcel_id"]) == (2, 0, f"{number}-1")


def test_labels_and_slips_are_a_departments(world):
    number = paid(world)
    texts = {}
    for paper in ("labels", "slips"):
        printed = world.call(MERCHANT_A, "GET", f"/merchant/parcels/{paper}.pdf?parcel={number}-1")
        texts[paper] = [page.extract_text() for page in PdfReader(io.BytesIO(printed.data)).pages]
        assert [name in text for name, text in zip(("门诊", "后勤", "未列名"), texts[paper], strict=True)] == [True] * 3
    assert all("× 1" in text for text in texts["labels"])
    ship(world, number, department="门诊")
    left = world.call(MERCHANT_A, "GET", f"/merchant/parcels/labels.pdf?parcel={number}-1")
    assert len(PdfReader(io.BytesIO(left.data)).pages) == 2
    whole = paid(world, mode="union")
    one = world.call(MERCHANT_A, "GET", f"/merchant/parcels/labels.pdf?parcel={whole}-1")
    assert len(PdfReader(io.BytesIO(one.data)).pages) == 1


def test_each_recipient_has_a_label_where_each_gets_it_at_home(world):
    number = paid(world, mode="recipient")
    for parcel, login, names in ((1, MERCHANT_A, ["王芳", "赵敏", "工会"]), (2, MERCHANT_B, ["李强"])):
        printed = world.call(login, "GET", f"/merchant/parcels/labels.pdf?parcel={number}-{parcel}")
        pages = [page.extract_text() for page in PdfReader(io.BytesIO(printed.data)).pages]
        assert [name in text for name, text in zip(names, pages, strict=True)] == [True] * len(names)
    assert world.call(MERCHANT_A, "GET", f"/merchant/parcels/slips.pdf?parcel={number}-1").status_code == 200


def test_who_has_no_pack_yet_is_on_no_merchants_list(world):
    body = {
        **world.lines(("A150", 1), ("B40", 1)),
        "delivery": {"mode": "department", "name": "工会", "phone": OFFICER},
    }
    path = f"/bulk/orders/{world.call(OFFICER, 'POST', '/bulk/orders', body).json['number']}"
    people = [{name: text for name, text in one.items() if name != "pack_id"} for one in PEOPLE[:2]]
    world.call(OFFICER, "PUT", f"{path}/roster", {"recipients": people})
    rows = CalamineWorkbook.from_filelike(
        io.BytesIO(world.call(OFFICER, "GET", f"{path}/packing-list.xlsx").data)
    ).get_sheet_by_index(0)
    assert [row[:3] for row in rows.to_python()[-2:]] == [
        ["（未列名）", "礼包A150", 1.0],
        ["（未列名）", "礼包B40", 1.0],
    ]


def test_what_came_short_is_on_the_merchants_first_page_until_it_answers(world):
    number = paid(world, mode="union")
    ship(world, number)
    fault = {"line_id": "1", "missing": 1, "broken": 1, "note": "箱子压坏"}
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/parcels/{number}-1/receive", {"faults": [fault]})
    merchant, operator = world.browser(MERCHANT_A), world.browser(OPERATOR)
    assert "箱子压坏" in merchant.get("/merchant/").text
    assert "箱子压坏" not in world.browser(MERCHANT_B).get("/merchant/").text
    assert "短少、破损与缺货 1 件" in operator.get("/admin/").text
    assert "箱子压坏" in operator.get("/admin/faults/").text
    answer = f"/merchant/parcels/{number}-1/faults/answer"
    assert world.call(MERCHANT_B, "POST", answer, {"answer": "补"}).json["code"] == "not_found"
    assert world.call(MERCHANT_A, "POST", answer, {"answer": ""}).json["code"] == "invalid"
    assert world.call(MERCHANT_A, "POST", answer, {"answer": "明天补发"}).json["items"] == []
    assert world.call(MERCHANT_A, "POST", answer, {"answer": "再答"}).json["code"] == "state_conflict"
    assert "箱子压坏" not in merchant.get("/merchant/").text
    assert "明天补发" in world.browser(OFFICER).get(f"/union/orders/{number}").text
    assert world.call(OPERATOR, "GET", "/admin/faults").json["items"] == []
    (kept,) = world.call(OPERATOR, "GET", "/admin/faults?answered=1").json["items"]
    assert (kept["kind"], kept["answer"], kept["broken"]) == ("fault", "明天补发", 1)
