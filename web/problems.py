"""Every error is one problem document (RFC 9457) for programs, and one page for people."""

import logging
from typing import Any

from flask import Flask, Response, current_app, flash, g, redirect, render_template, request
from flask_babel import gettext
from marshmallow import ValidationError
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from werkzeug.exceptions import HTTPException

from kernel.doors import said
from kernel.errors import DomainError, Invalid, flat
from web import metrics

log = logging.getLogger("huigong")

CODES = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "state_conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "rate_limited",
}


def install(app: Flask) -> None:
    """Answer every error in one place."""
    app.register_error_handler(DomainError, _refused)
    app.register_error_handler(ValidationError, _not_valid)
    app.register_error_handler(HTTPException, _http)
    for away in (OperationalError, InterfaceError, InternalError, NoConnection):
        app.register_error_handler(away, _database)
    app.register_error_handler(DataError, _no_such_value)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _ours)


def _refused(error: DomainError) -> Response:
    detail = said(error)
    if _is_from_own_form() and error.status in (409, 422):
        # What a form's button could not do is said on the page the button is on.
        flash(detail, "warning")
        return redirect(str(request.referrer), 303)  # type: ignore[return-value]
    extra = dict(error.extra)
    if "errors" in extra:
        extra["errors"] = {name: [gettext(text) for text in texts] for name, texts in extra["errors"].items()}
    response = _answer(error.status, error.code, detail, extra)
    if "retry_after" in extra:
        response.headers["Retry-After"] = str(extra["retry_after"])
    return response


def _not_valid(error: ValidationError) -> Response:
    return _refused(Invalid(errors=flat(error.messages)))


def _http(error: HTTPException) -> Response:
    if isinstance(error, HTTPException) and error.response is not None:
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    data: dict[str, Any] = getattr(error, "data", None) or {}
    if status == 422 and "messages" in data:
        messages = data["messages"]
        return _refused(Invalid(errors=flat(next(iter(messages.values())) if len(messages) == 1 else messages)))
    response = _answer(status, CODES.get(status, "error"), _detail(status))
    if status == 405 and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return response


def _detail(status: int) -> str:
    details = {
        400: gettext("无法理解这个请求。页面可能已过期，请返回刷新后重试。"),
        404: gettext("没有找到您要的内容。"),
        405: gettext("这个地址不支持这种请求方法。"),
        413: gettext("提交的内容太大。"),
        415: gettext("不支持这种内容格式。"),
    }
    return details.get(status, gettext("请求没有完成。"))


def _database(error: SQLAlchemyError) -> Response:
    """Say that the database is away, locked, or (after a failover) takes no writes yet.

    Where something was to change, nobody knows at this moment whether it has: a connection may be lost between a
    commit and its answer. Whoever asks again, under the same key, is told.
    """
    log.exception("the database did not answer", extra={"why": metrics.trouble(error)})
    said = gettext("系统繁忙，请稍后重试。")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        said = gettext("系统繁忙，不确定刚才的操作是否完成。请重试一次或查看结果：同一个操作不会重复。")
    response = _answer(503, "unavailable", said)
    response.headers["Retry-After"] = "2"
    return response


def _no_such_value(error: DataError) -> Response:
    # A number or text that no column can hold came past a schema. The statement did nothing and all was rolled back.
    log.exception("the database was given a value it cannot hold")
    return _refused(Invalid())


def _too_deep(error: RecursionError) -> Response:
    # The only input that recurses is JSON nested beyond reason.
    return _answer(400, "bad_request", _detail(400))


def _ours(error: Exception) -> Response:
    """Say that the fault is ours; where something was to change, not whether it has: what failed may have come after.

    A payment's news, for one, is kept by a transaction of its own before it is acted on.
    """
    if current_app.testing:
        raise error
    log.exception("unexpected error")
    said = gettext("系统出错了，请稍后重试。")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        said = gettext("系统出错了，不确定刚才的操作是否完成。请查看结果或稍后重试一次：同一个操作不会重复。")
    return _answer(500, "error", said)


def _answer(status: int, code: str, detail: str, extra: dict[str, Any] | None = None) -> Response:
    if _wants_page():
        page = render_template("error.html", status=status, code=code, detail=detail, extra=extra or {})
        return current_app.response_class(page, status)
    document = {
        "type": f"/problems/{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
        **(extra or {}),
    }
    response: Response = current_app.json.response(document)
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def _wants_page() -> bool:
    if request.path.startswith(("/api/", "/webhooks/", "/healthz", "/readyz", "/metrics")):
        return False
    return g.get("page") or request.accept_mimetypes.best_match(["text/html", "application/json"]) == "text/html"


def _is_from_own_form() -> bool:
    return bool(
        request.method == "POST"
        and _wants_page()
        and request.referrer
        and request.referrer.startswith(request.host_url)
    )
