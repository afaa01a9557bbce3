"""What comes after approval: sign-off sheets, parcels in part, invoices, caps, the dossier, last year's order."""

import io
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import update

from kernel import clock, files
from kernel.db import db
from kernel.errors import StateConflict
from orders import invoices
from orders.models import Order
from orders.rules import Line
from orders.services import placing, privacy, rostering, warning
from people import message_queries
from people import queries as people_queries
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, OTHER_OFFICER

PDF = b"%PDF-1.4 an invoice"
KEY = "a test's secret key of some length"
TITLE = {"title": "某某工会委员会", "tax_no": "91350100M000100Y43", "kind": "normal"}
PEOPLE = [
    {"name": "王芳", "phone": "13800000011", "employee_no": "1", "department": "门诊", "pack_id": "A150"},
    {"name": "李强", "phone": "13800000012", "employee_no": "2", "department": "门诊", "pack_id": "B40"},
    {"name": "=1+1", "phone": "13800000013", "employee_no": "3", "department": "后勤", "pack_id": "A150"},
]


@pytest.fixture(autouse=True)
def store(app, tmp_path, monkeypatch):
    monkeypatch.setitem(app.config, "FILES", files.Folder(tmp_path))


def submitted(world, *wanted, people=PEOPLE):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(*(wanted or [("A150", 2), ("B40", 1)]))).json[
        "number"
    ]
    if people:
        put = world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people})
        assert put.json["accepted"] == len(people), put.text
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 200
    return number


def paid(world, *wanted, people=PEOPLE):
    number = submitted(world, *wanted, people=people)
    path = f"/bulk/orders/{number}"
    assert world.call(APPROVER, "POST", f"{path}/approve").status_code == 200
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    done = world.call(
        OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", {"amount_fen": payment["amount_fen"]}
    )
    assert done.json["order_status"] == "paid", done.text
    return number


def ship(world, number, login, parcel):
    path = f"/merchant/parcels/{number}-{parcel}/ship"
    assert world.call(login, "POST", path, {"carrier": "顺丰", "tracking_no": "SF1"}).status_code == 200


def cells(content):
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def upload(world, login, method, path, content=PDF, **fields):
    data = {"file": (io.BytesIO(content), "发票.pdf"), **fields}
    return world.call(login, method, path, data=data, content_type="multipart/form-data")


def test_the_sign_off_sheet_has_everybody_and_shows_who_confirmed(world):
    number = paid(world)
    ship(world, number, MERCHANT_A, 1)
    token = world.call(OFFICER, "GET", f"/bulk/orders/{number}/choices").json["items"][0]["token"]
    assert world.app.test_client().post(f"/api/v1/choices/{token}/received").status_code == 200
    answer = world.call(OFFICER, "GET", f"/bulk/orders/{number}/sign-off.xlsx")
    rows = cells(answer.data)
    assert rows[0][0] == "医院工会 慰问品签领表"
    assert rows[2] == ["序号", "部门", "姓名", "工号", "手机号", "礼包", "数量", "签名", "日期"]
    assert [row[:8] for row in rows[3:6]] == [
        [1.0, "门诊", "王芳", "1", "138****0011", "礼包A150", 1.0, "已在线确认"],
        [2.0, "门诊", "李强", "2", "138****0012", "礼包B40", 1.0, ""],
        [3.0, "后勤", "'=1+1", "3", "138****0013", "礼包A150", 1.0, ""],
    ]
    assert (rows[3][8] != "", rows[4][8]) == (True, "")
    printed = world.call(OFFICER, "GET", f"/bulk/orders/{number}/sign-off.pdf")
    assert printed.data.startswith(b"%PDF-")
    assert b"WenQuanYi" in printed.data  # the font is embedded
    for path in ("sign-off.xlsx", "sign-off.pdf", "packing-list.xlsx", "dossier.zip", "links.xlsx", "invoice"):
        assert world.call(OTHER_OFFICER, "GET", f"/bulk/orders/{number}/{path}").status_code == 404, path


def test_packing_lists_go_by_department_and_tell_a_merchant_its_own_only(world):
    number = paid(world, ("A150", 3), ("B40", 1))
    rows = cells(world.call(OFFICER, "GET", f"/bulk/orders/{number}/packing-list.xlsx").data)
    assert [row[:3] for row in rows[-4:]] == [
        ["门诊", "礼包A150", 1.0],
        ["门诊", "礼包B40", 1.0],
        ["后勤", "礼包A150", 1.0],
        ["（未列名）", "礼包A150", 1.0],
    ]
    own = world.call(MERCHANT_B, "GET", f"/merchant/parcels/{number}-2/packing-list.xlsx")
    assert [row[:3] for row in cells(own.data)[-1:]] == [["门诊", "礼包B40", 1.0]]
    assert "王芳" not in str(cells(own.data))
    assert world.call(MERCHANT_A, "GET", f"/merchant/parcels/{number}-2/packing-list.xlsx").status_code == 404


def test_a_parcel_is_received_in_part_and_the_merchant_is_told(world):
    number = paid(world)
    path = f"/bulk/orders/{number}/parcels/{number}-1/receive"
    fault = {"line_id": "1", "missing": 1, "broken": 1, "note": "箱子压坏"}
    assert world.call(OFFICER, "POST", path, {"faults": [fault]}).json["code"] == "state_conflict"
    ship(world, number, MERCHANT_A, 1)
    for wrong in ({**fault, "broken": 2}, {**fault, "line_id": "2"}, {**fault, "missing": -1}):
        assert world.call(OFFICER, "POST", path, {"faults": [wrong]}).json["code"] == "invalid"
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["parcels"][0]["status"] == "shipped"
    assert world.call(OFFICER, "POST", path, {"faults": [fault]}).json["parcels"][0]["status"] == "delivered"
    merchant = world.browser(MERCHANT_A)
    assert "缺 1 份，破损 1 份" in merchant.get(f"/merchant/parcels/{number}-1").text
    assert "箱子压坏" in world.browser(OFFICER).get(f"/union/orders/{number}").text
    assert world.breaches() == []


def test_invoices_are_asked_of_each_merchant_over_what_it_was_paid(world):
    number = paid(world)  # 2 × ¥150 of A and ¥40 of B: ¥340, ¥60 off; spread 5294 and 706
    path = f"/bulk/orders/{number}/invoice"
    plan = world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoice-plan").json
    assert [(one["amount_fen"], one["red"]) for one in plan["items"]] == [(24706, False), (3294, False)]
    assert (plan["total_fen"], plan["fits"], plan["max_invoices"]) == (28000, True, 3)
    assert not world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoice-plan?max_invoices=1").json["fits"]
    low = world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoice-plan?ceiling_fen=1")
    assert (low.status_code, list(low.json["errors"])) == (422, ["ceiling_fen"])
    split = world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoice-plan?ceiling_fen=20000").json
    assert [one["amount_fen"] for one in split["items"]] == [12353, 12353, 3294]
    for wrong, field in (
        ({"tax_no": "91350100M000100Y44"}, "tax_no"),
        ({"tax_no": "123"}, "tax_no"),
        ({"kind": "x"}, "kind"),
        ({"title": ""}, "title"),
    ):
        refused = world.call(OFFICER, "POST", path, {**TITLE, **wrong})
        assert (refused.status_code, list(refused.json["errors"])) == (422, [field])
    asked = world.call(OFFICER, "POST", path, TITLE)
    assert asked.status_code == 201
    assert [(one["amount_fen"], one["status"]) for one in asked.json["items"]] == [
        (24706, "requested"),
        (3294, "requested"),
    ]
    again = world.call(OFFICER, "POST", path, {**TITLE, "title": "新抬头", "kind": "专用发票"}).json
    assert [(one["title"], one["kind"], one["amount_fen"]) for one in again["items"]] == [
        ("新抬头", "special", 24706),
        ("新抬头", "special", 3294),
    ]
    (own,) = world.call(MERCHANT_A, "GET", "/merchant/invoices").json["items"]
    put = f"/merchant/invoices/{own['id']}/file"
    assert upload(world, MERCHANT_B, "PUT", put, number="1").status_code == 404
    assert upload(world, MERCHANT_A, "PUT", put).json["code"] == "invalid"
    assert upload(world, MERCHANT_A, "PUT", put, b"<script>", number="1").json["code"] == "invalid"
    assert upload(world, MERCHANT_A, "PUT", put, number="24372000").json["status"] == "issued"
    file = world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoices/{own['id']}/file")
    assert (file.status_code, file.data) == (200, PDF)
    everything = f"/bulk/orders/{number}/invoices.zip"
    with zipfile.ZipFile(io.BytesIO(world.call(OFFICER, "GET", everything).data)) as archive:
        assert archive.namelist() == ["1-甲-¥247.06-24372000.pdf"]
        assert archive.read("1-甲-¥247.06-24372000.pdf") == PDF
    assert world.call(OTHER_OFFICER, "GET", everything).status_code == 404
    assert everything.rpartition("/")[2] in world.browser(OFFICER).get(f"/union/orders/{number}").text
    assert world.call(OTHER_OFFICER, "GET", f"/bulk/orders/{number}/invoices/{own['id']}/file").status_code == 404
    # A refund afterwards asks the merchant for a red one over the difference.
    back = world.call(OFFICER, "POST", f"/bulk/orders/{number}/refunds", {"lines": [{"line_id": "1", "quantity": 1}]})
    assert back.json["cash_back_fen"] == 12353
    red = world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoice-plan").json
    assert [(one["amount_fen"], one["red"]) for one in red["items"]] == [(-12353, True), (3294, False)]
    after = world.call(OFFICER, "POST", path, TITLE).json
    assert [(one["amount_fen"], one["status"]) for one in after["items"]] == [
        (24706, "issued"),
        (-12353, "requested"),
        (3294, "requested"),
    ]
    assert after["total_fen"] == 28000 - 12353


def test_goods_that_went_to_another_merchant_are_invoiced_by_it(world):
    number = paid(world, ("A150", 3), people=[])
    path = f"/bulk/orders/{number}"
    world.call(OFFICER, "POST", f"{path}/invoice", TITLE)
    (own,) = world.call(MERCHANT_A, "GET", "/merchant/invoices").json["items"]
    upload(world, MERCHANT_A, "PUT", f"/merchant/invoices/{own['id']}/file", number="1/1")
    short = {"lines": [{"line_id": "1", "quantity": 3}]}
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/shortage", short)
    swapped = {"pack_id": world.packs["A150"], "by_pack_id": world.packs["B150"]}
    assert world.call(OFFICER, "POST", f"{path}/replacements", swapped).status_code == 200
    found = world.call(OFFICER, "GET", f"{path}/invoice").json
    assert sorted((one["amount_fen"], one["status"]) for one in found["items"]) == [
        (-37000, "requested"),
        (37000, "issued"),
        (37000, "requested"),
    ]
    plan = world.call(OFFICER, "GET", f"{path}/invoice-plan").json
    assert [(one["merchant"]["name"], one["amount_fen"]) for one in plan["items"]] == [("乙", 37000), ("甲", -37000)]
    assert "甲" in world.browser(OFFICER).get(f"/union/orders/{number}").text
    with zipfile.ZipFile(io.BytesIO(world.call(OFFICER, "GET", f"{path}/invoices.zip").data)) as archive:
        assert archive.namelist() == ["1-甲-¥370-1_1.pdf"]
    assert world.breaches() == []


def test_no_invoice_before_payment(world):
    number = submitted(world)
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}/invoices.zip").json["code"] == "not_found"
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/invoice", TITLE).json["code"] == "state_conflict"
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/invoice", TITLE).json["code"] == "forbidden"


def line(no, merchant, amount, discount, quantity=1, refunded=0):
    return Line(
        no,
        no,
        f"包{no}",
        "",
        "",
        merchant,
        f"商{merchant}",
        "",
        quantity,
        amount // quantity,
        amount,
        discount,
        merchant,
        refunded,
        refunded,
    )


@pytest.mark.parametrize(
    ("case", "lines", "options", "expected"),
    [
        ("one merchant, one invoice", [line(1, 1, 30000, 6000)], {}, [24000]),
        ("two of one merchant in one", [line(1, 1, 30000, 6000), line(2, 1, 101, 1)], {}, [24100]),
        ("one each", [line(1, 1, 30000, 5999), line(2, 2, 4000, 1)], {}, [24001, 3999]),
        (
            "over the ceiling, as few and as even as can be",
            [line(1, 1, 100001, 0)],
            {"ceiling_fen": 40000},
            [33334, 33334, 33333],
        ),
        ("refunded before: the rest", [line(1, 1, 300, 100, 3, 1)], {}, [133]),
        ("refunded after: a red one", [line(1, 1, 300, 100, 3, 1)], {"issued_fen": {1: 200}}, [-67]),
        ("issued already: none", [line(1, 1, 300, 100)], {"issued_fen": {1: 200}}, []),
        ("all refunded before: none", [line(1, 1, 300, 100, 1, 1)], {}, []),
    ],
)
def test_the_fewest_invoices_add_up_to_the_fen(case, lines, options, expected):
    plan = invoices.plan(lines, **options)
    assert [one.amount_fen for one in plan.invoices] == expected, case
    issued = sum(options.get("issued_fen", {}).values())
    assert plan.total_fen + issued == sum(invoices.net_of(one) for one in lines)


@pytest.mark.parametrize("code", ["91350100M000100Y43", "91110000802100433B", "91370200264574251E"])
def test_a_credit_code_with_one_character_changed_is_refused(code):
    assert invoices.credit_code(f" {code.lower()} ") == code
    for place in range(18):
        for character in "0123456789ABCDEFGHJKLMNPQRTUWXY":
            if character != code[place]:
                assert invoices.credit_code(code[:place] + character + code[place + 1 :]) is None
    for wrong in ("", code[:-1], code + "0", code.replace("9", "I"), "９" * 18):
        assert invoices.credit_code(wrong) is None


def capped(world, monkeypatch, *, refuse, cap_fen=20000):
    settings = replace(
        world.app.config["HUIGONG"], yearly_cap_fen=cap_fen, over_yearly_cap="refuse" if refuse else "warn"
    )
    monkeypatch.setitem(world.app.config, "HUIGONG", settings)


def test_the_yearly_cap_counts_every_gift_of_twelve_months(world, monkeypatch):
    capped(world, monkeypatch, refuse=False)
    first = paid(world, ("A150", 1), people=PEOPLE[:1])
    grant = {"pack_id": world.packs["B40"], "recipients": [{"name": "王芳", "phone": "13800000011"}]}
    assert world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", grant).status_code == 201
    one = submitted(world, ("B40", 1), people=[{**PEOPLE[0], "pack_id": "B40"}])
    shown = world.call(APPROVER, "POST", f"/bulk/orders/{one}/approve").json
    assert shown["status"] == "approved"
    assert "王芳（138****0011）十二个月内的节日慰问合计 ¥230，超过每人每年 ¥200 的上限。" in shown["warnings"]
    with world.app.app_context():  # a year and a day ago, the first counts no more
        db.session.execute(
            update(Order).where(Order.id == int(first)).values(placed_at=clock.now() - timedelta(days=367))
        )
        db.session.commit()
    two = submitted(world, ("A100", 1), people=[{**PEOPLE[0], "pack_id": "A100"}])
    over = [
        text for text in world.call(APPROVER, "POST", f"/bulk/orders/{two}/approve").json["warnings"] if "上限" in text
    ]
    assert over == []  # 40 + 40 + 100


def test_over_the_cap_an_approver_must_give_a_reason_and_it_is_recorded(world, monkeypatch):
    capped(world, monkeypatch, refuse=True, cap_fen=14999)
    number = submitted(world)
    path = f"/bulk/orders/{number}/approve"
    refused = world.call(APPROVER, "POST", path)
    assert (refused.status_code, refused.json["code"], len(refused.json["people"])) == (409, "over_limit", 2)
    assert refused.json["people"][0] == {"name": "王芳", "phone": "138****0011", "worth_fen": 15000}
    assert world.stock("A150") == (50, 0, 0)
    passed = world.call(APPROVER, "POST", path, {"override_reason": "困难职工"})
    assert (passed.json["status"], passed.json["cap_override"]) == ("approved", "困难职工")
    entries = world.call(OPERATOR, "GET", f"/admin/audit?object=order:{number}").json["items"]
    assert entries[0]["after"]["override_reason"] == "困难职工"
    world.call(OFFICER, "PUT", f"/bulk/orders/{number}/lines", {"lines": world.lines(("A150", 3), ("B40", 1))["lines"]})
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["cap_override"] is None


def test_the_dossier_has_all_an_auditor_asks_for_and_says_what_is_missing(world):
    number = paid(world)
    path = f"/bulk/orders/{number}/dossier.zip"
    with zipfile.ZipFile(io.BytesIO(world.call(OFFICER, "GET", path).data)) as archive:
        names = ["0-contents.pdf", "1-goods.xlsx", "2-sign-off.xlsx", "2-sign-off.pdf", "3-approval.pdf"]
        assert archive.namelist() == names
        rows = cells(archive.read("1-goods.xlsx"))
    assert rows[2][:7] == ["礼包A150", "甲", "¥150", 2.0, "¥300", "¥52.94", "¥247.06"]
    assert rows[4][3:7] == [3.0, "¥340", "¥60", "¥280"]
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/invoice", TITLE)
    (own,) = world.call(MERCHANT_A, "GET", "/merchant/invoices").json["items"]
    upload(world, MERCHANT_A, "PUT", f"/merchant/invoices/{own['id']}/file", number="1")
    assert upload(world, APPROVER, "POST", f"/bulk/orders/{number}/bank-slip").json["code"] == "forbidden"
    assert upload(world, OFFICER, "POST", f"/bulk/orders/{number}/bank-slip", b"x").json["code"] == "invalid"
    assert upload(world, OFFICER, "POST", f"/bulk/orders/{number}/bank-slip").status_code == 200
    with zipfile.ZipFile(io.BytesIO(world.call(OFFICER, "GET", path).data)) as archive:
        assert archive.namelist() == [*names, "4-invoice-1.pdf", "5-bank-slip.pdf"]
        assert archive.read("4-invoice-1.pdf") == PDF


def test_last_years_order_is_copied_with_its_people(world):
    old = paid(world)
    world.call(MERCHANT_B, "PATCH", f"/merchant/packs/{world.packs['B40']}", {"status": "off_sale"})
    body = {"campaign": "spring"}
    copied = world.call(OFFICER, "POST", f"/bulk/orders/{old}/copy", body, key="again")
    assert copied.status_code == 201
    number = copied.json["number"]
    assert (copied.json["status"], copied.json["copied_from"]) == ("draft", old)
    assert [(line["pack_id"], line["quantity"]) for line in copied.json["lines"]] == [(world.packs["A150"], 2)]
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["recipient_count"] == 3
    replayed = world.call(OFFICER, "POST", f"/bulk/orders/{old}/copy", body, key="again")
    assert (replayed.json["number"], replayed.headers["Idempotent-Replayed"]) == (number, "true")
    assert world.call(OTHER_OFFICER, "POST", f"/bulk/orders/{old}/copy", body).status_code == 404
    world.call(MERCHANT_A, "PATCH", f"/merchant/packs/{world.packs['A150']}", {"status": "off_sale"})
    assert world.call(OFFICER, "POST", f"/bulk/orders/{old}/copy", body).json["code"] == "invalid"


def test_a_copy_that_crashed_before_its_people_came_gets_them_when_sent_again(world, monkeypatch):
    old, body = paid(world), {"campaign": "spring"}

    def crash(**_):
        raise StateConflict("crash")

    with monkeypatch.context() as crashing:
        crashing.setattr(rostering, "put_roster", crash)
        assert world.call(OFFICER, "POST", f"/bulk/orders/{old}/copy", body, key="again").status_code == 409
    copied = world.call(OFFICER, "POST", f"/bulk/orders/{old}/copy", body, key="again")
    assert (copied.status_code, copied.headers["Idempotent-Replayed"]) == (201, "true")
    assert world.call(OFFICER, "GET", f"/bulk/orders/{copied.json['number']}").json["recipient_count"] == 3


def test_a_roster_checked_against_other_packs_is_refused(world, monkeypatch):
    number = submitted(world)
    other = {"lines": world.lines(("A100", 5))["lines"]}
    check = rostering.roster.check

    def changed_meanwhile(*args, **options):
        assert world.call(OFFICER, "PUT", f"/bulk/orders/{number}/lines", other).status_code == 200
        return check(*args, **options)

    monkeypatch.setattr(rostering.roster, "check", changed_meanwhile)
    put = world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": PEOPLE[:1]})
    assert put.json["code"] == "state_conflict"
    monkeypatch.undo()
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["recipient_count"] == 3


def test_unpaid_in_time_all_is_released_and_before_it_a_warning_is_given(world, monkeypatch):
    number = submitted(world)
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    assert world.stock("A150") == (48, 2, 0)
    officer = world.browser(OFFICER)
    assert "付款时间不到一天" not in officer.get(f"/union/orders/{number}").text
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=6, hours=1))
    officer = world.browser(OFFICER)
    assert "付款时间不到一天" in officer.get(f"/union/orders/{number}").text
    with world.app.app_context():
        assert [warning.warn_due(now=clock.now()) for _ in range(2)] == [1, 0]
        sent = message_queries.outbox(key=KEY)
    until = f"{clock.local(now + timedelta(days=7)):%Y-%m-%d}"
    said = {(one.phone, one.text.split(":")[0][:-3]) for one in sent if "前付款，" in one.text}
    text = f"集采订单 {number} 请在 {until}"
    assert said == {("139****0001", text), ("139****0002", text)}
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=7, minutes=1))
    with world.app.app_context():
        assert placing.expire_due(now=clock.now()) == 1
    assert world.stock("A150") == (50, 0, 0)
    assert world.breaches() == []


def test_erasing_a_member_takes_them_off_rosters_and_kept_uploads(world):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    people = [{"name": "会员5", "phone": "13800000005"}, {"name": "李强", "phone": "13800000012"}]
    world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people})
    bad = io.BytesIO("姓名,手机号\n会员5,13800000005\n李强,1\n".encode())
    world.call(
        OFFICER,
        "PUT",
        f"/bulk/orders/{number}/roster",
        data={"file": (bad, "r.csv")},
        content_type="multipart/form-data",
    )
    links = world.call(OFFICER, "GET", f"/bulk/orders/{number}/choices").json["items"]
    with world.app.app_context():
        member_id = people_queries.members_by_phone(["13800000005"])["13800000005"]
        privacy.erase(member_id=member_id, reason="本人要求", actor_id=1, now=clock.now())
    rows = cells(world.call(OFFICER, "GET", f"/bulk/orders/{number}/sign-off.xlsx").data)
    assert "会员5" not in str(rows)
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}/roster-faults.xlsx").status_code == 404
    assert world.app.test_client().get(f"/api/v1/choices/{links[0]['token']}").status_code == 404
