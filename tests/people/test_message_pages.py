"""The operator's pages of messages, a person's own choice, and the reminder before a campaign ends."""

import re
from datetime import timedelta

from sqlalchemy import select, update

from kernel import audit, clock, jobs
from kernel.db import db
from people import message_queries
from people import queries as people_queries
from people.models import Contact, Member, Message
from people.services import messages, senders
from tests.factories import MERCHANT_A, OPERATOR, csrf_of
from tests.people.test_messages import KEY, M1, Double, deliver, row_of, states, tell, told
from web.cli import HANDLERS

M2, M3 = "13800000002", "13800000003"


def post(client, page, path, **form):
    return client.post(path, data={"csrf_token": csrf_of(client.get(page).text), **form})


def test_an_operator_finds_who_got_what_and_sees_no_phone_and_no_code(world):
    tell(world, "a", event="parcel.at_station", number="7", station="一号点", code="12345674")
    tell(world, "b", who=M2, event="order.paid", number="8", amount="¥80")
    deliver(world, Double())
    client = world.browser(OPERATOR)
    both = client.get("/admin/messages/").text
    assert ("订单 7 的包裹已到一号点" in both, "订单 8 已付款" in both) == (True, True)
    assert ("12345674" in both, M1 in both, "138****0001" in both) == (False, False, True)
    for query, there, gone in (
        (f"person={M1}", "订单 7", "订单 8"),
        ("person=会员2", "订单 8", "订单 7"),
        ("event=order.paid&status=sent", "订单 8", "订单 7"),
    ):
        page = client.get(f"/admin/messages/?{query}").text
        assert (there in page, gone in page) == (True, False), query
    assert "这里没有消息" in client.get("/admin/messages/?status=failed").text
    detail = client.get(f"/admin/messages/{row_of(world, 'a').id}").text
    assert ("12345674" in detail, "怎么办" in detail) == (False, False)
    assert client.get("/admin/messages/1").status_code == 404
    assert world.browser(MERCHANT_A).get("/admin/messages/").status_code == 403


def test_what_nobody_knows_is_among_the_operators_work_and_is_decided_there(world):
    now = clock.now()
    tell(world, "a", "b", now=now)
    for minutes in (0, 5):
        deliver(world, Double(senders.Unsure("ReadTimeout")), now + timedelta(minutes=minutes))
    client = world.browser(OPERATOR)
    assert "不知道送没送到的消息 · 2" in client.get("/admin/queues").text
    assert "有 2 条不知道送没送到" in client.get("/admin/messages/").text
    first, second = row_of(world, "a").id, row_of(world, "b").id
    page = f"/admin/messages/{first}"
    assert "服务商没有回应" in client.get(page).text
    assert post(client, page, f"{page}/delivered").status_code == 303
    assert post(client, f"/admin/messages/{second}", f"{page}/again").status_code == 409
    assert post(client, f"/admin/messages/{second}", f"{page}/nonsense").status_code == 404
    assert post(client, f"/admin/messages/{second}", f"/admin/messages/{second}/again").status_code == 303
    assert states(world) == {"a": "sent", "b": "waiting"}
    assert "不知道送没送到的消息 · " not in client.get("/admin/queues").text
    with world.app.app_context():
        assert [row.action for row in audit.entries(limit=2, thing="message")] == ["message.again", "message.delivered"]


def test_an_operators_words_are_previewed_refused_saved_used_and_taken_back(world):
    client = world.browser(OPERATOR)
    page = "/admin/messages/words/order.paid"
    form = {"subject": "已付款", "words": "感谢！订单{number}，{amount}。"}
    seen = post(client, page, f"{page}/zh", wish="preview", **form)
    assert (seen.status_code, "感谢！订单9043726419865600，¥240。" in seen.text) == (200, True)
    for words, why in (
        ("没有编号", "缺少必须写上的变量。"),
        ("{number} {phone}", "只能用下面列出的变量"),
        ("{number} {", "只能用下面列出的变量"),
        ("", "请填写内容。"),
        ("{number}" + "长" * 500, "最多 500 个字。"),
    ):
        refused = post(client, page, f"{page}/zh", wish="save", subject="题", words=words)
        assert (refused.status_code, why in refused.text) == (422, True), words
    assert "请填写邮件标题" in post(client, page, f"{page}/zh", wish="save", words="{number}").text
    assert post(client, page, f"{page}/fr", wish="save", **form).status_code == 404
    assert post(client, page, "/admin/messages/words/nothing/zh", wish="save", **form).status_code == 404
    assert post(client, page, f"{page}/zh", wish="save", **form).status_code == 303
    tell(world, "a", number="5", amount="¥1")
    double = Double()
    deliver(world, double)
    assert [one.text for one in double.taken] == ["感谢！订单5，¥1。"]
    assert "已改过" in client.get("/admin/messages/words").text
    assert post(client, page, f"{page}/zh", wish="ours").status_code == 303
    assert "已改过" not in client.get("/admin/messages/words").text
    with world.app.app_context():
        assert [row.action for row in audit.entries(limit=9, thing="words")] == ["message.words"] * 2


def test_a_test_goes_to_the_operator_alone_and_not_endlessly(world, monkeypatch):
    half_past = clock.now().replace(minute=30)
    monkeypatch.setattr(clock, "now", lambda: half_past)
    client = world.browser(OPERATOR)
    page = "/admin/messages/words/choice.asked"
    for _ in range(10):
        post(client, page, f"{page}/test/sms")
    assert "操作太频繁" in client.get(post(client, page, f"{page}/test/sms").location).text
    assert "请先在" in client.get(post(client, page, f"{page}/test/email").location).text
    assert [phone for phone, _ in told(world, "choice.asked")] == [OPERATOR] * 10
    assert told(world, "choice.asked")[0][1] == "工会请您选一份礼包：https://example.org/c/AbC123"
    assert world.browser(M1).get(page).status_code == 403


def sent_code(world):
    (*_, (_, text)) = told(world, "email.code")
    return re.search(r"\d{6}", text)[0]


def test_an_address_is_used_once_its_owner_has_typed_the_code_sent_there(world):
    client = world.browser(M1)
    page = "/account/messages/"
    assert "先确认邮箱" in client.get(page).text
    assert post(client, page, page, channel="email", language="zh").status_code == 422
    for wrong in ("", "wang", "a@b", "a b@example.org", "a@example.org\nx", f"{'a' * 250}@example.org"):
        assert post(client, page, f"{page}email", email=wrong).status_code == 422, wrong
    assert post(client, page, f"{page}email", email="m1@example.org").status_code == 303
    double = Double()
    with world.app.app_context():
        asleep = messages.Quiet(0, 24 * 60)
        messages.deliver({"sms": Double(), "email": double}, key=KEY, now=clock.now(), quiet=asleep)
    ((to, event),) = [(one.to, one.event) for one in double.taken]
    assert (to, event) == ("m1@example.org", "email.code")
    code = re.search(r"\d{6}", double.taken[0].text)[0]
    assert post(client, page, page, channel="email", language="zh").status_code == 422
    wrong_code = "000000" if code != "000000" else "000001"
    assert post(client, page, f"{page}email/confirm", code=wrong_code).status_code == 422
    assert post(client, page, f"{page}email/confirm", code=code).status_code == 303
    assert post(client, page, f"{page}email/confirm", code=code).status_code == 422
    assert "m***@example.org" in client.get(page).text
    assert post(client, page, page, channel="email", language="en", news="1").status_code == 303
    tell(world, "a")
    double = Double()
    deliver(world, double)
    assert [(one.to, one.text[:7]) for one in double.taken] == [("m1@example.org", "Order 1")]
    assert post(client, page, f"{page}email/forget").status_code == 303
    tell(world, "b")
    double = Double()
    deliver(world, double)
    assert [one.to for one in double.taken] == [M1]


def test_a_code_for_an_address_is_good_for_five_tries(world):
    client = world.browser(M1)
    page = "/account/messages/"
    post(client, page, f"{page}email", email="m1@example.org")
    code = sent_code(world)
    for _ in range(5):
        assert post(client, page, f"{page}email/confirm", code="x").status_code == 422
    assert post(client, page, f"{page}email/confirm", code=code).status_code == 422
    with world.app.app_context():
        assert db.session.scalar(select(Contact.email)) is None


def remind(world):
    with world.app.app_context():
        while jobs.run_next(HANDLERS, clock=clock.now):
            pass
    return sorted(told(world, "campaign.ending"))


def test_members_with_something_left_are_reminded_once_a_campaign(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    with world.app.app_context():
        third = people_queries.by_phone(M3)
        db.session.execute(update(Member).where(Member.id == third.member_id).values(left_on=clock.now().date()))
        second = people_queries.by_phone(M2).person_id
        db.session.add(Contact(person_id=second, channel="sms", language="zh", news=False))
        db.session.commit()
    client = world.browser(OPERATOR)
    page = "/admin/campaigns/spring/remind"
    assert "6 人" in client.get(page).text
    assert post(client, page, page).status_code == 303
    assert post(client, page, page).status_code == 409
    until = f"{clock.last_day(clock.now() + timedelta(days=20)):%Y-%m-%d}"
    reminded = remind(world)
    assert [phone for phone, _ in reminded] == [M1, *(f"138{n:08d}" for n in (4, 5, 6))]
    assert reminded[0][1] == f"您的福利券还有 ¥140 未用，“春节”到 {until} 结束。"
    assert post(client, page, page).status_code == 303
    assert remind(world) == reminded
    with world.app.app_context():
        assert db.session.query(Message).filter_by(event="campaign.ending").count() == 4
        assert message_queries.counts()["unsure"] == 0
    assert world.browser(M1).get(page).status_code == 403
