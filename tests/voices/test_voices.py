"""Announcements, help, search, questions and ratings."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from catalog import queries as catalog_queries
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from orders.queries import queues
from orders.services import privacy
from tests.factories import MERCHANT_A, MERCHANT_B, OPERATOR, csrf_of
from voices import queries
from voices.models import Question, Rating
from web.cli import main

M1, M2, M3 = "13800000001", "13800000002", "13800000003"


def received(world, login, *wanted):
    """A paid order whose parcels have arrived; its number."""
    number = world.place(login, *wanted).json["number"]
    world.pay(login, number)
    for parcel in world.call(login, "GET", f"/orders/{number}").json["parcels"]:
        merchant = next(
            one
            for one in (MERCHANT_A, MERCHANT_B)
            if world.call(one, "POST", f"/merchant/parcels/{parcel['id']}/ship", SENT).status_code == 200
        )
        assert merchant
        assert world.call(login, "POST", f"/orders/{number}/parcels/{parcel['id']}/receive").status_code == 200
    return number


SENT = {"carrier": "顺丰", "tracking_no": "1"}


def rate(world, login, number, stars, words="", line=1):
    return world.call(login, "PUT", f"/orders/{number}/lines/{line}/rating", {"stars": stars, "words": words})


def ratings_of(world, code="A150"):
    return world.app.test_client().get(f"/api/v1/packs/{world.packs[code]}/ratings").json


def test_a_rating_is_for_who_has_received_and_counts_once(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    assert rate(world, M1, number, 5).json["code"] == "state_conflict"
    world.pay(M1, number)
    assert rate(world, M1, number, 5).json["code"] == "state_conflict"
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", SENT)
    assert rate(world, M1, number, 5).json["code"] == "state_conflict"
    assert ratings_of(world)["count"] == 0
    world.call(M1, "POST", f"/orders/{number}/parcels/{number}-1/receive")
    assert rate(world, M2, number, 5).json["code"] == "not_found"
    assert rate(world, M1, number, 5, line=2).json["code"] == "not_found"
    given = rate(world, M1, number, 5, "好米")
    assert (given.status_code, given.json["stars"], given.json["status"]) == (200, 5, "waiting")
    assert rate(world, M1, number, 5, "好米").json == given.json
    assert rate(world, M1, number, 3, "好米").json["id"] == given.json["id"]
    assert ratings_of(world) == {"count": 1, "few": True, "average_tenths": None, "items": [], "next_cursor": None}
    with world.app.app_context():
        assert catalog_queries.rating_sums() == {int(world.packs["A150"]): (1, 3)}
        assert queries.rating_breaches() == []


def test_another_order_of_the_same_pack_changes_the_one_rating(world):
    first = received(world, M1, ("A150", 1))
    given = rate(world, M1, first, 5, "好米").json
    second = received(world, M1, ("B150", 1), ("A150", 1))
    line = next(
        one["id"]
        for one in world.call(M1, "GET", f"/orders/{second}").json["lines"]
        if one["pack_id"] == world.packs["A150"]
    )
    changed = rate(world, M1, second, 2, "碎了", line=line)
    assert (changed.status_code, changed.json["id"], changed.json["order_number"]) == (200, given["id"], first)
    assert (changed.json["stars"], changed.json["words"], changed.json["status"]) == (2, "碎了", "waiting")
    assert [(one["id"], one["stars"]) for one in world.call(M1, "GET", "/me/ratings").json["items"]] == [
        (given["id"], 2)
    ]
    assert ratings_of(world)["count"] == 1
    page = world.browser(M1).get(f"/orders/{second}/words").text
    assert "碎了" in page
    assert "这里会修改那次评价" in page
    assert "这里会修改那次评价" not in world.browser(M1).get(f"/orders/{first}/words").text
    assert rate(world, M2, received(world, M2, ("A150", 1)), 4).status_code == 200
    with world.app.app_context():
        assert catalog_queries.rating_sums() == {int(world.packs["A150"]): (2, 6)}
        assert queries.rating_breaches() == []


def test_one_pack_of_two_orders_rated_at_once_is_one_rating(world):
    numbers = [received(world, M1, ("A150", 1)) for _ in range(2)]
    world.token(M1)
    answers = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(rate(world, M1, number, 3).status_code))
        for number in numbers * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 6
    with world.app.app_context():
        assert catalog_queries.rating_sums() == {int(world.packs["A150"]): (1, 3)}
        assert db.session.scalar(select(func.count()).select_from(Rating)) == 1


def test_a_summary_that_is_not_its_ratings_sum_is_a_breach(world, monkeypatch):
    rate(world, M1, received(world, M1, ("A150", 1)), 4)
    pack = int(world.packs["A150"])
    with world.app.app_context():
        assert order_queries.proof() == []
        db.session.execute(text(f"UPDATE gift_packs SET rating_count = 2, rating_stars = 9 WHERE id = {pack}"))
        db.session.commit()
        assert order_queries.proof() == [f"ratings: pack {pack}: kept (2, 9), given (1, 4)"]
    monkeypatch.setattr("web.cli._app", lambda: world.app)
    checked = world.app.test_cli_runner().invoke(main, ["check"])
    assert (checked.exit_code, checked.output.splitlines()[0]) == (
        1,
        f"ratings: pack {pack}: kept (2, 9), given (1, 4)",
    )
    found = world.call(OPERATOR, "GET", "/admin/reconcile").json
    assert "ratings: pack" in str(found)


@pytest.mark.parametrize("body", [{}, {"stars": 0}, {"stars": 6}, {"stars": "5"}, {"stars": 5, "words": "x" * 501}])
def test_a_rating_that_makes_no_sense_changes_nothing(world, body):
    number = received(world, M1, ("A150", 1))
    assert world.call(M1, "PUT", f"/orders/{number}/lines/1/rating", body).status_code == 422
    assert ratings_of(world)["count"] == 0


def test_what_was_given_back_before_it_left_cannot_be_rated(world):
    number = world.place(M1, ("A150", 1), ("A100", 1)).json["number"]
    world.pay(M1, number)
    back = {"lines": [{"line_id": "2", "quantity": 1}], "reason": "多"}
    assert world.call(M1, "POST", f"/orders/{number}/refunds", back).status_code == 201
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", SENT)
    world.call(M1, "POST", f"/orders/{number}/parcels/{number}-1/receive")
    assert rate(world, M1, number, 1, line=2).json["code"] == "state_conflict"
    assert rate(world, M1, number, 4, line=1).status_code == 200


def test_words_show_once_an_operator_let_them_and_stars_count_either_way(world):
    for index, stars in enumerate((5, 5, 4, 5, 1), start=1):
        login = f"1380000000{index}"
        assert rate(world, login, received(world, login, ("A150", 1)), stars, f"话{index}").status_code == 200
    found = ratings_of(world)
    assert (found["count"], found["few"], found["average_tenths"], found["items"]) == (5, False, 40, [])
    waiting = world.call(OPERATOR, "GET", "/admin/ratings").json["items"]
    assert [one["words"] for one in waiting] == ["话5", "话4", "话3", "话2", "话1"]
    for one, shown in ((waiting[0], True), (waiting[1], False)):
        answer = world.call(OPERATOR, "POST", f"/admin/ratings/{one['id']}/moderate", {"shown": shown})
        assert answer.status_code == 204
    found = ratings_of(world)
    assert ([one["words"] for one in found["items"]], found["average_tenths"]) == (["话5"], 40)
    page = world.app.test_client().get(f"/packs/{world.packs['A150']}").text
    assert "话5" in page
    assert "话4" not in page
    assert "会员5" not in page
    # Changed words are looked at anew; changed stars alone leave them shown.
    number = waiting[0]["order_number"]
    assert rate(world, "13800000005", number, 2, "话5").json["status"] == "shown"
    assert rate(world, "13800000005", number, 2, "别的").json["status"] == "waiting"
    assert ratings_of(world)["items"] == []
    assert ratings_of(world)["average_tenths"] == 42
    with world.app.app_context():
        assert queries.rating_breaches() == []


def test_a_rating_given_twice_at_once_counts_once(world):
    number = received(world, M1, ("A150", 1))
    world.token(M1)
    answers = []
    threads = [
        threading.Thread(target=lambda stars=stars: answers.append(rate(world, M1, number, stars).status_code))
        for stars in (2, 5, 2, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    with world.app.app_context():
        assert queries.rating_breaches() == []
        (count, stars) = catalog_queries.rating_sums()[int(world.packs["A150"])]
    assert (count, stars in (2, 5)) == (1, True)


def ask(world, login, words, code="A150"):
    return world.call(login, "POST", f"/packs/{world.packs[code]}/questions", {"question": words})


def test_a_question_on_a_pack_is_its_merchants_and_shows_once_published(world):
    asked = ask(world, M1, "几月到期？")
    assert asked.status_code == 201
    assert (asked.json["overdue"], asked.json["answer"], asked.json["published"]) == (False, None, False)
    assert ask(world, M1, "几月到期？").json["id"] == asked.json["id"]
    number = asked.json["id"]
    own = world.call(MERCHANT_A, "GET", "/merchant/questions")
    assert [one["question"] for one in own.json["items"]] == ["几月到期？"]
    assert not {"会员1", M1, "王芳"} & set(str(own.json).split("'"))
    assert "138" not in own.text
    assert world.call(MERCHANT_B, "GET", "/merchant/questions").json["items"] == []
    path = f"/merchant/questions/{number}/answer"
    assert world.call(MERCHANT_B, "POST", path, {"answer": "我答"}).json["code"] == "not_found"
    public = f"/api/v1/packs/{world.packs['A150']}/questions"
    publish = f"/admin/questions/{number}/publish"
    assert world.call(OPERATOR, "POST", publish, {"published": True}).json["code"] == "state_conflict"
    answered = world.call(MERCHANT_A, "POST", path, {"answer": "十月"})
    assert (answered.json["answer"], answered.json["answered_as"]) == ("十月", "merchant")
    assert world.call(MERCHANT_A, "POST", path, {"answer": "十月"}).status_code == 200
    assert world.call(MERCHANT_A, "POST", path, {"answer": "九月"}).json["code"] == "state_conflict"
    assert world.app.test_client().get(public).json["items"] == []
    assert world.call(OPERATOR, "POST", publish, {"published": True}).status_code == 200
    shown = world.app.test_client().get(public).json["items"]
    assert [(one["question"], one["answer"]) for one in shown] == [("几月到期？", "十月")]
    world.call(OPERATOR, "POST", publish, {"published": False})
    assert world.app.test_client().get(public).json["items"] == []


def test_a_question_on_an_order_goes_to_its_merchant_or_the_union_and_is_never_public(world):
    number = world.place(M1, ("A150", 1), ("B150", 1)).json["number"]
    merchants = {one["name"]: one["id"] for one in world.app.test_client().get("/api/v1/merchants").json["items"]}
    path = f"/orders/{number}/questions"
    assert world.call(M2, "POST", path, {"question": "在哪？"}).json["code"] == "not_found"
    assert world.call(M1, "POST", path, {"question": "在哪？", "merchant_id": "9"}).status_code == 422
    to_b = world.call(M1, "POST", path, {"question": "在哪？", "merchant_id": merchants["贵州乙"]}).json
    to_union = world.call(M1, "POST", path, {"question": "发票？"}).json
    assert world.call(MERCHANT_A, "GET", "/merchant/questions").json["items"] == []
    only = world.call(MERCHANT_B, "GET", "/merchant/questions").json["items"]
    assert [(one["id"], one["order_number"]) for one in only] == [(to_b["id"], number)]
    refused = world.call(MERCHANT_B, "POST", f"/merchant/questions/{to_union['id']}/answer", {"answer": "x"})
    assert refused.json["code"] == "not_found"
    world.call(OPERATOR, "POST", f"/admin/questions/{to_union['id']}/answer", {"answer": "向商户要"})
    public = world.call(OPERATOR, "POST", f"/admin/questions/{to_union['id']}/publish", {"published": True})
    assert public.json["code"] == "state_conflict"
    own = world.call(M1, "GET", "/me/questions").json["items"]
    assert [(one["question"], one["answered_as"]) for one in own] == [("发票？", "operator"), ("在哪？", None)]
    assert world.call(M2, "GET", "/me/questions").json["items"] == []
    page = world.browser(M1).get(f"/orders/{number}/words").text
    assert "向商户要" in page


def test_a_question_past_its_promise_is_marked(world):
    number = ask(world, M1, "几月到期？").json["id"]
    assert world.call(OPERATOR, "GET", "/admin/questions?status=overdue").json["items"] == []
    with world.app.app_context():
        row = db.session.scalars(select(Question)).one()
        assert row.due_at - row.asked_at == timedelta(days=1)
        db.session.execute(update(Question).values(due_at=clock.now()))
        db.session.commit()
        assert queries.count_open(now=clock.now()) == (1, 1)
    overdue = world.call(OPERATOR, "GET", "/admin/questions?status=overdue").json["items"]
    assert [(one["id"], one["overdue"]) for one in overdue] == [(number, True)]
    assert "已超时" in world.browser(MERCHANT_A).get("/merchant/questions/").text
    world.call(OPERATOR, "POST", f"/admin/questions/{number}/answer", {"answer": "十月"})
    assert world.call(OPERATOR, "GET", "/admin/questions?status=overdue").json["items"] == []


def test_who_asked_is_told_of_an_answer_until_they_have_seen_it(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    on_pack = ask(world, M1, "几月到期？").json["id"]
    on_order = world.call(M1, "POST", f"/orders/{number}/questions", {"question": "发票？"}).json["id"]
    client, other = world.browser(M1), world.browser(M2)
    assert "新答复" not in client.get("/").text
    for one in (on_pack, on_order):
        world.call(OPERATOR, "POST", f"/admin/questions/{one}/answer", {"answer": "好"})
    assert "您的提问有 2 个新答复" in client.get("/").text
    assert "新答复" not in other.get("/").text
    assert "新答复" not in world.app.test_client().get("/").text
    # Looking at one order's page shows its own answer, and no other is news less for it.
    assert client.get(f"/orders/{number}/words").text.count('<span class="tag">新答复</span>') == 1
    assert "您的提问有 1 个新答复" in client.get("/cart").text
    page = client.get("/questions").text
    assert page.count('<span class="tag">新答复</span>') == 1
    assert "个新答复" not in page
    assert "新答复" not in client.get("/questions").text
    world.call(OPERATOR, "POST", f"/admin/questions/{on_pack}/publish", {"published": True})
    with world.app.app_context():
        assert {row.seen_at is not None for row in db.session.scalars(select(Question))} == {True}
    # An operator, a merchant or a stranger who looks at it takes nobody's news away, and it is no news to them.
    third = ask(world, M1, "还有吗？").json["id"]
    world.browser(OPERATOR).get("/admin/questions?status=answered")
    world.call(MERCHANT_A, "POST", f"/merchant/questions/{third}/answer", {"answer": "有"})
    assert "新答复" not in world.browser(MERCHANT_A).get("/merchant/questions/?status=answered").text
    world.call(OPERATOR, "POST", f"/admin/questions/{third}/publish", {"published": True})
    public = world.app.test_client().get(f"/packs/{world.packs['A150']}").text
    assert "还有吗？" in public
    assert "新答复" not in public
    assert "您的提问有 1 个新答复" in client.get("/").text


def test_what_waits_for_an_answer_stands_in_the_operators_queues_and_late_answers_are_counted(world):
    def waiting():
        with world.app.app_context():
            found = queues.queues(ship_seconds=3600, now=clock.now())
            names = ("questions", "late_answers", "words")
            return {one.name: (one.count, one.oldest is not None) for one in found if one.name in names}

    assert waiting() == {"questions": (0, False), "late_answers": (0, False), "words": (0, False)}
    number = received(world, M1, ("A150", 1))
    to_merchant = ask(world, M1, "几月到期？").json["id"]
    world.call(M1, "POST", f"/orders/{number}/questions", {"question": "发票？"})
    rate(world, M1, number, 4, "不错")
    assert waiting() == {"questions": (1, True), "late_answers": (0, False), "words": (1, True)}
    with world.app.app_context():
        db.session.execute(update(Question).values(due_at=clock.now() - timedelta(hours=5)))
        db.session.commit()
    assert waiting()["late_answers"] == (1, True)
    operator = world.browser(OPERATOR)
    page = operator.get("/admin/queues").text
    for title in ("问工会的问题 · 1", "商户答复超时的问题 · 1", "待审核的评价 · 1"):
        assert title in page
    assert "晚于承诺" not in operator.get("/admin/questions").text
    world.call(MERCHANT_A, "POST", f"/merchant/questions/{to_merchant}/answer", {"answer": "十月"})
    assert waiting()["late_answers"] == (0, False)
    desk = operator.get("/admin/questions?status=late").text
    assert "近 30 天有 1 个答复晚于承诺" in desk
    assert "晚了 5 小时" in desk
    assert "近 30 天有 1 个答复晚于承诺" in world.browser(MERCHANT_A).get("/merchant/questions/").text
    assert "晚于承诺" not in world.browser(MERCHANT_B).get("/merchant/questions/").text
    late = world.call(OPERATOR, "GET", "/admin/questions?status=late").json["items"]
    assert [one["id"] for one in late] == [to_merchant]
    assert "晚了" not in world.browser(M1).get("/questions").text


def test_two_answers_at_once_are_one(world):
    number = ask(world, M1, "几月到期？").json["id"]
    world.token(MERCHANT_A), world.token(OPERATOR)
    answers = []

    def answer(login, path, words):
        answers.append(world.call(login, "POST", path.format(number), {"answer": words}).status_code)

    threads = [
        threading.Thread(target=answer, args=(MERCHANT_A, "/merchant/questions/{}/answer", "十月")),
        threading.Thread(target=answer, args=(OPERATOR, "/admin/questions/{}/answer", "九月")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409]


@pytest.mark.parametrize("words", ["", "  ", "x" * 501, "坏\u0000字"])
def test_a_question_that_makes_no_sense_is_refused(world, words):
    assert ask(world, M1, words).status_code == 422
    client = world.browser(M1)
    path = f"/packs/{world.packs['A150']}"
    form = {"csrf_token": csrf_of(client.get(path).text), "question": words}
    assert client.post(f"{path}/questions", data=form).status_code == 422
    with world.app.app_context():
        assert db.session.scalars(select(Question)).all() == []


def test_texts_are_limited_by_person(world):
    codes = [ask(world, M1, f"问题{index}").status_code for index in range(31)]
    assert codes == [201] * 30 + [429]
    assert ask(world, M2, "我也问").status_code == 201


def test_erasing_a_member_takes_the_author_out_of_their_words(world):
    number = received(world, M1, ("A150", 1), ("B150", 1))
    rate(world, M1, number, 5, "好米")
    rate(world, M1, number, 4, "不公开", line=2)
    shown = next(one for one in world.call(OPERATOR, "GET", "/admin/ratings").json["items"] if one["words"] == "好米")
    world.call(OPERATOR, "POST", f"/admin/ratings/{shown['id']}/moderate", {"shown": True})
    public = ask(world, M1, "几月到期？").json["id"]
    world.call(OPERATOR, "POST", f"/admin/questions/{public}/answer", {"answer": "十月"})
    world.call(OPERATOR, "POST", f"/admin/questions/{public}/publish", {"published": True})
    private = world.call(M1, "POST", f"/orders/{number}/questions", {"question": "我家 3 楼"}).json["id"]
    world.call(OPERATOR, "POST", f"/admin/questions/{private}/answer", {"answer": "知道了，3 楼"})
    copy = world.browser(M1).get("/account/data.json").json
    assert [one["question"] for one in copy["questions"]] == ["我家 3 楼", "几月到期？"]
    assert [(one["stars"], one["words"]) for one in copy["ratings"]] == [(4, "不公开"), (5, "好米")]
    with world.app.app_context():
        member = db.session.scalars(select(Rating.member_id)).first()
        privacy.erase(member_id=member, reason="本人要求", actor_id=1, now=clock.now())
        db.session.expire_all()
        assert {row.member_id for row in db.session.scalars(select(Rating))} == {None}
        assert {(row.stars, row.words) for row in db.session.scalars(select(Rating))} == {(5, "好米"), (4, "")}
        asked = {str(row.id): (row.member_id, row.words, row.answer) for row in db.session.scalars(select(Question))}
        assert asked == {public: (None, "几月到期？", "十月"), private: (None, "已删除", "已删除")}
        assert queries.rating_breaches() == []
    refused = world.call(OPERATOR, "POST", f"/admin/questions/{private}/publish", {"published": True})
    assert refused.json["code"] == "state_conflict"


def announced(world, **more):
    now = clock.now()
    body = {"title": "放假", "body": "正月初八上班", "starts_at": (now - timedelta(hours=1)).isoformat()}
    body |= {"ends_at": (now + timedelta(days=1)).isoformat(), **more}
    return world.call(OPERATOR, "POST", "/admin/announcements", body)


def test_announcements_hold_from_until_and_pinned_first(world):
    now = clock.now()
    assert announced(world).status_code == 201
    pinned = announced(world, title="先看", title_en="First", body_en="Look", pinned=True, campaign="spring").json
    announced(world, title="还没", starts_at=(now + timedelta(hours=1)).isoformat())
    public = world.app.test_client()
    titles = [one["title"] for one in public.get("/api/v1/announcements").json["items"]]
    assert titles == ["先看", "放假"]
    assert "先看" in public.get("/").text
    assert "First" in public.get("/announcements", headers={"Accept-Language": "en"}).text
    assert world.call(OPERATOR, "POST", f"/admin/announcements/{pinned['id']}/end").status_code == 204
    assert [one["title"] for one in public.get("/api/v1/announcements").json["items"]] == ["放假"]
    wrong = announced(world, ends_at=(now - timedelta(days=1)).isoformat())
    assert (wrong.status_code, list(wrong.json["errors"])) == (422, ["ends_at"])
    assert world.call(M1, "POST", "/admin/announcements", {}).json["code"] == "forbidden"


def test_an_operator_writes_and_mends_an_announcement_on_the_page(world):
    client = world.browser(OPERATOR)
    today = clock.local(clock.now()).date().isoformat()
    form = {"csrf_token": csrf_of(client.get("/admin/announcements/new").text), "title": "放假", "body": "一\r\n二"}
    missing = client.post("/admin/announcements/new", data={**form, "starts_on": today, "ends_on": "x"})
    assert missing.status_code == 422
    whole = {**form, "starts_on": today, "ends_on": today}
    assert client.post("/admin/announcements/new", data=whole).status_code == 303
    (one,) = world.app.test_client().get("/api/v1/announcements").json["items"]
    assert (one["title"], one["body"], one["title_en"]) == ("放假", "一\n二", "")
    tomorrow = clock.start_of_day(clock.local(clock.now()).date() + timedelta(days=1))
    assert one["ends_at"] == clock.local(tomorrow).isoformat()
    edited = client.post(f"/admin/announcements/{one['id']}/edit", data={**whole, "title": "上班", "pinned": "1"})
    assert edited.status_code == 303
    (one,) = world.app.test_client().get("/api/v1/announcements").json["items"]
    assert (one["title"], one["pinned"]) == ("上班", True)


def found(world, text, login=None):
    if login is None:
        return world.app.test_client().get("/api/v1/search", query_string={"q": text}).json
    return world.call(login, "GET", f"/search?q={text}").json


def test_one_search_finds_packs_own_orders_and_help(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    own = found(world, "礼包a150", M1)
    assert [one["name"] for one in own["packs"]] == ["礼包A150"]
    assert [one["number"] for one in own["orders"]] == [number]
    assert found(world, "礼包A150", M2)["orders"] == []
    assert found(world, "礼包A150")["orders"] == []
    assert [one["number"] for one in found(world, number, M1)["orders"]] == [number]
    assert found(world, number, M2)["orders"] == []
    assert "refunds" in [one["slug"] for one in found(world, "退款")["help"]]
    assert {one["merchant"]["region"] for one in found(world, "贵州 米")["packs"]} == {"贵州安顺"}
    for nothing in ("%", "_", "没有这个词", "", " "):
        assert found(world, nothing, M1) == {"packs": [], "orders": [], "help": []}, nothing
    assert world.app.test_client().get("/search?q=自提").status_code == 200


def test_help_names_the_campaigns_own_figures_in_both_languages(world):
    client = world.app.test_client()
    chinese = client.get("/api/v1/help/saving").json
    assert "¥100" in chinese["paragraphs"][0]
    assert "¥20" in chinese["paragraphs"][0]
    english = client.get("/api/v1/help/saving", headers={"Accept-Language": "en"}).json
    assert english["title"] == "How does the voucher work? How much is taken off?"
    assert len(client.get("/api/v1/help").json["items"]) >= 10
    assert client.get("/api/v1/help/nothing").json["code"] == "not_found"
    assert "%(" not in client.get("/help").text
