"""How PostgreSQL finds what lists and pages ask for: no list and no filter may read a large table from end to end.

Every GET of every audience is asked for (`walk`), with each filter it has; every SELECT this sent is then explained
with the values it was sent with (EXPLAIN ANALYZE), and a sequential scan of a table that grows with the orders is a
finding. `python -m benchmarks.growth` does so at 5,000,000 orders, tests/house/test_plans.py at a size that decides.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from psycopg import RawCursor
from sqlalchemy import Engine, event, text

from benchmarks import fill
from kernel import clock, trips
from kernel.db import db
from kernel.paging import encode_cursor
from people.services import tokens

LARGE = ("orders", "order_lines", "parcels", "payments", "ledger_postings", "members", "people", "vouchers")
LOGINS = {"member": "15000000001", "union": "13900000001", "merchant": "13700000001", "operator": "13600000001"}
# What reads everything because that is its work: the proof, a document of a whole campaign, a download.
WHOLE = re.compile(r"/admin/check$|/admin/reconcile$|/metrics$|\.(xlsx|csv|zip|pdf)$|/audit/verify$|/dossier")
# What adds up a whole campaign, not for a list: (path, table). Each grows with the campaign.
TOTALS = {
    ("/admin/campaigns/<slug>/dashboard", "orders"),  # late parcels: a join of all that wait
    ("/admin/campaigns/<slug>/forecast", "members"),
    ("/admin/campaigns/<slug>/forecast", "vouchers"),
    ("/admin/campaigns/<slug>/forecast", "ledger_postings"),
    ("/admin/campaigns/<slug>/remind", "vouchers"),
    ("/admin/queues", "orders"),
    ("/admin/statements/", "ledger_postings"),  # what every merchant has earned in the month that is not over
    ("/admin/stations/", "orders"),
    ("/merchant/", "ledger_postings"),  # what one merchant is owed, and sold in a week: its own share of all there is
    ("/api/v1/admin/campaigns/<slug>/report", "orders"),
    ("/api/v1/admin/campaigns/<slug>/report", "order_lines"),
    ("/api/v1/admin/campaigns/<slug>/report", "ledger_postings"),
}
FILTERS = {
    "/api/v1/orders": ("limit=20", "cursor={cursor}"),
    "/orders": ("cursor={cursor}",),
    "/api/v1/bulk/orders": ("cursor={cursor}",),
    "/api/v1/merchant/parcels": ("status=to_ship", "status=delivered", "overdue=true", "cursor={cursor}"),
    "/merchant/parcels": ("status=to_ship", "status=shipped", "status=delivered", "cursor={cursor}"),
    "/api/v1/merchant/refunds": ("status=requested", "status=accepted"),
    "/api/v1/merchant/packs/<pack_id>/movements": ("cursor={cursor}",),
    "/api/v1/merchant/statements": ("status=open",),
    "/api/v1/packs": ("campaign=load&tier_fen=10000", "category=food", "merchant=B1", "q=礼包"),
    "/api/v1/search": ("q=礼包1",),
    "/search": ("q=礼包1",),
    "/admin/members/": ("q=15000000003", "member_no=L30", "phone=15000000003", "name=会员3"),
    "/admin/campaigns/<slug>/dashboard": ("channel=member", "merchant=B1", "union=1"),
    "/admin/campaigns/<slug>/dashboard/orders": ("status=paid", "channel=member", "merchant=B1", "union=1"),
    "/admin/audit/": ("actor=1", "object=order:1", "action=seat", "since=2027-01-01"),
    "/api/v1/admin/audit": ("limit=20",),
    "/admin/jobs": ("status=failed",),
    "/admin/queues": (),
}


@dataclass
class Asked:
    """A statement that was sent, with its values, and who sent it first."""

    sql: str
    values: Any
    path: str
    raw: bool = False  # with PostgreSQL's own $1 for its values


@dataclass
class Recorder:
    """Hears every SELECT that goes to PostgreSQL, each text once; with `changes`, every UPDATE too."""

    path: str = ""
    changes: bool = False
    asked: dict[str, Asked] = field(default_factory=dict)

    def hear(self, sql: str, values: Any, *, raw: bool = False) -> None:
        """Note a statement."""
        heard = r"\s*(SELECT|WITH|UPDATE)\b" if self.changes else r"\s*(SELECT|WITH)\b"
        if re.match(heard, sql, re.IGNORECASE) and "pg_locks" not in sql:
            self.asked.setdefault(sql, Asked(sql, values, self.path, raw))


@contextmanager
def recording(recorder: Recorder, engine: Engine) -> Iterator[None]:
    """Let the recorder hear what SQLAlchemy sends and what goes past it."""

    asks = trips.ask

    def asked(driver: Any, questions: Sequence[trips.Question], **how: Any) -> list[trips.Answer]:
        for sql, values in questions:
            recorder.hear(sql.decode(), list(values), raw=True)
        return asks(driver, questions, **how)

    def sent(_connection: Any, _cursor: Any, sql: str, values: Any, context: Any, _many: bool) -> None:
        if context is not None:
            recorder.hear(sql, values)

    event.listen(engine, "before_cursor_execute", sent)
    trips.ask = asked
    try:
        yield
    finally:
        trips.ask = asks
        event.remove(engine, "before_cursor_execute", sent)


def _signed_in(app: Flask, phone: str) -> FlaskClient:
    client = app.test_client()
    page = client.get("/sign-in").text
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert csrf, page
    form = {"phone": phone, "csrf_token": csrf[1]}
    code = re.search(r'id="code-shown"[^>]*>(\d{6})<', client.post("/sign-in", data=form).text)
    assert code, f"no code for {phone}"
    client.post("/sign-in", data={**form, "code": code[1]})
    return client


def _things(app: Flask) -> dict[str, str]:
    """What the paths' parameters are: things of the first member, the first merchant, the campaign."""
    with app.app_context():
        first = "SELECT o.id, v.id, l.pack_id, m.person_id FROM orders o JOIN order_lines l ON l.order_id = o.id"
        first += " JOIN members m ON m.id = o.member_id JOIN people p ON p.id = m.person_id AND p.phone = :phone"
        first += " JOIN vouchers v ON v.member_id = m.id ORDER BY o.id DESC LIMIT 1"
        order, voucher, _, _ = db.session.execute(text(first), {"phone": LOGINS["member"]}).one()
        own = "SELECT p.order_id, p.parcel_no, l.pack_id FROM parcels p JOIN order_lines l ON l.order_id = p.order_id"
        own += " AND l.merchant_id = p.merchant_id JOIN merchants m ON m.id = p.merchant_id AND m.code = 'B1'"
        parcel, parcel_no, pack = db.session.execute(text(own + " ORDER BY p.order_id DESC LIMIT 1")).one()
        member = db.session.scalar(text("SELECT id FROM members WHERE member_no LIKE 'L%' ORDER BY id LIMIT 1"))
        db.session.remove()
    now = clock.now()
    return {
        "slug": fill.SLUG,
        "number": str(order),
        "voucher_id": str(voucher),
        "pack_id": str(pack),
        "parcel": f"{parcel}-{parcel_no}",
        "member_id": str(member),
        "union_id": "1",
        "period": f"{now:%Y-%m}",
        "name": "members",
        "part": "days",
    }


def walk(app: Flask) -> tuple[list[Asked], list[str]]:
    """Ask for everything as everybody; return the statements sent and the paths that could not be asked for."""
    things = _things(app)
    recorder, left_out = Recorder(), []
    with app.app_context():
        bearers = {
            who: tokens.make_for_login(login=phone, name="plans", now=clock.now()) for who, phone in LOGINS.items()
        }
        db.session.remove()
    browsers = {who: _signed_in(app, phone) for who, phone in LOGINS.items()}
    with app.app_context():
        engine = db.engine
    with recording(recorder, engine):
        for rule in sorted(app.url_map.iter_rules(), key=str):
            if "GET" not in (rule.methods or ()) or rule.endpoint.endswith("static") or WHOLE.search(rule.rule):
                continue
            if set(rule.arguments) - set(things):
                left_out.append(rule.rule)
                continue
            with app.test_request_context():
                adapter = app.create_url_adapter(None) or app.url_map.bind("localhost")
                path = adapter.build(rule.endpoint, {name: things[name] for name in rule.arguments})
            cursor = encode_cursor(int(things["number"]))
            queries = ["", *(one.format(cursor=cursor) for one in FILTERS.get(rule.rule, ()))]
            for query in queries:
                recorder.path = f"{rule.rule}?{query}" if query else rule.rule
                address = f"{path}?{query}" if query else path
                for who, browser in browsers.items():
                    if path.startswith("/api/"):
                        headers = {"Authorization": f"Bearer {bearers[who]}"}
                        status = app.test_client().get(address, headers=headers).status_code
                    else:
                        status = browser.get(address).status_code
                    if status >= 500:
                        raise RuntimeError(f"{status} for {address}")
    return list(recorder.asked.values()), left_out


@dataclass
class Finding:
    """A sequential scan of a large table: by which statement, of whom, how long it took."""

    table: str
    path: str
    sql: str
    rows: int
    milliseconds: float

    def __str__(self) -> str:
        return f"{self.path}: reads all of {self.table} ({self.milliseconds:.0f} ms): {' '.join(self.sql.split())}"


def explain(app: Flask, asked: list[Asked]) -> tuple[list[Finding], list[tuple[float, str]]]:
    """Explain each statement; return the sequential scans of large tables (but TOTALS); and how long each took."""
    findings, times = [], []
    with app.app_context(), db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for one in asked:
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {one.sql}"
            cursor = driver.cursor()
            if one.raw:
                cursor = RawCursor(driver)
            cursor.execute(explained.encode(), one.values or None)
            [[told]] = cursor.fetchall()
            driver.rollback()
            times.append((told[0]["Execution Time"], one.path))
            findings += [
                Finding(node["Relation Name"], one.path, one.sql, node["Actual Rows"], told[0]["Execution Time"])
                for node in _nodes(told[0]["Plan"])
                if node["Node Type"] == "Seq Scan"
                and node["Relation Name"] in LARGE
                and node["Actual Loops"]
                and (one.path, node["Relation Name"]) not in TOTALS
            ]
    return findings, sorted(times, reverse=True)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
