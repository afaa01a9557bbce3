"""Files that pages are made of: the stylesheet, static files with their version, packed for slow lines; and what makes
the site installable: its manifest, its service worker and the page shown without a line."""

import gzip
import hashlib
from functools import lru_cache
from typing import Any

from flask import Flask, Response, current_app, g, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, gettext

from kernel.doors import PageBlueprint
from web.settings import ROOT
from web.styles import stylesheet

bp = PageBlueprint("assets", __name__, audience="everyone")
STATIC = ROOT / "web" / "static"
FOREVER = "public, max-age=31536000, immutable"
PACKED = ("text/", "application/javascript", "image/svg+xml", "application/manifest+json")
SMALL = 400  # bytes that fit one packet either way


def install(app: Flask) -> None:
    """Name every static file by its content, so that it may be kept for ever, and pack what can be packed."""
    app.url_defaults(_version)
    app.after_request(_pack)


@lru_cache(maxsize=512)
def version_of(name: str) -> str:
    """Return what names a static file's content; '' where there is no such file."""
    path = STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else ""


@lru_cache(maxsize=1)
def style_version() -> str:
    """Return what names the stylesheet's content."""
    return hashlib.sha256(stylesheet().encode()).hexdigest()[:10]


def _version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint == "static" and (version := version_of(values.get("filename", ""))):
        values.setdefault("v", version)
    elif endpoint == "assets.style":
        values.setdefault("v", style_version())


@bp.get("/style.css")
def style() -> ResponseReturnValue:
    """The stylesheet of all pages."""
    return Response(stylesheet(), mimetype="text/css")


@bp.get("/manifest.webmanifest")
def manifest() -> ResponseReturnValue:
    """What a phone asks for to put the site on its home screen."""
    icons = [
        {"src": url_for("static", filename=f"icons/{name}.png"), "sizes": size, "type": "image/png", "purpose": purpose}
        for name, size, purpose in (
            ("192", "192x192", "any"),
            ("512", "512x512", "any"),
            ("maskable-512", "512x512", "maskable"),
        )
    ]
    described = {
        "name": gettext("惠工福利平台"),
        "short_name": gettext("惠工"),
        "start_url": "/",
        "scope": "/",
        "id": "/",
        "lang": str(get_locale()).replace("_", "-"),
        "display": "standalone",
        "theme_color": "#b3261e",
        "background_color": "#fbf6ec",
        "icons": icons,
    }
    answer = current_app.json.response(described)
    answer.mimetype = "application/manifest+json"
    return answer  # type: ignore[no-any-return]


@bp.get("/service-worker.js")
def service_worker() -> ResponseReturnValue:
    """The service worker, with the addresses of the files it keeps; it must be at the root to see every page."""
    script = (STATIC / "js" / "service-worker.js").read_text(encoding="utf-8")
    files = {
        "STYLE": url_for("assets.style"),
        "SCRIPT": url_for("static", filename="js/offline.js"),
        "ICON": url_for("static", filename="pictures/offline.svg"),
    }
    for name, address in files.items():
        script = script.replace(f'"{name}"', f'"{address}"')
    reads = f"{get_locale()} {session.get('theme')} {session.get('text')}"  # the offline page is kept as it looks now
    version = hashlib.sha256((script + reads).encode()).hexdigest()[:10]
    answer = Response(script.replace("VERSION", version), mimetype="text/javascript")
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@bp.get("/offline")
def offline() -> ResponseReturnValue:
    """What is shown without a line; nobody's name is on it, whoever asks for it."""
    g.identity = None
    return render_template("pages/offline.html")


@lru_cache(maxsize=256)
def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _pack(response: Any) -> Any:
    """Pack files of ours that every reader gets alike; never a page, which has a secret and somebody's words in it."""
    if (identity := g.get("identity")) is not None and identity.member_id is not None:
        response.headers["X-Seen-By"] = "member"
    if request.endpoint not in ("static", "assets.style", "assets.service_worker", "assets.manifest"):
        return response
    if "v" in request.args:
        response.headers["Cache-Control"] = FOREVER
    if response.status_code != 200 or not str(response.mimetype).startswith(PACKED):
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.direct_passthrough = False
        content = response.get_data()
        if len(content) > SMALL:
            response.set_data(_zipped(content))
            response.headers["Content-Encoding"] = "gzip"
            # The packed answer is another one than the plain one, and a weak ETag says so.
            if etag := response.get_etag()[0]:
                response.set_etag(etag, weak=True)
    return response
