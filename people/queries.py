"""Reads about people and organizations."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, Subquery, func, select

from kernel.db import db
from kernel.ids import digest
from people.models import (
    ApiToken,
    GrassrootsUnion,
    Honour,
    Member,
    Merchant,
    Person,
    PickupStation,
    SeatRow,
)
from people.rules import Identity, Seat

_WHO = (
    Person.id.label("person_id"),
    Person.name,
    Person.phone,
    Member.id.label("member_id"),
    Member.union_id.label("member_union_id"),
    SeatRow.role,
    SeatRow.union_id,
    SeatRow.merchant_id,
)


def _identity(rows: Sequence[Row[Any]]) -> Identity | None:
    if not rows:
        return None
    first = rows[0]
    seats = tuple(Seat(row.role, row.union_id, row.merchant_id) for row in rows if row.role is not None)
    return Identity(first.person_id, first.name, first.phone, first.member_id, first.member_union_id, seats)


def _who(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*_WHO)
        .select_from(Person)
        .outerjoin(Member, Member.person_id == Person.id)
        .outerjoin(SeatRow, (SeatRow.person_id == Person.id) & SeatRow.ended_at.is_(None))
        .where(*conditions)
        .order_by(SeatRow.id)
    )


def by_token(token: str, *, now: datetime) -> Identity | None:
    """Return who a live bearer token belongs to, by one statement."""
    query = _who(ApiToken.token_hash == digest(token), ApiToken.expires_at > now).join(
        ApiToken, ApiToken.person_id == Person.id
    )
    return _identity(db.session.execute(query).all())


def by_id(person_id: int) -> Identity | None:
    """Return who a person is."""
    return _identity(db.session.execute(_who(Person.id == person_id)).all())


def by_phone(phone: str) -> Identity | None:
    """Return who signs in with a phone number."""
    return _identity(db.session.execute(_who(Person.phone == phone)).all())


def union(union_id: int | None) -> GrassrootsUnion | None:
    """Return a grassroots union."""
    return db.session.get(GrassrootsUnion, union_id) if union_id is not None else None


def unions() -> Sequence[GrassrootsUnion]:
    """Return all grassroots unions."""
    return db.session.scalars(select(GrassrootsUnion).order_by(GrassrootsUnion.code)).all()


def merchant(merchant_id: int | None) -> Merchant | None:
    """Return a merchant."""
    return db.session.get(Merchant, merchant_id) if merchant_id is not None else None


def merchants() -> Sequence[Merchant]:
    """Return all merchants."""
    return db.session.scalars(select(Merchant).order_by(Merchant.code)).all()


def merchant_table() -> Subquery:
    """Return merchants as something rooms above can join: id, code, name, short_name, region, assisted_region."""
    return select(
        Merchant.id,
        Merchant.code,
        Merchant.name,
        Merchant.short_name,
        Merchant.name_en,
        Merchant.region,
        Merchant.assisted_region,
    ).subquery("merchant_of")


def stations() -> Sequence[PickupStation]:
    """Return the pickup stations."""
    return db.session.scalars(select(PickupStation).order_by(PickupStation.code)).all()


def station(station_id: int) -> PickupStation | None:
    """Return a pickup station."""
    return db.session.get(PickupStation, station_id)


def station_name(station_id: int | None) -> ScalarSelect[str | None]:
    """Return a pickup station's name as something a statement of a room above can carry."""
    return select(PickupStation.name).where(PickupStation.id == station_id).scalar_subquery()


def lock_member(member_id: int) -> None:
    """Let one member's orders be placed one after the other: their limits are counted behind this lock."""
    db.session.execute(select(Member.id).where(Member.id == member_id).with_for_update(key_share=True))


def names(person_ids: Iterable[int | None]) -> dict[int, str]:
    """Return people's names by id."""
    wanted = {person_id for person_id in person_ids if person_id is not None}
    rows = db.session.execute(select(Person.id, Person.name).where(Person.id.in_(wanted)))
    return {person_id: name for person_id, name in rows}


def member_names(member_ids: Iterable[int | None]) -> dict[int, str]:
    """Return members' names by member id."""
    wanted = {member_id for member_id in member_ids if member_id is not None}
    rows = db.session.execute(
        select(Member.id, Person.name).join(Person, Person.id == Member.person_id).where(Member.id.in_(wanted))
    )
    return {member_id: name for member_id, name in rows}


def audience(
    *,
    everyone: bool = False,
    union_ids: Sequence[int] = (),
    member_nos: Sequence[str] = (),
    honour: str | None = None,
) -> Select[tuple[int]]:
    """Return the statement that selects the members of an audience: what issuing and previewing both use."""
    query = select(Member.id)
    if everyone:
        return query
    if union_ids:
        return query.where(Member.union_id.in_(union_ids))
    if honour is not None:
        return query.where(Member.member_no.in_(select(Honour.member_no).where(Honour.kind == honour)))
    return query.where(Member.member_no.in_(member_nos))


def count_of(query: Select[Any]) -> int:
    """Return how many rows a statement selects."""
    return db.session.scalar(select(func.count()).select_from(query.subquery())) or 0
