"""A pickup station's seat: what waits there, handing it over by code, for members, gifts and unions' recipients."""

import re
import threading

import pytest
from sqlalchemy import insert, select, update

from kernel import clock
from kernel.db import db, transaction
from orders import views_pickup
from orders.models import Pickup, Recipient
from orders.services import pickup
from people import queries as people_queries
from people.models import Message, Person, PickupStation
from people.services import arrivals, staff
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, STATION_S1, csrf_of
from tests.orders.test_choices import choose, choosing_order
from tests.orders.test_grants import give, link
from tests.orders.test_parcels import bought, code_of, collected, parcel

M1, M2, STRANGER = "13800000001", "13800000002", "13911112222"
OTHER_STATION = "13500000002"


def station_id(world, code="S1"):
    with world.app.app_context():
        return str(db.session.scalar(select(PickupStation.id).where(PickupStation.code == code)))


def other_station(world):
    """A second station with a seat of its own; its id."""
    with world.app.app_context():
        arrivals.bring_in(
            unions=[],
            merchants=[],
            members=[],
            honours=[],
            stations=[{"code": "S2", "name": "二号点", "address": "二路"}],
            staff=[{"name": "二站员", "phone": OTHER_STATION, "role": "station", "station_code": "S2"}],
        )
    return station_id(world, "S2")


def hand_over(world, code, login=STATION_S1):
    return world.call(login, "POST", "/station/pickups", {"code": code})


def waiting(world, status="shipped", login=STATION_S1):
    answer = world.call(login, "GET", f"/station/parcels?status={status}")
    assert answer.status_code == 200, answer.text
    return answer.json["items"]


def ship(world, name, login=MERCHANT_A):
    answer = world.call(login, "POST", f"/merchant/parcels/{name}/ship", {"carrier": "自送", "tracking_no": "x"})
    assert answer.status_code == 200, answer.text


def test_a_station_hands_its_own_parcel_over_once_and_no_other(world):
    other_station(world)
    number = collected(world, ("A150", 2), ("B150", 1))
    code = code_of(world, number)
    me = world.call(STATION_S1, "GET", "/me").json
    assert (me["roles"], me["station"]["name"]) == (["station"], "一号点")
    assert [one["id"] for one in waiting(world, "to_ship")] == [f"{number}-1", f"{number}-2"]
    ship(world, f"{number}-1")
    (seen,) = waiting(world)
    assert (seen["id"], seen["name"], seen["phone"]) == (f"{number}-1", "王芳", "138****0001")
    assert "13800000001" not in str(seen)
    assert world.call(STATION_S1, "GET", f"/station/pickups/{code}").json["id"] == f"{number}-1"
    elsewhere = hand_over(world, code, OTHER_STATION)
    assert (elsewhere.status_code, elsewhere.json["code"]) == (404, "not_found")
    assert waiting(world, login=OTHER_STATION) == waiting(world, "to_ship", OTHER_STATION) == []
    assert parcel(world, f"{number}-1")["status"] == "shipped"
    done = hand_over(world, f"{code[:4]} {code[4:]}")
    assert (done.status_code, done.json["status"]) == (200, "delivered"), done.text
    again = hand_over(world, code)
    assert (again.status_code, again.json["code"]) == (409, "state_conflict")
    assert [one["id"] for one in waiting(world, "delivered")] == [f"{number}-1"]
    assert waiting(world) == []
    audit = world.call(OPERATOR, "GET", "/admin/audit?object=parcel").json["items"]
    assert [one["action"] for one in audit].count("parcel.hand_over") == 1
    assert world.breaches() == []


def test_what_is_sent_home_is_no_stations(world):
    number = bought(world, ("A150", 1))
    with world.app.app_context():
        row = {"order_id": int(number), "parcel_no": 1, "code": "12345674", "made_at": clock.now()}
        db.session.execute(insert(Pickup).values(**row))
        db.session.commit()
    assert waiting(world, "to_ship") == []
    assert hand_over(world, "12345674").json["code"] == "not_found"
    assert parcel(world, f"{number}-1")["status"] == "to_ship"


def test_a_station_and_a_merchant_hand_one_parcel_over_once(world):
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    world.token(MERCHANT_A), world.token(STATION_S1)
    answers = []

    def scan(login, path):
        answers.append(world.call(login, "POST", path, {"code": code}).status_code)

    desks = [(STATION_S1, "/station/pickups"), (MERCHANT_A, "/merchant/pickups")] * 2
    threads = [threading.Thread(target=scan, args=desk) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409]
    assert world.breaches() == []


def test_each_desks_tries_are_its_own(world, monkeypatch):
    other_station(world)
    monkeypatch.setattr(pickup, "TRIES", 2)
    answers = [hand_over(world, "00000000").status_code for _ in range(3)]
    assert answers == [404, 404, 429]
    assert hand_over(world, "00000000", OTHER_STATION).status_code == 404
    assert world.call(MERCHANT_A, "POST", "/merchant/pickups", {"code": "00000000"}).status_code == 404
    desk = world.browser(OPERATOR)
    form = {"csrf_token": csrf_of(desk.get("/admin/pickup/").text), "code": "00000000"}
    assert desk.post("/admin/pickup/", data=form).status_code == 404


def test_a_parcel_is_listed_by_pages_that_end_where_an_order_ends(world):
    first = collected(world, ("A150", 1), ("B40", 1))
    second = collected(world, ("A100", 1), ("B40", 1))
    page = world.call(STATION_S1, "GET", "/station/parcels?status=to_ship&limit=1").json
    assert [one["id"] for one in page["items"]] == [f"{second}-1", f"{second}-2"]
    rest = world.call(STATION_S1, "GET", f"/station/parcels?status=to_ship&limit=1&cursor={page['next_cursor']}").json
    assert ([one["id"] for one in rest["items"]], rest["next_cursor"]) == ([f"{first}-1", f"{first}-2"], None)


def test_the_stations_page_hands_over_by_a_form_and_tells_no_phone(world):
    number = collected(world, ("A150", 2))
    code = code_of(world, number)
    ship(world, f"{number}-1")
    desk = world.browser(STATION_S1)
    page = desk.get("/station/").text
    assert "一号点" in page
    assert "尾号 0001" in page
    assert M1 not in page
    form = {"csrf_token": csrf_of(page), "code": code}
    shown = desk.post("/station/", data=form).text
    assert "交给买家" in shown
    assert parcel(world, f"{number}-1")["status"] == "shipped", "to look hands nothing over"
    wrong = desk.post("/station/", data={**form, "code": "12345678"})
    assert (wrong.status_code, "没有这个取货码" in wrong.text) == (404, True)
    done = desk.post("/station/", data={**form, "hand_over": "1"})
    assert (done.status_code, done.location) == (303, "/station/")
    assert "已交付" in desk.get("/station/").text
    assert parcel(world, f"{number}-1")["status"] == "delivered"
    assert desk.post("/station/", data={**form, "hand_over": "1"}).status_code == 409


@pytest.mark.parametrize(
    ("login", "leads_to"),
    [
        (STATION_S1, "/station/?code={code}"),
        (MERCHANT_A, "/merchant/pickup?code={code}"),
        (OPERATOR, "/admin/pickup/?code={code}"),
        (M1, "/orders"),
        (OFFICER, "/"),
    ],
)
def test_a_scanned_code_leads_each_seat_to_its_own_desk(world, login, leads_to):
    code = code_of(world, collected(world, ("A150", 1)))
    client = world.browser(login)
    answer = client.get(f"/pickup/?code={code}")
    assert (answer.status_code, answer.location) == (303, leads_to.format(code=code))
    if "code=" in answer.location:
        assert "交给买家" in client.get(answer.location).text


def test_signed_out_a_scanned_code_asks_who_is_there_and_then_leads_on(world):
    client = world.app.test_client()
    answer = client.get("/pickup/?code=12345674")
    assert answer.location == "/sign-in?next=/pickup/?code%3D12345674"


def test_the_qr_code_holds_the_neutral_address(world, monkeypatch):
    made = []
    monkeypatch.setattr("orders.views_pickup.segno.make", lambda address, **_: made.append(address) or _Nothing())
    number = collected(world, ("A150", 1))
    code = code_of(world, number)
    assert world.browser(M1).get(f"/orders/{number}").status_code == 200
    assert made == [f"http://localhost/pickup/?code={code}"]


class _Nothing:
    def save(self, target, **_):
        target.write(b"<svg></svg>")


def test_a_gift_to_a_stranger_is_collected_by_its_code(world):
    made = give(world, STRANGER).json
    path = link(world, made["id"])
    client = world.app.test_client()
    form = {"csrf_token": csrf_of(client.get(path).text), "answer": "take", "kind": "pickup", "name": "路人"}
    assert client.post(path, data={**form, "station_id": station_id(world)}).status_code == 303
    code = re.sub(r"\s", "", re.search(r'class="pickup-code">([\d ]+)<', client.get(path).text)[1])
    ship(world, waiting(world, "to_ship")[0]["id"])
    done = hand_over(world, code)
    assert (done.status_code, done.json["name"], done.json["status"]) == (200, "路人", "delivered")
    assert "pickup-code" not in client.get(path).text
    assert hand_over(world, code).json["code"] == "state_conflict"
    assert world.breaches() == []


def paid_choice(world):
    """A union's paid order: 王芳 (A150) collects at the station, 李强 and 赵敏 (B150) get theirs at home."""
    number, (first, second, third) = choosing_order(world, mode="recipient")
    place = {"kind": "pickup", "name": "王芳", "phone": "13800000011", "station_id": station_id(world)}
    assert choose(world, first, "A150", delivery=place).status_code == 200
    assert choose(world, second, "B150", address="某路 2 号").status_code == 200
    assert choose(world, third, "B150", address="某路 3 号").status_code == 200
    page = world.app.test_client().get(f"/choose/{first}").text
    assert "pickup-code" not in page, "nothing to collect before payment"
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    paid = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    order = world.call(OFFICER, "GET", f"/bulk/orders/{number}").json
    body = {"amount_fen": order["payable_fen"]}
    assert world.call(OPERATOR, "POST", f"/admin/payments/{paid['id']}/confirm", body).status_code == 200
    return number, first, second


def shown_code(world, token):
    found = re.search(r'class="pickup-code">([\d ]+)<', world.app.test_client().get(f"/choose/{token}").text)
    return found[1].replace(" ", "") if found else None


def received(world, number):
    with world.app.app_context():
        rows = db.session.execute(
            select(Recipient.name, Recipient.received_how)
            .where(Recipient.order_id == int(number))
            .order_by(Recipient.position)
        )
        return [tuple(row) for row in rows]


def test_a_unions_recipient_collects_their_own_packet_by_their_own_code(world):
    other_station(world)
    number, first, second = paid_choice(world)
    code = shown_code(world, first)
    assert shown_code(world, first) == code
    assert shown_code(world, second) is None, "who gets it at home has nothing to collect"
    desk = world.browser(STATION_S1)
    assert "王芳" in desk.get("/station/").text
    assert hand_over(world, code, OTHER_STATION).status_code == 404
    assert world.call(MERCHANT_B, "POST", "/merchant/pickups", {"code": code}).status_code == 404
    done = hand_over(world, code)
    assert (done.status_code, done.json["name"], done.json["status"]) == (200, "王芳", "delivered"), done.text
    assert [(line["pack_id"], line["quantity"]) for line in done.json["lines"]] == [(world.packs["A150"], 1)]
    assert received(world, number) == [("王芳", "station"), ("李强", None), ("赵敏", None)]
    assert parcel(world, f"{number}-1")["status"] == "to_ship", "the others' packets are still with the merchant"
    assert hand_over(world, code).json["code"] == "state_conflict"
    assert shown_code(world, first) is None
    assert "王芳" not in desk.get("/station/").text
    sheet = world.browser(OFFICER).get(f"/union/orders/{number}").text
    assert "已在自提点领取" in sheet
    assert world.breaches() == []


def test_packets_are_listed_page_by_page(world, monkeypatch):
    monkeypatch.setattr(views_pickup, "PACKETS_ON_PAGE", 1)
    number, *_ = paid_choice(world)
    with world.app.app_context(), transaction():
        station = select(PickupStation.id).where(PickupStation.code == "S1").scalar_subquery()
        db.session.execute(
            update(Recipient)
            .where(Recipient.order_id == int(number), Recipient.position < 3)
            .values(station_id=station)
        )
    desk, seen, address = world.browser(STATION_S1), [], "/station/"
    while address:
        page = desk.get(address).text
        seen += re.findall(r"<b>([^<]+)</b>", page.split('id="packets"')[1])
        more = re.search(r'href="([^"]*packet=[^"]*)#packets"', page)
        address = more[1].replace("&amp;", "&") if more else None
    assert sorted(seen) == ["李强", "王芳"]
    assert desk.get("/station/?packet=x.y").status_code == 200


def test_who_says_they_have_it_leaves_a_code_that_hands_nothing_over(world):
    number, first, _ = paid_choice(world)
    code = shown_code(world, first)
    ship(world, f"{number}-1")
    assert world.app.test_client().post(f"/api/v1/choices/{first}/received").status_code == 200
    assert hand_over(world, code).json["code"] == "state_conflict"
    assert received(world, number)[0] == ("王芳", "link")


def test_an_operator_gives_and_ends_a_station_seat(world):
    client = world.browser(OPERATOR)
    form = {"csrf_token": csrf_of(client.get("/admin/people/").text), "phone": M2, "role": "station"}
    refused = client.post("/admin/people/", data=form)
    assert (refused.status_code, "请选择自提点" in refused.text) == (422, True)
    assert world.call(M2, "GET", "/station/parcels").status_code == 403
    assert client.post("/admin/people/", data={**form, "station": station_id(world)}).status_code == 303
    assert client.post("/admin/people/", data={**form, "station": station_id(world)}).status_code == 409
    assert "自提点工作人员" in client.get("/admin/people/").text
    assert world.call(M2, "GET", "/station/parcels").status_code == 200
    assert world.browser(M2).get("/account/").text.count("一号点") == 1
    with world.app.app_context():
        person = people_queries.by_phone(M2)
        seat = next(one for one in person.seats if one.role == "station")
        actor = people_queries.by_phone(OPERATOR).person_id
        staff.end_seat(seat_id=seat.id, actor_id=actor, now=clock.now())
    assert world.call(M2, "GET", "/station/parcels").status_code == 403


def test_of_two_stations_only_the_chosen_ones_parcels_are_seen(world):
    second = other_station(world)
    number = collected(world, ("A150", 1))
    with world.app.app_context():
        actor = people_queries.by_phone(OPERATOR).person_id
        staff.grant_seat(
            phone=STATION_S1, name="", role="station", organization_id=int(second), actor_id=actor, now=clock.now()
        )
        seats = {one.station_id: one.id for one in people_queries.by_phone(STATION_S1).seats}
    client = world.browser(STATION_S1)
    assert number[-6:] in client.get("/station/?status=to_ship").text
    token = csrf_of(client.get("/account/").text)
    assert client.post("/account/seat", data={"csrf_token": token, "seat": str(seats[int(second)])}).status_code == 303
    page = client.get("/station/?status=to_ship").text
    assert "二号点" in page
    assert number[-6:] not in page


def told(world):
    with world.app.app_context():
        found = db.session.execute(
            select(Message.thing, Person.phone)
            .join(Person, Person.id == Message.person_id)
            .where(Message.event == "parcel.at_station")
        ).all()
        db.session.remove()
    return [tuple(row) for row in found]


def test_who_collects_is_told_once_that_a_parcel_is_here_and_by_its_own_station_only(world):
    other_station(world)
    number = collected(world, ("A150", 1))
    here, there = world.browser(STATION_S1), world.browser(OTHER_STATION)

    def arrived(browser, name=f"{number}-1"):
        return browser.post(
            f"/station/parcels/{name}/arrived", data={"csrf_token": csrf_of(browser.get("/station/").text)}
        )

    early = arrived(here)
    assert (early.status_code, told(world)) == (409, []), "not sent yet"
    ship(world, f"{number}-1")
    assert "到了，通知来取" in here.get("/station/").text
    assert (arrived(there).status_code, told(world)) == (404, [])
    for name in ("1-1", "x", f"{number}-9", f"{number}-"):
        assert arrived(here, name).status_code == 404, name
    assert [arrived(here).status_code for _ in range(2)] == [303, 303]
    assert told(world) == [(f"{number}-1", M1)], "twice pressed, once told"
    code = code_of(world, number)
    assert hand_over(world, code).status_code == 200
    assert arrived(here).status_code == 409
    assert len(told(world)) == 1
