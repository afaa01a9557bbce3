"""Doors for machines: alive, ready, metrics, the API's description as a page."""

import os
from pathlib import Path

import swagger_ui_bundle
from flask import Blueprint, Response, abort, current_app, render_template, request, send_from_directory
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from web import metrics as metering
from web import migrating

bp = Blueprint("web", __name__)
bp.audience = "everyone"  # type: ignore[attr-defined]


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process lives."""
    return {"status": "ok"}


def is_draining() -> bool:
    """Return whether this server was told to end and only serves who comes meanwhile (gunicorn.conf.py)."""
    folder = os.environ.get(metering.FOLDER)
    return folder is not None and os.path.exists(f"{folder}/draining")


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    """The database answers, at a migration this code works with, and nobody has told this server to end."""
    if is_draining():
        return {"status": "draining"}, 503
    try:
        ready = migrating.works_with(migrating.current())
    except SQLAlchemyError:
        ready = False
    return ({"status": "ready"}, 200) if ready else ({"status": "not ready"}, 503)


@bp.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Prometheus text: for loopback, or for who has the token."""
    if not metering.may_see(request, current_app.config["HUIGONG"].metrics_token):
        abort(403)
    return Response(metering.exposition(), content_type=CONTENT_TYPE_LATEST)


@bp.get("/api/docs")
def docs() -> ResponseReturnValue:
    """The API, browsable, without a CDN."""
    return render_template("pages/docs.html")


@bp.get("/api/docs/assets/<path:name>")
def docs_asset(name: str) -> ResponseReturnValue:
    """Swagger UI's own files, from its package."""
    if name not in ("swagger-ui.css", "swagger-ui-bundle.js"):
        abort(404)
    return send_from_directory(Path(swagger_ui_bundle.swagger_ui_path), name)
