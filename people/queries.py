"""Reads about people and organizations."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Row, ScalarSelect, Select, Subquery, bindparam, func, or_, select

from kernel.db import UtcDateTime, among, db
from kernel.errors import NotFound
from kernel.ids import digest
from kernel.statements import Statement, change, fetch
from people.models import (
    ApiToken,
    Credential,
    GrassrootsUnion,
    Honour,
    Member,
    Merchant,
    Person,
    PickupStation,
    RecoveryCode,
    SeatRow,
    SignIn,
)
from people.places import Position, centre, metres_between
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
    SeatRow.id.label("seat_id"),
    SeatRow.station_id,
)


def _identity(rows: Sequence[Row[Any]], **more: Any) -> Identity:
    first = rows[0]
    seats = tuple(
        Seat(row.role, row.union_id, row.merchant_id, row.seat_id, row.station_id)
        for row in rows
        if row.role is not None
    )
    return Identity(first.person_id, first.name, first.phone, first.member_id, first.member_union_id, seats, **more)


def _who(*conditions: ColumnElement[bool], more: Sequence[Any] = ()) -> Select[Any]:
    return (
        select(*_WHO, *more)
        .select_from(Person)
        .outerjoin(Member, (Member.person_id == Person.id) & Member.left_on.is_(None))
        .outerjoin(SeatRow, (SeatRow.person_id == Person.id) & SeatRow.ended_at.is_(None))
        .where(*conditions)
        .order_by(SeatRow.id)
    )


@dataclass(frozen=True)
class SignInView:
    """A live sign-in: how, and when it was last noted as used."""

    id: int
    method: str
    seen_at: datetime


_BY_TOKEN = Statement(
    lambda _: _who(
        ApiToken.token_hash == bindparam("token_hash"),
        ApiToken.expires_at > bindparam("now", type_=UtcDateTime),
        ApiToken.revoked_at.is_(None),
        more=(ApiToken.scopes, ApiToken.method, ApiToken.last_used_at, ApiToken.merchant_id.label("only_merchant")),
    ).join(ApiToken, ApiToken.person_id == Person.id)
)


def by_token(token: str, *, now: datetime) -> tuple[Identity, datetime | None] | None:
    """Return who a live bearer token belongs to and when it was last noted as used, by one statement."""
    rows = fetch(_BY_TOKEN, {"token_hash": digest(token), "now": now})
    if not rows:
        return None
    first = rows[0]
    identity = _identity(rows, scopes=tuple(first.scopes.split()), method=first.method)
    return identity.only_for(first.only_merchant), first.last_used_at


_BY_SIGN_IN = Statement(
    lambda _: _who(
        SignIn.token_hash == bindparam("token_hash"),
        SignIn.ended_at.is_(None),
        SignIn.idle_until > bindparam("now", type_=UtcDateTime),
        SignIn.expires_at > bindparam("now", type_=UtcDateTime),
        more=(
            SignIn.id.label("sign_in_id"),
            SignIn.method,
            SignIn.seat_id.label("chosen_id"),
            SignIn.seen_at,
        ),
    ).join(SignIn, SignIn.person_id == Person.id)
)


def by_sign_in(secret: str, *, now: datetime) -> tuple[Identity, SignInView] | None:
    """Return who is signed in by a cookie's secret, and the sign-in itself, by one statement."""
    rows = fetch(_BY_SIGN_IN, {"token_hash": digest(secret), "now": now})
    if not rows:
        return None
    first = rows[0]
    identity = _identity(rows, seat_id=first.chosen_id, method=first.method, sign_in_id=first.sign_in_id)
    return identity, SignInView(first.sign_in_id, first.method, first.seen_at)


def by_id(person_id: int) -> Identity | None:
    """Return who a person is."""
    rows = db.session.execute(_who(Person.id == person_id)).all()
    return _identity(rows) if rows else None


def by_phone(phone: str) -> Identity | None:
    """Return who signs in with a phone number."""
    rows = db.session.execute(_who(Person.phone == phone)).all()
    return _identity(rows) if rows else None


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


def union_of_members() -> Subquery:
    """Return which union each member belongs to now, as something rooms above can join: member_id, union_id."""
    return select(Member.id.label("member_id"), Member.union_id).subquery("union_of_members")


def stations(*, closed: bool = False) -> Sequence[PickupStation]:
    """Return the pickup stations that are open, or all."""
    query = select(PickupStation).order_by(PickupStation.district, PickupStation.id)
    if not closed:
        query = query.where(PickupStation.is_open)
    return db.session.scalars(query.execution_options(populate_existing=True)).all()


def station(station_id: int, *, closed: bool = False) -> PickupStation | None:
    """Return a pickup station that is open, or (`closed`) any."""
    query = select(PickupStation).where(PickupStation.id == station_id)
    if not closed:
        query = query.where(PickupStation.is_open)
    return db.session.scalar(query.execution_options(populate_existing=True))


def station_for_operator(station_id: int | None) -> PickupStation:
    """Return a pickup station, open or closed; raise NotFound."""
    query = select(PickupStation).where(PickupStation.id == station_id)
    found = db.session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFound("没有这个自提点。")
    return found


def station_names(station_id: BindParameter[int]) -> tuple[ScalarSelect[str | None], ScalarSelect[str | None]]:
    """Return an open pickup station's Chinese and English name as a statement of a room above can carry them."""

    def named(column: Any) -> ScalarSelect[str | None]:
        return select(column).where(PickupStation.id == station_id, PickupStation.is_open).scalar_subquery()

    return named(PickupStation.name), named(PickupStation.name_en)


@dataclass(frozen=True)
class Near:
    """A pickup station and how far it is in metres; None where nobody said from where, or it has no position."""

    station: PickupStation
    distance_m: int | None

    @property
    def position(self) -> Position | None:
        """Where it is."""
        row = self.station
        return None if row.lat_e6 is None or row.lon_e6 is None else Position(row.lat_e6, row.lon_e6)


def nearest_stations(*, near: str = "", here: Position | None = None) -> tuple[list[Near], Position | None]:
    """Return the open stations, the nearest first, and the place they are near to.

    The place is `here`, or the middle of the stations whose district, name or address has the words of `near`; these
    stand first. Nothing of it is kept.
    """
    found = [Near(row, None) for row in stations()]
    words = unicodedata.normalize("NFKC", near).lower().split()[:5]

    def matches(one: Near) -> bool:
        row = one.station
        text = f"{row.district} {row.name} {row.address} {row.name_en} {row.address_en}".lower()
        return bool(words) and all(word in text for word in words)

    if here is None:
        here = centre([one.position for one in found if matches(one) and one.position is not None])
    if here is not None:
        place = here
        found = [
            Near(one.station, None if one.position is None else metres_between(place, one.position)) for one in found
        ]
    order = {one.station.id: index for index, one in enumerate(found)}
    found.sort(
        key=lambda one: (
            not matches(one),
            one.distance_m is None,
            one.distance_m or 0,
            order[one.station.id],
        )
    )
    return found, here


def districts() -> list[str]:
    """Return the districts that have an open station."""
    return sorted({row.district for row in stations() if row.district})


_LOCK_MEMBER = Statement(
    lambda _: select(Member.id).where(Member.id == bindparam("member_id")).with_for_update(key_share=True)
)


def lock_member(member_id: int) -> None:
    """Let one member's orders be placed one after the other: their limits are counted behind this lock."""
    change(_LOCK_MEMBER, {"member_id": member_id})


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
    joined_since: date | None = None,
) -> Select[tuple[int]]:
    """Return the statement that selects the members of an audience: what issuing and previewing both use.

    Who left is in none.
    """
    query = select(Member.id).where(Member.left_on.is_(None))
    if everyone:
        return query
    if union_ids:
        return query.where(Member.union_id.in_(union_ids))
    if joined_since is not None:
        return query.where(Member.joined_on >= joined_since)
    if honour is not None:
        return query.where(Member.member_no.in_(select(Honour.member_no).where(Honour.kind == honour)))
    return query.where(Member.member_no.in_(member_nos))


def unknown_member_nos(member_nos: Iterable[str]) -> list[str]:
    """Return those of these numbers that no member has, or one who left, in their order."""
    listed = list(dict.fromkeys(member_nos))
    query = select(Member.member_no).where(Member.left_on.is_(None), among(Member.member_no, listed))
    known = set(db.session.scalars(query)) if listed else set()
    return [member_no for member_no in listed if member_no not in known]


def only_eligible(
    query: Select[tuple[int]],
    *,
    union_ids: Sequence[int] = (),
    joined_by: date | None = None,
    honour: str | None = None,
) -> Select[tuple[int]]:
    """Return a statement that selects members, narrowed to those a campaign is for; each limit that is given holds."""
    if union_ids:
        query = query.where(Member.union_id.in_(union_ids))
    if joined_by is not None:
        query = query.where(Member.joined_on <= joined_by)
    if honour is not None:
        query = query.where(Member.member_no.in_(select(Honour.member_no).where(Honour.kind == honour)))
    return query


def count_of(query: Select[Any]) -> int:
    """Return how many rows a statement selects."""
    return db.session.scalar(select(func.count()).select_from(query.subquery())) or 0


def login_of(person_id: int) -> str | None:
    """Return a person's staff sign-in name."""
    return db.session.scalar(select(Credential.login).where(Credential.person_id == person_id))


def has_second_factor(person_id: int) -> bool:
    """Return whether a person's second factor is set up."""
    query = select(Credential.totp_sealed).where(Credential.person_id == person_id)
    return db.session.scalar(query) is not None


def credential(person_id: int) -> Row[Any] | None:
    """Return what an account page shows of a staff sign-in: login, changed_at, totp_since, recovery codes left."""
    left = (
        select(func.count())
        .select_from(RecoveryCode)
        .where(RecoveryCode.person_id == person_id, RecoveryCode.used_at.is_(None))
        .scalar_subquery()
    )
    query = select(Credential.login, Credential.changed_at, Credential.totp_since, left.label("codes_left"))
    return db.session.execute(query.where(Credential.person_id == person_id)).one_or_none()


def sign_ins(person_id: int, *, now: datetime) -> Sequence[SignIn]:
    """Return a person's live sign-ins, the one used last first."""
    query = select(SignIn).where(
        SignIn.person_id == person_id, SignIn.ended_at.is_(None), SignIn.idle_until > now, SignIn.expires_at > now
    )
    return db.session.scalars(query.order_by(SignIn.seen_at.desc()).execution_options(populate_existing=True)).all()


def tokens(person_id: int, *, now: datetime) -> Sequence[ApiToken]:
    """Return a person's live tokens: never the token itself, of which only a hash is kept."""
    query = select(ApiToken).where(
        ApiToken.person_id == person_id, ApiToken.revoked_at.is_(None), ApiToken.expires_at > now
    )
    return db.session.scalars(query.order_by(ApiToken.id).execution_options(populate_existing=True)).all()


def seats(*, person_id: int | None = None, limit: int = 500) -> Sequence[Row[Any]]:
    """Return live seats with their holders and organizations."""
    query = (
        select(
            SeatRow.id,
            SeatRow.person_id,
            SeatRow.role,
            SeatRow.granted_at,
            Person.name,
            Person.phone,
            Credential.login,
            Credential.totp_since,
            GrassrootsUnion.name.label("union_name"),
            GrassrootsUnion.name_en.label("union_name_en"),
            Merchant.short_name.label("merchant_name"),
            Merchant.name_en.label("merchant_name_en"),
            PickupStation.name.label("station_name"),
        )
        .join(Person, Person.id == SeatRow.person_id)
        .outerjoin(Credential, Credential.person_id == Person.id)
        .outerjoin(GrassrootsUnion, GrassrootsUnion.id == SeatRow.union_id)
        .outerjoin(Merchant, Merchant.id == SeatRow.merchant_id)
        .outerjoin(PickupStation, PickupStation.id == SeatRow.station_id)
        .where(SeatRow.ended_at.is_(None))
        .order_by(SeatRow.role, SeatRow.id)
        .limit(limit)
    )
    if person_id is not None:
        query = query.where(SeatRow.person_id == person_id)
    return db.session.execute(query).all()


def find_members(words: str, *, limit: int = 20) -> Sequence[Row[Any]]:
    """Return members by phone, member number or name: what an operator looks somebody up by."""
    text = words.strip()
    query = (
        select(
            Member.id,
            Member.member_no,
            Member.left_on,
            Person.id.label("person_id"),
            Person.name,
            Person.phone,
            GrassrootsUnion.name.label("union_name"),
            GrassrootsUnion.name_en.label("union_name_en"),
        )
        .join(Person, Person.id == Member.person_id)
        .join(GrassrootsUnion, GrassrootsUnion.id == Member.union_id)
        .where(or_(Person.phone == text, Member.member_no == text, Person.name == text))
        .order_by(Member.id)
        .limit(limit)
    )
    return db.session.execute(query).all() if text else []


def members_by_phone(phones: Iterable[str]) -> dict[str, int]:
    """Return the member ids of people with these phones; who left is no member."""
    rows = db.session.execute(
        select(Person.phone, Member.id)
        .join(Member, Member.person_id == Person.id)
        .where(Person.phone.in_(set(phones)), Member.left_on.is_(None))
    )
    return {phone: member_id for phone, member_id in rows}


def honours(kind: str) -> Sequence[Honour]:
    """Return an honour roll (376 model workers)."""
    return db.session.scalars(select(Honour).where(Honour.kind == kind).order_by(Honour.id)).all()
