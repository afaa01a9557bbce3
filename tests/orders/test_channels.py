"""A pack's stock split between the channels: each sells its own part, to the last pack, and no more."""

import threading

import pytest
from sqlalchemy import text

from kernel import clock
from kernel.db import db
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, csrf_of

M1, M2 = "13800000001", "13800000002"


def split(world, share, code="A100", login=MERCHANT_A):
    return world.call(login, "PATCH", f"/merchant/packs/{world.packs[code]}", {"bulk_share": share})


def seen(world, channel, code="A100"):
    items = world.call(M1, "GET", f"/packs?campaign=spring&channel={channel}&limit=100").json["items"]
    return next(one["available"] for one in items if one["id"] == world.packs[code])


def draft(world, quantity, code="A100"):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines((code, quantity))).json["number"]
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 200
    return number


def approve(world, number):
    return world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")


def test_each_channel_sells_its_own_part_and_no_more(world):
    assert split(world, 48).json["bulk_share"] == 48
    assert (seen(world, "member"), seen(world, "bulk")) == (2, 48)
    assert world.call(M1, "GET", f"/packs/{world.packs['A100']}").json["available"] == 2
    refused = world.place(M1, ("A100", 3))
    assert (refused.json["code"], refused.json["packs"][0]["available"]) == ("out_of_stock", 2)
    assert world.place(M1, ("A100", 2)).status_code == 201
    assert world.place(M2, ("A100", 1)).json["code"] == "out_of_stock"
    too_many = approve(world, draft(world, 49))
    assert (too_many.json["code"], too_many.json["packs"][0]["available"]) == ("out_of_stock", 48)
    assert world.stock("A100") == (48, 2, 0)
    assert approve(world, draft(world, 48)).json["status"] == "approved"
    assert world.stock("A100") == (0, 50, 0)
    assert (seen(world, "member"), seen(world, "bulk")) == (0, 0)
    assert world.breaches() == []


def test_what_is_given_back_goes_back_to_its_own_part(world):
    split(world, 10)
    number = draft(world, 10)
    approve(world, number)
    assert (seen(world, "member"), seen(world, "bulk")) == (40, 0)
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/cancel")
    assert (seen(world, "member"), seen(world, "bulk")) == (40, 10)
    placed = world.place(M1, ("A100", 1)).json["number"]
    world.call(M1, "POST", f"/orders/{placed}/cancel")
    assert (seen(world, "member"), seen(world, "bulk")) == (40, 10)
    number = draft(world, 4)
    approve(world, number)
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", {"amount_fen": payment["amount_fen"]})
    assert world.stock("A100") == (46, 0, 4)
    body = {"lines": [{"line_id": "1", "quantity": 3}], "reason": "多订了"}
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/refunds", body).status_code == 201
    assert (seen(world, "member"), seen(world, "bulk")) == (40, 9)
    assert world.breaches() == []


def test_a_share_is_set_and_taken_away_but_never_below_what_unions_have(world):
    approve(world, draft(world, 5))
    low = split(world, 4)
    assert (low.status_code, list(low.json["errors"])) == (422, ["bulk_share"])
    assert (seen(world, "member"), seen(world, "bulk")) == (45, 45), "nothing is split"
    assert split(world, 5).status_code == 200
    assert (seen(world, "member"), seen(world, "bulk")) == (45, 0)
    assert split(world, None).json["bulk_share"] is None
    assert (seen(world, "member"), seen(world, "bulk")) == (45, 45)
    assert split(world, 5, login=MERCHANT_B).status_code == 404
    for wrong in (-1, 1.5, "5", 10**10):
        assert split(world, wrong).status_code == 422
    assert world.breaches() == []


def test_members_after_the_last_of_their_part_at_once_never_reach_the_unions(world):
    split(world, 47)
    logins = [f"138{number:08d}" for number in range(1, 7)]
    for login in logins:
        world.token(login)
    answers = []
    threads = [
        threading.Thread(target=lambda login=login: answers.append(world.place(login, ("A100", 1)).status_code))
        for login in logins
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * 3 + [409] * 3
    assert (seen(world, "member"), seen(world, "bulk")) == (0, 47)
    assert world.breaches() == []


def test_a_wrong_count_of_the_unions_is_found(world):
    approve(world, draft(world, 5))
    with world.app.app_context():
        db.session.execute(text("UPDATE stocks SET bulk_taken = 4 WHERE bulk_taken = 5"))
        db.session.commit()
    assert world.breaches() == [f"rule 3: pack {world.packs['A100']}: unions have taken 4, their entries say 5"]


@pytest.mark.parametrize(("text_typed", "share"), [("7", 7), ("", None)])
def test_a_merchant_splits_on_the_packs_page(world, text_typed, share):
    split(world, 3)
    merchant = world.browser(MERCHANT_A)
    page = merchant.get(f"/merchant/packs/{world.packs['A100']}").text
    form = {"csrf_token": csrf_of(page), "bulk_share": text_typed}
    assert merchant.post(f"/merchant/packs/{world.packs['A100']}/split", data=form).status_code == 303
    assert world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs['A100']}").json["bulk_share"] == share


def test_an_officer_chooses_among_the_campaigns_that_are_open(world):
    body = {
        "slug": "next",
        "name": "下一场",
        "starts_at": clock.now().isoformat(),
        "ends_at": clock.now().replace(year=clock.now().year + 1).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 1000, "face_fen": 10000},
        "tiers_fen": [10000],
        "member_budget_fen": 0,
        "bulk_budget_fen": 10**6,
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201
    officer = world.browser(OFFICER)
    assert "campaign=spring" in officer.get("/union/").text
    officer.get("/union/?campaign=spring")
    assert "礼包A150" in officer.get("/union/orders/new").text
    officer.get("/union/?campaign=next")
    assert "礼包A150" not in officer.get("/union/orders/new").text
    officer.get("/union/?campaign=nowhere")
    assert "礼包A100" in officer.get("/union/orders/new").text
