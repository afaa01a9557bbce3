"""Self-choice: each recipient by their own link, until the deadline; two after the last one get one."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from kernel import clock
from kernel.db import db
from orders.models import Recipient
from orders.services import choosing
from people import message_queries
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, OTHER_OFFICER, SHIP, csrf_of

PEOPLE = [
    {"name": "王芳", "phone": "13800000011", "employee_no": "1", "department": "门诊"},
    {"name": "李强", "phone": "13800000012", "employee_no": "2", "department": "门诊"},
    {"name": "赵敏", "phone": "13800000013", "employee_no": "3", "department": "后勤"},
]


def draft(world, *codes, days=3, login=OFFICER, mode="union", **more):
    choice = {
        "tier_fen": 15000,
        "pack_ids": [world.packs[code] for code in codes or ("A150", "B150")],
        "deadline": (clock.now() + timedelta(days=days)).isoformat(),
        **more,
    }
    body = {"campaign": "spring", "choice": choice, "delivery": {"mode": mode, "name": "工会", "phone": OFFICER}}
    return world.call(login, "POST", "/bulk/orders", body)


def put(world, number, people=PEOPLE, login=OFFICER):
    return world.call(login, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people})


def choosing_order(world, *codes, people=PEOPLE, login=OFFICER, **options):
    """An order whose people can choose: its number and their links' tokens."""
    made = draft(world, *codes, login=login, **options)
    assert made.status_code == 201, made.text
    assert put(world, made.json["number"], people, login).json["status"] == "choosing"
    return made.json["number"], tokens(world, made.json["number"], login)


def tokens(world, number, login=OFFICER):
    listed = world.call(login, "GET", f"/bulk/orders/{number}/choices?limit=100").json["items"]
    return [one["token"] for one in listed]


def choose(world, token, code, **more):
    body = {"pack_id": world.packs[code], **more}
    return world.app.test_client().post(f"/api/v1/choices/{token}", json=body)


def test_from_choice_to_approval(world):
    made = draft(world, default_pack_id=world.packs["B150"]).json
    assert (made["status"], made["subtotal_fen"], made["payable_fen"]) == ("draft", 0, 0)
    assert made["choice"]["default_pack_id"] == world.packs["B150"]
    number = made["number"]
    path = f"/bulk/orders/{number}"
    assert put(world, number).json == {
        "accepted": 3,
        "rejected": 0,
        "errors": [],
        "warnings": [],
        "approval_voided": False,
        "status": "choosing",
    }
    shown = world.call(OFFICER, "GET", path).json
    assert (shown["status"], shown["subtotal_fen"], shown["discount_fen"]) == ("choosing", 45000, 8000)
    first, second, _ = tokens(world, number)
    own = world.app.test_client().get(f"/api/v1/choices/{first}").json
    assert (own["name"], own["chosen_at"], [pack["left"] for pack in own["packs"]]) == ("王芳", None, [50, 50])
    assert choose(world, first, "A150").status_code == 200
    assert choose(world, second, "B150").json["pack_id"] == world.packs["B150"]
    assert choose(world, second, "A150").json["pack_id"] == world.packs["A150"]
    answer = world.call(OFFICER, "GET", f"{path}/choices?limit=2").json
    assert [(one["name"], one["status"], one["phone"]) for one in answer["items"]] == [
        ("王芳", "chosen", "138****0011"),
        ("李强", "chosen", "138****0012"),
    ]
    assert answer["next_cursor"]
    rest = world.call(OFFICER, "GET", f"{path}/choices?limit=2&cursor={answer['next_cursor']}").json
    assert [(one["name"], one["status"]) for one in rest["items"]] == [("赵敏", "waiting")]
    assert answer["departments"] == [
        {"department": "门诊", "people": 2, "chosen": 2, "received": 0},
        {"department": "后勤", "people": 1, "chosen": 0, "received": 0},
    ]
    assert world.stock("A150") == (50, 0, 0)
    submitted = world.call(OFFICER, "POST", f"{path}/submit").json
    assert [(line["pack_id"], line["quantity"]) for line in submitted["lines"]] == [
        (world.packs["A150"], 2),
        (world.packs["B150"], 1),
    ]
    assert choose(world, first, "B150").json["code"] == "state_conflict"
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    assert (world.stock("A150"), world.stock("B150")) == ((48, 2, 0), (49, 1, 0))
    assert world.breaches() == []


def test_what_cannot_be_chosen_is_refused_and_changes_nothing(world):
    number, (first, *_) = choosing_order(world)
    assert choose(world, first, "A150").status_code == 200
    wrong = choose(world, first, "A100")
    assert (wrong.status_code, wrong.json["code"], list(wrong.json["errors"])) == (422, "invalid", ["pack_id"])
    client = world.app.test_client()
    for body in ({}, {"pack_id": "x"}, {"pack_id": world.packs["A150"], "delivery": {"kind": "moon"}}, [], "x"):
        assert client.post(f"/api/v1/choices/{first}", json=body).json["code"] == "invalid"
    for token in ("nothing", first[:-1], first + "x", "." * 500):
        assert client.post(f"/api/v1/choices/{token}", json={"pack_id": "1"}).json["code"] == "not_found"
        assert client.get(f"/choose/{token}").status_code == 404
    assert client.get(f"/api/v1/choices/{first}").json["pack_id"] == world.packs["A150"]
    assert world.call(OTHER_OFFICER, "GET", f"/bulk/orders/{number}/choices").status_code == 404


@pytest.mark.parametrize(
    ("case", "change", "field"),
    [
        ("another tier's pack", {"tier_fen": 10000}, "choice.pack_ids.0"),
        ("no such tier", {"tier_fen": 12345}, "choice.tier_fen"),
        ("too late", {"deadline": "2020-01-01T00:00:00+08:00"}, "choice.deadline"),
        ("after the campaign", {"deadline": "2099-01-01T00:00:00+08:00"}, "choice.deadline"),
        ("a default that is not offered", {"default_pack_id": "1"}, "choice.default_pack_id"),
        ("nothing to choose", {"pack_ids": []}, "choice.pack_ids"),
        ("no zone", {"deadline": "2026-01-01T00:00:00"}, "choice.deadline"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(world, case, change, field):
    if change.get("default_pack_id") == "1":
        change = {"default_pack_id": world.packs["B40"]}
    refused = draft(world, **change)
    assert (refused.status_code, refused.json["code"]) == (422, "invalid"), case
    assert field in refused.json["errors"], refused.json


def test_an_order_is_of_packs_or_of_a_choice(world):
    lines = world.lines(("A150", 1))
    assert world.call(OFFICER, "POST", "/bulk/orders", {"campaign": "spring"}).status_code == 422
    both = {
        **lines,
        "choice": {"tier_fen": 15000, "pack_ids": [world.packs["A150"]], "deadline": "2099-01-01T00:00:00Z"},
    }
    assert world.call(OFFICER, "POST", "/bulk/orders", both).status_code == 422


def test_after_the_deadline_nobody_chooses_and_the_rest_get_the_default(world, monkeypatch):
    number, (first, second, third) = choosing_order(world, days=1)
    choose(world, first, "B150")
    later = clock.now() + timedelta(days=1, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert choose(world, second, "B150").json["code"] == "state_conflict"
    monkeypatch.undo()
    submitted = world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").json
    counts = {line["pack_id"]: line["quantity"] for line in submitted["lines"]}
    assert counts == {world.packs["A150"]: 2, world.packs["B150"]: 1}
    assert world.app.test_client().get(f"/api/v1/choices/{third}").json["pack_id"] == world.packs["A150"]


def test_where_the_officer_ended_choosing_early_that_is_said_and_nothing_changes(world):
    number, (first, *_) = choosing_order(world, days=3)
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").json["status"] == "submitted"
    before = world.app.test_client().get(f"/api/v1/choices/{first}").json
    refused = choose(world, first, "B150")
    assert (refused.status_code, refused.json["code"]) == (409, "state_conflict")
    assert refused.json["detail"] == "选礼包已经结束，需要改请联系工会经办人。"
    assert world.app.test_client().get(f"/api/v1/choices/{first}").json == before
    assert "选礼包已经结束，需要改请联系工会经办人。" in world.app.test_client().get(f"/choose/{first}").text


def test_a_pack_that_runs_out_says_so_and_the_choice_before_stays(world):
    number, (first, second, _) = choosing_order(world)
    stock = f"/merchant/packs/{world.packs['A150']}/stock"
    assert world.call(MERCHANT_A, "POST", stock, {"count": 1, "reason": "盘点"}).status_code == 200
    choose(world, second, "B150")
    assert choose(world, first, "A150").status_code == 200
    refused = choose(world, second, "A150")
    assert (refused.status_code, refused.json["code"]) == (409, "out_of_stock")
    assert refused.json["packs"][0]["id"] == world.packs["A150"]
    shown = world.app.test_client().get(f"/api/v1/choices/{second}").json
    assert (shown["pack_id"], [pack["left"] for pack in shown["packs"]]) == (world.packs["B150"], [0, 49])
    assert choose(world, first, "A150").status_code == 200
    assert choose(world, first, "B150").status_code == 200
    assert choose(world, second, "A150").status_code == 200
    # What is chosen in another union's order counts too.
    _, (other, *_) = choosing_order(world, login=OTHER_OFFICER)
    assert choose(world, other, "A150").json["code"] == "out_of_stock"
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["status"] == "choosing"


def test_two_after_the_last_one_get_one(world):
    """At the same moment, on threads of their own: of one order, and of two orders of two unions."""
    stock = f"/merchant/packs/{world.packs['A150']}/stock"
    people = [{**PEOPLE[0], "phone": f"138000001{n:02d}", "employee_no": str(n)} for n in range(8)]
    _, ours = choosing_order(world, people=people)
    others = [{**one, "phone": one["phone"].replace("1380", "1390")} for one in people]
    _, theirs = choosing_order(world, people=others, login=OTHER_OFFICER)
    world.call(MERCHANT_A, "POST", stock, {"count": 3, "reason": "盘点"})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda token: choose(world, token, "A150"), [*ours[:4], *theirs[:4]]))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 5
    assert {answer.json["code"] for answer in answers if answer.status_code == 409} == {"out_of_stock"}
    client = world.app.test_client()
    states = [client.get(f"/api/v1/choices/{token}").json for token in [*ours, *theirs]]
    assert len([one for one in states if one["chosen_at"]]) == 3


def test_choosing_races_submission_and_never_comes_after_it(world):
    number, (first, *_) = choosing_order(world)
    calls = [
        lambda: choose(world, first, "B150").status_code,
        lambda: world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code,
    ]
    world.token(OFFICER)
    with ThreadPoolExecutor(2) as pool:
        chose, submitted = pool.map(lambda call: call(), calls)
    assert submitted == 200
    assert chose in (200, 409)
    lines = {
        line["pack_id"]: line["quantity"] for line in world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["lines"]
    }
    assert lines.get(world.packs["B150"], 0) == (1 if chose == 200 else 0)


def test_a_new_roster_keeps_links_and_choices_of_who_stays_and_ends_the_others(world):
    number, (first, second, third) = choosing_order(world)
    choose(world, second, "B150")
    newcomer = {"name": "钱进", "phone": "13800000014", "employee_no": "4", "department": "后勤"}
    assert put(world, number, [newcomer, PEOPLE[1], PEOPLE[2]]).json["accepted"] == 3
    client = world.app.test_client()
    assert client.get(f"/api/v1/choices/{first}").status_code == 404
    again = {one["name"]: one for one in world.call(OFFICER, "GET", f"/bulk/orders/{number}/choices").json["items"]}
    assert (again["李强"]["status"], again["李强"]["pack_id"]) == ("chosen", world.packs["B150"])
    # The old link named another place on the roster: it opens nobody else's page.
    assert client.get(f"/api/v1/choices/{third}").json.get("name") in (None, "赵敏")
    assert again["赵敏"]["token"] == third
    assert client.get(f"/api/v1/choices/{second}").json["name"] == "李强"


def test_the_notice_board_asks_phone_and_employee_number(world):
    number, _ = choosing_order(world)
    board = world.call(OFFICER, "GET", f"/bulk/orders/{number}/choices").json["board_link"]
    client = world.app.test_client()
    path = re.sub(r"^https?://[^/]+", "", board)
    form = {"csrf_token": csrf_of(client.get(path).text)}
    wrong = client.post(path, data={**form, "phone": "13800000011", "employee_no": "2"})
    assert wrong.status_code == 404
    assert "花名册上没有这个手机号和工号" in wrong.text
    right = client.post(path, data={**form, "phone": "138 0000 0011", "employee_no": "1"})
    assert (right.status_code, right.location.startswith("/choose/")) == (303, True)
    assert "王芳" in client.get(right.location).text
    for _ in range(choosing.BOARD_TRIES):
        last = client.post(path, data={**form, "phone": "13800000012", "employee_no": "x"})
    assert last.status_code == 404
    assert client.post(path, data={**form, "phone": "13800000012", "employee_no": "2"}).status_code == 429


def test_where_each_gets_it_at_home_each_says_where(world):
    number, (first, second, _) = choosing_order(world, mode="recipient")
    refused = choose(world, first, "A150")
    assert (refused.json["code"], list(refused.json["errors"])) == ("invalid", ["delivery"])
    assert choose(world, first, "A150", delivery=SHIP).json["delivery"]["address"] == SHIP["address"]
    pickup = {"kind": "pickup", "name": "李强", "phone": "13800000012", "station_id": "999"}
    assert choose(world, second, "A150", delivery=pickup).json["code"] == "invalid"
    assert choose(world, first, "B150").status_code == 200  # the address given before stays
    shown = world.app.test_client().get(f"/api/v1/choices/{first}").json
    assert (shown["pack_id"], shown["delivery"]["address"]) == (world.packs["B150"], SHIP["address"])
    assert choose(world, second, "A150", address="某路 2 号").json["address"] == "某路 2 号"
    assert number


def test_a_reminder_goes_to_who_has_not_chosen_once_a_day(world):
    number, (first, *_) = choosing_order(world)
    choose(world, first, "A150")
    path = f"/bulk/orders/{number}/reminders"
    assert world.call(OFFICER, "POST", path).json == {"reminded": 2}
    assert world.call(OFFICER, "POST", path).json == {"reminded": 0}
    with world.app.app_context():
        sent = message_queries.outbox(key=world.app.config["HUIGONG"].secret_key)
    links = {
        one["name"]: one["link"]
        for one in world.call(OFFICER, "GET", path.replace("reminders", "choices")).json["items"]
    }
    assert sorted((one.phone, one.kind, one.text) for one in sent if one.kind == "notice") == [
        ("138****0012", "notice", f"工会请您选一份礼包：{links['李强']}"),
        ("138****0013", "notice", f"工会请您选一份礼包：{links['赵敏']}"),
    ]
    assert world.call(APPROVER, "POST", path).json["code"] == "forbidden"
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert world.call(OFFICER, "POST", path).json["code"] == "state_conflict"


def test_nobody_without_a_phone_is_reminded(world):
    number, _ = choosing_order(world)
    with world.app.app_context():
        db.session.execute(update(Recipient).where(Recipient.position == 1).values(phone=""))
        db.session.commit()
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/reminders").json == {"reminded": 2}


def test_who_leaves_is_taken_off_and_the_price_follows(world):
    number, (first, *_) = choosing_order(world)
    path = f"/bulk/orders/{number}"
    world.call(OFFICER, "POST", f"{path}/submit")
    world.call(APPROVER, "POST", f"{path}/approve")
    assert world.stock("A150") == (47, 3, 0)
    officer = world.browser(OFFICER)
    page = officer.get(f"/union/orders/{number}").text
    code = re.search(r'name="position" value="1">\s*<input type="hidden" name="code" value="(\d+)"', page)[1]
    form = {"csrf_token": csrf_of(page), "position": "1", "code": code}
    for stale in ({**form, "code": "1"}, {**form, "position": "2"}):
        assert officer.post(f"/union/orders/{number}/leave", data=stale).status_code == 404
    assert world.call(OFFICER, "GET", path).json["status"] == "approved"
    assert officer.post(f"/union/orders/{number}/leave", data=form).status_code == 303
    after = world.call(OFFICER, "GET", path).json
    assert (after["status"], after["subtotal_fen"], after["recipient_count"]) == ("choosing", 30000, 2)
    assert world.stock("A150") == (50, 0, 0)
    assert world.app.test_client().get(f"/api/v1/choices/{first}").status_code == 404
    assert world.breaches() == []


def test_a_pack_that_sells_out_is_replaced_and_its_people_are_asked_again(world):
    number, (first, second, _) = choosing_order(world, "A150")
    choose(world, first, "A150")
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    world.call(MERCHANT_A, "POST", f"/merchant/packs/{world.packs['A150']}/stock", {"count": 2, "reason": "盘点"})
    path = f"/bulk/orders/{number}/replacements"
    offered = world.call(OFFICER, "GET", path).json["items"]
    assert [(one["pack_id"], one["wanted"], one["available"]) for one in offered] == [(world.packs["A150"], 3, 2)]
    assert [other["id"] for other in offered[0]["others"]] == [world.packs["B150"]]
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").json["code"] == "out_of_stock"
    wrong = world.call(OFFICER, "POST", path, {"pack_id": world.packs["A150"], "by_pack_id": world.packs["A100"]})
    assert wrong.json["code"] == "invalid"
    changed = world.call(OFFICER, "POST", path, {"pack_id": world.packs["A150"], "by_pack_id": world.packs["B150"]})
    assert (changed.json["status"], changed.json["choice"]["pack_ids"]) == ("choosing", [world.packs["B150"]])
    assert world.app.test_client().get(f"/api/v1/choices/{first}").json["chosen_at"] is None
    assert choose(world, first, "B150").status_code == 200
    assert choose(world, second, "A150").json["code"] == "invalid"


def test_a_recipient_confirms_by_link_once_something_was_sent(world):
    number, (first, *_) = choosing_order(world)
    client = world.app.test_client()
    assert client.post(f"/api/v1/choices/{first}/received").json["code"] == "state_conflict"
    path = f"/bulk/orders/{number}"
    world.call(OFFICER, "POST", f"{path}/submit")
    world.call(APPROVER, "POST", f"{path}/approve")
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", {"amount_fen": payment["amount_fen"]})
    assert client.post(f"/api/v1/choices/{first}/received").json["code"] == "state_conflict"
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "顺丰", "tracking_no": "1"})
    received = client.post(f"/api/v1/choices/{first}/received").json["received_at"]
    assert received
    assert client.post(f"/api/v1/choices/{first}/received").json["received_at"] == received
    assert world.call(OFFICER, "POST", f"{path}/received", {"positions": [1, 2, 99]}).json == {"received": 1}


def test_the_recipients_page_works_without_signing_in(world):
    number, (first, *_) = choosing_order(world)
    client = world.app.test_client()
    page = client.get(f"/choose/{first}")
    assert (page.status_code, "王芳" in page.text, "13800000011" in page.text) == (200, True, False)
    form = {"csrf_token": csrf_of(page.text)}
    assert client.post(f"/choose/{first}", data=form).status_code == 422
    assert client.post(f"/choose/{first}", data={**form, "pack_id": world.packs["B150"]}).status_code == 303
    assert "改成这份" in client.get(f"/choose/{first}").text
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert "礼包B150" in client.get(f"/choose/{first}").text
    assert client.post(f"/choose/{first}", data={**form, "pack_id": world.packs["A150"]}).status_code == 409
