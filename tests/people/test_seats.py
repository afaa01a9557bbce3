"""Seats: granted by operators, never by oneself; several to a person; two-person acts need two people."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from kernel import clock
from kernel.db import db
from kernel.errors import DomainError, Forbidden, StateConflict
from people import queries
from people.models import SeatRow
from people.services import staff
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, csrf_of

M1 = "13800000001"


def person(phone):
    return queries.by_phone(phone).person_id


def grant(phone, role, organization_id=None, *, by=OPERATOR, name=""):
    return staff.grant_seat(
        phone=phone, name=name, role=role, organization_id=organization_id, actor_id=person(by), now=clock.now()
    )


def seat_of(phone, role):
    return db.session.scalar(
        select(SeatRow.id).where(SeatRow.person_id == person(phone), SeatRow.role == role, SeatRow.ended_at.is_(None))
    )


def test_an_operator_grants_a_seat_and_its_holder_can_act(world):
    client = world.browser(OPERATOR)
    form = {"csrf_token": csrf_of(client.get("/admin/people/").text), "phone": M1, "role": "merchant", "merchant": "1"}
    assert client.post("/admin/people/", data=form).status_code == 303
    assert world.call(M1, "GET", "/merchant/parcels").status_code == 200
    assert client.post("/admin/people/", data=form).status_code == 409, "a seat is given once"
    assert "岗位" in client.get("/admin/people/").text


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"phone": "1", "role": "operator"}, "phone"),
        ({"phone": "13911112222", "role": "operator"}, "name"),
        ({"phone": M1, "role": "merchant"}, "organization"),
        ({"phone": M1, "role": "union_officer", "union": "99999"}, "organization"),
        ({"phone": M1, "role": "emperor"}, "role"),
    ],
)
def test_a_wrong_grant_is_refused_beside_its_field_and_gives_nothing(world, form, field):
    with world.app.app_context():
        before = db.session.scalar(select(func.count()).select_from(SeatRow))
    client = world.browser(OPERATOR)
    form = {**form, "csrf_token": csrf_of(client.get("/admin/people/").text)}
    assert client.post("/admin/people/", data=form).status_code == 422
    with world.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(SeatRow)) == before
    assert field


def test_nobody_raises_their_own_and_the_last_operator_stays(world):
    with world.app.app_context():
        with pytest.raises(Forbidden):
            grant(OPERATOR, "merchant", 1)
        with pytest.raises(StateConflict):
            staff.end_seat(seat_id=seat_of(OPERATOR, "operator"), actor_id=person(OPERATOR), now=clock.now())
        with pytest.raises(Forbidden):
            staff.give_password(person_id=person(OPERATOR), actor_id=person(OPERATOR), now=clock.now())
    for login in (OFFICER, MERCHANT_A, M1):
        assert world.browser(login).get("/admin/people/").status_code == 403


def test_two_operators_ending_each_others_seat_leave_one(world):
    with world.app.app_context():
        grant("13600000009", "operator", name="另一位")
        seats = [seat_of(phone, "operator") for phone in (OPERATOR, "13600000009")]
        people = [person("13600000009"), person(OPERATOR)]
        db.session.remove()
    start, outcomes = threading.Barrier(2), []

    def end(seat_id, actor_id):
        with world.app.app_context():
            start.wait()
            try:
                outcomes.append(staff.end_seat(seat_id=seat_id, actor_id=actor_id, now=clock.now()))
            except DomainError as refused:
                outcomes.append(refused.code)
            db.session.remove()

    threads = [threading.Thread(target=end, args=pair) for pair in zip(seats, people, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.app.app_context():
        assert staff.operators() == 1
    assert outcomes.count("state_conflict") == 1


def test_ending_a_seat_signs_its_holder_out(world):
    clerk = world.browser(MERCHANT_A)
    assert clerk.get("/merchant/").status_code == 200
    with world.app.app_context():
        staff.end_seat(seat_id=seat_of(MERCHANT_A, "merchant"), actor_id=person(OPERATOR), now=clock.now())
    assert clerk.get("/merchant/").status_code == 302
    assert world.call(MERCHANT_A, "GET", "/merchant/parcels").status_code == 403


def test_of_several_seats_the_chosen_one_counts(world):
    with world.app.app_context():
        grant(OFFICER, "union_approver", 2)
        other = seat_of(OFFICER, "union_approver")
        own = seat_of(OFFICER, "union_officer")
    client = world.browser(OFFICER)
    assert "医院工会" in client.get("/union/").text
    token = csrf_of(client.get("/account/").text)
    assert client.post("/account/seat", data={"csrf_token": token, "seat": other}).status_code == 303
    assert "学校工会" in client.get("/union/").text
    with world.app.app_context():
        identity = queries.by_phone(OFFICER)
        # An officer of one union and approver of another is no approver in the first.
        assert replace(identity, seat_id=own).roles == ["union_officer"]
        assert replace(identity, seat_id=other).roles == ["union_approver"]
        stranger = seat_of(APPROVER, "union_approver")
    assert client.post("/account/seat", data={"csrf_token": token, "seat": stranger}).status_code == 404


def test_an_officer_and_approver_in_one_person_cannot_approve_their_own_order(world):
    with world.app.app_context():
        grant(OFFICER, "union_approver", 1)
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 200
    refused = world.call(OFFICER, "POST", f"/bulk/orders/{number}/approve")
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    assert world.stock("A150") == (50, 0, 0)
    assert world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").status_code == 200


def test_a_large_transfer_needs_two_different_operators(world):
    settings = world.app.config["HUIGONG"]
    world.app.config["HUIGONG"] = settings.__class__(**{**settings.__dict__, "second_person_fen": 20000})
    try:
        with world.app.app_context():
            grant("13600000009", "operator", name="另一位")
        number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
        world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
        world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
        pay = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
        path = f"/admin/payments/{pay['id']}/confirm"
        first = world.call(OPERATOR, "POST", path, {"amount_fen": 24000})
        assert (first.status_code, first.json["status"], first.json["order_status"]) == (
            200,
            "pending",
            "pending_payment",
        )
        again = world.call(OPERATOR, "POST", path, {"amount_fen": 24000})
        assert (again.status_code, again.json["code"]) == (403, "forbidden")
        second = world.call("13600000009", "POST", path, {"amount_fen": 24000})
        assert (second.json["status"], second.json["order_status"]) == ("succeeded", "paid")
    finally:
        world.app.config["HUIGONG"] = settings
    assert world.breaches() == []


def test_the_first_operator_is_seated_once(app):
    with app.app_context():
        staff.first_operator(phone="13600000001", name="运营", now=clock.now())
        with pytest.raises(StateConflict):
            staff.first_operator(phone="13600000002", name="又一个", now=clock.now())
