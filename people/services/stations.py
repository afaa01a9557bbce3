"""Keeping the pickup stations: one at a time, or by a spreadsheet."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from kernel import audit
from kernel.db import db, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.sheets import Fault, Rows
from people import station_sheet as sheet
from people.models import PickupStation

FIELDS = (*sheet.MOST, "lat_e6", "lon_e6", "is_open")


def save(*, station_id: int | None, texts: Mapping[str, str], actor_id: int, now: datetime) -> int:
    """Make a station (None), or change one; return its id. `texts` are the fields as people write them.

    Saying again what is so already changes nothing. Raises NotFound, StateConflict for a code another station has,
    and Invalid naming the fields.
    """
    values, faults = sheet.values_of(dict(texts))
    if faults:
        raise Invalid(
            errors={name: [message % figures if figures else message] for name, (message, figures) in faults.items()}
        )
    with transaction():
        same_code = db.session.scalar(
            select(PickupStation).where(PickupStation.code == values["code"]).with_for_update()
        )
        if station_id is None:
            if same_code is not None:
                raise StateConflict("这个编号已经有了。", extra={"errors": {"code": ["这个编号已经有了。"]}})
            return _add(values, actor_id=actor_id, now=now)
        row = db.session.get(PickupStation, station_id, with_for_update=True, populate_existing=True)
        if row is None:
            raise NotFound("没有这个自提点。")
        if same_code is not None and same_code.id != station_id:
            raise StateConflict("这个编号已经有了。", extra={"errors": {"code": ["这个编号已经有了。"]}})
        _change(row, values, actor_id=actor_id, now=now)
        return station_id


def open_or_close(*, station_id: int | None, is_open: bool, actor_id: int, now: datetime) -> None:
    """Offer a station to members, or no longer. Orders placed for it stay as they are. Raises NotFound."""
    with transaction():
        row = (
            db.session.get(PickupStation, station_id, with_for_update=True, populate_existing=True)
            if station_id is not None
            else None
        )
        if row is None:
            raise NotFound("没有这个自提点。")
        _change(row, {"is_open": is_open}, actor_id=actor_id, now=now)


def bring_in(*, rows: Rows, partial: bool, actor_id: int, now: datetime) -> dict[str, Any]:
    """Make and change stations by a spreadsheet: all its rows or none, or the good rows only if asked.

    A station that is not in the sheet stays as it is; the same sheet twice changes nothing. Returns how many rows were
    accepted and rejected, each fault with its row, and of the accepted which are new, changed and unchanged.
    """
    good, faults, total = sheet.check(rows)
    done: list[dict[str, Any]] = []
    if not faults or partial:
        with transaction():
            known = {
                row.code: row
                for row in db.session.scalars(
                    select(PickupStation).with_for_update().execution_options(populate_existing=True)
                )
            }
            for one in good:
                row = known.get(one.values["code"])
                if row is None:
                    _add(one.values, actor_id=actor_id, now=now)
                    what = "added"
                else:
                    what = "changed" if _change(row, one.values, actor_id=actor_id, now=now) else "unchanged"
                done.append({"row": one.row, "code": one.values["code"], "what": what})
    return {
        "accepted": len(done),
        "rejected": len({fault.row for fault in faults}) if partial else total - len(done),
        "errors": [fault.__dict__ for fault in _sorted(faults)],
        "rows": done,
        **{what: sum(one["what"] == what for one in done) for what in ("added", "changed", "unchanged")},
    }


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.row)


def _add(values: Mapping[str, Any], *, actor_id: int, now: datetime) -> int:
    row = PickupStation(**values)
    db.session.add(row)
    db.session.flush()
    audit.record("station.add", f"station:{row.id}", actor_id=actor_id, now=now, after=dict(values))
    return row.id


def _change(row: PickupStation, values: Mapping[str, Any], *, actor_id: int, now: datetime) -> bool:
    before, after = audit.changed({name: getattr(row, name) for name in FIELDS}, values)
    if not after:
        return False
    for name, value in after.items():
        setattr(row, name, value)
    db.session.flush()
    audit.record("station.change", f"station:{row.id}", actor_id=actor_id, now=now, before=before, after=after)
    return True
