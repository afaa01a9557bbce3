"""Use-cases of sign-in and of bringing people and organizations in."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from kernel.db import Base, db, rows_changed, transaction
from kernel.errors import Invalid, NotFound
from kernel.ids import digest, new_secret
from people import queries
from people.models import (
    ApiToken,
    GrassrootsUnion,
    Honour,
    Member,
    Merchant,
    Person,
    PickupStation,
    SeatRow,
    SignInCode,
)
from people.rules import CODE_SECONDS, CODE_TRIES, Identity, normal_phone

TOKEN_DAYS = 90


class WrongCode(Invalid):
    """The one-time code is wrong, used, expired, or tried too often."""

    code = "wrong_code"


def ask_for_code(*, phone: str, pepper: str, now: datetime) -> tuple[str, str]:
    """Make the one live code of a phone and return (phone, code) for the sender.

    The answer is the same whether or not anybody has this phone. Raises Invalid for what is no phone number.
    """
    number = normal_phone(phone)
    if number is None:
        raise Invalid("请填写 11 位手机号。", errors={"phone": ["请填写 11 位手机号。"]})
    code = f"{secrets.randbelow(1_000_000):06d}"
    with transaction():
        db.session.execute(delete(SignInCode).where(SignInCode.phone == number))
        db.session.execute(
            insert(SignInCode).values(
                phone=number,
                code_hash=_code_hash(number, code, pepper),
                tries_left=CODE_TRIES,
                expires_at=now + timedelta(seconds=CODE_SECONDS),
            )
        )
    return number, code


def sign_in(*, phone: str, code: str, pepper: str, now: datetime) -> Identity:
    """Return who signs in with a phone's live code, which is used up; raise WrongCode otherwise."""
    number = normal_phone(phone) or ""
    with transaction():
        tried = rows_changed(
            update(SignInCode)
            .where(SignInCode.phone == number, SignInCode.tries_left > 0, SignInCode.expires_at > now)
            .values(tries_left=SignInCode.tries_left - 1)
        )
        expected = db.session.scalar(select(SignInCode.code_hash).where(SignInCode.phone == number))
        right = tried == 1 and hmac.compare_digest(expected or "", _code_hash(number, code.strip(), pepper))
        if right:
            db.session.execute(delete(SignInCode).where(SignInCode.phone == number))
    identity = queries.by_phone(number) if right else None
    if identity is None:
        raise WrongCode("验证码不正确或已过期。", errors={"code": ["验证码不正确或已过期。"]})
    return identity


def make_token(*, login: str, name: str, now: datetime) -> str:
    """Make a bearer token for a person and return it; only its hash is kept. Raises NotFound."""
    identity = queries.by_phone(normal_phone(login) or login)
    if identity is None:
        raise NotFound("没有登录名为 %(login)s 的人。", login=login)
    token = new_secret("hg_")
    with transaction():
        db.session.execute(
            insert(ApiToken).values(
                token_hash=digest(token),
                person_id=identity.person_id,
                name=name,
                created_at=now,
                expires_at=now + timedelta(days=TOKEN_DAYS),
            )
        )
    return token


def _code_hash(phone: str, code: str, pepper: str) -> str:
    # Six digits can be tried out in no time from a stolen table; the pepper is not in the table.
    return hmac.new(pepper.encode(), f"{phone}:{code}".encode(), "sha256").hexdigest()


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

    Members name their union by `union_code`; staff name their organization by `union_code` or `merchant_code`.
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
        made["seats"] = _seat_staff(staff, person_of=person_of, union_of=union_of, merchant_of=merchant_of)
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
) -> int:
    live = select(SeatRow.person_id, SeatRow.role, SeatRow.union_id, SeatRow.merchant_id).where(
        SeatRow.ended_at.is_(None)
    )
    known = {tuple(row) for row in db.session.execute(live)}
    wanted = [
        (
            person_of[row["phone"]],
            row["role"],
            union_of.get(row.get("union_code", "")),
            merchant_of.get(row.get("merchant_code", "")),
        )
        for row in staff
    ]
    fresh = [seat for seat in wanted if seat not in known]
    for person_id, role, union_id, merchant_id in fresh:
        db.session.add(SeatRow(person_id=person_id, role=role, union_id=union_id, merchant_id=merchant_id))
    return len(fresh)
