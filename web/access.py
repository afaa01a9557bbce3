"""Who may enter: each blueprint names its audience once; nothing else decides."""

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect

from kernel import clock
from kernel.errors import Forbidden, NotSignedIn
from people import queries as people_queries

csrf = CSRFProtect()

# Views that no blueprint of ours holds: health, metrics, the API's own description, static files.
OPEN_ENDPOINTS = {
    "static",
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
    g.identity = None
    if request.endpoint is None or request.endpoint in OPEN_ENDPOINTS:
        return None
    bearer = _bearer()
    if bearer is not None:
        g.identity = people_queries.by_token(bearer, now=clock.now())
        if g.identity is None:
            raise NotSignedIn("令牌无效或已过期。")
    elif "person_id" in session:
        g.identity = people_queries.by_id(session["person_id"])
    if bearer is None and request.method not in ("GET", "HEAD", "OPTIONS") and not _is_cashier():
        csrf.protect()
    audience = getattr(current_app.blueprints.get(request.blueprint or ""), "audience", None)
    if audience is None:
        raise Forbidden("这个地址没有写明谁可以进入。")
    if audience == "everyone":
        return None
    if g.identity is None:
        if _wants_page():
            return redirect(url_for("pages.sign_in", next=request.full_path.rstrip("?")))
        raise NotSignedIn("请先登录。")
    if not g.identity.admits(audience):
        raise Forbidden("您没有权限做这件事。")
    return None


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_cashier() -> bool:
    # The buyer's bank is not signed in with us; the cashier exists in development only.
    return request.path.startswith("/sandbox/")


def _wants_page() -> bool:
    return not request.path.startswith("/api/") and request.method == "GET"
