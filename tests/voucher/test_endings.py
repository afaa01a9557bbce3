"""How a voucher ends: taken back by the union, or by the campaign's end; and where its value goes."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from kernel import clock
from kernel.db import db
from orders.services import placing
from tests.factories import MERCHANT_A, OPERATOR
from voucher import services
from voucher.models import Campaign

M1, M2 = "13800000001", "13800000002"


def budget_left(world):
    return world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json["member_budget_left_fen"]


def close_campaign(world):
    with world.app.app_context():
        db.session.execute(update(Campaign).values(ends_at=clock.now() - timedelta(seconds=1)))
        db.session.commit()


def end_all(world, limit=1000):
    with world.app.app_context():
        count = 0
        while ended := services.expire_ended(now=clock.now(), limit=limit):
            count += ended
        return count


def revoke(world, voucher_id, reason="离职"):
    return world.call(OPERATOR, "POST", f"/admin/vouchers/{voucher_id}/revoke", {"reason": reason})


def test_the_unspent_part_is_taken_back_and_the_budget_gets_it(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    voucher, before = world.voucher(M1), budget_left(world)
    answer = revoke(world, voucher["id"])
    assert (answer.status_code, answer.json["status"]) == (200, "revoked")
    assert (answer.json["balance_fen"], answer.json["redeemed_fen"], answer.json["revoked_fen"]) == (0, 6000, 14000)
    assert budget_left(world) == before + 14000
    quoted = world.call(M1, "POST", "/quotes", world.lines(("A150", 2))).json
    assert (quoted["discount_fen"], quoted["reason"]) == (0, "voucher_revoked")
    assert revoke(world, voucher["id"]).json["revoked_fen"] == 14000, "twice changes nothing"
    assert budget_left(world) == before + 14000
    assert world.breaches() == []
    kinds = [entry["kind"] for entry in world.call(M1, "GET", f"/me/vouchers/{voucher['id']}/entries").json["items"]]
    assert kinds == ["issue", "hold", "paid", "revoke"]


def test_what_a_revoked_voucher_holds_stays_with_its_order_and_then_goes_to_the_budget(world):
    kept = world.place(M1, ("A100", 1)).json["number"]
    given_up = world.place(M1, ("A150", 1)).json["number"]
    before = budget_left(world)
    assert revoke(world, world.voucher(M1)["id"]).json["held_fen"] == 4000
    assert budget_left(world) == before + 16000
    world.call(M1, "POST", f"/orders/{given_up}/cancel")
    assert budget_left(world) == before + 18000
    world.pay(M1, kept)
    voucher = world.voucher(M1)
    assert (voucher["balance_fen"], voucher["held_fen"], voucher["redeemed_fen"]) == (0, 0, 2000)
    assert world.breaches() == []


@pytest.mark.parametrize(("voucher_id", "body", "status"), [("999", {"reason": "x"}, 404), ("1", {}, 422)])
def test_a_wrong_revocation_changes_nothing(world, voucher_id, body, status):
    before = budget_left(world)
    assert world.call(OPERATOR, "POST", f"/admin/vouchers/{voucher_id}/revoke", body).status_code == status
    assert world.call(MERCHANT_A, "POST", "/admin/vouchers/1/revoke", {"reason": "x"}).status_code == 403
    assert budget_left(world) == before


def test_a_revocation_races_an_order_and_the_value_goes_one_way(world):
    voucher_id = int(world.voucher(M1)["id"])
    body = {**world.lines(("A150", 2)), "payable_fen": 24000}
    from tests.factories import SHIP

    world.token(M1)
    start, statuses = threading.Barrier(2), []

    def place():
        start.wait()
        statuses.append(world.call(M1, "POST", "/orders", {**body, "delivery": SHIP}).status_code)

    def take_back():
        start.wait()
        with world.app.app_context():
            services.revoke(voucher_id=voucher_id, reason="x", actor_id=1, now=clock.now())
            db.session.remove()

    threads = [threading.Thread(target=work) for work in (place, take_back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = world.voucher(M1)["held_fen"]
    assert (statuses, held) in (([201], 6000), ([409], 0))
    assert world.breaches() == []


def test_a_campaigns_end_takes_back_what_is_left_in_chunks_and_once(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    assert end_all(world) == 0, "not before the campaign's end"
    close_campaign(world)
    assert end_all(world, limit=2) == 6
    assert end_all(world) == 0
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert (report["expired_fen"], report["redeemed_fen"], report["balance_fen"]) == (6 * 20000 - 6000, 6000, 0)
    voucher = world.voucher(M1)
    assert (voucher["status"], voucher["balance_fen"], voucher["expired_fen"]) == ("expired", 0, 14000)
    assert world.breaches() == []


def test_an_order_open_at_the_end_can_still_be_paid_or_its_hold_goes_to_the_budget(world):
    paid = world.place(M1, ("A100", 1)).json["number"]
    left = world.place(M2, ("A100", 1)).json["number"]
    close_campaign(world)
    end_all(world)
    world.pay(M1, paid)
    assert world.call(M1, "GET", f"/orders/{paid}").json["status"] == "paid"
    with world.app.app_context():
        assert placing.expire(order_id=int(left), now=clock.now() + timedelta(hours=1))
    voucher = world.voucher(M2)
    assert (voucher["balance_fen"], voucher["held_fen"], voucher["expired_fen"]) == (0, 0, 20000)
    assert world.breaches() == []


def test_a_late_payment_after_the_voucher_ended_is_refunded(world):
    number = world.place(M1, ("A100", 1)).json["number"]
    payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    close_campaign(world)
    end_all(world)
    client = world.app.test_client()
    client.post(payment["redirect_url"], data={"outcome": "late"}, headers={"Accept": "application/json"})
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "expired"
    assert world.stock("A100") == (50, 0, 0)
    assert world.breaches() == []


def test_a_campaign_that_is_over_cannot_be_prolonged(world):
    close_campaign(world)
    later = (clock.now() + timedelta(days=9)).isoformat()
    answer = world.call(OPERATOR, "PATCH", "/admin/campaigns/spring", {"ends_at": later})
    assert (answer.status_code, answer.json["code"]) == (409, "state_conflict")


def test_members_who_joined_since_a_day_are_an_audience(world):
    with world.app.app_context():
        from datetime import date

        from people.models import Member

        ids = db.session.scalars(select(Member.id).order_by(Member.id)).all()
        db.session.execute(update(Member).where(Member.id == ids[0]).values(joined_on=date(2026, 3, 1)))
        db.session.execute(update(Member).where(Member.id == ids[1]).values(joined_on=date(2026, 2, 28)))
        db.session.commit()
        audience = services.audience_of({"joined_since": "2026-03-01"})
        assert db.session.scalars(audience.members({})).all() == [ids[0]]
    answer = world.call(OPERATOR, "POST", "/admin/campaigns/spring/issue", {"audience": {"joined_since": "2026-03-01"}})
    assert (answer.status_code, answer.json["total"]) == (202, 0)


def test_a_face_value_that_is_no_multiple_of_the_saving_warns(world):
    now = clock.now()
    body = {
        "slug": "odd",
        "name": "零头",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(days=1)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 3000, "face_fen": 20000},
        "tiers_fen": [10000],
        "member_budget_fen": 0,
    }
    answer = world.call(OPERATOR, "POST", "/admin/campaigns", body)
    assert answer.status_code == 201
    assert answer.json["warnings"] == ["面值不是每次优惠的整数倍，最后会剩下零头。"]
