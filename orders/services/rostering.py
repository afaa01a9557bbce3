"""花名册: put on a union's order, all of it or the good rows only; corrected, and its faults marked in a copy."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from catalog import queries as catalog_queries
from kernel import audit
from kernel.db import db, insert_many, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries, roster
from orders.models import Recipient, RosterUpload
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.roster import Entry, Report
from orders.rules import CHANGEABLE, District
from orders.services import bulk
from people.rules import normal_phone

KEPT_FOR = timedelta(days=1)
_COLUMNS = (
    "order_id",
    "position",
    "name",
    "phone",
    "employee_no",
    "department",
    "pack_id",
    "address",
    "quantity",
    "link_code",
)

_KEPT = ("pack_id", "chosen_at", "delivery", "station_id", "reminded_at")


@dataclass(frozen=True)
class Upload:
    """A file as it came."""

    filename: str
    content: bytes


@dataclass(frozen=True)
class Marked:
    """A file with its faults."""

    filename: str
    content: bytes
    faults: Sequence[dict[str, Any]]


def put_roster(
    *,
    number: str,
    union_id: int | None,
    rows: Sequence[tuple[int, dict[str, str]]],
    partial: bool,
    upload: Upload | None = None,
    district: District = District(),
    now: datetime,
) -> dict[str, Any]:
    """Put an order's roster, in place of the one before: all of it or nothing, or the good rows only if asked.

    What was submitted or approved is void by it, and says so. People who were on the roster before keep their link and
    their choice. Raises NotFound, StateConflict once a payment was begun, and Invalid for a roster of nobody.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    if order.status not in CHANGEABLE:
        raise StateConflict("订单已开始付款或已结束，不能再改。需要改动时，请取消后复制为新订单。")
    if not rows:
        raise Invalid("花名册里没有人。", errors={"file": ["花名册里没有人。"]})
    phones = {phone for _, values in rows if (phone := normal_phone(values.get("phone", ""))) is not None}
    report = roster.check(
        rows,
        packs=_names_of_packs(order),
        elsewhere=union_queries.elsewhere(
            campaign_id=order.campaign_id, order_id=order.id, union_id=union_id, phones=phones
        ),
        refuse_elsewhere=district.refuse_twice,
    )
    accepted = len(report.entries) if partial or not report.faults else 0
    voided = _store(order, report, upload, now=now) if accepted else None
    if not accepted:
        with transaction():
            _keep(order.id, report, upload, now=now)
    return {
        "accepted": accepted,
        "rejected": report.rows - accepted,
        "errors": [fault.__dict__ for fault in report.faults],
        "warnings": [fault.__dict__ for fault in report.warnings],
        "approval_voided": voided is not None,
        "status": queries.order_of_union(number, union_id=union_id, now=now).status,
    }


def _names_of_packs(order: OrderView) -> dict[str, int]:
    names: dict[str, int] = {}
    for view in catalog_queries.packs_by_id(_pack_ids(order)).values():
        names |= {str(view.id): view.id, view.code: view.id, view.name: view.id, view.name_en: view.id}
    return names


def _pack_ids(order: OrderView) -> set[int]:
    return set(order.choice.pack_ids if order.choice is not None else [line.pack_id for line in order.lines])


def _store(order: OrderView, report: Report, upload: Upload | None, *, now: datetime) -> str | None:
    with transaction():
        voided = bulk.reopen(order, now=now)
        # What the rows were checked against may have been changed while they were read.
        fresh = queries.order_of_union(order.number, union_id=order.union_id, now=now)
        if _pack_ids(fresh) != _pack_ids(order):
            raise StateConflict("订单的礼包刚刚有改动，请重新上传花名册。")
        before = {
            row.phone: row
            for row in db.session.execute(
                select(
                    Recipient.phone,
                    Recipient.link_code,
                    Recipient.pack_id,
                    Recipient.chosen_at,
                    Recipient.delivery,
                    Recipient.station_id,
                    Recipient.reminded_at,
                ).where(Recipient.order_id == order.id)
            )
        }
        db.session.execute(delete(Recipient).where(Recipient.order_id == order.id))
        insert_many(Recipient, _COLUMNS, _values(order.id, report.entries, before))
        kept = [
            {
                "at": position,
                "pack_id": old.pack_id if old.chosen_at is not None else entry.pack_id,
                "chosen_at": old.chosen_at,
                "delivery": old.delivery,
                "station_id": old.station_id,
                "reminded_at": old.reminded_at,
            }
            for position, entry in enumerate(report.entries, start=1)
            if (old := before.get(entry.phone)) is not None and (old.chosen_at or old.reminded_at)
        ]
        if kept:
            db.session.connection().execute(
                update(Recipient.__table__)  # type: ignore[arg-type]
                .where(Recipient.order_id == order.id, Recipient.position == bindparam("at"))
                .values({name: bindparam(name) for name in _KEPT}),
                kept,
            )
        if order.choice is not None:
            bulk.recount(order, order.choice, now=now, as_it_is=True)
            bulk.begin_choosing(order.id)
        _keep(order.id, report, upload, now=now)
        audit.record(
            "roster.put",
            f"order:{order.id}",
            now=now,
            before={"voided": voided} if voided else None,
            after={"people": len(report.entries)},
        )
    return voided


def _values(order_id: int, entries: Sequence[Entry], before: dict[str, Any]) -> list[tuple[Any, ...]]:
    codes = {phone: row.link_code for phone, row in before.items() if row.link_code}
    # Asked of the system once for all: ten thousand calls would take longer than reading the sheet.
    fresh = memoryview(secrets.token_bytes(8 * len(entries))).cast("Q")
    return [
        (
            order_id,
            position,
            entry.name,
            entry.phone,
            entry.employee_no,
            entry.department,
            entry.pack_id,
            entry.address,
            entry.quantity,
            codes.get(entry.phone) or fresh[position - 1] >> 3 or 1,
        )
        for position, entry in enumerate(entries, start=1)
    ]


def _keep(order_id: int, report: Report, upload: Upload | None, *, now: datetime) -> None:
    """Keep a file with faults for its marked copy; forget the one before, and those nobody came back for."""
    db.session.execute(
        delete(RosterUpload).where((RosterUpload.order_id == order_id) | (RosterUpload.made_at < now - KEPT_FOR))
    )
    if upload is not None and report.faults:
        faults = [{**fault.__dict__, "figures": dict(fault.figures)} for fault in report.faults]
        db.session.execute(
            insert(RosterUpload).values(
                order_id=order_id,
                filename="".join(filter(str.isprintable, upload.filename))[:200],
                content=upload.content,
                faults=faults,
                made_at=now,
            )
        )


def marked_copy(*, number: str, union_id: int | None, now: datetime) -> Marked:
    """Return the last roster with faults of an order, and them. Raises NotFound where there is none."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    row = db.session.get(RosterUpload, order.id, populate_existing=True)
    if row is None or row.made_at < now - KEPT_FOR:
        raise NotFound("没有标出错误的花名册，请重新上传。")
    return Marked(filename=row.filename, content=row.content, faults=row.faults)


def leave(*, number: str, union_id: int | None, position: int, code: int, actor_id: int, now: datetime) -> OrderView:
    """Take a person off the roster before payment, and one pack with them where the order is counted by its roster.

    `code` is the person's own (of their link): a page of an earlier roster takes nobody else off. What was submitted or
    approved is void by it. Raises NotFound, StateConflict once a payment was begun.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    with transaction():
        voided = bulk.reopen(order, now=now)
        own = (Recipient.order_id == order.id, Recipient.position == position, Recipient.link_code == code)
        gone = rows_changed(delete(Recipient).where(*own))
        if gone == 0:
            raise NotFound("花名册上没有这个人。")
        if order.choice is not None:
            bulk.recount(order, order.choice, now=now, as_it_is=True)
        audit.record(
            "roster.leave",
            f"order:{order.id}",
            actor_id=actor_id,
            now=now,
            before={"position": position, "voided": voided},
        )
    return queries.order_of_union(number, union_id=union_id, now=now)


def forget_old(*, now: datetime) -> None:
    """Drop the rosters with faults that nobody came back for: they hold names and phones."""
    with transaction():
        db.session.execute(delete(RosterUpload).where(RosterUpload.made_at < now - KEPT_FOR))
