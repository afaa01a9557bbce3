"""Statements: from the ledger's postings alone, fixed once closed, to the fen."""

import io
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pypdf import PdfReader
from python_calamine import CalamineWorkbook
from sqlalchemy import text

from finance.settlement import queries, services
from kernel import clock
from kernel.db import db
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR

M1, M2 = "13800000001", "13800000002"
NEXT = timedelta(days=32)


def bought(world, *wanted, login=M1):
    number = world.place(login, *wanted).json["number"]
    assert world.pay(login, number).json["order_status"] == "paid"
    return number


def refund(world, number, line, quantity=1):
    body = {"lines": [{"line_id": str(line), "quantity": quantity}], "reason": "x"}
    assert world.call(M1, "POST", f"/orders/{number}/refunds", body).status_code == 201


def statements(world, login=MERCHANT_A):
    return world.call(login, "GET", "/merchant/statements").json["items"]


def figures(one):
    names = ("goods_fen", "paid_fen", "subsidy_fen", "refunds_fen", "correction_fen", "net_fen")
    return tuple(one[name] for name in names)


def close(world, *, days=32):
    """Close what is due as if the month were over."""
    with world.app.app_context():
        return services.close_due(now=clock.now() + timedelta(days=days))


def this_month():
    return clock.month_of(clock.now())


def test_the_open_statement_says_what_the_ledger_says(world):
    number = bought(world, ("A150", 1), ("B150", 1))  # ¥300: ¥60 off, ¥30 each
    assert [figures(one) for one in statements(world)] == [(15000, 12000, 3000, 0, 0, 12000 + 3000)]
    refund(world, number, 1)
    one = statements(world)[0]
    assert figures(one) == (15000, 12000, 3000, 15000, 0, 0)
    assert (one["refund_cash_fen"], one["refund_subsidy_fen"]) == (12000, 3000)
    assert (one["status"], one["id"], one["month"]) == ("open", None, this_month())
    assert (one["campaign"], one["period"]) == ("spring", f"{this_month()}-spring")
    assert [figures(other) for other in statements(world, MERCHANT_B)] == [(15000, 12000, 3000, 0, 0, 15000)]
    assert world.breaches() == []


def test_every_figure_opens_to_its_lines(world):
    number = bought(world, ("A150", 2))
    refund(world, number, 1)
    one = world.call(MERCHANT_A, "GET", f"/merchant/statements/{this_month()}").json
    lines = one["lines"]["items"]
    assert [(line["kind"], line["order_number"], line["net_fen"]) for line in lines] == [
        ("paid", number, 30000),
        ("refund", number, -15000),
    ]
    for name in ("goods_fen", "paid_fen", "subsidy_fen", "refunds_fen", "net_fen"):
        assert sum(line[name] for line in lines) == one[name]
    first = world.call(MERCHANT_A, "GET", f"/merchant/statements/{this_month()}?limit=1").json["lines"]
    second = world.call(
        MERCHANT_A, "GET", f"/merchant/statements/{this_month()}?limit=1&cursor={first['next_cursor']}"
    ).json["lines"]
    assert [first["items"], second["items"], second["next_cursor"]] == [lines[:1], lines[1:], None]


def test_a_closed_statement_never_changes_and_what_comes_later_is_on_the_next(world):
    number = bought(world, ("A150", 2))  # ¥300: ¥60 off
    bought(world, ("A100", 1), login=M2)
    assert close(world) == 1
    assert close(world) == 0
    closed = statements(world)
    assert [(one["status"], figures(one)) for one in closed] == [("issued", (40000, 32000, 8000, 0, 0, 40000))]
    refund(world, number, 1)  # late: posted in the month that is closed
    body = {"merchant_id": world_merchant(world), "campaign": "spring", "amount_fen": -250, "reason": "少发一件"}
    assert world.call(OPERATOR, "POST", "/admin/corrections", body).status_code == 201
    later, same = statements(world)
    assert same == closed[0]
    assert (later["month"] > same["month"], later["status"]) == (True, "open")
    assert figures(later) == (0, 0, 0, 15000, -250, -15250)
    lines = world.call(MERCHANT_A, "GET", f"/merchant/statements/{later['period']}").json["lines"]["items"]
    assert [(line["kind"], line["net_fen"]) for line in lines] == [("refund", -15000), ("correct", -250)]
    assert lines[1]["reason"] == "少发一件"
    assert world.breaches() == []
    assert close(world, days=64) == 1
    assert [figures(one) for one in statements(world)] == [
        (0, 0, 0, 15000, -250, -15250),
        (40000, 32000, 8000, 0, 0, 40000),
    ]
    assert world.breaches() == []


def world_merchant(world, code="A"):
    return next(
        one["id"]
        for one in world.app.test_client().get("/api/v1/merchants").json["items"]
        if one["name"].endswith({"A": "甲", "B": "乙"}[code])
    )


def test_nothing_is_closed_before_its_month_is_over(world):
    bought(world, ("A150", 1))
    assert close(world, days=0) == 0
    assert [one["status"] for one in statements(world)] == ["open"]
    period = statements(world)[0]["period"]
    for verb, body in (("confirm", None), ("dispute", {"reason": "x"})):
        answer = world.call(MERCHANT_A, "POST", f"/merchant/statements/{period}/{verb}", body)
        assert (answer.status_code, answer.json["code"]) == (409, "state_conflict")


def test_two_workers_close_a_month_once(world):
    bought(world, ("A150", 1), ("B150", 1))
    counts = []

    def work():
        with world.app.app_context():
            counts.append(services.close_due(now=clock.now() + NEXT))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 2
    assert len(statements(world)) == 1
    assert world.breaches() == []


def test_confirm_then_paid_with_the_banks_reference(world):
    bought(world, ("A150", 1))
    close(world)
    one = statements(world)[0]
    pay = {"bank_reference": "ICBC-2026-001"}
    early = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/paid", pay)
    assert (early.status_code, early.json["code"]) == (409, "state_conflict")
    answer = world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/confirm")
    assert (answer.status_code, answer.json["status"]) == (200, "confirmed")
    assert world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/confirm").status_code == 409
    paid = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/paid", pay, key="once")
    assert (paid.json["status"], paid.json["bank_reference"]) == ("paid", "ICBC-2026-001")
    again = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/paid", pay, key="once")
    assert again.status_code == 200
    other = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/paid", pay)
    assert other.json["code"] == "state_conflict"
    with world.app.app_context():
        assert [(row.debit, row.credit, row.amount) for row in queries.payout_of(int(one["id"]))] == [
            ("merchant.owed", "cash", 15000)
        ]
        assert queries.owed(int(world_merchant(world))) == 0
    assert [figures(same) for same in statements(world)] == [figures(one)], "a pay-out is no line of a statement"
    assert world.breaches() == []


def test_a_dispute_is_answered_and_looked_at_again(world):
    bought(world, ("A150", 1))
    close(world)
    one = statements(world)[0]
    disputed = world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/dispute", {"reason": "少一单"})
    assert (disputed.json["status"], disputed.json["dispute_reason"]) == ("disputed", "少一单")
    assert world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/confirm").status_code == 409
    replied = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/reply", {"reply": "下月补"})
    assert (replied.json["status"], replied.json["reply"]) == ("issued", "下月补")
    assert world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/reply", {"reply": "x"}).status_code == 409
    assert world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/confirm").json["status"] == "confirmed"


def test_what_a_merchant_owes_is_paid_the_other_way(world):
    number = bought(world, ("A150", 1))
    close(world)
    refund(world, number, 1)
    close(world, days=64)
    later, first = statements(world)
    assert later["net_fen"] == -15000
    for one in (first, later):
        world.call(MERCHANT_A, "POST", f"/merchant/statements/{one['period']}/confirm")
        paid = world.call(OPERATOR, "POST", f"/admin/statements/{one['id']}/paid", {"bank_reference": one["period"]})
        assert paid.json["status"] == "paid"
        reconciled = world.call(OPERATOR, "GET", "/admin/reconcile").json
        assert (reconciled["differences"], reconciled["breaches"]) == ([], []), "what merchants get is no buyer's money"
    assert world.breaches() == []


def test_union_orders_and_grants_are_on_it(world):
    order = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    people = {"recipients": [{"name": f"n{i}", "phone": f"1391234000{i}"} for i in range(2)]}
    assert world.call(OFFICER, "PUT", f"/bulk/orders/{order}/roster", people).status_code == 200
    world.call(OFFICER, "POST", f"/bulk/orders/{order}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{order}/approve")
    paying = world.call(OFFICER, "POST", f"/bulk/orders/{order}/payments", {"provider": "bank_transfer"}).json
    assert statements(world) == [], "nothing is owed before money has come"
    confirmed = world.call(
        OPERATOR, "POST", f"/admin/payments/{paying['id']}/confirm", {"amount_fen": paying["amount_fen"]}
    )
    assert confirmed.status_code == 200, confirmed.text
    assert figures(statements(world)[0]) == (30000, 24000, 6000, 0, 0, 30000)


OPENINGS = {"paid": "paid_fen", "subsidy": "subsidy_fen", "goods": "goods_fen", "refunds": "refunds_fen"}


def test_each_figure_of_the_page_opens_to_its_own_entries_with_their_packs(world):
    sent = bought(world, ("A150", 1), ("B150", 1))
    back = bought(world, ("A100", 2), login=M2)
    taken = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    assert world.call(M2, "POST", f"/orders/{back}/refunds", taken).status_code == 201
    page = f"/merchant/statements/{this_month()}-spring"
    browser = world.browser(MERCHANT_A)
    whole = browser.get(page).text
    assert all(f'href="?figure={name}#entries"' in whole for name in OPENINGS)
    assert "A150 × 1" in whole
    assert "B150" not in whole, "another merchant's pack in the same order"
    close(world)
    with world.app.app_context():
        one = next(one for one in queries.statements() if one.figures.refunds_fen)
        entries = {name: queries.lines_of(one, figure=name) for name in OPENINGS}
        for name, figure in OPENINGS.items():
            assert sum(getattr(line.figures, figure) for line in entries[name]) == getattr(one.figures, figure), name
            assert all(getattr(line.figures, figure) for line in entries[name]), name
        assert [str(line.order_id) for line in entries["refunds"]] == [back]
        assert {str(line.order_id) for line in entries["paid"]} == {sent, back}
        assert queries.lines_of(one, figure="corrections") == []
        db.session.remove()
    refunds = browser.get(f"{page}?figure=refunds").text
    assert (back in refunds, sent in refunds) == (True, False)
    assert "只看" in refunds
    assert sent in browser.get(f"{page}?figure=nonsense").text
    desk = world.browser(OPERATOR).get(f"/admin/statements/{one.id}?figure=refunds").text
    assert (back in desk, sent in desk) == (True, False)


def test_the_workbook_and_the_document_say_the_same(world):
    number = bought(world, ("A150", 1), ("A100", 1))  # ¥250: ¥40 off
    refund(world, number, 2)
    month = this_month()
    for period in (month, f"{month}-spring"):
        answer = world.call(MERCHANT_A, "GET", f"/merchant/statements/{period}.xlsx")
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{period}.xlsx"
        book = CalamineWorkbook.from_filelike(io.BytesIO(answer.data))
        assert book.sheet_names == ["结算单", "明细"]
        rows = book.get_sheet_by_index(0).to_python()
        assert rows[0][0] == f"青岛甲 {month} 结算单"
        assert rows[1][3:] == [
            "商品金额（元）",
            "买家支付（元）",
            "工会补贴（元）",
            "退款（元）",
            "更正（元）",
            "应付净额（元）",
        ]
        assert rows[2] == ["春节", month, "本月未结", 250.0, 210.0, 40.0, -100.0, 0.0, 150.0]
        assert rows[3] == ["合计", "", "", 250.0, 210.0, 40.0, -100.0, 0.0, 150.0]
        lines = book.get_sheet_by_index(1).to_python()
        sold = "礼包A150 × 1、礼包A100 × 1"
        assert [(row[2], row[3], row[4], row[10]) for row in lines[1:]] == [
            ("销售", number, sold, 250.0),
            ("退款", number, sold, -100.0),
        ]
    answer = world.call(MERCHANT_A, "GET", f"/merchant/statements/{month}.pdf")
    assert (answer.status_code, answer.content_type) == (200, "application/pdf")
    words = PdfReader(io.BytesIO(answer.data)).pages[0].extract_text()
    for one in (f"青岛甲 {month} 结算单", "应付净额", "¥150", "-¥100", number, "礼包A150 × 1", "仅供参考"):
        assert one in words


@pytest.mark.parametrize("period", ["2020-01", "2026-13", "nothing", "2026-11-nowhere", "2026-11-", "-", "9999-99"])
@pytest.mark.parametrize("ending", ["", ".xlsx", ".pdf"])
def test_a_period_without_a_statement_is_not_found(world, period, ending):
    answer = world.call(MERCHANT_A, "GET", f"/merchant/statements/{period}{ending}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_anothers_statement_does_not_exist(world):
    bought(world, ("A150", 1))
    close(world)
    period = statements(world)[0]["period"]
    for method, path in (
        ("GET", f"/merchant/statements/{period}"),
        ("GET", f"/merchant/statements/{period}.xlsx"),
        ("GET", f"/merchant/statements/{period}.pdf"),
        ("POST", f"/merchant/statements/{period}/confirm"),
    ):
        assert world.call(MERCHANT_B, method, path).status_code == 404
    assert [one["status"] for one in statements(world)] == ["issued"]


def test_a_statement_is_not_sent_twice_to_who_has_it(world):
    bought(world, ("A150", 1))
    first = world.call(MERCHANT_A, "GET", "/merchant/statements")
    headers = {"Authorization": f"Bearer {world.token(MERCHANT_A)}", "If-None-Match": first.headers["ETag"]}
    client = world.app.test_client()
    assert client.get("/api/v1/merchant/statements", headers=headers).status_code == 304
    bought(world, ("A150", 1))
    assert client.get("/api/v1/merchant/statements", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("case", "body", "status"),
    [
        ("nothing", {"amount_fen": 0}, 422),
        ("half a fen", {"amount_fen": 1.5}, 422),
        ("no reason", {"reason": ""}, 422),
        ("no such merchant", {"merchant_id": "7777"}, 404),
        ("no such campaign", {"campaign": "nowhere"}, 404),
    ],
)
def test_a_correction_that_makes_no_sense_posts_nothing(world, case, body, status):
    good = {"merchant_id": world_merchant(world), "campaign": "spring", "amount_fen": 100, "reason": "x"}
    assert world.call(OPERATOR, "POST", "/admin/corrections", good | body).status_code == status
    assert statements(world) == []


def post_correction(entry, at):
    """A posting of one fen to the merchant of the only sale, at a moment of our choice."""
    db.session.execute(
        text(
            "INSERT INTO ledger_postings"
            " (entry, line, kind, debit, credit, amount, campaign_id, merchant_id, at)"
            " SELECT :entry, 1, 'correct', 'subsidy', 'merchant.owed', 1, campaign_id, merchant_id, :at"
            " FROM ledger_postings WHERE credit = 'merchant.owed' AND debit = 'cash'"
        ),
        {"entry": entry, "at": at if db.engine.dialect.name != "sqlite" else at.strftime("%F %T.000000")},
    )


def test_a_month_is_shanghais(world):
    bought(world, ("A150", 1))
    with world.app.app_context():
        post_correction("correct:1", datetime(2026, 7, 31, 15, 59, tzinfo=UTC))  # the last minute of July there
        post_correction("correct:2", datetime(2026, 7, 31, 16, 0, tzinfo=UTC))  # the first of August
        db.session.commit()
        months = {one.month: one.figures.correction_fen for one in queries.statements()}
    assert months == {"2026-07": 1, "2026-08": 1, this_month(): 0}


BREAK = {
    "a statement's figure": "UPDATE statements SET paid_fen = paid_fen + 1, net_fen = net_fen + 1",
    "a line that is gone": "DELETE FROM statement_lines",
    "a line on another's": (
        "UPDATE statement_lines SET statement_id = (SELECT max(id) FROM statements)"
        " WHERE statement_id = (SELECT min(id) FROM statements)"
    ),
}


@pytest.mark.parametrize("case", BREAK)
def test_the_check_finds_what_was_tampered_with(world, case):
    bought(world, ("A150", 1), ("B150", 1))
    close(world)
    assert world.breaches() == []
    with world.app.app_context():
        db.session.execute(text(BREAK[case]))
        db.session.commit()
    found = world.breaches()
    assert found
    assert all("statement" in one or "settlement" in one for one in found)


def test_the_check_finds_money_that_is_owed_to_nobody(world):
    bought(world, ("A150", 1))
    with world.app.app_context():
        db.session.execute(
            text(
                "INSERT INTO ledger_postings (entry, line, kind, debit, credit, amount, at)"
                " SELECT 'odd:1', 1, 'odd', 'cash', 'merchant.owed', 5, max(at) FROM ledger_postings"
            )
        )
        db.session.commit()
    assert [one for one in world.breaches() if "all merchants together" in one]
