"""Every route, every seat: who is admitted, who is refused, and that another's thing does not exist."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from kernel import clock
from kernel.db import db
from people.models import ApiToken
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, OTHER_OFFICER, STATION_S1
from web import routes
from web.access import OPEN_ENDPOINTS
from web.settings import ROOT

M1, M2 = "13800000001", "13800000002"
SEATS = {"member": M1, "union": OFFICER, "merchant": MERCHANT_A, "station": STATION_S1, "operator": OPERATOR}
# What a login belongs to besides the audience of its seat: these have one each.
ADMITTED = {"everyone": set(SEATS), "signed_in": set(SEATS), **{name: {name} for name in SEATS}}


def filled(path):
    """A path with something in place of its variables, that names nothing there is."""
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: "nothing" if "slug" in found[1] else "7", path)


def all_rows(app):
    return [row for row in routes.rows(app) if not row[0].startswith(("/static", "/bootstrap"))]


def test_every_route_has_its_row_in_the_document(app):
    assert (ROOT / "docs" / "access.md").read_text(encoding="utf-8") == routes.table(app)
    assert [row for row in routes.rows(app) if not row[2]] == []
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= OPEN_ENDPOINTS


def ask(client, method, path, headers=None):
    kind = "application/json" if path.startswith("/api/") else "text/html"
    return client.open(filled(path), method=method, headers={"Accept": kind, "Idempotency-Key": "k", **(headers or {})})


def test_signed_out_nobody_passes_a_door_that_is_not_open(world):
    client = world.app.test_client()
    for path, method, audience, _ in all_rows(world.app):
        answer = ask(client, method, path)
        if audience == "everyone":
            assert answer.status_code not in (401, 403) or path == "/webhooks/sandbox", (method, path)
        elif path.startswith("/api/"):
            assert (answer.status_code, answer.json["code"]) == (401, "not_signed_in"), (method, path)
        elif method == "GET":
            assert answer.location.startswith("/sign-in"), (method, path)
        else:
            assert answer.status_code == 400, (method, path, "a form without its token")


@pytest.mark.parametrize("seat", list(SEATS))
def test_a_seat_passes_its_own_doors_only(world, seat):
    client = world.app.test_client()
    headers = {"Authorization": f"Bearer {world.token(SEATS[seat])}"}
    for path, method, audience, _ in all_rows(world.app):
        answer = ask(client, method, path, headers)
        assert answer.status_code < 500, (method, path)
        if audience == "everyone":
            continue
        if seat in ADMITTED[audience]:
            assert answer.status_code != 401, (method, path)
            if answer.status_code == 403:  # an officer is no approver: a finer rule inside the door
                assert path.endswith(("/approve", "/reject")), (method, path)
        else:
            assert answer.status_code == 403, (method, path, answer.status_code)


def test_an_expired_or_unknown_token_passes_no_door(world):
    expired = world.token(OPERATOR)
    with world.app.app_context():
        db.session.execute(update(ApiToken).values(expires_at=clock.now() - timedelta(seconds=1)))
        db.session.commit()
    client = world.app.test_client()
    for token in (expired, "hg_nothing", "", "x" * 5000):
        for path, method, audience, _ in all_rows(world.app):
            if path.startswith("/api/v1") and audience != "everyone":
                answer = ask(client, method, path, {"Authorization": f"Bearer {token}"})
                assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize("scope", ["read", "orders", "stock", "admin"])
def test_a_token_does_what_its_scope_says_and_no_more(world, scope):
    tokens = {name: world.token(login) for name, login in SEATS.items()}
    with world.app.app_context():
        db.session.execute(update(ApiToken).values(scopes=scope))
        db.session.commit()
    client = world.app.test_client()
    for path, method, audience, needed in all_rows(world.app):
        if not needed:
            continue
        token = tokens["member" if audience == "signed_in" else audience]
        answer = ask(client, method, path, {"Authorization": f"Bearer {token}"})
        refused = answer.status_code == 403 and "权限" in answer.json["detail"] and "令牌" in answer.json["detail"]
        assert refused == (needed != scope), (method, path, needed)


def test_anothers_thing_does_not_exist(world):
    placed = world.place(M1, ("A150", 1)).json
    number = placed["number"]
    world.pay(M1, number)
    voucher = world.voucher(M1)["id"]
    bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    parcel = f"{number}-1"
    pack = world.packs["A150"]
    stock = {"delta": 1, "reason": "x"}
    tries = [
        (M2, "GET", f"/orders/{number}", None),
        (M2, "POST", f"/orders/{number}/cancel", None),
        (M2, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}),
        (M2, "POST", f"/orders/{number}/parcels/{parcel}/receive", None),
        (M2, "GET", f"/me/vouchers/{voucher}/entries", None),
        (OTHER_OFFICER, "GET", f"/bulk/orders/{bulk}", None),
        (OTHER_OFFICER, "PUT", f"/bulk/orders/{bulk}/roster", {"recipients": [{"name": "x", "phone": M1}]}),
        (OTHER_OFFICER, "POST", f"/bulk/orders/{bulk}/submit", None),
        (OTHER_OFFICER, "POST", f"/bulk/orders/{bulk}/cancel", None),
        (OTHER_OFFICER, "POST", f"/bulk/orders/{bulk}/payments", {"provider": "bank_transfer"}),
        (MERCHANT_B, "POST", f"/merchant/packs/{pack}/stock", stock),
        (MERCHANT_B, "PATCH", f"/merchant/packs/{pack}", {"status": "off_sale"}),
        (MERCHANT_B, "GET", f"/merchant/packs/{pack}/movements", None),
        (MERCHANT_B, "POST", f"/merchant/parcels/{parcel}/ship", {"carrier": "顺丰", "tracking_no": "1"}),
    ]
    for login, method, path, body in tries:
        answer = world.call(login, method, path, body)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found"), (login, method, path, answer.text)
    pages = [
        (M2, f"/orders/{number}"),
        (OTHER_OFFICER, f"/union/orders/{bulk}"),
        (MERCHANT_B, f"/merchant/parcels/{parcel}"),
        (MERCHANT_B, f"/merchant/packs/{pack}"),
    ]
    for login, path in pages:
        assert world.browser(login).get(path).status_code == 404, (login, path)
    assert world.call(APPROVER, "GET", f"/bulk/orders/{bulk}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/sign-in", "/api/docs", "/api/v1/packs", "/nowhere"])
def test_every_answer_has_its_headers(world, path):
    headers = world.app.test_client().get(path, base_url="https://huigong.example").headers
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "max-age=" in headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in world.app.test_client().get(path).headers


def test_a_body_that_is_too_large_is_refused(world):
    answer = world.app.test_client().post("/api/v1/quotes", data=b"x" * (10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json["code"]) in ((413, "too_large"), (401, "not_signed_in"))
    answer = world.call(M1, "POST", "/quotes", data=b"x" * (10 * 1024 * 1024 + 1), content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
