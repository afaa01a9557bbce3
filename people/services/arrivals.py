"""Bringing people and organizations in."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select

from kernel.db import Base, db, transaction
from people.models import GrassrootsUnion, Honour, Member, Merchant, Person, PickupStation, SeatRow


def bring_in(
    *,
    unions: Sequence[dict[str, Any]],
    merchants: Sequence[dict[str, Any]],
    members: Sequence[dict[str, Any]],
    honours: Sequence[dict[str, Any]],
    stations: Sequence[dict[str, Any]],
    staff: Sequence[dict[str, Any]],
) -> dict[str, int]:
    """Bring organizations and people in, in one transaction; what is there already stays as it is.

    Members name their union by `union_code`; staff name their organization by `union_code`, `merchant_code` or
    `station_code`.
    Returns how many of each kind are new.
    """
    with transaction():
        made = {
            "unions": _add_new(GrassrootsUnion, "code", unions),
            "merchants": _add_new(Merchant, "code", merchants),
            "stations": _add_new(PickupStation, "code", stations),
            "people": _add_new(
                Person, "phone", [{"name": row["name"], "phone": row["phone"]} for row in (*members, *staff)]
            ),
        }
        person_of = {phone: person_id for phone, person_id in db.session.execute(select(Person.phone, Person.id))}
        union_of = {code: key for code, key in db.session.execute(select(GrassrootsUnion.code, GrassrootsUnion.id))}
        merchant_of = {code: key for code, key in db.session.execute(select(Merchant.code, Merchant.id))}
        station_of = {code: key for code, key in db.session.execute(select(PickupStation.code, PickupStation.id))}
        made["members"] = _add_new(
            Member,
            "member_no",
            [
                {
                    "person_id": person_of[row["phone"]],
                    "member_no": row["member_no"],
                    "union_id": union_of[row["union_code"]],
                    "department": row.get("department", ""),
                    "joined_on": row.get("joined_on"),
                }
                for row in members
            ],
        )
        known = {tuple(row) for row in db.session.execute(select(Honour.kind, Honour.phone))}
        fresh = [row for row in honours if (row["kind"], row["phone"]) not in known]
        if fresh:
            db.session.execute(insert(Honour), fresh)
        made["honours"] = len(fresh)
        made["seats"] = _seat_staff(
            staff, person_of=person_of, union_of=union_of, merchant_of=merchant_of, station_of=station_of
        )
    return made


def _add_new(model: type[Base], key: str, rows: Sequence[dict[str, Any]]) -> int:
    column = getattr(model, key)
    known = set(db.session.scalars(select(column)))
    fresh = {row[key]: row for row in rows if row[key] not in known}
    if fresh:
        db.session.execute(insert(model), list(fresh.values()))
    return len(fresh)


def _seat_staff(
    staff: Sequence[dict[str, Any]],
    *,
    person_of: dict[str, int],
    union_of: dict[str, int],
    merchant_of: dict[str, int],
    station_of: dict[str, int],
) -> int:
    live = select(SeatRow.person_id, SeatRow.role, SeatRow.union_id, SeatRow.merchant_id, SeatRow.station_id).where(
        SeatRow.ended_at.is_(None)
    )
    known = {tuple(row) for row in db.session.execute(live)}
    wanted = [
        (
            person_of[row["phone"]],
            row["role"],
            union_of.get(row.get("union_code", "")),
            merchant_of.get(row.get("merchant_code", "")),
            station_of.get(row.get("station_code", "")),
        )
        for row in staff
    ]
    fresh = [seat for seat in wanted if seat not in known]
    for person_id, role, union_id, merchant_id, station_id in fresh:
        db.session.add(
            SeatRow(person_id=person_id, role=role, union_id=union_id, merchant_id=merchant_id, station_id=station_id)
        )
    return len(fresh)
