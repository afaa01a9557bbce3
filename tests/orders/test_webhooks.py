"""Outgoing webhooks: told once, signed, tried again with growing delay, replayed; to the open internet only."""

import hashlib
import hmac
import json
import socket
import threading
from datetime import timedelta

import pytest

from catalog import services as catalog_services
from kernel import clock, outbound
from kernel.errors import Invalid
from orders.services import webhooks
from people.services import tokens
from tests.factories import MERCHANT_A, MERCHANT_B, OFFICER
from tests.orders.test_departments import paid, ship

M1 = "13800000001"
KEY = "a test's secret key of some length"


def bought(world, *wanted):
    number = world.place(M1, *wanted).json["number"]
    assert world.pay(M1, number).json["order_status"] == "paid"
    return number


def listen(world, url, *, events=None, login=MERCHANT_A):
    body = {"url": url} | ({"events": events} if events else {})
    answer = world.call(login, "POST", "/merchant/webhooks", body)
    assert answer.status_code == 201, answer.text
    return answer.json


def work(world, *, later=timedelta(), private=True):
    """One look of the worker, `later` from now."""
    with world.app.app_context():
        now = clock.now() + later
        catalog_services.note_low_stocks(now=now)
        webhooks.note(now=now)
        return webhooks.deliver(key=KEY, private=private, now=now)


def deliveries(world, login=MERCHANT_A):
    return world.call(login, "GET", "/merchant/webhooks/deliveries").json["items"]


def test_what_happened_is_told_once_and_signed(world, http_server):
    server = http_server(lambda *_: (204, ""))
    endpoint = listen(world, f"{server.url}/hook?x=1")
    number = bought(world, ("A150", 1), ("B150", 1))
    assert work(world) == 1
    assert work(world) == 0
    [(path, headers, body)] = server.seen
    told = json.loads(body)
    assert (path, told["event"], told["data"]) == (
        "/hook?x=1",
        "parcel.made",
        {"parcel_id": f"{number}-1", "order_number": number, "status": "to_ship"},
    )
    at, signed = (part.partition("=")[2] for part in headers["Huigong-Signature"].split(","))
    expected = hmac.new(endpoint["secret"].encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    assert signed == expected
    assert headers["Huigong-Delivery"] == told["id"] == deliveries(world)[0]["id"]
    assert "王芳" not in body, "what the label needs is fetched, not sent around"
    assert "secret" not in world.call(MERCHANT_A, "GET", "/merchant/webhooks").json["items"][0]


def test_every_event_is_told(world, http_server):
    server = http_server(lambda *_: (200, "ok"))
    listen(world, server.url)
    number = bought(world, ("A150", 2))
    work(world)
    ask = {"lines": [{"line_id": "1", "quantity": 2}], "reason": "x"}
    world.call(M1, "POST", f"/orders/{number}/refunds", ask)
    world.call(MERCHANT_A, "POST", f"/merchant/packs/{world.packs['A100']}/stock", {"count": 3, "reason": "盘点"})
    work(world)
    events = [json.loads(body)["event"] for _, _, body in server.seen]
    assert sorted(events) == ["parcel.cancelled", "parcel.made", "refund.asked", "stock.low"]
    low = next(json.loads(body)["data"] for _, _, body in server.seen if "stock.low" in body)
    assert low == {"pack_id": world.packs["A100"], "available": 3, "alert_below": 20}
    for count, expected in ((30, 4), (3, 5)):
        world.call(
            MERCHANT_A, "POST", f"/merchant/packs/{world.packs['A100']}/stock", {"count": count, "reason": "盘点"}
        )
        work(world, later=timedelta(seconds=count))
        assert len(server.seen) == expected, "once each time it falls below"


def test_what_happened_before_is_not_told(world, http_server):
    bought(world, ("A150", 1))
    server = http_server(lambda *_: (200, ""))
    listen(world, server.url, events=["parcel.made", "refund.asked"])
    assert (work(world), server.seen) == (0, [])


def test_a_failure_is_tried_again_with_growing_delay_and_given_up(world, http_server):
    answers = {"status": 500}
    server = http_server(lambda *_: (answers["status"], "busy"))
    listen(world, server.url)
    bought(world, ("A150", 1))
    work(world)
    [one] = deliveries(world)
    assert (one["status"], one["attempts"], one["answer"]) == ("waiting", 1, "500 busy")
    work(world, later=timedelta(seconds=20))
    assert len(server.seen) == 1, "not before its time"
    later = timedelta()
    for attempt in range(1, webhooks.ATTEMPTS):
        later += webhooks.delay_after(attempt) + timedelta(seconds=1)
        work(world, later=later)
    [one] = deliveries(world)
    assert (one["status"], one["attempts"], len(server.seen)) == ("failed", 10, 10)
    work(world, later=later + timedelta(days=3))
    assert len(server.seen) == 10
    answers["status"] = 200
    assert world.call(MERCHANT_B, "POST", f"/merchant/webhooks/deliveries/{one['id']}/replay").status_code == 404
    assert world.call(MERCHANT_A, "POST", f"/merchant/webhooks/deliveries/{one['id']}/replay").status_code == 202
    assert work(world) == 1
    assert deliveries(world)[0]["status"] == "delivered"
    assert len({body for _, _, body in server.seen}) == 1, "the same words each time"


def test_an_ended_address_is_told_nothing(world, http_server):
    server = http_server(lambda *_: (200, ""))
    endpoint = listen(world, server.url)
    assert world.call(MERCHANT_B, "DELETE", f"/merchant/webhooks/{endpoint['id']}").status_code == 404
    bought(world, ("A150", 1))
    with world.app.app_context():
        webhooks.note(now=clock.now())
    assert world.call(MERCHANT_A, "DELETE", f"/merchant/webhooks/{endpoint['id']}").status_code == 204
    assert (work(world), server.seen) == (0, [])
    [one] = deliveries(world)
    assert one["status"] == "failed"
    assert world.call(MERCHANT_A, "POST", f"/merchant/webhooks/deliveries/{one['id']}/replay").status_code == 409


def test_two_workers_tell_it_once(world, http_server):
    server = http_server(lambda *_: (200, ""))
    listen(world, server.url)
    bought(world, ("A150", 1))
    threads = [threading.Thread(target=work, args=(world,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 1


def test_a_redirect_is_not_followed(world, http_server):
    target = http_server(lambda *_: (200, ""))
    server = http_server(lambda *_: (302, target.url))
    listen(world, server.url)
    bought(world, ("A150", 1))
    work(world)
    assert target.seen == []
    assert deliveries(world)[0]["status"] == "waiting"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "224.0.0.1",
    ],
)
def test_an_address_beside_us_is_never_knocked_at(monkeypatch, address):
    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(outbound.NotAllowed):
        outbound.post("https://innocent.example/", b"{}", {}, private=False)


def test_one_bad_address_among_good_ones_is_enough(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(outbound.NotAllowed):
        outbound.post("https://innocent.example/", b"{}", {}, private=False)


def test_in_production_a_private_address_is_noted_as_refused(world, http_server):
    server = http_server(lambda *_: (200, ""))
    listen(world, server.url)
    bought(world, ("A150", 1))
    assert (work(world, private=False), server.seen) == (0, [])
    assert "no address of the open internet" in deliveries(world)[0]["answer"]


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "ftp://a.example/",
        "javascript:alert(1)",
        "https://user:pw@a.example/",
        "https:///x",
        "https://a.example:99999/",
        "https://[::1",
        "https://a.example/\r\nX: y",
        "https://a.example/" + "x" * 400,
        "",
    ],
)
def test_what_is_no_address_of_the_web_is_refused(url):
    with pytest.raises(Invalid):
        outbound.checked_url(url, private=False)
    assert outbound.checked_url("https://a.example:8443/hook?x=1", private=False)


def test_an_unknown_event_or_too_many_addresses_are_refused(world):
    wrong = world.call(MERCHANT_A, "POST", "/merchant/webhooks", {"url": "https://a.example", "events": ["x"]})
    assert (wrong.status_code, list(wrong.json["errors"])) == (422, ["events"])
    for _ in range(webhooks.MOST_ENDPOINTS):
        listen(world, "https://a.example")
    full = world.call(MERCHANT_A, "POST", "/merchant/webhooks", {"url": "https://a.example"})
    assert (full.status_code, full.json["code"]) == (409, "state_conflict")


def test_a_merchants_token_opens_its_merchant_and_nothing_else(world):
    """A clerk who is a member too gives the company's system a token for the company alone."""
    from people import queries as people_queries
    from people.services import staff

    with world.app.app_context():
        person = people_queries.by_phone(M1)
        operator = people_queries.by_phone("13600000001")
        seat = people_queries.by_phone(MERCHANT_A)
        staff.grant_seat(
            phone=M1,
            name="会员1",
            role="merchant",
            organization_id=seat.merchant_id,
            actor_id=operator.person_id,
            now=clock.now(),
        )
        token = tokens.make(
            person_id=person.person_id,
            name="仓库",
            scopes=("read", "stock"),
            days=30,
            merchant_id=seat.merchant_id,
            actor_id=person.person_id,
            now=clock.now(),
        )
    client = world.app.test_client()
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/merchant/packs", headers=headers).status_code == 200
    assert client.get("/api/v1/me/vouchers", headers=headers).status_code == 403
    assert client.get("/api/v1/me", headers=headers).json["roles"] == ["merchant"]
    assert world.call(M1, "GET", "/me/vouchers").status_code == 200


def test_what_came_short_is_told_to_the_merchants_system(world, http_server):
    server = http_server(lambda *_: (200, "ok"))
    listen(world, server.url)
    number = paid(world, mode="union")
    work(world)
    ship(world, number)
    fault = {"line_id": "1", "missing": 1, "broken": 0, "note": "少一份"}
    path = f"/bulk/orders/{number}/parcels/{number}-1/receive"
    world.call(OFFICER, "POST", path, {"faults": [fault]})
    work(world)
    work(world)
    told = [json.loads(body) for _, _, body in server.seen if "parcel.faults" in body]
    assert [one["data"] for one in told] == [
        {
            "parcel_id": f"{number}-1",
            "order_number": number,
            "line_id": "1",
            "missing": 1,
            "broken": 0,
            "note": "少一份",
        }
    ]


@pytest.mark.parametrize(
    "what", ["parcels", "packs", "refunds", "statements", "webhooks/deliveries", "packs/A150/movements"]
)
def test_a_merchants_system_that_has_a_list_already_is_sent_nothing(world, what):
    bought(world, ("A150", 1))
    path = f"/merchant/{what}".replace("A150", world.packs["A150"])
    first = world.call(MERCHANT_A, "GET", path)
    assert (first.status_code, "next_cursor" in first.json) == (200, True)
    headers = {"Authorization": f"Bearer {world.token(MERCHANT_A)}", "If-None-Match": first.headers["ETag"]}
    again = world.app.test_client().get(f"/api/v1{path}", headers=headers)
    assert (again.status_code, again.data) == (304, b"")
