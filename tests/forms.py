"""Filling in the forms of a page as its user does: with what the form carries, and only into fields it has."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


class Form:
    """A form of a page: where it goes, what it carries, which fields it has."""

    def __init__(self, action: str, how: str) -> None:
        self.action, self.how = action, how
        self.carried: dict[str, Any] = {}
        self.fields: set[str] = set()


class _Forms(HTMLParser):
    """Gathers the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._in: Form | None = None
        self._select = ""
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value if value is not None else "" for name, value in attrs}
        name, value = named.get("name", ""), named.get("value", "")
        if tag == "form":
            self._in = Form(named.get("action", ""), named.get("method", "get"))
            self.found.append(self._in)
        if self._in is None or not (name or tag == "option"):
            return
        if tag in ("input", "select", "textarea", "button"):
            self._in.fields.add(name)
        if tag == "input" and named.get("type") in ("checkbox", "radio"):
            if "checked" in named:
                self._in.carried[name] = [*self._in.carried.get(name, []), value]
        elif tag == "input" and named.get("type") != "file":
            self._in.carried[name] = value
        elif tag == "select":
            self._select = name
        elif tag == "option" and (self._select not in self._in.carried or "selected" in named):
            self._in.carried[self._select] = value
        elif tag == "textarea":
            self._text, self._in.carried[name] = name, ""

    def handle_data(self, data: str) -> None:
        if self._in is not None and self._text:
            self._in.carried[self._text] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._text = ""


def form_of(client: FlaskClient, page: str, action: str = "") -> Form:
    """Return the form of a page whose action ends so: "" is the one that goes back to the page itself."""
    answer = client.get(page)
    assert answer.status_code == 200, (page, answer.status_code)
    forms = _Forms()
    forms.feed(answer.text)
    wanted = [
        one for one in forms.found if one.how == "post" and (one.action.endswith(action) if action else not one.action)
    ]
    assert len(wanted) == 1, (page, action, [one.action for one in forms.found])
    return wanted[0]


def submit(client: FlaskClient, page: str, action: str = "", **filled: Any) -> TestResponse:
    """Open a page, fill in one of its forms and send it; a field set to None is left unticked."""
    return send(client, page, form_of(client, page, action), **filled)


def send(client: FlaskClient, page: str, form: Form, **filled: Any) -> TestResponse:
    """Send a form as it was opened."""
    missing = set(filled) - form.fields
    assert not missing, (page, form.action, sorted(missing), sorted(form.fields))
    data = {name: value for name, value in {**form.carried, **filled}.items() if value is not None}
    return client.post(urlsplit(urljoin(page, form.action or page)).path, data=data)
