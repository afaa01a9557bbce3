"""What every door shares: a blueprint that names its audience, and who is asking."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Request, Response, current_app, g, request
from flask_babel import get_locale, gettext
from flask_smorest import Blueprint as SmorestBlueprint

from kernel.errors import DomainError, Invalid, NotSignedIn
from kernel.idempotency import Answer, IdempotencyKeyRequired, Once, request_once

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
AUDIENCES = ("everyone", "signed_in", "member", "union", "merchant", "station", "operator")


class ApiBlueprint(SmorestBlueprint):  # type: ignore[misc]  # the library has no types
    """A set of API routes for one audience."""

    def __init__(self, name: str, import_name: str, *, audience: str, **options: Any) -> None:
        assert audience in AUDIENCES
        super().__init__(name, import_name, **options)
        self.audience = audience

    def arguments(self, schema: Any, **options: Any) -> Any:
        """Take a request's body or query; the schema is made once, not for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Any:
        """Give an answer; the schema is made once, not for each request."""
        return super().response(status_code, schema() if isinstance(schema, type) else schema, **options)


class PageBlueprint(Blueprint):
    """A set of pages for one audience."""

    def __init__(self, name: str, import_name: str, *, audience: str, **options: Any) -> None:
        assert audience in AUDIENCES
        super().__init__(name, import_name, **options)
        self.audience = audience


def who() -> Any:
    """Return the identity of who is asking (people.rules.Identity); raise NotSignedIn where nobody is."""
    identity = g.get("identity")
    if identity is None:
        raise NotSignedIn("请先登录。")
    return identity


def locale_of() -> str:
    """Return the reader's language as others know it: zh or en."""
    return "en" if str(get_locale()).startswith("en") else "zh"


def said(refused: DomainError) -> str:
    """Return a refusal in the reader's language."""
    return str(gettext(refused.message, **figures_here(refused.figures)))


def figures_here(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sentence's figures for its reader: of a thing that has an English name (`name_en` beside `name`), that.

    In Chinese, and where it has none, its name is what it is.
    """
    if locale_of() == "zh":
        return dict(figures)
    return {name: figures.get(f"{name}_en") or value for name, value in figures.items()}


def once(*, body: Any = None, required: bool = True, the_request: Request = request) -> Once | None:
    """Return the request's idempotency identity; raise IdempotencyKeyRequired where it must have a key."""
    key = the_request.headers.get("Idempotency-Key", "").strip()
    if not key:
        if required:
            raise IdempotencyKeyRequired("这个请求需要 Idempotency-Key 请求头。")
        return None
    if len(key) > 200:
        raise IdempotencyKeyRequired("Idempotency-Key 最多 200 个字符。")
    route = f"{the_request.method} {the_request.path}"
    return request_once(person_id=who().person_id, key=key, route=route, body=body)


def tagged(content: Any, *, version: str = "") -> Response:
    """Return an answer with its ETag; 304 where the client has it already.

    A `version` stands before the digest in the tag: what `If-Match` compares, where not all that is shown counts.
    """
    response: Any = current_app.json.response(content)
    response.add_etag()
    if version:
        response.set_etag(f"{version}.{response.get_etag()[0]}")
    response.headers["Cache-Control"] = "no-cache"
    answer: Response = response.make_conditional(request)
    return answer


def expected_versions() -> frozenset[str] | None:
    """Return the versions `If-Match` names (RFC 9110, 13.1.1); None where any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return frozenset(tag.partition(".")[0] for tag in request.if_match.as_set())


def json_answer(answer: Answer, status: int) -> tuple[str, int, dict[str, str]]:
    """Return an answer's exact text as a response."""
    headers = {"Content-Type": "application/json"}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer.text, status, headers


def upload() -> tuple[bytes, str]:
    """Return the content and the name of the file in the form's field `file`. Raises Invalid where there is none."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Invalid("请选择文件。", errors={"file": ["请选择文件。"]})
    return file.read(), file.filename


def saved(content: bytes, filename: str) -> Response:
    """Return a document to be saved under a name, kept by no cache."""
    kind = {"xlsx": XLSX, "pdf": "application/pdf", "csv": "text/csv"}[filename.rpartition(".")[2]]
    response = current_app.response_class(content, mimetype=kind)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename)}"
    response.headers["Cache-Control"] = "private, no-store"
    return response
