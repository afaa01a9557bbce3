"""Parcels: whole, in packages, many by a spreadsheet, corrected, late, printed; and pickup codes that work once."""

import io
import re
import threading
from datetime import timedelta

import pytest
from pypdf import PdfReader
from sqlalchemy import text

from kernel import clock, sheets
from kernel.db import db
from orders import queries
from orders.services import pickup
from tests.factories import MERCHANT_A, MERCHANT_B, OPERATOR, SHIP

M1, M2 = "13800000001", "13800000002"
SF = {"carrier": "顺丰", "tracking_no": "SF1"}


def bought(world, *wanted, login=M1, delivery=SHIP):
    body = world.lines(*wanted)
    payable = world.call(login, "POST", "/quotes", body).json["payable_fen"]
    order = world.call(login, "POST", "/orders", {**body, "payable_fen": payable, "delivery": delivery})
    assert order.status_code == 201, order.text
    assert world.pay(login, order.json["number"]).json["order_status"] == "paid"
    return order.json["number"]


def collected(world, *wanted, login=M1):
    with world.app.app_context():
        station = db.session.execute(text("SELECT id FROM pickup_stations WHERE code = 'S1'")).scalar_one()
    place = {"kind": "pickup", "name": "王芳", "phone": M1, "station_id": str(station)}
    return bought(world, *wanted, login=login, delivery=place)


def parcel(world, name, login=MERCHANT_A):
    return world.call(login, "GET", f"/merchant/parcels/{name}").json


def to_ship(world, code):
    with world.app.app_context():
        return queries_pack(world, code).to_ship


def queries_pack(world, code):
    from catalog import queries as catalog_queries

    return catalog_queries.packs_by_id([int(world.packs[code])])[int(world.packs[code])]


def put(world, rows, *, query="", login=MERCHANT_A):
    return world.call(
        login,
        "PUT",
        f"/merchant/shipments{query}",
        data={"file": (io.BytesIO(sheets.write(rows)), "发货.xlsx")},
        content_type="multipart/form-data",
    )


def test_a_parcel_leaves_in_packages(world):
    number = bought(world, ("A150", 3), ("A100", 1))
    name = f"{number}-1"
    first = world.call(
        MERCHANT_A,
        "POST",
        f"/merchant/parcels/{name}/ship",
        {"carrier": "SF", "tracking_no": "SF1", "lines": [{"line_id": "1", "quantity": 2}]},
    )
    assert first.status_code == 200, first.text
    assert (first.json["status"], [line["to_send"] for line in first.json["lines"]]) == ("to_ship", [1, 1])
    assert to_ship(world, "A150") == 1
    assert world.call(M1, "POST", f"/orders/{number}/parcels/{name}/receive").json["code"] == "state_conflict"
    rest = world.call(MERCHANT_A, "POST", f"/merchant/parcels/{name}/ship", {"carrier": "中通", "tracking_no": "ZT2"})
    assert (rest.json["status"], [line["to_send"] for line in rest.json["lines"]]) == ("shipped", [0, 0])
    assert [(one["carrier"], one["tracking_no"], one["units"]) for one in rest.json["packages"]] == [
        ("顺丰", "SF1", {"1": 2}),
        ("中通", "ZT2", {"1": 1, "2": 1}),
    ]
    assert rest.json["tracking_url"].endswith("com=zhongtong&nu=ZT2")
    assert to_ship(world, "A150") == 0
    assert world.breaches() == []


@pytest.mark.parametrize("lines", [[("1", 4)], [("2", 1)], [("9", 1)]])
def test_more_than_is_to_be_sent_is_refused(world, lines):
    number = bought(world, ("A150", 3), ("B150", 1))
    body = SF | {"lines": [{"line_id": line, "quantity": count} for line, count in lines]}
    answer = world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert (parcel(world, f"{number}-1")["packages"], to_ship(world, "A150")) == ([], 3)


def test_what_has_not_left_is_given_back_at_once_and_what_has_left_is_asked_for(world):
    number = bought(world, ("A150", 3))
    name = f"{number}-1"
    some = SF | {"lines": [{"line_id": "1", "quantity": 2}]}
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{name}/ship", some)
    ask = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    assert world.call(M1, "POST", f"/orders/{number}/refunds", ask).json["status"] == "accepted"
    assert world.stock("A150") == (48, 0, 2)
    assert parcel(world, name)["status"] == "shipped", "nothing is left to send, and something has left"
    waiting = world.call(M1, "POST", f"/orders/{number}/refunds", ask).json
    assert waiting["status"] == "requested"
    accepted = world.call(MERCHANT_A, "POST", f"/merchant/refunds/{waiting['id']}/accept")
    assert accepted.json["status"] == "accepted"
    assert world.stock("A150") == (48, 0, 2), "what has left is counted in by the merchant, not by itself"
    assert to_ship(world, "A150") == 0
    assert world.breaches() == []


def test_a_refund_of_both_waits_and_then_sends_nothing_more(world):
    number = bought(world, ("A150", 3))
    name = f"{number}-1"
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{name}/ship", SF | {"lines": [{"line_id": "1", "quantity": 1}]})
    ask = {"lines": [{"line_id": "1", "quantity": 3}], "reason": "x"}
    waiting = world.call(M1, "POST", f"/orders/{number}/refunds", ask).json
    assert waiting["status"] == "requested"
    world.call(MERCHANT_A, "POST", f"/merchant/refunds/{waiting['id']}/accept")
    assert world.stock("A150") == (49, 0, 1)
    assert [line["to_send"] for line in parcel(world, name)["lines"]] == [0]
    assert world.call(MERCHANT_A, "POST", f"/merchant/parcels/{name}/ship", SF).json["code"] == "state_conflict"
    assert world.breaches() == []


def test_many_are_shipped_by_a_sheet_that_may_be_sent_again(world):
    numbers = [bought(world, ("A150", 1)), bought(world, ("A100", 1), login=M2)]
    rows = [["包裹号", "快递公司", "运单号"], *[[f"{one}-1", "顺丰速运", f"SF{i}"] for i, one in enumerate(numbers)]]
    for _ in range(2):
        answer = put(world, rows)
        assert answer.status_code == 200, answer.text
        assert answer.json == {
            "accepted": 2,
            "rejected": 0,
            "errors": [],
            "rows": [{"row": 2, "parcel_id": f"{numbers[0]}-1"}, {"row": 3, "parcel_id": f"{numbers[1]}-1"}],
        }
    assert [parcel(world, f"{one}-1")["tracking_no"] for one in numbers] == ["SF0", "SF1"]
    assert len(parcel(world, f"{numbers[0]}-1")["packages"]) == 1
    assert world.breaches() == []


def test_a_sheet_with_faults_ships_nothing_and_names_each_row(world):
    mine, others = bought(world, ("A150", 1)), bought(world, ("B150", 1))
    rows = [
        ["运单号", "parcel_id", "carrier"],
        ["SF1", f"{mine}-1", "顺丰"],
        ["SF2", f"{others}-1", "顺丰"],
        [None, "7-1", "顺丰"],
        ["SF3", f"{mine}-1", "顺丰"],
        ["S" * 61, "nothing", "顺丰"],
    ]
    answer = put(world, rows).json
    assert (answer["accepted"], answer["rejected"], answer["rows"]) == (0, 5, [])
    assert [(one["row"], one["column"], one["message"]) for one in answer["errors"]] == [
        (3, "包裹号", "没有这个包裹。"),
        (4, "运单号", "请填写这一项。"),
        (5, "包裹号", "这个包裹与第 2 行重复。"),
        (6, "运单号", "最多 60 个字。"),
    ]
    assert (parcel(world, f"{mine}-1")["status"], to_ship(world, "A150")) == ("to_ship", 1)
    good = put(world, rows, query="?partial=1").json
    assert (good["accepted"], good["rows"]) == (1, [{"row": 2, "parcel_id": f"{mine}-1"}])
    assert parcel(world, f"{mine}-1")["status"] == "shipped"
    assert parcel(world, f"{others}-1", MERCHANT_B)["status"] == "to_ship"
    again = put(world, [rows[0], ["SF9", f"{mine}-1", "顺丰"]]).json
    assert [(one["row"], one["message"]) for one in again["errors"]] == [(2, "这个包裹已经发货或已取消。")]


def test_a_wrong_number_is_corrected_until_it_has_arrived(world):
    number = bought(world, ("A150", 1))
    name = f"{number}-1"
    fix = {"carrier": "圆通速递", "tracking_no": "YT2"}
    early = world.call(MERCHANT_A, "PATCH", f"/merchant/parcels/{name}", fix)
    assert early.json["code"] == "state_conflict"
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{name}/ship", SF)
    assert world.call(MERCHANT_B, "PATCH", f"/merchant/parcels/{name}", fix).status_code == 404
    mended = world.call(MERCHANT_A, "PATCH", f"/merchant/parcels/{name}", fix)
    assert (mended.json["carrier"], mended.json["tracking_no"], mended.json["status"]) == ("圆通", "YT2", "shipped")
    assert world.call(MERCHANT_A, "PATCH", f"/merchant/parcels/{name}", fix | {"package_no": 2}).status_code == 404
    assert world.call(M1, "GET", f"/orders/{number}").json["parcels"][0]["tracking_no"] == "YT2"
    world.call(M1, "POST", f"/orders/{number}/parcels/{name}/receive")
    assert world.call(MERCHANT_A, "PATCH", f"/merchant/parcels/{name}", SF).json["code"] == "state_conflict"
    entries = world.call(OPERATOR, "GET", f"/admin/audit?object=parcel:{name}&action=parcel.correct").json["items"]
    assert [(one["before"]["tracking_no"], one["after"]["tracking_no"]) for one in entries] == [("SF1", "YT2")]


def test_what_should_have_left_is_overdue(world):
    number = bought(world, ("A150", 1))
    later = clock.now() + timedelta(days=3, seconds=1)
    with world.app.app_context():
        merchant_id = queries.order(int(number), now=clock.now()).lines[0].merchant_id
        options = {"status": None, "limit": 10}
        assert queries.parcels_of_merchant(merchant_id, **options, overdue=True, now=clock.now()).items == []
        late = queries.parcels_of_merchant(merchant_id, **options, overdue=True, now=later).items
        assert [(one.id, one.overdue) for one in late] == [(f"{number}-1", True)]
    now = world.call(MERCHANT_A, "GET", "/merchant/parcels?status=to_ship").json["items"]
    assert [one["overdue"] for one in now] == [False]
    assert world.call(MERCHANT_A, "GET", "/merchant/parcels?overdue=true").json["items"] == []


def words_of(answer):
    assert (answer.status_code, answer.content_type) == (200, "application/pdf"), answer.text
    reader = PdfReader(io.BytesIO(answer.data))
    return reader, [page.extract_text() for page in reader.pages]


def test_parcels_are_printed(world):
    numbers = [bought(world, ("A150", 2)), bought(world, ("A150", 1), ("A100", 1), login=M2)]
    _, picked = words_of(world.call(MERCHANT_A, "GET", "/merchant/parcels/pick-list.pdf"))
    assert len(picked) == 1
    assert re.search(r"礼包A150\s+3\s", picked[0])
    assert f"{numbers[0]}-1 × 2" in picked[0]
    _, texts = words_of(world.call(MERCHANT_A, "GET", "/merchant/parcels/slips.pdf"))
    assert [f"包裹 {numbers[0]}-1" in texts[0], f"包裹 {numbers[1]}-1" in texts[1], len(texts)] == [True, True, 2]
    assert "¥" not in "".join(texts), "it may be a gift"
    labels, texts = words_of(world.call(MERCHANT_A, "GET", f"/merchant/parcels/labels.pdf?parcel={numbers[1]}-1"))
    assert len(texts) == 1
    for word in ("王芳", M1, "青岛 海尔路 1 号", f"{numbers[1]}-1", "礼包A100 × 1"):
        assert word in texts[0]
    assert [round(float(side)) for side in labels.pages[0].mediabox[2:]] == [283, 425]


def test_only_own_parcels_are_printed(world):
    number = bought(world, ("A150", 1))
    for name in (f"{number}-1", "x", "7-1"):
        assert world.call(MERCHANT_B, "GET", f"/merchant/parcels/labels.pdf?parcel={name}").status_code == 404
    assert world.call(MERCHANT_A, "GET", "/merchant/parcels/nothing.pdf").status_code == 404
    _, texts = words_of(world.call(MERCHANT_B, "GET", "/merchant/parcels/slips.pdf"))
    assert "王芳" not in "".join(texts)


def code_of(world, number, login=M1, no=1):
    answer = world.call(login, "POST", f"/orders/{number}/parcels/{number}-{no}/pickup-code")
    assert answer.status_code == 200, answer.text
    return answer.json["code"]


@pytest.mark.parametrize("shipped", [False, True])
def test_a_code_hands_its_parcel_over_once(world, shipped):
    number = collected(world, ("A150", 2), ("B150", 1))
    code = code_of(world, number)
    assert re.fullmatch(r"\d{8}", code)
    assert code_of(world, number) == code, "the same code each time"
    assert code_of(world, number, no=2) != code
    if shipped:
        world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "自送", "tracking_no": "x"})
    seen = world.call(MERCHANT_A, "GET", f"/merchant/pickups/{code}")
    assert (seen.json["id"], seen.json["status"]) == (f"{number}-1", "shipped" if shipped else "to_ship")
    other = world.call(MERCHANT_B, "POST", "/merchant/pickups", {"code": code})
    assert (other.status_code, other.json["code"]) == (404, "not_found")
    spaced = f"{code[:4]} {code[4:]}"
    done = world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": spaced})
    assert (done.status_code, done.json["status"]) == (200, "delivered"), done.text
    assert to_ship(world, "A150") == 0
    again = world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": code})
    assert (again.status_code, again.json["code"]) == (409, "state_conflict")
    order = world.call(M1, "GET", f"/orders/{number}").json
    assert [one["status"] for one in order["parcels"]] == ["delivered", "to_ship"]
    assert world.breaches() == []


def test_a_code_is_its_buyers_alone_and_only_for_pickup(world):
    shipped, own = bought(world, ("A150", 1)), collected(world, ("A100", 1))
    wrong = world.call(M1, "POST", f"/orders/{shipped}/parcels/{shipped}-1/pickup-code")
    assert wrong.json["code"] == "state_conflict"
    assert world.call(M2, "POST", f"/orders/{own}/parcels/{own}-1/pickup-code").status_code == 404


@pytest.mark.parametrize("typed", ["", "12345678", "abcdefgh", "1" * 200, "DROP TABLE", "１２３４５６７４"])
def test_what_is_no_code_is_not_found(world, typed):
    answer = world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": typed})
    assert answer.status_code in (404, 422)
    assert answer.json["code"] in ("not_found", "invalid")


def test_a_slip_of_a_finger_hands_nothing_over(world):
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    for place in range(8):
        typed = code[:place] + str((int(code[place]) + 1) % 10) + code[place + 1 :]
        assert world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": typed}).status_code == 404
    assert parcel(world, f"{number}-1")["status"] == "to_ship"


def test_a_cancelled_parcel_is_not_handed_over(world):
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    ask = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    world.call(M1, "POST", f"/orders/{number}/refunds", ask)
    answer = world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": code})
    assert answer.json["code"] == "state_conflict"
    assert world.stock("A150") == (50, 0, 0)
    assert world.breaches() == []


def test_two_scanners_hand_one_parcel_over_once(world):
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    world.token(MERCHANT_A)
    answers = []

    def scan():
        answers.append(world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": code}).status_code)

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409]
    assert to_ship(world, "A150") == 0
    assert world.breaches() == []


def test_trying_codes_is_limited(world, monkeypatch):
    monkeypatch.setattr(pickup, "TRIES", 3)
    answers = [world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": "00000000"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
