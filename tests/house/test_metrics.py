"""What a monitor is told: exact figures, cheaply, to who may ask; and that alerts ask for what there is."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text, update

from kernel import clock, jobs
from kernel.db import db, transaction
from orders.models import Order
from orders.services import summing, webhooks
from people.models import Message
from tests.factories import MERCHANT_A, OPERATOR
from web import metrics
from web.settings import ROOT

M1, M2 = "13800000001", "13800000002"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "huigong.json"
NAME = re.compile(r"\bhuigong_\w+")


def scraped(app, **options):
    """Every sample: {(name, labels): value}."""
    answer = app.test_client().get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_orders_holds_discounts_and_payments_are_told_exactly(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    open_number = world.place(M2, ("A100", 1), ("B150", 2)).json["number"]
    with world.app.app_context():
        now = clock.now()
        while not summing.advance(now=now + timedelta(minutes=1), seconds=60.0, patience=0.0):
            pass
        db.session.execute(
            update(Order).where(Order.id == int(open_number)).values(expires_at=now - timedelta(hours=1))
        )
        db.session.commit()
        db.session.remove()
    told = scraped(world.app)
    discount_fen = world.call(M2, "GET", f"/orders/{open_number}").json["discount_fen"]
    assert discount_fen == 8000
    assert told["huigong_orders_open", "pending_payment"] == 1
    assert told["huigong_orders_open", "approved"] == 0
    assert told["huigong_discount_held_fen",] == 8000
    assert told["huigong_packs_held",] == 3
    assert 3600 <= told["huigong_sweep_lag_seconds",] < 3700
    assert (told["huigong_orders_total", "placed"], told["huigong_orders_total", "paid"]) == (2, 1)
    assert (told["huigong_sales_fen_total",], told["huigong_discount_fen_total",]) == (30000, 6000)
    assert (told["huigong_voucher_fen", "issued"], told["huigong_voucher_fen", "redeemed"]) == (6 * 20000, 6000)
    assert told["huigong_voucher_fen", "held"] == 8000
    assert told["huigong_payments", "sandbox", "succeeded"] == 1
    assert (told["huigong_database_up",], told["huigong_figures_unread",]) == (1, 0)


def test_jobs_messages_and_webhooks_are_told_with_their_age(world, http_server):
    server = http_server(lambda *_: (500, "no"))
    world.call(MERCHANT_A, "POST", "/merchant/webhooks", {"url": server.url})
    world.pay(M1, world.place(M1, ("A150", 1)).json["number"])
    with world.app.app_context():
        now = clock.now()
        webhooks.note(now=now - timedelta(minutes=30))
        with transaction():
            jobs.enqueue(kind="none", arguments={}, total=0, asked_by=None, now=now - timedelta(minutes=20))
            message = {"phone": M1, "kind": "code", "sealed": "x", "made_at": now, "status": "waiting"}
            db.session.add(Message(id=1, send_at=now - timedelta(minutes=5), **message))
            db.session.add(Message(id=2, send_at=now + timedelta(minutes=5), **message))
        db.session.remove()
    told = scraped(world.app)
    assert told["huigong_jobs", "queued"] == 1
    assert 1200 <= told["huigong_job_age_seconds", "queued"] < 1300
    assert told["huigong_webhooks_waiting",] == 1
    assert 1800 <= told["huigong_webhook_age_seconds",] < 1900
    assert told["huigong_messages_waiting",] == 2, "that it was paid, and a code; one is for later"
    assert told["huigong_messages_unsure",] == 0
    assert 300 <= told["huigong_message_age_seconds",] < 400
    with world.app.app_context():
        assert jobs.run_next({}, clock=clock.now)
        db.session.remove()
    told = scraped(world.app)
    assert (told["huigong_jobs", "queued"], told["huigong_jobs", "failed"]) == (0, 1)


def test_a_requests_time_is_counted_by_endpoint_and_class(app):
    key = ("huigong_http_seconds_count", "4xx", "api_me.me")
    endpoint = next(rule.endpoint for rule in app.url_map.iter_rules() if rule.rule == "/api/v1/me")
    key = ("huigong_http_seconds_count", *sorted((endpoint, "4xx")))
    before = scraped(app).get(key, 0)
    for _ in range(3):
        app.test_client().get("/api/v1/me")
    assert scraped(app)[key] == before + 3


def test_figures_are_told_again_for_a_moment_and_each_group_is_a_few_statements(world):
    asked: list[str] = []

    def listen(_connection, _cursor, statement, *_):
        asked.append(statement)

    with world.app.app_context():
        engine = db.engine
    world.app.config["FIGURES_SECONDS"] = 60.0
    event.listen(engine, "before_cursor_execute", listen)
    try:
        world.app.extensions.pop("huigong_figures", None)
        first = scraped(world.app)
        figures = [one for one in asked if not one.startswith(("SET ", "BEGIN", "SELECT set_config"))]
        asked.clear()
        world.place(M1, ("A150", 1))
        asked.clear()
        again = scraped(world.app)
        assert asked == []
        assert again["huigong_orders_open", "pending_payment"] == first["huigong_orders_open", "pending_payment"] == 0
        assert len(figures) <= 19
    finally:
        event.remove(engine, "before_cursor_execute", listen)
        world.app.config["FIGURES_SECONDS"] = 0.0


def test_a_figure_that_cannot_be_read_leaves_a_gap_and_the_others_stand(world, monkeypatch):
    def stuck():
        db.session.execute(text("SELECT 1 FROM nowhere"))

    monkeypatch.setattr(metrics.catalog_queries, "held_packs", stuck)
    told = scraped(world.app)
    assert ("huigong_packs_held",) not in told
    assert told["huigong_orders_open", "pending_payment"] == 0
    assert (told["huigong_figures_unread",], told["huigong_database_up",]) == (1, 1)


def test_a_database_that_is_away_is_told_as_such(world, monkeypatch):
    def away(*_, **__):
        raise metrics.NoConnection("the pool is empty")

    monkeypatch.setattr(db.session, "execute", away)
    monkeypatch.setattr(db.session, "scalar", away)
    told = scraped(world.app)
    assert told["huigong_database_up",] == 0
    assert told["huigong_figures_unread",] == 10


@pytest.mark.parametrize(
    ("case", "token", "headers", "address", "status"),
    [
        ("this machine", "", {}, "127.0.0.1", 200),
        ("this machine, IPv6", "", {}, "::1", 200),
        ("elsewhere", "", {}, "10.0.0.5", 403),
        ("elsewhere by a proxy on this machine", "", {"X-Forwarded-For": "10.0.0.5"}, "127.0.0.1", 403),
        ("the same, said in the new way", "", {"Forwarded": "for=10.0.0.5"}, "127.0.0.1", 403),
        ("the token", "geheim", {"Authorization": "Bearer geheim"}, "10.0.0.5", 200),
        ("a wrong token", "geheim", {"Authorization": "Bearer falsch"}, "127.0.0.1", 403),
        ("no token where one is set", "geheim", {}, "127.0.0.1", 403),
    ],
)
def test_who_may_ask(app, monkeypatch, case, token, headers, address, status):
    import dataclasses

    monkeypatch.setitem(app.config, "HUIGONG", dataclasses.replace(app.config["HUIGONG"], metrics_token=token))
    answer = app.test_client().get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == status, case
    assert ("huigong_" in answer.text) == (status == 200)


def exposed(app) -> set[str]:
    """The names of everything we expose, as a query names them."""
    shown = app.test_client().get("/metrics").text
    names = {line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE")}
    return names | {"huigong_http_seconds_bucket", "huigong_http_seconds_count", "huigong_http_seconds_sum"}


def test_alerts_are_yaml_with_what_each_needs_and_ask_for_metrics_there_are(app):
    names = exposed(app)
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 15
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert rule["annotations"]["summary"], rule
        used = set(NAME.findall(rule["expr"]))
        assert used <= names, (rule["alert"], used - names)
        assert used or "up{" in rule["expr"], rule
        assert f"`{rule['alert']}`" in guide, f"{rule['alert']} is not explained in docs/operations.md"


def test_the_dashboard_asks_for_metrics_there_are_and_shows_each(app):
    names = exposed(app)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    asked = {name for panel in panels for one in panel.get("targets", ()) for name in NAME.findall(one["expr"])}
    assert asked <= names, asked - names
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    hidden = {re.sub("_(bucket|count|sum)$", "", name) for name in names} - shown
    assert {name for name in hidden if name.startswith("huigong_")} <= {"huigong_reconcile_ran"}


def promtool(*arguments: str) -> None:
    program = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=RULES.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_alerts_and_they_fire_when_they_should():
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


COUNTING = """
    import os, sys
    import web.app
    from web import admission, metrics
    admission.refused.inc()
    for _ in range(int(sys.argv[1])):
        metrics.SECONDS.labels(endpoint="one", status="2xx").observe(0.001)
    metrics.POOL.labels(state="open").inc(2)
    if len(sys.argv) > 2:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        print(generate_latest(registry).decode())
"""


def test_processes_add_up_and_a_successor_goes_on_where_its_slot_ended(tmp_path):
    def process(slot, times, *show):
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "WORKER_SLOT": slot}
        command = [sys.executable, "-c", textwrap.dedent(COUNTING), str(times), *show]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout

    process("0", 3)
    process("1", 4)
    (tmp_path / "gauge_livesum_0.db").unlink()  # what gunicorn.conf.py does for a worker that is gone
    told = process("0", 5, "show")
    assert 'huigong_http_seconds_count{endpoint="one",status="2xx"} 12.0' in told
    assert 'huigong_pool_connections{state="open"} 4.0' in told
    assert "huigong_refused_busy_total 3.0" in told
    kinds = ("counter", "histogram", "gauge_livesum")
    expected = {f"{kind}_{slot}.db" for kind in kinds for slot in ("0", "1")}
    assert {path.name for path in tmp_path.iterdir()} == expected, "a file for each slot, however many processes"


def test_trouble_is_counted_by_why_and_a_line_says_so(world, monkeypatch):
    logging.getLogger("huigong").debug("nothing")
    before = scraped(world.app).get(("huigong_database_trouble_total", "pool"), 0)

    def none_left(*_, **__):
        raise metrics.NoConnection("QueuePool limit")

    monkeypatch.setattr("people.queries.by_token", none_left)
    answer = world.call(OPERATOR, "GET", "/me")
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (503, "unavailable", "2")
    monkeypatch.undo()
    assert scraped(world.app)["huigong_database_trouble_total", "pool"] == before + 1
