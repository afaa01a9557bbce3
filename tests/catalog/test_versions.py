"""If-Match: a pack is changed only as it was read (RFC 9110), answered as RFC 9457 says; a sale is no change."""

import re
import threading

import pytest

from tests.catalog.test_packs import decide, path
from tests.factories import MERCHANT_A

M1 = "13800000001"


def read(world, code="A150"):
    return world.call(MERCHANT_A, "GET", path(world, code))


def patch(world, body, tag=None, code="A150"):
    headers = {"Authorization": f"Bearer {world.token(MERCHANT_A)}"} | ({"If-Match": tag} if tag is not None else {})
    return world.app.test_client().patch(f"/api/v1{path(world, code)}", json=body, headers=headers)


def test_as_it_was_read_it_is_changed_and_the_answer_has_the_next_tag(world):
    tag = read(world).headers["ETag"]
    first = patch(world, {"description": "好米"}, tag)
    assert first.status_code == 200, first.text
    assert first.headers["ETag"] == read(world).headers["ETag"] != tag
    assert patch(world, {"description": "更好的米"}, first.headers["ETag"]).status_code == 200


@pytest.mark.parametrize("between", ["offered", "off sale", "alert", "share", "decided"])
def test_what_somebody_changed_meanwhile_is_not_overwritten(world, between):
    patch(world, {"description": "先说的"})
    tag = read(world).headers["ETag"]
    if between == "decided":
        decide(world, "reject", reason="不对")
    else:
        body = {
            "offered": {"description": "别人说的"},
            "off sale": {"status": "off_sale"},
            "alert": {"alert_below": 3},
            "share": {"bulk_share": 5},
        }[between]
        assert patch(world, body).status_code == 200
    before = read(world).json
    stale = patch(world, {"description": "晚说的", "alert_below": 9}, tag)
    assert (stale.status_code, stale.content_type) == (412, "application/problem+json")
    assert (stale.json["code"], stale.json["status"]) == ("precondition_failed", 412)
    assert read(world).json == before


def test_a_sale_is_no_change_but_shows_another_figure(world):
    tag = read(world).headers["ETag"]
    assert world.place(M1, ("A150", 1)).status_code == 201
    headers = {"Authorization": f"Bearer {world.token(MERCHANT_A)}", "If-None-Match": tag}
    again = world.app.test_client().get(f"/api/v1{path(world)}", headers=headers)
    assert (again.status_code, again.json["held"]) == (200, 1)
    headers["If-None-Match"] = again.headers["ETag"]
    assert world.app.test_client().get(f"/api/v1{path(world)}", headers=headers).status_code == 304
    assert patch(world, {"alert_below": 3}, tag).status_code == 200


@pytest.mark.parametrize("tag", ["*", None])
def test_any_version_will_do_where_none_is_named(world, tag):
    assert patch(world, {"alert_below": 3}, tag).status_code == 200


@pytest.mark.parametrize("tag", ["", '"nothing"', "x", 'W/"', '"', "é", '"a", "b"'])
def test_a_tag_of_nothing_changes_nothing(world, tag):
    before = read(world).json
    answer = patch(world, {"alert_below": 3}, tag)
    assert (answer.status_code, answer.json["code"]) == (412, "precondition_failed")
    assert read(world).json == before


def test_a_weak_tag_is_no_strong_one_and_one_of_several_is_enough(world):
    tag = read(world).headers["ETag"]
    assert patch(world, {"alert_below": 3}, f"W/{tag}").status_code == 412
    assert patch(world, {"alert_below": 3}, f'"old", {tag}').status_code == 200


def test_of_two_at_once_with_one_tag_one_is_taken(world):
    tag = read(world).headers["ETag"]
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(patch(world, {"description": f"第{n}"}, tag).status_code))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 412, 412, 412]


def test_a_form_opened_before_somebody_changed_the_pack_overwrites_nothing(world):
    browser = world.browser(MERCHANT_A)
    page = f"/merchant/packs/{world.packs['A150']}/edit"
    opened = browser.get(page).text

    def filled(shown, description):
        given = dict(re.findall(r'<input[^>]*? name="(\w+)"[^>]*? value="([^"]*)"', shown))
        return {**given, "category": "food", "description": description}

    assert filled(opened, "")["version"]
    patch(world, {"description": "同事说的"})
    stale = browser.post(page, data=filled(opened, "我说的"))
    assert stale.status_code == 412
    assert "重新打开" in stale.text
    assert "我说的" in stale.text, "what was typed is still there"
    assert read(world).json["last_change"]["details"]["description"] == "同事说的"
    done = browser.post(page, data=filled(browser.get(page).text, "我说的"))
    assert done.status_code == 303
    assert read(world).json["last_change"]["details"]["description"] == "我说的"
