"""Logs: a line of JSON for each thing, with the id of the request that caused it, and nothing that nobody may read."""

import io
import json
import logging
import logging.config
import re
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from kernel import clock, jobs, logs, origin
from kernel.db import db, transaction
from orders.models import Parcel, WebhookDelivery
from orders.services import webhooks
from people.models import Member, Message, Person
from people.services import messages
from tests.factories import MERCHANT_A, OPERATOR, csrf_of
from web.settings import UnsafeSetting, read

M1 = "13800000001"
KEY = "a test's secret key of some length"
OURS = "causing-request.0001"
UNDER_OURS = {"HTTP_X_REQUEST_ID": OURS}


@pytest.fixture
def lines():
    """What would stand on stderr, line by line, as JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter("json"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    finally:
        root.removeHandler(handler)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("01234567", True),
        ("a.b-c_D9" * 8, True),
        ("0123456", False),
        ("x" * 65, False),
        ("with space", False),
        ("line\nbreak1", False),
        ("请求编号请求编号", False),
        (M1, False),
        ("hg_" + "a" * 24, False),
        ("", False),
    ],
)
def test_a_requests_id_is_taken_where_it_is_one_and_else_made(app, offered, taken):
    environ = {"HTTP_X_REQUEST_ID": offered}
    answer = app.test_client().get("/healthz", environ_overrides=environ)
    if taken:
        assert answer.headers["X-Request-ID"] == offered
    else:
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert origin.request_id() == "", "forgotten when the request is over"


def test_two_requests_never_share_an_id_and_refusals_have_one_too(app):
    client = app.test_client()
    seen = [client.get(path).headers["X-Request-ID"] for path in ("/api/v1/nope", "/api/v1/me", "/api/v1/packs", "/")]
    assert len(set(seen)) == 4


def test_a_requests_line_says_route_and_outcome_and_not_the_address(world, lines):
    token = world.token(M1)
    answer = world.app.test_client().get(
        f"/api/v1/packs/{world.packs['A150']}?q={M1}",
        headers={"Authorization": f"Bearer {token}", "X-Request-ID": OURS},
    )
    assert answer.status_code == 200
    [line] = [one for one in lines() if one["event"] == "request"]
    assert line.pop("milliseconds") >= 0
    assert line.pop("process") > 0
    assert line.pop("at").endswith("Z")
    with world.app.app_context():
        person_id = db.session.scalar(select(Person.id).where(Person.phone == M1))
    assert line == {
        **{"event": "request", "level": "info", "logger": "huigong.requests", "request_id": OURS},
        **{"method": "GET", "route": "/api/v1/packs/<pack_id>", "status": 200, "person": person_id},
    }
    assert M1 not in json.dumps(lines())
    assert token not in json.dumps(lines())


def test_machines_looks_leave_no_line(app, lines):
    client = app.test_client()
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert [one for one in lines() if one["event"] == "request"] == []


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (M1, "phone {}"),
        ("hg_abcdefghijklmnopqrstuvwx", "token {}"),
        ("whsec_AbC123", "{}"),
        ("sk_live_51Abc", "key={}"),
        ("huigong:geheim", "postgresql://{}@db1/huigong"),
        ("eyJhbGci.eyJzdWIi.c2ln", "id_token {}"),
        ("王芳", "null value in column\nDETAIL:  Failing row contains (1, {}, 海尔路 1 号)."),
        ("王芳", "DETAIL: Key (name)=({}) already exists."),
    ],
)
def test_nothing_secret_is_written_in_a_message_a_field_or_an_error(lines, secret, said):
    log = logging.getLogger("huigong.test")
    # Not as an argument of the suite's own listener, which must not hear it either.
    log.propagate = False
    handler = next(one for one in logging.getLogger().handlers if isinstance(one.formatter, logs.ProcessorFormatter))
    log.addHandler(handler)
    try:
        log.warning("said %s", said.format(secret))
        log.warning("field", extra={"about": said.format(secret), "deep": {"in": [said.format(secret)]}})
        try:
            raise ValueError(said.format(secret))
        except ValueError:
            log.exception("error")
    finally:
        log.removeHandler(handler)
        log.propagate = True
    told = json.dumps(lines(), ensure_ascii=False)
    assert secret not in told
    assert told.count("[hidden]") == 4
    assert "ValueError" in told, "the error itself is there"


def test_what_the_database_was_given_is_in_no_error(world):
    with world.app.app_context():
        row = {"id": 1, "name": "刘隐名", "phone": M1}
        with pytest.raises(DBAPIError) as refused:
            db.session.execute(insert(Person).values(**row))
        db.session.rollback()
        assert "刘隐名" not in logs.scrubbed(str(refused.value))
        assert M1 not in logs.scrubbed(str(refused.value))
        with pytest.raises(DBAPIError) as nothing:
            db.session.execute(text("SELECT :phone FROM nowhere"), {"phone": "刘隐名"})
        db.session.rollback()
        assert "刘隐名" not in str(nothing.value)


def test_a_job_works_under_the_id_of_the_request_that_asked_for_it(world, lines):
    body = {"audience": {"all": True}}
    answer = world.call(OPERATOR, "POST", "/admin/campaigns/spring/issue", body, environ_overrides=UNDER_OURS)
    assert answer.status_code == 202, answer.text
    seen = []

    def handler(job_id, arguments, now):
        seen.append(origin.request_id())
        logging.getLogger("huigong").info("in the job")
        return True

    with world.app.app_context():
        assert jobs.run_next({"issue": handler}, clock=clock.now)
        db.session.remove()
    assert seen == [OURS]
    told = [(one["event"], one.get("request_id")) for one in lines() if one["logger"] != "huigong.requests"]
    assert told == [("job begun", OURS), ("in the job", OURS), ("job done", OURS)]
    assert origin.request_id() == ""


def test_a_failed_job_says_why_in_the_log_under_the_same_id(world, lines):
    with world.app.app_context():
        with origin.work_of(OURS), transaction():
            jobs.enqueue(kind="nonsense", arguments={}, total=0, asked_by=None, now=clock.now())
        assert jobs.run_next({}, clock=clock.now)
        db.session.remove()
    [line] = [one for one in lines() if one["event"] == "job failed"]
    assert (line["request_id"], line["kind"], line["level"]) == (OURS, "nonsense", "error")
    assert "KeyError: 'nonsense'" in line["exception"]


def test_a_message_is_sent_under_the_id_of_the_request_that_wrote_it(world, lines):
    class Taking:
        def send(self, message):
            seen.append(message.to)

    seen: list[str] = []
    client = world.app.test_client()
    form = {"phone": M1, "csrf_token": csrf_of(client.get("/sign-in").text)}
    assert client.post("/sign-in", data=form, headers={"X-Request-ID": OURS}).status_code == 200
    with world.app.app_context():
        [kept] = db.session.scalars(select(Message.request_id)).all()
        assert kept == OURS
        assert (
            messages.deliver({"sms": Taking(), "email": Taking()}, key=KEY, now=clock.now() + timedelta(seconds=1)) == 1
        )
        db.session.remove()
    assert seen == [M1]
    [line] = [one for one in lines() if one["event"] == "message handled"]
    assert (line["request_id"], line["outcome"], line["attempt"]) == (OURS, "sent", 1)
    assert M1 not in json.dumps(line)


def test_a_webhook_carries_the_id_of_the_request_that_caused_it(world, http_server, lines):
    server = http_server(lambda *_: (204, ""))
    world.call(MERCHANT_A, "POST", "/merchant/webhooks", {"url": f"{server.url}/hook?key=geheim"})
    number = world.place(M1, ("A150", 1)).json["number"]
    payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
    paid = world.app.test_client().post(
        payment["redirect_url"], data={"outcome": "pay"}, headers={"X-Request-ID": OURS}
    )
    assert paid.status_code < 400
    with world.app.app_context():
        assert db.session.scalars(select(Parcel.request_id)).all() == [OURS]
        with origin.work_of("the-workers-own-look"):
            webhooks.note(now=clock.now())
            assert webhooks.deliver(key=KEY, private=True, now=clock.now()) == 1
        assert db.session.scalars(select(WebhookDelivery.request_id)).all() == [OURS]
        db.session.remove()
    [(_, headers, body)] = server.seen
    assert headers["X-Request-ID"] == OURS
    assert OURS not in body
    [line] = [one for one in lines() if one["event"] == "webhook sent"]
    assert (line["request_id"], line["kind"], line["status"], line["attempt"]) == (OURS, "parcel.made", 204, 1)
    assert "geheim" not in json.dumps(lines())


def test_what_a_later_request_does_to_a_parcel_is_told_under_its_own_id(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, number)
    body = {"carrier": "顺丰", "tracking_no": "SF1"}
    path = f"/merchant/parcels/{number}-1/ship"
    shipped = world.call(MERCHANT_A, "POST", path, body, environ_overrides=UNDER_OURS)
    assert shipped.status_code == 200, shipped.text
    with world.app.app_context():
        assert db.session.scalars(select(Parcel.request_id)).all() == [OURS]
        assert db.session.scalar(select(Member.id).limit(1)) is not None
        db.session.remove()


def test_plain_text_for_eyes():
    record = logging.LogRecord("huigong", logging.INFO, "", 0, "said %s", ("this",), None)
    line = logs.formatter("text").format(record)
    assert "said this" in line
    assert "\x1b" not in line
    assert not line.startswith("{")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("text", "info")),
        ({"HUIGONG_ENV": "production"}, ("json", "info")),
        ({"HUIGONG_ENV": "production", "HUIGONG_LOG_FORMAT": "text"}, ("text", "info")),
        ({"HUIGONG_LOG_FORMAT": "json", "HUIGONG_LOG_LEVEL": "warning"}, ("json", "warning")),
    ],
)
def test_format_and_level_are_settings(environ, expected):
    assert logs.chosen(environ) == expected
    settings = read({"SECRET_KEY": "0123456789abcdefghijklmnopqrstuv", **environ})
    assert (settings.log_format, settings.log_level) == expected


@pytest.mark.parametrize("name", ["HUIGONG_LOG_FORMAT", "HUIGONG_LOG_LEVEL"])
def test_an_unknown_one_is_refused_by_name(name):
    with pytest.raises(UnsafeSetting, match=name):
        read({name: "loud"})
