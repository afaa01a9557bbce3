"""Rules about the house itself."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from finance.gateway import queries as gateway_queries
from kernel.db import db
from kernel.doors import AUDIENCES
from people.services import arrivals
from tests.factories import World
from web import demo
from web.access import OPEN_ENDPOINTS
from web.app import create_app
from web.settings import NAMES, ROOT, Settings, UnsafeSetting, read

GOOD_KEY = "0123456789abcdefghijklmnopqrstuv"
OURS = ("flask-smorest", "api-docs", "bootstrap")


def test_every_blueprint_names_its_audience(app):
    for name, blueprint in app.blueprints.items():
        if name not in OURS:
            assert getattr(blueprint, "audience", None) in AUDIENCES, name


def test_every_address_has_a_blueprint_or_is_listed_as_open(app):
    for rule in app.url_map.iter_rules():
        name = rule.endpoint.rpartition(".")[0]
        audience = getattr(app.blueprints.get(name), "audience", None)
        assert audience in AUDIENCES or rule.endpoint in OPEN_ENDPOINTS, rule


def test_doors_are_shut_to_who_does_not_belong(world):
    client = world.app.test_client()
    for path, login in (
        ("/admin/campaigns/spring/report", "13800000001"),
        ("/merchant/parcels", "13900000001"),
        ("/bulk/orders", "13700000001"),
        ("/me/vouchers", "13600000001"),
    ):
        assert client.get(f"/api/v1{path}").json["code"] == "not_signed_in"
        assert world.call(login, "GET", path).json["code"] == "forbidden"
    wrong = client.get("/api/v1/me", headers={"Authorization": "Bearer nope"})
    assert (wrong.status_code, wrong.json["code"]) == (401, "not_signed_in")


def test_every_error_is_one_problem_document(app):
    client = app.test_client()
    for method, path, status in (
        ("GET", "/api/v1/nope", 404),
        ("DELETE", "/api/v1/packs", 405),
        ("GET", "/api/v1/me", 401),
        ("GET", "/api/v1/packs?limit=1000", 422),
        ("POST", "/api/v1/quotes", 401),
    ):
        answer = client.open(path, method=method)
        assert answer.status_code == status
        assert answer.content_type == "application/problem+json"
        assert {"type", "title", "status", "detail", "code"} <= answer.json.keys()


def test_every_setting_has_a_heading(app):
    headings = re.findall(r"^## `?([A-Z_]+)`?$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.M)
    assert sorted(headings) == sorted(NAMES)
    used = set()
    for path in [ROOT / "web" / "settings.py", ROOT / "web" / "cli.py", ROOT / "gunicorn.conf.py"]:
        used |= set(re.findall(r'"((?:HUIGONG_|SECRET_KEY|DATABASE_URL|WEB_CONC|PORT)[A-Z_]*)"', path.read_text()))
    assert used <= set(NAMES)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "SECRET_KEY"),
        ({"SECRET_KEY": "a" * 64}, "SECRET_KEY"),
        ({"SECRET_KEY": "development-only-secret-key"}, "SECRET_KEY"),
        ({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "HUIGONG_SANDBOX": "1"}, "HUIGONG_SANDBOX"),
        ({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "HUIGONG_SECURE_COOKIES": "0"}, "HUIGONG_SECURE_COOKIES"),
        ({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "HUIGONG_SHOW_CODES": "1"}, "HUIGONG_SHOW_CODES"),
        ({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "FLASK_DEBUG": "1"}, "FLASK_DEBUG"),
        ({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "HUIGONG_STAFF_BY_CODE": "1"}, "HUIGONG_STAFF_BY_CODE"),
        (
            {"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", "HUIGONG_SMS_GATEWAY": '{"url": "http://x"}'},
            "HUIGONG_SMS_GATEWAY",
        ),
        ({"SECRET_KEY": GOOD_KEY, "HUIGONG_STRIPE_SECRET_KEY": "sk_live_1"}, "HUIGONG_STRIPE_WEBHOOK_SECRET"),
        ({"SECRET_KEY": GOOD_KEY, "HUIGONG_STRIPE_WEBHOOK_SECRET": "whsec_1"}, "HUIGONG_STRIPE_SECRET_KEY"),
        ({"SECRET_KEY": GOOD_KEY, "HUIGONG_STRIPE_API_BASE": "http://127.0.0.1:1"}, "HUIGONG_STRIPE_API_BASE"),
    ],
)
def test_production_refuses_to_start_unsafely(environ, named):
    with pytest.raises(UnsafeSetting, match=named):
        read({"HUIGONG_ENV": "production", **environ})


def test_production_offers_stripe_and_has_no_sandbox_webhook(tmp_path):
    keys = {"HUIGONG_STRIPE_SECRET_KEY": "sk_live_1", "HUIGONG_STRIPE_WEBHOOK_SECRET": "whsec_1"}
    environ = {"HUIGONG_ENV": "production", "SECRET_KEY": GOOD_KEY, "DATABASE_URL": f"sqlite:///{tmp_path / 'p.db'}"}
    settings = read({**environ, **keys})
    assert settings.member_providers == ("stripe",)
    assert settings.union_providers == ("bank_transfer", "stripe")
    client = create_app(settings).test_client()
    assert client.post("/webhooks/sandbox", data=b"{}").status_code == 404
    assert client.get("/sandbox/anything").status_code == 404
    answer = client.post("/webhooks/stripe", data=b"{}")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_signature")


def test_production_starts_safely_and_has_no_cashier():
    settings = read({"HUIGONG_ENV": "production", "SECRET_KEY": "0123456789abcdefghijklmnopqrstuv"})
    assert settings.member_providers == ()
    assert settings.secure_cookies


def test_migrations_are_numbered_with_one_head():
    files = sorted(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))
    assert [name[:4] for name in files] == [f"{number:04d}" for number in range(1, len(files) + 1)]
    assert (ROOT / "migrations" / ".current-head").read_text().strip() == files[-1][:4]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_migrations_run_up_down_and_up_and_say_what_the_models_say(engine, tmp_path: Path, request):
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path / 'm.db'}"
    else:
        url = request.getfixturevalue("new_postgresql_database")("huigong_migrations")
    app = create_app(Settings(database_url=url))
    folder = str(ROOT / "migrations")
    with app.app_context():
        upgrade(directory=folder)
        downgrade(directory=folder, revision="base")
        assert set(inspect(db.engine).get_table_names()) <= {"alembic_version"}
        upgrade(directory=folder)
        with db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, db.metadata) == []
        db.engine.dispose()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_migrations_keep_what_is_there(engine, tmp_path: Path, request):
    """Down to where refunds began and up again, with orders, payments and a payment sent back in the tables."""
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path / 'm.db'}"
    else:
        url = request.getfixturevalue("new_postgresql_database")("huigong_kept")
    app = create_app(Settings(database_url=url))
    folder = str(ROOT / "migrations")
    with app.app_context():
        upgrade(directory=folder)
    world = World(app)
    paid = world.place("13800000001", ("A150", 2)).json["number"]
    world.pay("13800000001", paid)
    cancelled = world.place("13800000002", ("B40", 1)).json["number"]
    payment = world.call("13800000002", "POST", f"/orders/{cancelled}/payments", {"provider": "sandbox"}).json
    world.call("13800000002", "POST", f"/orders/{cancelled}/cancel")
    app.test_client().post(payment["redirect_url"], data={"outcome": "pay"})
    with app.app_context():
        db.session.remove()
        before = {table: _count(table) for table in ("orders", "order_lines", "parcels", "ledger_postings", "vouchers")}
        downgrade(directory=folder, revision="0006")
        upgrade(directory=folder)
        assert {table: _count(table) for table in before} == before
        refunds = gateway_queries.refunds_of(int(cancelled))
        assert [(one.amount_fen, one.status, one.provider) for one in refunds] == [(4000, "succeeded", "sandbox")]
        db.session.remove()
        with pytest.raises(DBAPIError, match="append-only"), db.engine.begin() as connection:
            connection.execute(text("DELETE FROM ledger_postings"))
    assert world.breaches() == []
    with app.app_context():
        db.engine.dispose()


def _count(table: str) -> int:
    with db.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_the_demonstration_is_complete_and_loads_once(app):
    from catalog import queries as catalog_queries
    from kernel import clock
    from orders import queries as order_queries
    from voucher import queries as voucher_queries

    with app.app_context():
        made = demo.load(now=clock.now())
        assert made["merchants"] == 12
        assert made["packs"] >= 110
        assert (made["unions"], made["members"], made["honours"], made["vouchers"]) == (6, 200, 376, 200)
        assert set(demo.load(now=clock.now()).values()) == {0}
        campaign = voucher_queries.campaign("spring", now=clock.now())
        assert campaign.status == "open"
        packs = catalog_queries.packs(catalog_queries.Filter(tiers_fen=campaign.tiers_fen), limit=500).items
        assert {pack.tier_fen for pack in packs} == {10000, 15000, 20000, 25000, 30000}
        assert all(pack.contents and (ROOT / "web" / "static" / pack.picture).exists() for pack in packs)
        assert order_queries.all_breaches() == []


def test_a_filter_left_empty_is_no_filter(world):
    client = world.app.test_client()
    every = client.get("/api/v1/packs").json["items"]
    empty = client.get("/api/v1/packs?campaign=&tier_fen=&merchant=&region=&q=&channel=&limit=&cursor=")
    assert (empty.status_code, empty.json["items"]) == (200, every)
    assert world.call("13600000001", "GET", "/admin/audit?actor=&object=&since=").status_code == 200
    assert world.call("13700000001", "GET", "/merchant/parcels?status=").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/campaigns", "/packs", "/merchants", "/stations", "/me/vouchers", "/me/vouchers/{voucher}/entries", "/orders"],
)
def test_every_list_is_paged(world, path):
    member = "13800000001"
    details = {
        **{"slug": "other", "name": "另一个", "issue_mode": "claim", "tiers_fen": [15000], "bulk_budget_fen": 0},
        **{"starts_at": "2020-01-01T00:00:00+08:00", "ends_at": "2999-01-01T00:00:00+08:00"},
        **{"rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 100}, "member_budget_fen": 100},
    }
    assert world.call("13600000001", "POST", "/admin/campaigns", details).status_code == 201
    assert world.call(member, "POST", "/campaigns/other/claim").status_code == 201
    with world.app.app_context():
        nothing = {name: [] for name in ("unions", "merchants", "members", "honours", "staff")}
        arrivals.bring_in(**nothing, stations=[{"code": "S2", "name": "二号点", "address": "另一路"}])
    voucher = world.call(member, "GET", "/me/vouchers").json["items"][-1]["id"]
    for _ in range(2):
        world.place(member, ("A100", 1))
    path = path.format(voucher=voucher)
    whole = world.call(member, "GET", path).json
    assert len(whole["items"]) >= 2
    assert whole["next_cursor"] is None
    parts, cursor = [], ""
    while cursor is not None:
        part = world.call(member, "GET", f"{path}?limit=1&cursor={cursor}").json
        assert len(part["items"]) == 1
        parts += part["items"]
        cursor = part["next_cursor"]
    assert parts == whole["items"]
    for wrong in ("limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=zz"):
        assert world.call(member, "GET", f"{path}?{wrong}").status_code == 422, wrong


@pytest.mark.parametrize(
    "path", ["/campaigns", "/campaigns/spring", "/packs", "/packs/{pack}", "/merchants", "/stations"]
)
def test_what_everybody_may_see_is_sent_once(world, path):
    client = world.app.test_client()
    path = "/api/v1" + path.format(pack=world.packs["A150"])
    tag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    if "pack" in path:
        world.place("13800000001", ("A150", 1))
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_a_region_is_found_by_a_part_of_its_name(world):
    client = world.app.test_client()
    found = {
        text: sorted(pack["name"] for pack in client.get(f"/api/v1/packs?region={text}").json["items"])
        for text in ("贵州", "贵州安顺", "贵%州")
    }
    assert found == {"贵州": ["礼包B150", "礼包B40"], "贵州安顺": ["礼包B150", "礼包B40"], "贵%州": []}
