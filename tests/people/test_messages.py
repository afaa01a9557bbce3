"""Messages: written with what they tell, once; sent at most once by themselves, whatever dies in between."""

import os
import socket
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from kernel import audit, clock
from kernel.db import db, transaction
from kernel.errors import NotFound, StateConflict
from people import message_queries, telling
from people import queries as people_queries
from people.models import Contact, Message
from people.services import entry, messages, senders, wordings
from people.telling import Notice
from people.texts import HIDDEN, KINDS, LANGUAGES, examples, filled
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR

KEY = "a test's secret key of some length"
M1, M2 = "13800000001", "13800000002"
NOON = datetime(2026, 12, 1, 4, tzinfo=UTC)


class Double:
    """A provider that remembers what it took, and answers as told."""

    def __init__(self, *answers):
        self.taken, self.answers = [], list(answers)

    def send(self, one):
        answer = self.answers.pop(0) if self.answers else None
        if not isinstance(answer, senders.Refused):
            self.taken.append(one)
        if answer is not None:
            raise answer


def tell(world, *things, who=M1, event="order.paid", now=NOON, **values):
    """Write a message for each thing; return how many were new."""
    with world.app.app_context():
        person_id = people_queries.by_phone(who).person_id
        filling = values or {"number": "1", "amount": "¥80"}
        told = [Notice(event, thing, filling, person_id=person_id) for thing in things]
        with transaction():
            return telling.tell(told, now=now, key=KEY)


def deliver(world, double, now=NOON, **options):
    with world.app.app_context():
        return messages.deliver({"sms": double, "email": double}, key=KEY, now=now, **options)


def states(world):
    with world.app.app_context():
        rows = db.session.execute(select(Message.thing, Message.status).where(Message.kind != "code"))
        return {row.thing: row.status for row in rows}


def row_of(world, thing):
    with world.app.app_context():
        message_id = db.session.scalar(select(Message.id).where(Message.thing == thing))
        return message_queries.one(message_id)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_reads_well_in_both_languages(name):
    kind = KINDS[name]
    for place, language in enumerate(LANGUAGES):
        assert wordings.faults(kind, kind.words[place]) == []
        text = filled(kind.words[place], examples(kind, language))
        assert "{" not in text
        assert all(example[place] in text for value, example in kind.examples.items() if value in kind.needed)
        assert kind.subject[place]
        assert kind.label[place]


def test_many_at_once_are_written_by_one_call_and_counted(world):
    with world.app.app_context():
        told = [Notice("gift.ready", "1", {"gift": "“" * 300, "until": "x"}, phone=f"139{n:08d}") for n in range(2000)]
        with transaction():
            assert telling.tell(told, now=clock.now()) == 2000
        with transaction():
            assert telling.tell(told[:5], now=clock.now()) == 0
        assert db.session.query(Message).count() == 2000


def test_a_person_is_told_a_thing_once_and_only_if_it_happened(world):
    assert tell(world, "a") == 1
    assert tell(world, "a", "b") == 1
    assert tell(world, "a", who=M2) == 1
    with world.app.app_context():
        person_id = people_queries.by_phone(M1).person_id

        def fail():
            with transaction():
                telling.tell([Notice("order.paid", "c", {"number": "1"}, person_id=person_id)], now=NOON)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
    double = Double()
    assert deliver(world, double) == 3
    assert deliver(world, double) == 0
    assert Counter(one.to for one in double.taken) == {M1: 2, M2: 1}
    assert {one.text for one in double.taken} == {"订单 1 已付款 ¥80，商户会尽快发货。"}


def test_what_certainly_was_not_taken_is_tried_again_later_each_time_then_given_up(world):
    tell(world, "a")
    double = Double(*[senders.Refused("HTTP 400")] * 8)
    now, waits = NOON, []
    for _ in range(8):
        assert deliver(world, double, now) == 0
        row = row_of(world, "a")
        if row.status != "waiting":
            break
        waits.append((row.send_at - now) // timedelta(minutes=1))
        assert deliver(world, Double(), row.send_at - timedelta(seconds=1)) == 0
        now = row.send_at
    assert waits == [1, 4, 16, 64, 256, 720, 720]
    assert (row.status, row.tries, row.error, double.taken) == ("failed", 8, "HTTP 400", [])
    assert states(world) == {"a": "failed"}


def test_a_refused_one_reaches_its_person_once(world):
    tell(world, "a")
    double = Double(senders.Refused("ConnectTimeout"))
    assert deliver(world, double) == 0
    assert deliver(world, double, NOON + timedelta(minutes=1)) == 1
    assert len(double.taken) == 1


@pytest.mark.parametrize("outcome", [senders.Unsure("HTTP 502"), ValueError("a fault of ours")])
def test_what_nobody_knows_is_never_sent_again_by_itself(world, outcome):
    tell(world, "a")
    double = Double(outcome)
    for days in range(5):
        assert deliver(world, double, NOON + timedelta(days=days)) == 0
    assert states(world) == {"a": "unsure"}
    assert len(double.taken) == 1
    with world.app.app_context():
        assert message_queries.unsure_since() == (1, NOON)


def test_many_are_sent_side_by_side_each_once(world):
    tell(world, *"abcdefghi")
    together, taken = threading.Barrier(messages.AT_ONCE), []

    class Waits(senders.Outbox):
        def send(self, one):
            if taken:
                together.wait(timeout=20)  # for as many as there are at once
            taken.append(one.id)

    assert deliver(world, Waits()) == 9
    assert (len(taken), len(set(taken)), set(states(world).values())) == (9, 9, {"sent"})


def test_after_an_unsure_one_the_next_are_tried_one_at_a_time(world):
    tell(world, *"abcdef")
    double = Double(*[senders.Unsure("ReadTimeout")] * 3)
    deliver(world, double)
    assert len(double.taken) == 1, "the look ends with the first"
    deliver(world, double, NOON + timedelta(seconds=30))
    assert len(double.taken) == 2, "one is tried"
    deliver(world, double, NOON + timedelta(seconds=40))
    assert deliver(world, double, NOON + timedelta(minutes=2)) == 3
    assert sorted(states(world).values()) == ["sent"] * 3 + ["unsure"] * 3


def test_an_operator_decides_what_becomes_of_it_once_and_it_is_audited(world):
    tell(world, "a", "b", "c")
    for _ in "abc":
        with world.app.app_context():
            waiting = db.session.scalars(select(Message.id).where(Message.status == "waiting")).all()
        deliver(world, Double(senders.Unsure("x")), NOON + timedelta(minutes=2 * len(waiting)))
    assert set(states(world).values()) == {"unsure"}
    later = NOON + timedelta(days=1)
    with world.app.app_context():
        actor = people_queries.by_phone(OPERATOR).person_id
        first, second, third = (row_of(world, thing).id for thing in "abc")
        messages.mark_delivered(first, actor_id=actor, now=later)
        messages.send_again(second, actor_id=actor, now=later)
        messages.give_up(third, actor_id=actor, now=later)
        for decide, known in (
            (messages.mark_delivered, first),
            (messages.send_again, second),
            (messages.give_up, third),
        ):
            with pytest.raises(StateConflict):
                decide(known, actor_id=actor, now=later)
            with pytest.raises(NotFound):
                decide(1, actor_id=actor, now=later)
    double = Double()
    assert deliver(world, double, later) == 1
    assert states(world) == {"a": "sent", "b": "sent", "c": "failed"}
    with world.app.app_context():
        said = [(row.action, row.object) for row in audit.entries(limit=3, thing="message")]
    assert said == [
        ("message.give_up", f"message:{third}"),
        ("message.again", f"message:{second}"),
        ("message.delivered", f"message:{first}"),
    ]


def test_at_night_only_codes_are_sent(world):
    night = datetime(2026, 12, 1, 13, tzinfo=UTC)  # 21:00 there
    quiet = messages.Quiet()
    tell(world, "a", now=night)
    with world.app.app_context():
        entry.ask_for_code(phone=M2, key=KEY, allowed=entry.Limits(9, 9), now=night)
    double = Double()
    assert deliver(world, double, night, quiet=quiet) == 1
    assert [(one.to, one.event) for one in double.taken] == [(M2, "code")]
    assert deliver(world, double, night + timedelta(hours=10, minutes=59), quiet=quiet) == 0
    assert deliver(world, double, night + timedelta(hours=11), quiet=quiet) == 1


def test_codes_do_not_wait_behind_a_long_list(world):
    tell(world, *(str(n) for n in range(30)))
    with world.app.app_context():
        entry.ask_for_code(phone=M2, key=KEY, allowed=entry.Limits(9, 9), now=NOON)
    double = Double()
    assert deliver(world, double, limit=3) == 3
    assert [one.event for one in double.taken] == ["code", "order.paid", "order.paid"]


def test_what_opens_something_is_sealed_until_sent_and_kept_by_nobody_after(world):
    tell(world, "a", event="parcel.at_station", number="1", station="一号点", code="12345674")
    before = row_of(world, "a")
    assert "12345674" not in str(before)
    assert HIDDEN in message_queries.shown(before)
    double = Double()
    deliver(world, double)
    assert double.taken[0].text == "订单 1 的包裹已到一号点，取货码 12345674，请尽快领取。"
    after = row_of(world, "a")
    assert (after.sealed, after.said) == ("", f"订单 1 的包裹已到一号点，取货码 {HIDDEN}，请尽快领取。")


def test_it_goes_to_the_phone_and_in_the_language_of_the_day_it_is_sent(world):
    tell(world, "a", "b")
    with world.app.app_context():
        person_id = people_queries.by_phone(M1).person_id
        db.session.add(Contact(person_id=person_id, language="en", channel="email", email="m1@example.org"))
        db.session.commit()
    tell(world, "c")
    double = Double()
    assert deliver(world, double) == 3
    assert sorted((one.to, one.text) for one in double.taken) == [
        (M1, "Order 1 is paid (¥80). The merchants will ship it soon."),
        (M1, "Order 1 is paid (¥80). The merchants will ship it soon."),
        ("m1@example.org", "Order 1 is paid (¥80). The merchants will ship it soon."),
    ]


def test_who_was_erased_is_sent_nothing(world):
    tell(world, "a")
    with world.app.app_context():
        from people import steps

        member_id = people_queries.members_by_phone([M1])[M1]
        with transaction():
            steps.erase_member(member_id, now=NOON)
    assert deliver(world, Double()) == 0
    assert states(world) == {}


def test_what_waits_as_a_whole_text_from_before_is_sent(world):
    from kernel.sealing import seal

    with world.app.app_context():
        db.session.add(
            Message(
                id=7,
                phone=M1,
                kind="notice",
                sealed=seal("旧短信", key=KEY, purpose="code"),
                status="waiting",
                send_at=NOON,
                made_at=NOON,
            )
        )
        db.session.commit()
    double = Double()
    assert deliver(world, double) == 1
    assert [(one.to, one.text) for one in double.taken] == [(M1, "旧短信")]


def test_old_ones_are_forgotten_but_for_what_waits_for_a_person(world):
    tell(world, "a", "b")
    deliver(world, Double(None, senders.Unsure("x")))
    with world.app.app_context():
        entry.forget_old(now=NOON + timedelta(days=89))
    assert states(world) == {"a": "sent", "b": "unsure"}
    with world.app.app_context():
        entry.forget_old(now=NOON + timedelta(days=91))
    assert states(world) == {"b": "unsure"}


def test_two_workers_send_each_once(world):
    tell(world, *(str(n) for n in range(40)))
    double, gate = Double(), threading.Barrier(4)

    def work(_):
        gate.wait()
        return deliver(world, double, seconds=60)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(work, range(4)))
    assert (sum(counts), len(double.taken)) == (40, 40)
    assert len({one.id for one in double.taken}) == 40
    assert set(states(world).values()) == {"sent"}


def die_at(world, step, double_url):
    """Deliver in a process of its own that is gone at a step; the provider is a real one, outside of it."""
    with world.app.app_context():
        db.session.remove()
        db.engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child uses none of them
        child = os.fork()
    if child == 0:
        try:
            count = 0

            def passed(*_):
                nonlocal count
                count += 1
                if count == step:
                    os._exit(9)

            event.listen(Session, "before_commit", passed)
            event.listen(Session, "after_commit", passed)
            with world.app.app_context():
                gateway = senders.HttpsGateway(url=double_url, body="$code", notice="$text")
                messages.deliver({"sms": gateway, "email": gateway}, key=KEY, now=NOON)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


def test_a_worker_that_dies_at_any_step_sends_nothing_twice(world, http_server):
    server = http_server(lambda path, headers, body: (200, "ok"))
    seen, step = [], 0
    died = True
    while died:
        step += 1
        thing, sent_before = str(step), len(server.seen)
        tell(world, thing)
        died = die_at(world, step, server.url)
        with world.app.app_context():
            gateway = senders.HttpsGateway(url=server.url, body="$code", notice="$text")
            for days in (0, 1, 2):
                now = NOON + timedelta(days=days)
                messages.deliver({"sms": gateway, "email": gateway}, key=KEY, now=now)
        seen.append((len(server.seen) - sent_before, states(world)[thing]))
    # Before the claim is written nothing was begun; after it nobody knows; once it is recorded it is known again.
    assert seen == [(1, "sent"), (0, "unsure"), (1, "unsure"), (1, "sent"), (1, "sent")]


def gateway_at(url, **more):
    return senders.HttpsGateway(url=url, body="c=$code", notice="to=$phone&t=$text&e=$event", **more)


ONE = senders.Envelope(5, M1, "order.paid", "主题", "内容", values={"number": "1"})


@pytest.mark.parametrize(
    ("status", "text", "raised"),
    [
        (200, "OK", None),
        (200, "no such template", senders.Refused),
        (200, "", senders.Unsure),
        (400, "OK", senders.Refused),
        (429, "OK", senders.Refused),
        (302, "OK", senders.Refused),
        (500, "OK", senders.Unsure),
        (503, "", senders.Unsure),
    ],
)
def test_what_a_gateway_answers(http_server, status, text, raised):
    server = http_server(lambda path, headers, body: (status, text))
    gateway = gateway_at(server.url, accepted="OK", refused="no such", secret="s3cret")
    if raised is None:
        gateway.send(ONE)
    else:
        with pytest.raises(raised):
            gateway.send(ONE)
    ((_, headers, body),) = server.seen
    assert body == f"to={M1}&t=内容&e=order.paid"
    assert headers["Huigong-Message"] == "5"
    at, _, signed = headers["Huigong-Signature"].partition(",v1=")
    from kernel.outbound import signature

    assert signed == signature("s3cret", at=int(at.removeprefix("t=")), body=body.encode())
    assert "s3cret" not in repr(gateway)


def test_a_gateway_that_is_not_there_or_says_nothing(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(senders.Refused):
        gateway_at(f"http://127.0.0.1:{port}/").send(ONE)
    with pytest.raises(senders.Refused):
        gateway_at("nonsense").send(ONE)
    with pytest.raises(senders.Refused):
        replace(gateway_at("http://127.0.0.1:1/"), notice="").send(ONE)
    monkeypatch.setattr(senders, "SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(senders.Unsure):
            gateway_at(f"http://127.0.0.1:{silent.getsockname()[1]}/").send(ONE)

        def hang_up():
            connection, _ = silent.accept()
            connection.close()

        silent.accept()[0].close()
        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(senders.Unsure):
            gateway_at(f"http://127.0.0.1:{silent.getsockname()[1]}/").send(ONE)
        thread.join()


class MailServer:
    """A mail server on loopback that speaks as told: `answers` by command; None hangs up."""

    def __init__(self, **answers):
        self.answers, self.letters = answers, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        connection, _ = self.socket.accept()
        with connection, connection.makefile("rwb") as stream:

            def say(text):
                stream.write(text.encode() + b"\r\n")
                stream.flush()

            say("220 mail")
            for line in stream:
                command = line.decode().split()[0].split(":")[0].upper()
                answer = self.answers.get(command, {"DATA": "354 go on", "EHLO": "250 mail"}.get(command, "250 ok"))
                if answer is None:
                    return
                say(answer)
                if command == "DATA" and answer.startswith("354"):
                    letter = b""
                    while not letter.endswith(b"\r\n.\r\n"):
                        letter += stream.readline()
                    self.letters.append(letter)
                    end = self.answers.get("END", "250 taken")
                    if end is None:
                        return
                    say(end)

    def stop(self):
        self.thread.join()
        self.socket.close()


@pytest.mark.parametrize(
    ("answers", "raised", "letters"),
    [
        ({}, None, 1),
        ({"EHLO": "421 busy", "HELO": "421 busy"}, senders.Refused, 0),
        ({"MAIL": "550 no"}, senders.Refused, 0),
        ({"RCPT": "450 later"}, senders.Refused, 0),
        ({"RCPT": None}, senders.Refused, 0),
        ({"DATA": "554 no"}, senders.Refused, 0),
        ({"END": "554 spam"}, senders.Refused, 1),
        ({"END": None}, senders.Unsure, 1),
    ],
)
def test_what_a_mail_server_answers(answers, raised, letters):
    server = MailServer(**answers)
    mail = senders.mail_of(
        f'{{"host": "127.0.0.1", "port": {server.port}, "from": "union@example.org", "tls": "none"}}'
    )
    one = replace(ONE, to="m1@example.org")
    if raised is None:
        mail.send(one)
    else:
        with pytest.raises(raised):
            mail.send(one)
    server.stop()
    assert len(server.letters) == letters
    if raised is None:
        assert b"Message-ID: <5@example.org>" in server.letters[0]
        assert b"To: m1@example.org" in server.letters[0]
    with pytest.raises(senders.Refused):
        mail.send(one)  # nobody is there any more


def told(world, event):
    """To whom, and what, messages of a kind say."""
    with world.app.app_context():
        ids = db.session.scalars(select(Message.id).where(Message.event == event).order_by(Message.id))
        rows = [message_queries.one(message_id) for message_id in ids]
        return [(row.phone_now or row.phone, message_queries.whole_text(row, KEY)) for row in rows]


def test_a_member_is_told_of_payment_shipping_and_what_became_of_a_refund(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    assert told(world, "order.paid") == []
    world.pay(M1, number, "twice")
    assert told(world, "order.paid") == [(M1, f"订单 {number} 已付款 ¥240，商户会尽快发货。")]
    order = world.call(M1, "GET", f"/orders/{number}").json
    (parcel,) = order["parcels"]
    path = f"/merchant/parcels/{parcel['id']}/ship"
    for _ in range(2):
        world.call(MERCHANT_A, "POST", path, {"carrier": "顺丰", "tracking_no": "SF1"})
    assert told(world, "parcel.shipped") == [(M1, f"订单 {number} 的包裹已由“甲”发出：顺丰 SF1。")]
    lines = [{"line_id": order["lines"][0]["id"], "quantity": 1}]
    refunds = [
        world.call(M1, "POST", f"/orders/{number}/refunds", {"lines": lines, "reason": "多买了"}).json["id"]
        for _ in range(2)
    ]
    assert [phone for phone, _ in told(world, "refund.asked")] == [MERCHANT_A] * 2
    world.call(MERCHANT_A, "POST", f"/merchant/refunds/{refunds[0]}/accept")
    world.call(MERCHANT_A, "POST", f"/merchant/refunds/{refunds[1]}/decline", {"reason": "已拆封"})
    assert told(world, "refund.accepted") == [
        (M1, f"订单 {number} 的退款已同意：退现金 ¥120，退回福利优惠 ¥30。现金按原支付方式退回。")
    ]
    assert told(world, "refund.declined") == [(M1, f"订单 {number} 的退款申请没有通过：已拆封。可在订单页查看详情。")]
    assert world.breaches() == []


def test_approvers_are_told_what_waits_and_officers_what_was_decided(world):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    world.call(
        OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": [{"name": "李强", "phone": "13800000012"}]}
    )
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    assert told(world, "approval.asked") == [(APPROVER, f"集采订单 {number}（¥240）已提交，等您审批。")]
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/reject", {"reason": "人数不符"})
    assert told(world, "approval.refused") == [(OFFICER, f"集采订单 {number} 被退回：人数不符。")]
    assert told(world, "approval.given") == []


def test_nothing_is_told_of_what_was_refused(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, number, "decline")
    assert world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 404
    with world.app.app_context():
        assert db.session.query(Message).filter(Message.kind != "code").count() == 0


def test_placing_an_order_writes_no_message_and_paying_one_insert(world):
    heard = []

    def listen(connection, cursor, statement, parameters, context, executemany):
        if "messages" in statement:
            heard.append(statement.split()[0])

    with world.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", listen)
    try:
        number = world.place(M1, ("A150", 1)).json["number"]
        assert heard == []
        world.pay(M1, number)
        assert heard == ["INSERT"]
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    with world.app.app_context():
        db.session.execute(update(Message).values(status="sent"))
        db.session.rollback()
