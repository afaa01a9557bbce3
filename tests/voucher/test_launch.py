"""Before a campaign opens: its worst case, the second person, its forecast, its preview; and what binds no program."""

import threading
from datetime import date

import pytest

from people.services import arrivals
from tests.factories import OPERATOR, World, csrf_of
from voucher.forecast import Assumed, forecast
from voucher.rules import SpendAndSave

SECOND = "13600000002"
M1 = "13800000001"


def made(world: World, **more):
    body = {
        **{"slug": "next", "name": "下次", "starts_at": "2026-01-01T00:00:00+08:00", "member_budget_fen": 100_000},
        **{"ends_at": "2999-01-01T00:00:00+08:00", "tiers_fen": [10000, 15000], "issue_mode": "claim"},
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        **more,
    }
    answer = world.call(OPERATOR, "POST", "/admin/campaigns", body)
    assert answer.status_code == 201, answer.text
    return answer.json


@pytest.fixture
def two(world):
    """A world with a second operator."""
    with world.app.app_context():
        arrivals.bring_in(
            **{name: [] for name in ("unions", "merchants", "members", "honours", "stations")},
            staff=[{"name": "运营二", "phone": SECOND, "role": "operator"}],
        )
    return world


def test_a_programs_campaign_opens_by_its_start_and_refuses_claims_past_its_budget(world):
    assert made(world)["launch"] == "free"
    claims = [world.call(f"138{n:08d}", "POST", "/campaigns/next/claim") for n in range(1, 7)]
    assert [it.status_code for it in claims] == [201] * 5 + [409]
    assert claims[5].json["code"] == "over_limit"
    assert world.call(OPERATOR, "POST", "/admin/campaigns/next/launch").json["code"] == "state_conflict"


def test_the_worst_case_says_what_is_promised_and_held(world):
    made(world)
    worst = world.call(OPERATOR, "GET", "/admin/campaigns/next/worst-case").json
    assert (worst["members"], worst["promised_fen"], worst["member_budget_fen"]) == (6, 120_000, 100_000)
    assert (worst["over_fen"], worst["unserved_members"], worst["could_overspend"]) == (20_000, 1, True)
    world.place(M1, ("A150", 1))
    spring = world.call(OPERATOR, "GET", "/admin/campaigns/spring/worst-case").json
    assert (spring["held_fen"], spring["issued_fen"], spring["could_overspend"]) == (2000, 120_000, False)


def test_a_campaign_that_could_overspend_opens_by_two_people_only(two):
    assert made(two, launch="waiting")["status"] == "upcoming"
    path = "/admin/campaigns/next/launch"
    assert two.call(M1, "POST", "/campaigns/next/claim").json["code"] == "campaign_closed"
    order = two.call(M1, "POST", "/quotes", {**two.lines(("A100", 1)), "campaign": "next"})
    assert order.json["code"] == "campaign_closed"
    issue = two.call(OPERATOR, "POST", "/admin/campaigns/next/issue", {"audience": {"member_nos": ["M1"]}})
    assert issue.json["code"] == "state_conflict"
    assert two.call(SECOND, "POST", f"{path}/approve").json["code"] == "state_conflict"
    assert two.call(OPERATOR, "POST", path).json["launch"] == "asked"
    assert two.call(SECOND, "POST", path).json["code"] == "state_conflict"
    assert two.call(OPERATOR, "POST", f"{path}/approve").json["code"] == "forbidden"
    assert two.call(M1, "POST", "/campaigns/next/claim").json["code"] == "campaign_closed"
    # What was agreed upon other figures is void.
    two.call(OPERATOR, "PATCH", "/admin/campaigns/next", {"member_budget_fen": 80_000})
    assert two.call(SECOND, "POST", f"{path}/approve").json["code"] == "state_conflict"
    assert two.call(OPERATOR, "POST", path).json["launch"] == "asked"
    assert two.call(SECOND, "POST", f"{path}/approve").json["launch"] == "launched"
    assert two.call(M1, "POST", "/campaigns/next/claim").status_code == 201
    actions = [it["action"] for it in two.call(OPERATOR, "GET", "/admin/audit?object=campaign:next").json["items"]]
    assert actions[0] == "campaign.launch"
    assert actions.count("campaign.launch_ask") == 2


def test_a_campaign_within_its_budget_is_launched_by_one_person(two):
    made(two, launch="waiting", member_budget_fen=120_000)
    assert two.call(OPERATOR, "POST", "/admin/campaigns/next/launch").json["launch"] == "launched"
    assert two.call(M1, "POST", "/campaigns/next/claim").status_code == 201


def test_two_who_ask_at_once_are_one_who_asked(two):
    made(two, launch="waiting")
    tokens = [two.token(OPERATOR), two.token(SECOND)]
    answers, start = [], threading.Barrier(2)

    def ask(token):
        client = two.app.test_client()
        start.wait()
        answers.append(
            client.post("/api/v1/admin/campaigns/next/launch", headers={"Authorization": f"Bearer {token}"}).status_code
        )

    threads = [threading.Thread(target=ask, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409]
    assert two.call(M1, "POST", "/campaigns/next/claim").json["code"] == "campaign_closed"


def test_a_forecast_by_hand():
    assumed = Assumed(1000, 500, 200, {10000: 1, 15000: 1}, (1, 3), date(2027, 1, 1))
    offer = SpendAndSave(10000, 2000)
    low, middle, high = forecast(offer, face_fen=20000, budget_fen=2_500_000, claimed=False, assumed=assumed)
    assert [line.buyers for line in (low, middle, high)] == [400, 500, 600]
    assert [line.stock for line in (low, middle, high)] == [
        *({10000: 400, 15000: 400}, {10000: 500, 15000: 500}, {10000: 600, 15000: 600})
    ]
    assert [line.subsidy_fen for line in (low, middle, high)] == [2_000_000, 2_500_000, 3_000_000]
    assert [day.total_fen for day in middle.days] == [625_000, 2_500_000]
    assert [line.runs_out_on for line in (low, middle, high)] == [None, None, date(2027, 1, 2)]
    claimed = forecast(offer, face_fen=20000, budget_fen=2_500_000, claimed=True, assumed=assumed)
    assert [line.runs_out_on for line in claimed] == [date(2027, 1, 2), date(2027, 1, 2), date(2027, 1, 1)]
    everybody = Assumed(10, 1000, 1000, {10000: 1}, (1,), date(2027, 1, 1))
    lines = forecast(offer, face_fen=20000, budget_fen=10**9, claimed=False, assumed=everybody)
    # Nobody buys twice over, and no voucher saves more than its face.
    assert [(line.buyers, line.subsidy_fen) for line in lines] == [(8, 160_000), (10, 200_000), (10, 200_000)]


def test_a_forecast_as_the_last_campaign_went(world):
    order = world.place(M1, ("A150", 2)).json
    world.pay(M1, order["number"])
    world.place("13800000002", ("A100", 1))  # held, not paid
    made(world, starts_at="2027-01-01T00:00:00+08:00", ends_at="2027-01-11T00:00:00+08:00")
    found = world.call(OPERATOR, "GET", "/admin/campaigns/next/forecast?like=spring").json
    assert (found["like"], found["members"], found["take_up_permille"], found["packs_per_100"]) == (
        "spring",
        6,
        333,
        200,
    )
    middle = found["lines"][1]
    assert (middle["buyers"], middle["stock"]) == (
        1,
        [{"tier_fen": 10000, "packs": 0}, {"tier_fen": 15000, "packs": 2}],
    )
    assert (middle["subsidy_fen"], len(middle["days"]), middle["days"][-1]["total_fen"]) == (6000, 10, 6000)
    # What was sold on the campaign's second day of twenty-one or so falls on the first of ten.
    assert middle["days"][0]["spent_fen"] == 6000
    usual = world.call(OPERATOR, "GET", "/admin/campaigns/next/forecast?take_up_permille=1000&packs_per_100=100").json
    assert (usual["like"], usual["lines"][1]["buyers"], usual["lines"][1]["packs"]) == (None, 6, 6)
    for query in ("take_up_permille=-1", "take_up_permille=x", "packs_per_100=99999999999999"):
        assert world.call(OPERATOR, "GET", f"/admin/campaigns/next/forecast?{query}").status_code == 422
    assert world.call(OPERATOR, "GET", "/admin/campaigns/next/forecast?like=none").status_code == 404


def test_the_pages(two):
    made(two, launch="waiting", starts_at="2027-01-01T00:00:00+08:00", ends_at="2027-02-01T00:00:00+08:00")
    browser = two.browser(OPERATOR)
    assert "礼包A150" in browser.get("/admin/campaigns/next/preview").text
    assert "下次" not in two.browser(M1).get("/").text
    assert "预算哪天用完" in browser.get("/admin/campaigns/next/forecast?take_up=50&packs=x&like=").text
    drawn = browser.get("/admin/campaigns/next/forecast.svg")
    assert drawn.mimetype == "image/svg+xml"
    assert drawn.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    page = browser.get("/admin/campaigns/next/launch").text
    assert "提请启动" in page
    form = {"csrf_token": csrf_of(page)}
    asked = browser.post("/admin/campaigns/next/launch", data=form, follow_redirects=True).text
    assert "您提请的，不能由您批准。" in asked
    assert browser.post("/admin/campaigns/next/launch/approve", data=form).status_code == 403
    other = two.browser(SECOND)
    form = {"csrf_token": csrf_of(other.get("/admin/campaigns/next/launch").text)}
    done = other.post("/admin/campaigns/next/launch/approve", data=form, follow_redirects=True).text
    assert "活动已启动。" in done
    copied = browser.get("/admin/campaigns/new?like=next").text
    assert 'value="2027-12-31"' in copied
    assert 'value="2028-01-30"' in copied
