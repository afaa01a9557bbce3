"""No input yields a 500: every route, with paths, queries, headers, JSON and forms that nobody should send."""

import json
import re

import pytest
from werkzeug.datastructures import Headers

from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, STATION_S1
from web import routes
from web.settings import ROOT

M1 = "13800000001"
SEATS = {"member": M1, "signed_in": M1, "everyone": None, "merchant": MERCHANT_A, "station": STATION_S1}
SEATS |= {"operator": OPERATOR}
LONG = "9" * 400
PATHS = ("%00", "-1", "9999999999999999999", LONG, "%ED%A0%80", "1-99999999999", "٣")

# Queries: each name alone where it is read as a number, a moment or a cursor; all texts at once.
TEXTS = (
    "q",
    "region",
    "campaign",
    "merchant",
    "category",
    "status",
    "object",
    "action",
    "next",
    "words",
    "slug",
    "name",
)
QUERIES = [
    *["&".join(f"{name}={value}" for name in TEXTS) for value in ("%00", "%ED%A0%80%25_%5C")],
    *[f"cursor={value}" for value in ("%00", "%ff", LONG, "OTk5OTk5OTk5OTk5OTk5OTk5OTk5")],
    *[f"{name}={LONG}" for name in ("limit", "tier_fen", "actor", "quantity", "version")],
    *[f"since={value}" for value in ("0001-01-01T00:00:00%2B14:00", "9999-12-31")],
]

SURROGATE = '"\\ud800"'


def everything(value):
    """A JSON body in which every field anybody reads is this text."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "orders").glob("*schemas.py")]
    names = sorted(set(re.findall(r"^ {4}(\w+) = ", "\n".join(texts), re.M)))
    names += ["slug", "audience", "rule", "tiers_fen", "contents", "delta", "count", "eligible", "kind", "member_nos"]
    return "{" + ",".join(f'"{name}": {value}' for name in names) + "}"


def shaped(**more):
    """A body of the right shape, for a request to get past the first look."""
    line = {"pack_id": "1", "quantity": 1, "line_id": 1}
    delivery = {"kind": "ship", "name": "王芳", "phone": M1, "region": "", "address": "路"}
    rule = {"step_fen": 1, "save_fen": 1, "face_fen": 10**13}
    body = {"campaign": "spring", "lines": [line], "payable_fen": 0, "delivery": delivery, "reason": "好"}
    body |= {"slug": "odd", "name": "奇", "rule": rule, "tiers_fen": [1], "member_budget_fen": 10**13}
    body |= {"starts_at": "2020-01-01T00:00:00+08:00", "ends_at": "2999-12-31T00:00:00+08:00"}
    body |= {"audience": {"member_nos": ["M1"]}, "recipients": [{"name": "甲", "phone": M1}], "delta": 1}
    return json.dumps({**body, "carrier": "顺丰", "tracking_no": "1", "provider": "sandbox", "amount_fen": 1, **more})


BODIES = [
    "",
    "null",
    "[]",
    "1e999",
    "NaN",
    "[" * 100_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    everything(SURROGATE),
    everything('"\\u0000"'),
    everything("{}"),
    everything("[[]]"),
    everything("1" * 500),
    everything("-1"),
    shaped(lines=[{"pack_id": "1", "quantity": 10**9, "line_id": 1}] * 500),
    shaped(lines=[{"pack_id": "9223372036854775807", "quantity": 1, "line_id": 9223372036854775807}]),
    shaped(starts_at="0001-01-01T00:00:00+14:00", deadline="9999-12-31T23:59:59-14:00", joined_by="0001-01-01"),
    shaped(ends_at="9999-12-31T23:59:59-14:00", audience={"joined_since": "0001-01-01"}, extra="\ud800"),
    shaped(audience={"union_ids": ["9223372036854775807"]}, reason="x" * 200, delta=-(10**9), amount_fen=10**13),
    shaped(audience={"member_nos": ["\x00"]}, recipients=[{"name": "\x00", "phone": "\ud800"}], delta=None, count=0),
    shaped(audience={"honour": "x"}, eligible={"joined_by": "9999-12-31"}, delivery={"kind": "pickup"}),
]
HEADERS = [
    {"Idempotency-Key": "é" * 100},
    {"Idempotency-Key": "x" * 5000},
    {"If-None-Match": "\x80"},
    {"Accept": "\\;;q=x"},
    {"Accept-Language": "zz;q=9,-"},
    {"Content-Type": "application/json; charset=klingon"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": "multipart/form-data; boundary="},
    {"Cookie": "session=.\x80"},
    {"Range": "bytes=9-1"},
    {"Authorization": "Basic x"},
    {"Authorization": "Bearer \x80"},
]


def form_names():
    """Every field of every form of ours."""
    found = set()
    for page in (ROOT / "web" / "templates").rglob("*.html"):
        found |= set(re.findall(r'name="(\w+)"', page.read_text(encoding="utf-8")))
    return sorted(found - {"csrf_token", "viewport"}) + ["outcome"]


FORMS = ["\x00", "\ud800".encode("utf-8", "surrogatepass"), LONG, "x" * 5000, "0001-01-01", "9999-12-31", "1"]


class Asker:
    """Asks as whoever a route is for, and tells what was answered with a 500."""

    def __init__(self, world):
        self.world, self.client = world, world.app.test_client()
        number = world.place(M1, ("A150", 1)).json["number"]
        bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
        self.own = {"member": number, "union": bulk, "merchant": f"{number}-1"}
        self.count = 0

    def login(self, audience, path):
        if audience == "union":
            return APPROVER if path.endswith(("/approve", "/reject")) else OFFICER
        return SEATS[audience]

    def path(self, path, audience, odd=None):
        def value(found):
            if odd is not None:
                return odd
            name = found[1]
            own = {"slug": "spring", "number": self.own.get(audience, "7"), "parcel": self.own["merchant"]}
            return own.get(name, self.world.packs["A150"] if "pack" in name else "1")

        return re.sub(r"<(?:\w+:)?(\w+)>", value, path)

    def __call__(self, method, path, audience, *, odd=None, query="", headers=None, **options):
        login = self.login(audience, path)
        sent = Headers({"Idempotency-Key": f"odd-{self.count}"})
        sent["Accept"] = "application/json" if path.startswith("/api/") else "text/html"
        if login is not None:
            sent["Authorization"] = f"Bearer {self.world.token(login)}"
        for name, text in (headers or {}).items():
            sent[name] = text
        self.count += 1
        address = self.path(path, audience, odd)
        answer = self.client.open(address + (f"?{query}" if query else ""), method=method, headers=sent, **options)
        assert answer.status_code < 500, (method, address[:200], query[:80], headers, options, answer.text[:300])
        if answer.status_code >= 400 and path.startswith("/api/"):
            assert answer.content_type == "application/problem+json", (method, address[:200], answer.text[:300])
            assert {"type", "title", "status", "detail", "code"} <= answer.json.keys()


@pytest.fixture
def ask(world, monkeypatch):
    monkeypatch.setitem(world.app.config, "WTF_CSRF_METHODS", set())
    monkeypatch.setitem(world.app.config, "TESTING", False)
    return Asker(world)


def rows(app):
    return [row for row in routes.rows(app) if not row[0].startswith(("/static", "/bootstrap"))]


def test_odd_paths_queries_and_headers(ask):
    for path, method, audience, _ in rows(ask.world.app):
        for odd in PATHS if "<" in path else ():
            ask(method, path, audience, odd=odd)
        for query in QUERIES if method == "GET" else ():
            ask(method, path, audience, query=query)
    for method, path, audience in (
        ("GET", "/", "everyone"),
        ("GET", "/api/v1/packs", "everyone"),
        ("GET", "/api/v1/orders", "member"),
        ("POST", "/api/v1/orders", "member"),
        ("POST", "/cart", "member"),
        ("PUT", "/api/v1/bulk/orders/<number>/roster", "union"),
    ):
        for headers in HEADERS:
            ask(method, path, audience, headers=headers, data=None if method == "GET" else b"{}")
    assert ask.world.breaches() == []


def test_a_hundred_thousand_lines(ask):
    body = shaped(lines=[{"pack_id": "1", "quantity": 10**9, "line_id": 1}] * 100_000).encode()
    for path, audience in (("quotes", "member"), ("orders", "member"), ("bulk/orders", "union")):
        ask("POST", f"/api/v1/{path}", audience, data=body, content_type="application/json")


def test_odd_bodies(ask):
    for path, method, audience, _ in rows(ask.world.app):
        for body in BODIES if method != "GET" and path.startswith("/api/") else ():
            ask(method, path, audience, data=body.encode("utf-8", "surrogatepass"), content_type="application/json")
    assert ask.world.breaches() == []


def test_odd_forms(ask):
    names = form_names()
    right = {"provider": "sandbox", "name": "王芳", "phone": M1, "kind": "ship"}
    for path, method, audience, _ in rows(ask.world.app):
        for value in FORMS if method == "POST" and not path.startswith("/api/") else ():
            ask(method, path, audience, data=dict.fromkeys(names, value))
            ask(method, path, audience, data={**dict.fromkeys(names, value), **right})
    assert ask.world.breaches() == []
