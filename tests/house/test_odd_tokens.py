"""Tokens, cookies, cursors, links, signatures and headers with something wrong: none opens a door, none is a 5xx."""

import base64
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import OFFICER, OPERATOR

M1 = "13800000001"
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=+/ %\x7fé"
TURNS = 150


@pytest.fixture
def strict(world, monkeypatch):
    monkeypatch.setitem(world.app.config, "TESTING", False)
    return world


def wrong(secret: str, dice: random.Random) -> str:
    """The secret with something wrong: a letter, a piece left out, doubled or turned round."""
    at = dice.randrange(len(secret))
    how = dice.randrange(5)
    changed = {
        0: secret[:at] + dice.choice(ALPHABET) + secret[at + 1 :],
        1: secret[:at] + secret[at + 1 :],
        2: secret[:at] + secret[at:] * 2,
        3: secret[::-1],
        4: secret[:at],
    }[how]
    return changed if changed != secret else secret + "x"


def test_no_bearer_token_but_the_right_one_opens_a_door(strict):
    token, dice = strict.token(OPERATOR), random.Random(1)
    client = strict.app.test_client()
    right = client.get("/api/v1/admin/reconcile", headers={"Authorization": f"Bearer {token}"})
    assert right.status_code == 200
    for _ in range(TURNS):
        changed = wrong(token, dice)
        if changed.strip() == token:
            continue  # blanks around a token are none of it
        answer = client.get("/api/v1/admin/reconcile", headers={"Authorization": f"Bearer {changed}"})
        assert (answer.status_code, answer.json["code"]) == (401, "not_signed_in"), changed


def test_no_cookie_but_the_right_one_is_signed_in(strict):
    client = strict.browser(M1)
    cookie = client.get_cookie("session").value
    assert client.get("/orders").status_code == 200
    dice = random.Random(2)
    body, at, signature = cookie.rpartition(".")
    payload = json.loads(base64.urlsafe_b64decode(body.split(".")[0] + "==")) if not body.startswith(".") else None
    for _ in range(TURNS):
        changed = wrong(body, dice) + at + signature if dice.random() < 0.7 else body + at + wrong(signature, dice)
        other = strict.app.test_client()
        other.set_cookie("session", changed)
        answer = other.get("/orders")
        # The last character of a signature has bits that mean nothing: such a cookie is the right one.
        same = base64.urlsafe_b64decode(signature + "==") == _decoded(changed.rpartition(".")[2])
        assert answer.status_code == 302 or (same and changed.startswith(body + at)), changed
    assert payload is None or M1 not in json.dumps(payload), "a cookie tells no phone"


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "==")
    except ValueError:
        return b""


@pytest.mark.parametrize("path", ["/orders", "/me/vouchers", "/packs", "/merchants"])
def test_cursors_that_are_none_of_ours(strict, path):
    for _ in range(2):
        strict.place(M1, ("A100", 1))

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    )
    def ask(cursor):
        answer = strict.call(M1, "GET", path, query_string={"cursor": cursor, "limit": 1})
        assert answer.status_code in (200, 422), (cursor, answer.text[:200])
        if answer.status_code == 422:
            assert answer.json["errors"]

    ask()


def test_a_choosing_link_with_anything_wrong_is_no_link(strict):
    dice = random.Random(3)
    client = strict.app.test_client()
    for _ in range(TURNS):
        token = "".join(dice.choice(ALPHABET) for _ in range(dice.randint(1, 80))).replace("/", "x").replace("%", "y")
        answer = client.post(f"/api/v1/choices/{token}", json={"pack_id": strict.packs["A100"]})
        assert answer.status_code in (404, 422), (token, answer.text[:200])


def test_events_with_anything_wrong_are_not_taken(strict):
    from finance.gateway import queries as gateway_queries
    from finance.gateway.sandbox import Sandbox

    number = strict.place(M1, ("A150", 2)).json["number"]
    payment = strict.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    gateway = strict.app.config["PROVIDERS"]["sandbox"]
    assert isinstance(gateway, Sandbox)
    with strict.app.app_context():
        reference = gateway_queries.find(int(payment["id"])).reference
    event = gateway.event(
        "completed", payment_id=int(payment["id"]), reference=reference, order_number=number, amount_fen=24000
    )
    body, signed = gateway.signed(event)
    dice, client = random.Random(4), strict.app.test_client()
    for _ in range(TURNS):
        text, signature = body.decode(), signed
        if dice.random() < 0.5:
            text = wrong(text, dice)
        else:
            signature = wrong(signed, dice)
            if set(signed.split(",")) <= set(signature.split(",")):
                continue  # a header may carry several signatures, of which one is right
        for path in ("sandbox", "stripe"):
            headers = {"Stripe-Signature": signature.encode("latin-1", "replace").decode("latin-1")}
            answer = client.post(f"/webhooks/{path}", data=text.encode(), headers=headers)
            assert answer.status_code in (400, 422), (path, answer.status_code)
    assert strict.call(M1, "GET", f"/orders/{number}").json["status"] == "pending_payment"
    assert client.post("/webhooks/sandbox", data=body, headers={"Stripe-Signature": signed}).status_code == 200
    assert strict.call(M1, "GET", f"/orders/{number}").json["status"] == "paid"


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(
        ("Authorization", "Cookie", "Accept", "Accept-Language", "If-None-Match", "Idempotency-Key", "X-Forwarded-For")
        + ("Range", "Content-Type", "Host", "Origin", "Referer", "If-Modified-Since", "Expect", "X-Request-Id")
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=300),
)
def headers_of_any_kind(world, name, text):
    """Ask with one header of anything."""
    for path, method in (("/", "GET"), ("/api/v1/packs", "GET"), ("/api/v1/quotes", "POST")):
        headers = {"Accept": "application/json", name: text}
        if name != "Authorization":
            headers["Authorization"] = f"Bearer {world.token(OFFICER)}"
        answer = world.app.test_client().open(
            path, method=method, headers=headers, data=None if method == "GET" else b"{}"
        )
        assert answer.status_code < 500, (name, text, answer.text[:200])


def test_headers_of_any_kind(strict):
    headers_of_any_kind(strict)
