"""A campaign's settings: validated, versioned, never changed under who was promised something; several at once."""

import io
import re
import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from kernel import clock, sheets
from kernel.db import db
from tests.factories import OPERATOR, SHIP, csrf_of
from voucher import services

M1, M2, M5 = "13800000001", "13800000002", "13800000005"


def body_of(slug="next", **more):
    now = clock.now()
    return {
        "slug": slug,
        "name": "下一场",
        "starts_at": (now - timedelta(days=1)).isoformat(),
        "ends_at": (now + timedelta(days=9)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        "tiers_fen": [10000, 15000],
        "member_budget_fen": 120000,
    } | more


def create(world, **more):
    return world.call(OPERATOR, "POST", "/admin/campaigns", body_of(**more))


def issue(world, slug, **audience):
    asked = world.call(OPERATOR, "POST", f"/admin/campaigns/{slug}/issue", {"audience": audience or {"all": True}})
    if asked.status_code == 202:
        with world.app.app_context():
            services.issue_now(slug=slug, audience=services.audience_of(audience or {"all": True}), now=clock.now())
    return asked


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"slug": "Big Name"}, "slug"),
        ({"slug": "spring"}, "slug"),
        ({"name": ""}, "name"),
        ({"ends_at": "2020-01-01T00:00:00+08:00"}, "ends_at"),
        ({"rule": {"step_fen": 0, "save_fen": 1, "face_fen": 1}}, "rule.step_fen"),
        ({"rule": {"step_fen": 100, "save_fen": 101, "face_fen": 1}}, "rule.save_fen"),
        ({"rule": {"step_fen": 100, "save_fen": 1, "face_fen": -1}}, "rule.face_fen"),
        ({"rule": {"step_fen": 100.5, "save_fen": 1, "face_fen": 1}}, "rule.step_fen"),
        ({"tiers_fen": []}, "tiers_fen"),
        ({"tiers_fen": [100, 100]}, "tiers_fen"),
        ({"member_budget_fen": 10**19}, "member_budget_fen"),
        ({"issue_mode": "throw"}, "issue_mode"),
        ({"pack_limit": 0}, "pack_limit"),
        ({"bulk_payment_days": 0}, "bulk_payment_days"),
        ({"eligible": {"joined_by": "soon"}}, "eligible.joined_by"),
    ],
)
def test_what_cannot_be_is_refused_by_field(world, more, field):
    refused = create(world, **more)
    assert (refused.status_code, list(refused.json["errors"])) == (422, [field]), refused.text
    assert all(re.search("[\u4e00-\u9fff]", said) for said in refused.json["errors"][field])
    assert [one["slug"] for one in world.call(M1, "GET", "/campaigns").json["items"]] == ["spring"]


def test_a_face_value_that_leaves_odd_savings_warns_and_a_budget_below_what_is_out_is_refused(world):
    made = create(world, rule={"step_fen": 10000, "save_fen": 3000, "face_fen": 20000})
    assert (made.status_code, len(made.json["warnings"])) == (201, 1)
    assert issue(world, "next").status_code == 202
    low = world.call(OPERATOR, "PATCH", "/admin/campaigns/next", {"member_budget_fen": 119999})
    assert low.json["code"] == "over_limit"
    assert world.call(OPERATOR, "PATCH", "/admin/campaigns/next", {"member_budget_fen": 130000}).status_code == 200
    assert world.breaches() == []


def test_what_was_promised_stays_and_every_version_is_kept(world):
    create(world)
    assert world.call(OPERATOR, "PATCH", "/admin/campaigns/next", {"rule": {"save_fen": 1000}}).status_code == 200
    issue(world, "next")
    for change in (
        {"rule": {"face_fen": 1}},
        {"rule": {"save_fen": 500, "face_fen": 1}},
        {"issue_mode": "claim"},
        {"starts_at": clock.now().isoformat()},
    ):
        refused = world.call(OPERATOR, "PATCH", "/admin/campaigns/next", change)
        assert (refused.status_code, refused.json["code"]) == (409, "state_conflict"), change
    quoted = world.call(M1, "POST", "/quotes", {**world.lines(("A100", 1)), "campaign": "next"}).json
    assert quoted["discount_fen"] == 1000
    assert world.call(OPERATOR, "PATCH", "/admin/campaigns/next", {"name": "改名"}).status_code == 200
    versions = world.call(OPERATOR, "GET", "/admin/campaigns/next/versions").json["items"]
    assert [(one["version"], one["settings"]["save_fen"], one["settings"]["name"]) for one in versions] == [
        (3, 1000, "改名"),
        (2, 1000, "下一场"),
        (1, 2000, "下一场"),
    ]


def test_an_order_keeps_the_rule_it_was_placed_under(world):
    create(world, bulk_budget_fen=10**6, rule={"step_fen": 10000, "save_fen": 2000, "face_fen": 0})
    with_none = world.call(M1, "POST", "/quotes", {**world.lines(("A100", 1)), "campaign": "next"}).json
    assert (with_none["discount_fen"], with_none["reason"]) == (0, "no_voucher")
    number = world.place(M1, ("A150", 2)).json["number"]
    with world.app.app_context():
        db.session.execute(text("UPDATE campaigns SET save_fen = 1, step_fen = 2 WHERE slug = 'spring'"))
        db.session.commit()
    world.pay(M1, number)
    assert world.call(M1, "GET", f"/orders/{number}").json["discount_fen"] == 6000
    body = {"lines": [{"line_id": "1", "quantity": 1}]}
    assert world.call(M1, "POST", f"/orders/{number}/refunds", body).json["voucher_back_fen"] == 3000


def test_a_member_holds_a_voucher_in_each_campaign_and_an_order_draws_on_its_own(world):
    create(world)
    issue(world, "next")
    assert {one["campaign"] for one in world.call(M1, "GET", "/me/vouchers").json["items"]} == {"spring", "next"}
    body = {**world.lines(("A150", 2)), "campaign": "next"}
    price = world.call(M1, "POST", "/quotes", body).json["payable_fen"]
    placed = world.call(M1, "POST", "/orders", {**body, "payable_fen": price, "delivery": SHIP})
    assert placed.json["campaign"] == "next"
    balances = {one["campaign"]: one["balance_fen"] for one in world.call(M1, "GET", "/me/vouchers").json["items"]}
    assert balances == {"spring": 20000, "next": 14000}
    assert world.breaches() == []
    member = world.browser(M1)
    token = csrf_of(member.get("/packs/" + world.packs["A150"]).text)
    member.post("/cart", data={"csrf_token": token, "pack_id": world.packs["A150"], "quantity": 1, "add": "1"})
    assert "下一场" in member.get("/").text
    assert "礼包A150" in member.get("/cart").text
    member.get("/?campaign=spring")
    assert "礼包A150" not in member.get("/cart").text, "each campaign has a cart of its own"
    member.get("/?campaign=next")
    assert "礼包A150" in member.get("/cart").text


def test_only_those_a_campaign_is_for_get_its_voucher(world):
    unions = world.call(M5, "GET", "/me").json["union"]["id"]
    create(world, eligible={"union_ids": [unions]}, member_budget_fen=60000)
    asked = issue(world, "next")
    assert (asked.status_code, asked.json["total"]) == (202, 3), "three of six members are of that union"
    assert "next" not in {one["campaign"] for one in world.call(M1, "GET", "/me/vouchers").json["items"]}
    assert "next" in {one["campaign"] for one in world.call(M5, "GET", "/me/vouchers").json["items"]}
    create(world, slug="claimed", issue_mode="claim", eligible={"union_ids": [unions]})
    assert world.call(M1, "POST", "/campaigns/claimed/claim").json["code"] == "state_conflict"
    assert world.call(M5, "POST", "/campaigns/claimed/claim").status_code == 201
    assert world.breaches() == []


def test_simultaneous_claims_give_one_voucher_each_and_never_more_than_the_budget(world):
    create(world, issue_mode="claim", member_budget_fen=80000)
    answers = []

    def claim(login):
        answers.append((login, world.call(login, "POST", "/campaigns/next/claim").status_code))

    logins = [f"138{number:08d}" for number in range(1, 7)]
    for login in logins:
        world.token(login)
    threads = [threading.Thread(target=claim, args=(login,)) for login in logins for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {login for login, status in answers if status in (200, 201)}
    assert len(won) == 4, answers
    assert sum(status == 201 for _, status in answers) == 4
    assert all(status == 409 for login, status in answers if login not in won)
    seen = world.call(OPERATOR, "GET", "/admin/campaigns/next").json
    assert seen["member_committed_fen"] == 80000
    assert world.breaches() == []


def test_a_campaign_is_set_up_in_a_browser(world):
    operator = world.browser(OPERATOR)
    shown = operator.get("/admin/campaigns/new").text
    form = {
        "csrf_token": csrf_of(shown),
        "slug": "autumn",
        "name": "金秋",
        "starts_on": "2030-09-01",
        "ends_on": "2030-09-30",
        "step_fen": "100",
        "save_fen": "20",
        "face_fen": "50",
        "tiers": "100，150",
        "member_budget_fen": "1,000.50",
        "issue_mode": "push",
        "days": "7",
    }
    wrong = operator.post("/admin/campaigns/new", data={**form, "save_fen": "2.345", "ends_on": "soon"})
    assert (wrong.status_code, wrong.text.count("invalid-feedback")) == (422, 2)
    assert operator.post("/admin/campaigns/new", data=form).status_code == 303
    page = operator.get("/admin/campaigns/autumn/settings").text
    assert "面值不是每次优惠的整数倍" in page
    seen = world.call(OPERATOR, "GET", "/admin/campaigns/autumn").json
    assert seen["ends_at"] == "2030-10-01T00:00:00+08:00"
    assert (seen["member_budget_fen"], seen["tiers_fen"]) == (100050, [10000, 15000])
    assert operator.post("/admin/campaigns/autumn/settings", data={**form, "face_fen": "60"}).status_code == 303
    assert operator.post("/admin/campaigns/autumn/settings", data={**form, "face_fen": "60"}).status_code == 303
    versions = world.call(OPERATOR, "GET", "/admin/campaigns/autumn/versions").json["items"]
    assert len(versions) == 2, "saving what is there already is no new version"


def test_an_audience_from_a_spreadsheet_is_previewed_then_issued(world):
    create(world)
    operator = world.browser(OPERATOR)
    token = csrf_of(operator.get("/admin/campaigns/next/issue").text)
    file = sheets.write([["名单"], ["会员编号", "姓名"], ["M1", "x"], ["M2", "y"], ["NOBODY", "z"]])
    form = {"csrf_token": token, "audience": "member_nos", "preview": "1", "file": (io.BytesIO(file), "a.xlsx")}
    page = operator.post("/admin/campaigns/next/issue", data=form).text
    assert "将发给 2 人，共 ¥400" in page
    assert "M1 M2 NOBODY" in page
    assert "有 1 个编号不在册，不会发放：NOBODY<" in page
    assert "确认发放" in page
    nobody = {"csrf_token": token, "audience": "member_nos", "preview": "1", "member_nos": "NOBODY"}
    assert "确认发放" not in operator.post("/admin/campaigns/next/issue", data=nobody).text
    with_some = issue(world, "next", member_nos=["M2", "NOBODY", "M1", "NOBODY"])
    assert (with_some.status_code, with_some.json["total"], with_some.json["unknown_member_nos"]) == (
        202,
        2,
        ["NOBODY"],
    )
    assert "unknown_member_nos" not in issue(world, "next", member_nos=["M1"]).json
    bad = {"csrf_token": token, "audience": "member_nos", "preview": "1", "file": (io.BytesIO(b"MZ"), "a.xlsx")}
    assert operator.post("/admin/campaigns/next/issue", data=bad).status_code == 422
    none = {"csrf_token": token, "audience": "joined_since", "joined_since": "never", "preview": "1"}
    assert operator.post("/admin/campaigns/next/issue", data=none).status_code == 422


def test_a_changed_rule_reaches_orders_to_come_and_none_that_was_placed(world):
    first = world.place(M1, ("A150", 1))
    assert (first.json["discount_fen"], first.json["payable_fen"]) == (2000, 13000)
    changed = world.call(OPERATOR, "PATCH", "/admin/campaigns/spring", {"rule": {"save_fen": 1000}})
    assert (changed.status_code, changed.json["rule"]["save_fen"]) == (200, 1000), changed.text
    stale = world.place(M1, ("A150", 1), payable_fen=13000)
    assert (stale.status_code, stale.json["code"]) == (409, "price_changed")
    second = world.place(M1, ("A150", 1))
    assert (second.json["discount_fen"], second.json["payable_fen"]) == (1000, 14000)
    kept = world.call(M1, "GET", f"/orders/{first.json['number']}").json
    assert (kept["discount_fen"], kept["payable_fen"]) == (2000, 13000)
    world.pay(M1, first.json["number"])
    world.pay(M1, second.json["number"])
    back = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "不合适"}
    given = world.call(M1, "POST", f"/orders/{first.json['number']}/refunds", back)
    assert given.status_code == 201, given.text
    assert world.voucher(M1)["balance_fen"] == 20000 - 1000
    assert world.breaches() == []
