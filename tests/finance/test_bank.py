"""Bank statements: what matches is confirmed, what does not waits for a person, nothing is counted twice."""

import io
from dataclasses import replace

import pytest
import xlsxwriter

from finance.gateway import queries as gateway_queries
from kernel import clock
from orders.queries import money
from tests.factories import APPROVER, OFFICER, OPERATOR, csrf_of

HEAD = ["交易日期", "交易流水号", "收入金额", "支出金额", "对方户名", "附言"]
TODAY = clock.local(clock.now()).date().isoformat()


@pytest.fixture
def two_operators(world):
    from people.services import arrivals

    with world.app.app_context():
        second = {"name": "运营二", "phone": "13600000002", "role": "operator"}
        arrivals.bring_in(unions=[], merchants=[], members=[], honours=[], stations=[], staff=[second])
    before = world.app.config["HUIGONG"]
    world.app.config["HUIGONG"] = replace(before, second_person_fen=100_000)
    yield world
    world.app.config["HUIGONG"] = before


def transfer(world, packs=3):
    """A bulk order that waits for its transfer: its number and the transfer."""
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", packs))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").status_code == 200
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    return number, payment


def sheet(*rows, title=False):
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True}) as workbook:
        page = workbook.add_worksheet()
        for at, row in enumerate(([["崂山支行账户明细"]] if title else []) + [HEAD, *rows]):
            page.write_row(at, 0, row)
    return target.getvalue()


def bring(world, *rows, content=None, name="statement.xlsx", login=OPERATOR, key="new"):
    content = content if content is not None else sheet(*rows)
    return world.call(
        login,
        "POST",
        "/admin/bank-statements",
        data={"file": (io.BytesIO(content), name)},
        content_type="multipart/form-data",
        key=key,
    )


def lines(world):
    return [
        (one["amount_fen"], one["status"]) for one in world.call(OPERATOR, "GET", "/admin/bank-lines").json["items"]
    ]


def status(world, number):
    return world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["status"]


def proven(world):
    assert world.breaches() == []
    with world.app.app_context():
        assert [one.text for one in money.compare_lately(now=clock.now()).differences] == []
    return True


def decide(world, verdict, *, login=OPERATOR, **more):
    (line,) = world.call(OPERATOR, "GET", "/admin/bank-lines").json["items"][-1:]
    return world.call(login, "POST", f"/admin/bank-lines/{line['id']}", {"verdict": verdict, **more})


@pytest.mark.parametrize("form", ["xlsx", "gb18030", "utf-8"])
def test_reference_and_amount_confirm_a_transfer_once(world, form):
    number, payment = transfer(world)  # ¥450: ¥80 off
    assert payment["amount_fen"] == 37000
    row = [
        TODAY,
        "S1",
        "370.00",
        "",
        "医院工会",
        f"福利款 {payment['reference'][:6]} {payment['reference'][6:].lower()}",
    ]
    if form == "xlsx":
        content, name = sheet(row, title=True), "a.xlsx"
    else:
        text = "\n".join(",".join(one) for one in (HEAD, row, ["合计", "", "370.00", "", "", ""]))
        content, name = text.encode(form), "a.csv"
    answer = bring(world, content=content, name=name)
    if form != "xlsx":
        assert (answer.status_code, answer.json["rows"][0]["row"]) == (422, 3), "a total is no line of ours to guess"
        assert status(world, number) == "pending_payment"
        text = "\n".join(",".join(one) for one in (HEAD, row))
        answer = bring(world, content=text.encode(form), name=name)
    assert (answer.status_code, answer.json) == (200, {"lines": 1, "new": 1, "repeated": 0})
    assert status(world, number) == "paid"
    assert bring(world, row).json == {"lines": 1, "new": 0, "repeated": 1}
    assert lines(world) == []
    assert proven(world)


def test_a_statement_without_numbers_counts_a_line_once_a_file(world):
    number, payment = transfer(world)
    row = [TODAY, "", "185.00", "", "医院工会", payment["reference"]]
    assert bring(world, row, row).json["new"] == 2, "two halves on one day"
    assert status(world, number) == "paid"
    assert bring(world, row, row).json == {"lines": 2, "new": 0, "repeated": 2}
    assert proven(world)


def test_short_waits_for_the_rest(world):
    number, payment = transfer(world)
    bring(world, [TODAY, "S1", "300", "", "医院工会", payment["reference"]])
    assert (status(world, number), lines(world)) == ("pending_payment", [(30000, "short")])
    first = world.call(OPERATOR, "GET", "/admin/bank-lines?limit=1").json
    assert (len(first["items"]), first["next_cursor"]) == (1, None)
    assert world.call(OPERATOR, "GET", "/admin/bank-lines?cursor=x").status_code == 422
    bring(world, [TODAY, "S2", "70", "", "医院工会", payment["reference"]])
    assert (status(world, number), lines(world)) == ("paid", [])
    assert proven(world)


def test_too_much_confirms_the_order_and_the_rest_goes_back(world):
    number, payment = transfer(world)
    bring(world, [TODAY, "S1", "400", "", "医院工会", payment["reference"]])
    assert (status(world, number), lines(world)) == ("pending_payment", [(40000, "over")])
    answer = decide(world, "take")
    assert (answer.status_code, answer.json["status"]) == (200, "matched")
    assert status(world, number) == "paid"
    with world.app.app_context():
        (refund,) = gateway_queries.waiting_refunds(provider="bank_transfer")
        assert (refund.amount_fen, refund.reason, refund.order_id) == (3000, "overpaid", int(number))
    page = world.browser(OFFICER).get(f"/union/orders/{number}").text
    assert "多付的部分" in page
    sent = world.call(OPERATOR, "POST", f"/admin/payment-refunds/{refund.id}/sent", {"reference": "B9"})
    assert sent.status_code == 200
    assert world.breaches() == []


@pytest.mark.parametrize("text", ["福利款", "HG1234567890123"])
def test_money_that_names_nothing_of_ours_is_assigned_by_a_person(world, text):
    number, payment = transfer(world)
    bring(world, [TODAY, "S1", "370", "", "医院工会", text])
    assert (status(world, number), lines(world)) == ("pending_payment", [(37000, "unknown")])
    assert decide(world, "assign", reference="HG42").json["code"] == "invalid"
    assert decide(world, "ignore", note="").json["code"] == "invalid"
    assert decide(world, "assign", reference=payment["reference"]).json["status"] == "matched"
    assert (status(world, number), lines(world)) == ("paid", [])
    assert proven(world)


def test_money_for_nothing_goes_back_and_is_on_the_ledger(world):
    bring(world, [TODAY, "S1", "370", "", "某人", "货款"])
    with world.app.app_context():
        found = money.compare_lately(now=clock.now())
        assert [(one.kind, one.theirs_fen) for one in found.differences] == [("missing_here", 37000)]
    assert decide(world, "send_back").json["status"] == "sent_back"
    with world.app.app_context():
        (refund,) = gateway_queries.waiting_refunds(provider="bank_transfer")
    assert (refund.amount_fen, refund.order_id) == (37000, None)
    assert "没有订单的转账" in world.browser(OPERATOR).get("/admin/refunds").text
    assert (
        world.call(OPERATOR, "POST", f"/admin/payment-refunds/{refund.id}/sent", {"reference": "B1"}).status_code == 200
    )
    assert lines(world) == []
    assert proven(world)


def test_a_second_transfer_for_a_confirmed_one_is_not_counted(world):
    number, payment = transfer(world)
    body = {"amount_fen": 37000}
    assert world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", body).status_code == 200
    with world.app.app_context():
        assert money.compare_lately(now=clock.now()).unchecked == 1, "confirmed by hand, its statement to come"
    bring(world, [TODAY, "S1", "370", "", "医院工会", payment["reference"]])
    assert lines(world) == [], "the statement proves what a person confirmed"
    bring(world, [TODAY, "S2", "370", "", "医院工会", payment["reference"]])
    assert lines(world) == [(37000, "again")]
    assert decide(world, "take").json["code"] == "state_conflict"
    assert decide(world, "send_back").json["status"] == "sent_back"
    assert status(world, number) == "paid"
    assert world.breaches() == []


def test_a_large_one_needs_two_people(two_operators):
    world = two_operators
    number, payment = transfer(world, packs=10)
    bring(world, [TODAY, "S1", "1200", "", "医院工会", payment["reference"]])
    assert (status(world, number), lines(world)) == ("pending_payment", [(120000, "second")])
    path, body = f"/admin/payments/{payment['id']}/confirm", {"amount_fen": 120000}
    assert world.call(OPERATOR, "POST", path, body).json["code"] == "forbidden"
    assert world.call("13600000002", "POST", path, body).json["order_status"] == "paid"
    assert lines(world) == []
    assert proven(world)
    number, payment = transfer(world, packs=8)
    bring(world, [TODAY, "S2", "2000", "", "医院工会", payment["reference"]])
    assert decide(world, "take").json["waits_for_another"] is True
    assert decide(world, "take").json["code"] == "forbidden"
    assert status(world, number) == "pending_payment"
    assert decide(world, "take", login="13600000002").json["status"] == "matched"
    assert status(world, number) == "paid"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["昨天", "S1", "370", "", "x", "y"]], [(2, "交易日期")]),
        ([[TODAY, "S1", "三百", "", "x", "y"], [TODAY, "S2", "", "", "x", "y"]], [(2, "金额"), (3, "金额")]),
        ([["2027-02-30", "S1", "1", "", "x", "y"]], [(2, "交易日期")]),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_nothing_is_taken(world, rows, said):
    answer = bring(world, *rows, [TODAY, "S9", "1", "", "x", "y"])
    assert answer.status_code == 422
    assert [(one["row"], one["column"]) for one in answer.json["rows"]] == said
    assert lines(world) == []


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04broken", b"\xff\xfe\x00"])
def test_what_is_no_statement_is_refused(world, content):
    for name in ("a.xlsx", "a.csv"):
        assert bring(world, content=content, name=name).status_code == 422


def test_the_page_imports_and_decides(world):
    number, payment = transfer(world)
    client = world.browser(OPERATOR)
    token = csrf_of(client.get("/admin/transfers").text)
    content = sheet([TODAY, "S1", "400", "", "医院工会", payment["reference"]])
    form = {"csrf_token": token, "file": (io.BytesIO(content), "a.xlsx")}
    page = client.post("/admin/statements", data=form, follow_redirects=True).text
    assert "确认订单，多余的退回" in page
    line = world.call(OPERATOR, "GET", "/admin/bank-lines").json["items"][0]["id"]
    client.post(f"/admin/lines/{line}", data={"csrf_token": token, "verdict": "take"})
    assert status(world, number) == "paid"
    broken = {"csrf_token": token, "file": (io.BytesIO(sheet(["x", "S", "1", "", "", ""])), "a.xlsx")}
    answer = client.post("/admin/statements", data=broken)
    assert answer.status_code == 422
    assert "交易日期" in answer.text
