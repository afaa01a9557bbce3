"""Each error's page says what happened, what is not lost, and what to do, in both languages."""

import re
from dataclasses import replace

import pytest
from flask import render_template, session

from tests.browser import one_engine
from web.problems import CODES

pytestmark = one_engine
EVERY = {**CODES, 500: "error", 503: "unavailable"}
KEPT = {"zh_CN": "什么都没有丢", "en": "Nothing is lost"}


@pytest.mark.parametrize("language", list(KEPT))
@pytest.mark.parametrize("status", list(EVERY))
def test_an_error_says_what_is_not_lost_and_what_to_do(app, status, language):
    with app.test_request_context("/"):
        session["language"] = language
        page = render_template("error.html", status=status, code=EVERY[status], detail="DETAIL", extra={})
    main = page.partition("<main")[2].partition("</main>")[0]
    said = [text for text in re.findall(r"<p>([^<]+)</p>", main) if text.strip()]
    assert "<h1>DETAIL</h1>" in main
    assert said[0].startswith(KEPT[language])
    assert len(said) == 2
    assert len(said[1]) > 6
    [picture] = re.findall(r'<img src="([^"]+)"', main)
    with app.test_client().get(picture) as file:
        assert file.status_code == 200
    assert re.search(r'<a class="btn[^"]*" href="/"', main)


def test_a_form_that_failed_says_that_nothing_moved(app):
    with app.test_request_context("/cart", method="POST"):
        page = render_template("error.html", status=409, code="state_conflict", detail="D", extra={})
    assert "这次操作没有生效，您的钱和福利券没有变动。" in page


@pytest.mark.parametrize("language", list(KEPT))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_fault_of_ours_is_said_and_where_something_was_to_change_not_that_nothing_did(
    app, monkeypatch, method, language
):
    unsure = {"zh_CN": "不确定刚才的操作是否完成", "en": "not certain whether what you just did went through"}[language]

    def fails(**_):
        raise ZeroDivisionError

    monkeypatch.setitem(app.config, "TESTING", False)
    monkeypatch.setitem(app.view_functions, "pages.cashier", fails)
    headers = {"Accept-Language": language.replace("_", "-"), "Accept": "text/html"}
    answer = app.test_client().open("/sandbox/anything", method=method, headers=headers)
    assert answer.status_code == 500
    assert (unsure in answer.text) == (method == "POST"), answer.text
    assert "没有变动" not in answer.text


def test_the_styleguide_is_for_development_only(app, monkeypatch):
    client = app.test_client()
    assert ".swatch" not in client.get("/styleguide").text
    assert 'class="swatch swatch-red"' in client.get("/styleguide").text
    monkeypatch.setitem(app.config, "HUIGONG", replace(app.config["HUIGONG"], environment="production"))
    assert client.get("/styleguide").status_code == 404
