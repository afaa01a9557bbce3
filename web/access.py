"""Who may enter: each blueprint names its audience once; nothing else decides."""

from datetime import datetime, timedelta

from flask import Flask, Request, current_app, flash, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFProtect

from kernel import clock, origin
from kernel.db import read_again
from kernel.errors import Forbidden, Invalid, NotFound, NotSignedIn
from people import queries as people_queries
from people.rules import Identity
from people.services import entry, tokens

csrf = CSRFProtect()
SECRET = "sign_in"  # noqa: S105 no secret: the session's key for the sign-in's secret
KEPT = ("language", "theme", "text")  # outlive a sign-out: how somebody reads is nobody's secret
NOTE_EVERY = timedelta(minutes=1)

# Views that no blueprint of ours holds: health, metrics, the API's own description, static files.
OPEN_ENDPOINTS = {
    "static",
    "assets.style",
    "assets.service_worker",
    "bootstrap.static",
    "api-docs.openapi_json",
    "web.healthz",
    "web.readyz",
    "web.metrics",
    "web.docs",
    "web.docs_asset",
}


def install(app: Flask) -> None:
    """Ask who is there before every request, and refuse who does not belong."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    csrf.init_app(app)
    app.before_request(_admit)


def _admit() -> ResponseReturnValue | None:
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # looked up once, not at each use
    identity = g.identity = None
    origin.came_from(asked.remote_addr or "")
    now = clock.now()
    if asked.endpoint is None and SECRET in session and _wants_page(asked):
        # Who is signed in sees so on the page that says what is wrong.
        g.identity = _by_cookie(session[SECRET], now=now)
    if asked.endpoint is None or asked.endpoint in OPEN_ENDPOINTS:
        return None
    audience = getattr(current_app.blueprints.get(asked.blueprint or ""), "audience", None)
    bearer = _bearer(asked)
    if bearer is not None:
        identity = g.identity = _by_token(bearer, now=now)
        if audience not in (None, "everyone") and not identity.may(audience, asked.method):
            raise Forbidden("这个令牌没有所需的权限。")
    elif SECRET in session:
        identity = g.identity = _by_cookie(session[SECRET], now=now)
    if identity is not None:
        origin.asked_by(identity.person_id)
    if bearer is None and asked.method not in ("GET", "HEAD", "OPTIONS") and _rides_on_a_cookie(asked):
        csrf.protect()
    if audience is None:
        raise Forbidden("这个地址没有写明谁可以进入。")
    if audience == "everyone":
        _refuse_nul(asked)
        return None
    if identity is None:
        if _wants_page(asked):
            return redirect(url_for("pages.sign_in", next=asked.full_path.rstrip("?")))
        raise NotSignedIn("请先登录。")
    if not identity.admits(audience):
        raise Forbidden("您没有权限做这件事。")
    _refuse_nul(asked)
    return None


def _refuse_nul(asked: Request) -> None:
    """Refuse a NUL, which no name, word or number has and PostgreSQL cannot store; JSON is looked at by its schemas."""
    if "\x00" in asked.path:
        raise NotFound("没有找到您要的内容。")
    given = list(asked.args.items(multi=True)) if asked.query_string else []
    if not asked.is_json:
        given += asked.form.items(multi=True)
    errors = {
        name.replace("\x00", ""): ["不能含有控制字符。"] for name, text in given if "\x00" in name or "\x00" in text
    }
    if errors:
        raise Invalid(errors=errors)


def _by_token(token: str, *, now: datetime) -> Identity:
    found = read_again(lambda: people_queries.by_token(token, now=now))
    if found is None:
        raise NotSignedIn("令牌无效或已过期。")
    identity, last_used = found
    if last_used is None or now - last_used > 10 * NOTE_EVERY:
        tokens.uses.note(token, now=now)
    return _with_seats(identity)


def _by_cookie(secret: str, *, now: datetime) -> Identity | None:
    found = read_again(lambda: people_queries.by_sign_in(secret, now=now))
    if found is None:
        session.pop(SECRET)
        session.pop("csrf_token", None)
        flash(gettext("登录已过期，请重新登录。"), "info")
        return None
    identity, seen = found
    if now - seen.seen_at > NOTE_EVERY:
        entry.note_seen(seen.id, now=now)
    return _with_seats(identity)


def _with_seats(identity: Identity) -> Identity:
    """Open the seats that this way of signing in opens; a token opens those its maker's sign-in did."""
    return identity.with_seats_of(identity.method, staff_by_code=current_app.config["HUIGONG"].staff_by_code)


def _bearer(asked: Request) -> str | None:
    scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _rides_on_a_cookie(asked: Request) -> bool:
    # The buyer's bank is not signed in with us; the cashier exists in development only. An API call or an event from
    # outside that no cookie vouches for has nothing that another site could ride on.
    if asked.path.startswith("/sandbox/"):
        return False
    return g.identity is not None or not asked.path.startswith(("/api/", "/webhooks/"))


def _wants_page(asked: Request) -> bool:
    return not asked.path.startswith("/api/") and asked.method == "GET"
