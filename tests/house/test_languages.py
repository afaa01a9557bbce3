"""Chinese first, English complete: no page says a Chinese word of ours to a reader of English."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from babel.messages.pofile import read_po
from sqlalchemy import update

from catalog.models import GiftPack
from kernel import clock
from kernel.db import db
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, SHIP, STATION_S1
from web.languages import NOT_FOR_PEOPLE, chinese_in
from web.settings import ROOT

CATALOGUE = ROOT / "web" / "translations" / "en" / "LC_MESSAGES" / "messages.po"
ROOMS = ("kernel", "people", "finance", "voucher", "catalog", "voices", "orders", "web")
CHINESE = re.compile("[\u4e00-\u9fff]+")
M1 = "13800000001"
# What is nobody's to translate: the language's own name, seals, and the data the test made.
DATA = (
    "中文",
    "惠",
    "福",
    "礼",
    "购",
    "单",
    "会员1",
    "王芳",
    "海尔路 1 号",
    "青岛",
    "某路",
    "经办",
    "站员",
    "审批",
    "运营",
    "甲员",
    "乙员",
    "外人",
)
NAMES = (
    "礼包A150",
    "礼包A100",
    "礼包B150",
    "礼包B40",
    "贵州乙",
    "贵州安顺",
    "乙",
    "甲",
    "春节",
    "医院工会",
    "学校工会",
)


class Texts(HTMLParser):
    """What a reader is shown or told: text, and the attributes that are read aloud.

    What says of itself that it is Chinese (a message's own words) is left out.
    """

    def __init__(self):
        super().__init__()
        self.found, self.chinese = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "html" and (("lang", "zh") in attrs or (self.chinese and tag == self.chinese[-1])):
            self.chinese.append(tag)
        self.found += [
            value for name, value in attrs if name in ("alt", "aria-label", "placeholder", "title") and value
        ]

    def handle_endtag(self, tag):
        if self.chinese and tag == self.chinese[-1]:
            self.chinese.pop()

    def handle_data(self, data):
        if not self.chinese:
            self.found.append(data)


def chinese_words(page):
    texts = Texts()
    texts.feed(page)
    words = " ".join(texts.found)
    for name in sorted(DATA + NAMES + ("米", "袋", "一号点", "山东省青岛市崂山区", "山东"), key=len, reverse=True):
        words = words.replace(name, "")
    return CHINESE.findall(words)


def catalogue():
    with CATALOGUE.open("rb") as file:
        return {message.id: message for message in read_po(file, locale="en") if message.id}


def test_every_text_has_its_english():
    known = catalogue()
    missing = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if not str(path).endswith(NOT_FOR_PEOPLE)
        for line, words in chinese_in(path.read_text(encoding="utf-8"))
        if words not in known
    ]
    for path in (ROOT / "web" / "templates").rglob("*.html"):
        for words in re.findall(r"_\('((?:[^'\\]|\\.)+)'", path.read_text(encoding="utf-8")):
            if words not in known:
                missing.append(f"{path.name}: {words}")
    assert missing == []
    assert [message.id for message in known.values() if not message.string or message.fuzzy] == []


def test_a_translation_keeps_its_figures():
    figure = re.compile(r"%\(\w+\)s")
    for message in catalogue().values():
        assert sorted(figure.findall(message.id)) == sorted(figure.findall(message.string)), message.id


def choosing(world):
    """An order whose people choose: its number, somebody's own page, the notice board's."""
    choice = {"tier_fen": 15000, "pack_ids": [world.packs["A150"]]}
    choice["deadline"] = (clock.now() + timedelta(days=2)).isoformat()
    number = world.call(OFFICER, "POST", "/bulk/orders", {"campaign": "spring", "choice": choice}).json["number"]
    people = [{"name": "王芳", "phone": "13800000011"}]
    world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people})
    listed = world.call(OFFICER, "GET", f"/bulk/orders/{number}/choices").json
    return number, *(re.sub(r"^https?://[^/]+", "", url) for url in (listed["items"][0]["link"], listed["board_link"]))


@pytest.fixture
def busy(world):
    """A campaign with orders in every state a page shows."""
    paid = world.place(M1, ("A150", 1), ("B150", 1)).json["number"]
    world.pay(M1, paid)
    cancelled = world.place(M1, ("A100", 1)).json["number"]
    world.call(M1, "POST", f"/orders/{cancelled}/cancel")
    waiting = world.place(M1, ("B40", 1)).json["number"]
    bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/submit")
    approved = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{approved}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{approved}/approve")
    world.call(OFFICER, "POST", f"/bulk/orders/{approved}/payments", {"provider": "bank_transfer"})
    chosen, own, board = choosing(world)
    pack = world.packs["A150"]
    return world, {
        None: [
            "/",
            f"/packs/{pack}",
            "/stations",
            "/announcements",
            "/help",
            "/help/saving",
            "/search?q=米",
            "/sign-in",
            "/sign-in/staff",
            "/outbox",
            "/nowhere",
            own,
            board,
        ],
        M1: [
            "/",
            f"/packs/{pack}",
            "/cart",
            "/checkout",
            "/orders",
            "/vouchers",
            "/account/",
            "/stations",
            "/questions",
        ]
        + [f"/orders/{number}" for number in (paid, cancelled, waiting)]
        + [f"/orders/{paid}/words"],
        OFFICER: ["/union/", "/union/orders/new", "/union/orders/new-choice"]
        + [f"/union/orders/{number}" for number in (bulk, approved, chosen)]
        + [f"/union/orders/{chosen}/links"],
        APPROVER: [f"/union/orders/{bulk}"],
        MERCHANT_A: [
            "/merchant/",
            "/merchant/parcels",
            "/merchant/invoices/",
            "/merchant/questions/?status=all",
            f"/merchant/parcels/{paid}-1",
            f"/merchant/packs/{pack}",
        ],
        STATION_S1: ["/station/", "/station/?status=to_ship", "/station/?status=delivered", "/account/"],
        OPERATOR: [
            "/admin/people/",
            "/admin/members/",
            "/admin/audit/",
            "/account/",
            "/admin/",
            "/admin/campaigns/spring/issue",
            "/admin/transfers",
            "/admin/check",
            "/admin/queues",
            "/admin/jobs",
            "/admin/campaigns/spring/dashboard",
            "/admin/campaigns/spring/assisted",
            "/admin/questions?status=all",
            "/admin/ratings",
            "/admin/announcements",
            "/admin/announcements/new",
            "/admin/stations/",
            "/admin/stations/new",
            "/admin/stations/import",
            "/admin/messages/",
            "/admin/messages/words",
            "/admin/messages/words/order.paid",
            "/admin/campaigns/spring/remind",
            "/account/messages/",
        ],
    }


def reader(world, login, language):
    client = world.browser(login) if login else world.app.test_client()
    client.get(f"/language/{language}")
    with client.session_transaction() as session:
        session["cart"] = {world.packs["A150"]: 2}
    return client


def test_every_page_is_in_english_for_a_reader_of_english(busy):
    world, pages = busy
    left = {}
    for login, paths in pages.items():
        client = reader(world, login, "en")
        for path in paths:
            answer = client.get(path, headers={"Accept": "text/html"})
            assert answer.status_code in (200, 404), (login, path, answer.status_code)
            if words := chinese_words(answer.text):
                left[login, path] = words
    assert left == {}


def test_refusals_and_field_errors_are_in_the_readers_language(world):
    english = {"Authorization": f"Bearer {world.token(M1)}", "Accept-Language": "en", "Idempotency-Key": "x"}
    client = world.app.test_client()
    gone = client.get("/api/v1/orders/1", headers=english)
    assert gone.json["detail"] == "There is no such order."
    wrong = client.post("/api/v1/orders", headers=english, json={"lines": [{"pack_id": "1", "quantity": 0}]})
    assert wrong.json["errors"]["lines.0.quantity"] == ["A number from 1 to 100000 is needed."]
    assert wrong.json["errors"]["campaign"] == ["Please fill this in."]
    chinese = client.post("/api/v1/orders", headers={**english, "Accept-Language": "zh-CN"}, json={})
    assert chinese.json["errors"]["campaign"] == ["请填写这一项。"]


def test_a_sentence_names_a_pack_as_its_reader_calls_it(world):
    with world.app.app_context():
        for code in ("A150", "B150"):
            db.session.execute(update(GiftPack).where(GiftPack.code == code).values(name_en=f"Pack {code}"))
        db.session.commit()
    number = world.place(M1, ("A150", 1), ("B40", 1)).json["number"]
    world.pay(M1, number)

    def asked(language, method, path, body=None):
        headers = {"Authorization": f"Bearer {world.token(M1)}", "Accept-Language": language, "Idempotency-Key": path}
        return world.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, json=body).json

    basket = world.lines(("A150", 51), ("B150", 51))
    order = {**basket, "payable_fen": world.call(M1, "POST", "/quotes", basket).json["payable_fen"], "delivery": SHIP}
    back = {"lines": [{"line_id": 1, "quantity": 2}], "reason": "-"}
    told = {
        language: [
            asked(language, "POST", "/orders", order)["detail"],
            asked(language, "POST", f"/orders/{number}/refunds", back)["detail"],
            *[one for one in asked(language, "GET", f"/orders/{number}/why")["discount"] if "“" in one],
        ]
        for language in ("en", "zh-CN")
    }
    assert told["en"][0] == "Not enough of “Pack A150, Pack B150” in stock."
    assert "“Pack A150”" in told["en"][1]
    assert ["礼包A150" in one for one in told["en"]] == [False] * 4
    assert "“礼包B40”" in told["en"][3], "a pack without an English name keeps its own"
    assert told["zh-CN"][0] == "“礼包A150、礼包B150”库存不足。"
    assert "“礼包A150”" in told["zh-CN"][1]
