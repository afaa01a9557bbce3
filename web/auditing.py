"""Doors to the audit: who did what, on which object, when, from where."""

from datetime import datetime
from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from marshmallow import fields

from kernel import audit, clock
from kernel.doors import ApiBlueprint, PageBlueprint
from kernel.ids import as_id
from kernel.paging import decode_cursor, page_of
from kernel.schemas import Base, IdField, Instant, Length, Moment, PageArgs
from orders.queries import queues
from people import queries as people_queries

api = ApiBlueprint("api_audit", __name__, audience="operator", url_prefix="/api/v1/admin", description="The audit")
pages = PageBlueprint("audit", __name__, audience="operator", url_prefix="/admin/audit")


class AuditArgs(PageArgs):
    """Which entries: by actor (an id), object ('campaign:spring', or a kind alone), action, from a moment on."""

    actor = IdField(load_default=None)
    object = fields.String(load_default=None, validate=Length(max=80))
    action = fields.String(load_default=None, validate=Length(max=40))
    since = Instant(load_default=None, default_timezone=clock.SHANGHAI)
    until = Instant(load_default=None, default_timezone=clock.SHANGHAI)


class AuditEntry(Base):
    """One act, with the hash that ties it to the one before."""

    id = IdField()
    at = Moment()
    actor = fields.Dict(allow_none=True)
    action = fields.String()
    object = fields.String()
    before = fields.Raw(allow_none=True)
    after = fields.Raw(allow_none=True)
    address = fields.String()
    hash = fields.String()


class AuditPage(Base):
    """A page of entries, newest first."""

    items = fields.List(fields.Nested(AuditEntry))
    next_cursor = fields.String(allow_none=True)


def _found(wanted: dict[str, Any]) -> dict[str, Any]:
    rows = audit.entries(
        limit=wanted["limit"],
        before=decode_cursor(wanted["cursor"]),
        actor_id=wanted["actor"],
        thing=wanted["object"],
        action=wanted["action"],
        since=wanted["since"],
        until=wanted["until"],
    )
    page = page_of(rows, limit=wanted["limit"], key=lambda row: row.id)
    names = people_queries.names([row.actor_id for row in page.items])
    items = [
        {
            "id": row.id,
            "at": row.at,
            "actor": {"id": str(row.actor_id), "name": names.get(row.actor_id, "")} if row.actor_id else None,
            "action": row.action,
            "object": row.object,
            "before": audit.content_of(row.before),
            "after": audit.content_of(row.after),
            "address": row.address,
            "hash": row.hash,
        }
        for row in page.items
    ]
    return {"items": items, "next_cursor": page.next_cursor}


@api.route("/audit")
@api.arguments(AuditArgs, location="query")
@api.response(200, AuditPage)
def entries(wanted: dict[str, Any]) -> Any:
    """List what was done, newest first."""
    return _found(wanted)


@pages.get("/")
def home() -> ResponseReturnValue:
    """What was done, with filters."""
    wanted = {
        "limit": 50,
        "cursor": request.args.get("cursor"),
        "actor": as_id(request.args.get("actor", "")),
        "object": request.args.get("object", "").strip()[:80] or None,
        "action": request.args.get("action", "").strip()[:40] or None,
        "since": _day(request.args.get("since", "")),
        "until": None,
    }
    return render_template("operator/audit.html", page=_found(wanted), wanted=wanted, proof=queues.proof("verify"))


def _day(text: str) -> datetime | None:
    day = clock.day_of(text)
    return clock.start_of_day(day) if day else None
