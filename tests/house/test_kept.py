"""Strangers' looks are answered again for a moment without a query; nobody's own things, and never for longer."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from kernel import clock
from kernel.db import db
from tests.factories import MERCHANT_A

M1 = "13800000001"
LIST = "/api/v1/packs?campaign=spring"
SEEN = ("/", "/packs/{pack}", LIST, "/api/v1/packs/{pack}", "/api/v1/merchants", "/api/v1/campaigns")


@pytest.fixture
def keeping(world, monkeypatch):
    """Keep answers for five seconds, and give what a request to a path asks the database and answers."""
    monkeypatch.setitem(world.app.config, "CATALOG_SECONDS", 5)
    world.app.extensions.pop("huigong_kept", None)

    def ask(path, client=None, **headers):
        seen = []

        def listen(connection, cursor, statement, *rest):
            seen.append(statement)

        with world.app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", listen)
        try:
            answer = (client or world.app.test_client()).get(path.format(pack=world.packs["A150"]), headers=headers)
        finally:
            event.remove(engine, "before_cursor_execute", listen)
        return answer, len(seen)

    yield ask
    world.app.extensions.pop("huigong_kept", None)


@pytest.mark.parametrize("path", SEEN)
def test_a_second_look_and_a_304_cost_no_query(keeping, path):
    first, cost = keeping(path)
    again, free = keeping(path)
    unchanged, none = keeping(path, **{"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, unchanged.status_code) == (200, 200, 304)
    assert cost > 0
    assert (free, none) == (0, 0)
    assert again.data == first.data
    assert unchanged.data == b""
    assert again.headers["ETag"] == first.headers["ETag"] == unchanged.headers["ETag"]
    assert "Set-Cookie" not in again.headers


def available(answer, world):
    [pack] = [one for one in answer.json["items"] if one["id"] == world.packs["A150"]]
    return pack["available"]


def test_it_is_a_moment_only_and_what_sells_does_not_look_there(keeping, world, monkeypatch):
    assert available(keeping(LIST)[0], world) == 50
    path = f"/merchant/packs/{world.packs['A150']}/stock"
    assert world.call(MERCHANT_A, "POST", path, {"count": 0, "reason": "盘点"}).status_code == 200
    assert available(keeping(LIST)[0], world) == 50, "kept for a moment"
    refused = world.place(M1, ("A150", 1))
    assert (refused.status_code, refused.json["code"]) == (409, "out_of_stock")
    later = clock.now() + timedelta(seconds=5)
    monkeypatch.setattr("kernel.kept.clock.now", lambda: later)
    answer, cost = keeping(LIST)
    assert available(answer, world) == 0
    assert cost > 0


def test_a_member_is_neither_given_what_is_kept_nor_kept_for_others(keeping, world):
    member = world.browser(M1)
    mine, cost = keeping("/", member)
    assert "会员1" in mine.text
    assert cost > 0
    strange, asked = keeping("/")
    assert "会员1" not in strange.text
    assert asked > 0, "a member's page was not kept"
    assert "会员1" in keeping("/", member)[0].text
    _, cost = keeping("/api/v1/packs?campaign=spring", Authorization=f"Bearer {world.token(M1)}")
    assert cost > 0


def test_each_language_is_kept_by_itself(keeping):
    chinese, _ = keeping("/", **{"Accept-Language": "zh-CN"})
    english, cost = keeping("/", **{"Accept-Language": "en"})
    assert cost > 0
    assert "登录" in chinese.text
    assert "Sign in" in english.text
    assert "Accept-Language" in english.headers["Vary"]


def test_errors_are_not_kept_and_no_more_than_so_many(keeping, world, monkeypatch):
    monkeypatch.setattr("kernel.kept.MOST", 3)
    assert keeping("/packs/999")[0].status_code == 404
    for number in range(5):
        keeping(f"{LIST}&q={number}")
    assert len(world.app.extensions["huigong_kept"]) == 3
    assert keeping(f"{LIST}&q=4")[1] == 0
    assert keeping(f"{LIST}&q=0")[1] > 0


def test_nothing_is_kept_unless_it_is_set(world):
    assert world.app.config["CATALOG_SECONDS"] == 0
    stranger = world.app.test_client()
    assert stranger.get(LIST).status_code == 200
    path = f"/merchant/packs/{world.packs['A150']}/stock"
    world.call(MERCHANT_A, "POST", path, {"count": 7, "reason": "盘点"})
    assert available(stranger.get(LIST), world) == 7
