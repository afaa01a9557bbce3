"""Seats and staff sign-in names: granted and ended by operators, never by oneself."""

import secrets
from datetime import datetime

from sqlalchemy import func, insert, select, update

from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Forbidden, Invalid, NotFound, StateConflict
from people import queries
from people.models import Credential, GrassrootsUnion, Merchant, Person, PickupStation, SeatRow, SignIn
from people.rules import APPROVER, MERCHANT, OFFICER, OPERATOR, SEATS, STATION, normal_phone
from people.services.entry import hasher


def grant_seat(*, phone: str, name: str, role: str, organization_id: int | None, actor_id: int, now: datetime) -> int:
    """Give a person a seat and return the person's id; a person not known yet is entered by name and phone.

    Raises Invalid for a role or organization that is none, Forbidden for one's own seat, StateConflict where the
    person has it.
    """
    number = normal_phone(phone)
    if number is None:
        raise Invalid("请填写 11 位手机号。", errors={"phone": ["请填写 11 位手机号。"]})
    if role not in SEATS:
        raise Invalid("请选择岗位。", errors={"role": ["请选择岗位。"]})
    union_id = organization_id if role in (OFFICER, APPROVER) else None
    merchant_id = organization_id if role == MERCHANT else None
    station_id = organization_id if role == STATION else None
    with transaction():
        if role in (OFFICER, APPROVER) and (union_id is None or db.session.get(GrassrootsUnion, union_id) is None):
            raise Invalid("请选择基层工会。", errors={"organization": ["请选择基层工会。"]})
        if role == MERCHANT and (merchant_id is None or db.session.get(Merchant, merchant_id) is None):
            raise Invalid("请选择商户。", errors={"organization": ["请选择商户。"]})
        if role == STATION and (station_id is None or db.session.get(PickupStation, station_id) is None):
            raise Invalid("请选择自提点。", errors={"organization": ["请选择自提点。"]})
        person = db.session.scalar(select(Person).where(Person.phone == number))
        if person is None:
            if not name.strip():
                raise Invalid("请填写姓名。", errors={"name": ["请填写姓名。"]})
            person = Person(name=name.strip()[:80], phone=number)
            db.session.add(person)
            db.session.flush()
        if person.id == actor_id:
            raise Forbidden("不能给自己授予岗位，请由另一位运营办理。")
        held = select(SeatRow.id).where(
            SeatRow.person_id == person.id,
            SeatRow.role == role,
            SeatRow.union_id.is_not_distinct_from(union_id),
            SeatRow.merchant_id.is_not_distinct_from(merchant_id),
            SeatRow.station_id.is_not_distinct_from(station_id),
            SeatRow.ended_at.is_(None),
        )
        if db.session.scalar(held) is not None:
            raise StateConflict("这个人已有这个岗位。")
        seat = SeatRow(
            person_id=person.id,
            role=role,
            union_id=union_id,
            merchant_id=merchant_id,
            station_id=station_id,
            granted_by=actor_id,
            granted_at=now,
        )
        db.session.add(seat)
        db.session.flush()
        audit.record(
            "seat.grant",
            f"person:{person.id}",
            actor_id=actor_id,
            now=now,
            after={"seat_id": seat.id, "role": role, **_organization(seat)},
        )
        return person.id


def end_seat(*, seat_id: int | None, actor_id: int, now: datetime) -> int:
    """End a seat and every sign-in of its holder; return the person's id. The last operator stays.

    Raises NotFound, and StateConflict for the last operator. Two operators ending each other's seat at once: the
    rows are locked in order, so one of them stays.
    """
    with transaction():
        operators = db.session.scalars(
            select(SeatRow.id)
            .where(SeatRow.role == OPERATOR, SeatRow.ended_at.is_(None))
            .order_by(SeatRow.id)
            .with_for_update()
        ).all()
        seat = db.session.scalar(select(SeatRow).where(SeatRow.id == seat_id, SeatRow.ended_at.is_(None)))
        if seat is None:
            raise NotFound("没有这个岗位。")
        if seat.role == OPERATOR and len(operators) <= 1:
            raise StateConflict("这是最后一位运营，不能撤销。")
        ended = rows_changed(
            update(SeatRow)
            .where(SeatRow.id == seat.id, SeatRow.ended_at.is_(None))
            .values(ended_at=now, ended_by=actor_id)
        )
        assert ended == 1
        db.session.execute(
            update(SignIn).where(SignIn.person_id == seat.person_id, SignIn.ended_at.is_(None)).values(ended_at=now)
        )
        audit.record(
            "seat.end",
            f"person:{seat.person_id}",
            actor_id=actor_id,
            now=now,
            before={"seat_id": seat.id, "role": seat.role, **_organization(seat)},
        )
        return seat.person_id


def _organization(seat: SeatRow) -> dict[str, int | None]:
    of_station = {"station_id": seat.station_id} if seat.station_id is not None else {}
    return {"union_id": seat.union_id, "merchant_id": seat.merchant_id, **of_station}


def give_password(*, person_id: int | None, login: str = "", actor_id: int | None, now: datetime) -> tuple[str, str]:
    """Give a person with a seat a first or new password, to be changed at the next sign-in; return (name, password).

    The second factor is taken off: its owner sets it up again. Raises NotFound, Invalid for a name in use, Forbidden
    for oneself.
    """
    if actor_id is not None and person_id == actor_id:
        raise Forbidden("不能重置自己的密码，请在账号页修改。")
    identity = queries.by_id(person_id) if person_id is not None else None
    if identity is None or not identity.seats:
        raise NotFound("没有这个人，或这个人没有岗位。")
    password = secrets.token_urlsafe(9)
    hashed = hasher.hash(password)
    with transaction():
        row = db.session.get(Credential, person_id, populate_existing=True)
        name = (login.strip() or (row.login if row else identity.phone)).lower()[:80]
        taken = select(Credential.person_id).where(Credential.login == name, Credential.person_id != person_id)
        if db.session.scalar(taken) is not None:
            raise Invalid("这个登录名已被使用。", errors={"login": ["这个登录名已被使用。"]})
        values = {
            "login": name,
            "password_hash": hashed,
            "must_change": True,
            "changed_at": now,
            "totp_sealed": None,
            "totp_since": None,
            "failures": 0,
            "locked_until": None,
        }
        if row is None:
            db.session.execute(insert(Credential).values(person_id=person_id, **values))
        else:
            db.session.execute(update(Credential).where(Credential.person_id == person_id).values(**values))
        db.session.execute(
            update(SignIn).where(SignIn.person_id == person_id, SignIn.ended_at.is_(None)).values(ended_at=now)
        )
        # The name may be a phone, and nothing leaves the audit: it is not written there.
        audit.record("password.give", f"person:{person_id}", actor_id=actor_id, now=now)
    return name, password


def operators() -> int:
    """Return how many operators there are."""
    query = select(func.count()).select_from(SeatRow).where(SeatRow.role == OPERATOR, SeatRow.ended_at.is_(None))
    return db.session.scalar(query) or 0


def first_operator(*, phone: str, name: str, now: datetime) -> int:
    """Seat the first operator of a new installation; return the person's id. Raises StateConflict where there is one.

    The command line's: afterwards operators seat operators.
    """
    number = normal_phone(phone)
    if number is None:
        raise Invalid("请填写 11 位手机号。", errors={"phone": ["请填写 11 位手机号。"]})
    with transaction():
        if operators():
            raise StateConflict("已有运营，请由运营授予岗位。")
        person = db.session.scalar(select(Person).where(Person.phone == number))
        if person is None:
            person = Person(name=name.strip()[:80], phone=number)
            db.session.add(person)
            db.session.flush()
        db.session.add(SeatRow(person_id=person.id, role=OPERATOR, granted_at=now))
        audit.record("seat.grant", f"person:{person.id}", actor_id=None, now=now, after={"role": OPERATOR})
        return person.id
