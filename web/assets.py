"""Files that pages are made of: the stylesheet, static files with their version, packed for slow lines."""

import gzip
import hashlib
from functools import lru_cache
from typing import Any

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

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


@lru_cache(maxsize=256)
def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _pack(response: Any) -> Any:
    """Pack files of ours that every reader gets alike; never a page, which has a secret and somebody's words in it."""
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
