"""Telling people what happened: a message written in the transaction of what it tells, once for each of them.

One INSERT, and by which channel somebody wants to be told is read within it. A thing told before is not told again: a
unique constraint says so, whoever asks. What is sent, and when, is the worker's (people.services.messages).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import bindparam, func, literal, select, true
from sqlalchemy.dialects import postgresql, sqlite

from kernel.db import db, rows_changed
from kernel.ids import new_ids
from kernel.sealing import seal
from people.models import Contact, Member, Message, SeatRow
from people.texts import KINDS

CODE, NOTICE = "code", "notice"  # a one-time code, and a message that is none
SEALED_FOR = "code"
SMS, EMAIL = "sms", "email"


@dataclass(frozen=True)
class Notice:
    """One thing to tell one person (`person_id`), or a phone nobody is known by; `thing` names what happened.

    `values` fill the kind's words (people.texts). `channel` is named only where the message is about that channel.
    """

    event: str
    thing: str
    values: Mapping[str, str]
    person_id: int | None = None
    phone: str = ""
    channel: str | None = None


def tell(notices: Iterable[Notice], *, now: datetime, key: str = "") -> int:
    """Write messages in the caller's transaction; return how many were new.

    `key` seals the values that open something: it must be given for kinds that have one.
    """
    told = [one for one in notices if one.person_id is not None or one.phone]
    if not told:
        return 0
    rows = [_row(one, row_id, now=now, key=key) for row_id, one in zip(new_ids(len(told)), told, strict=True)]
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    wanted = select(Contact.channel).where(Contact.person_id == bindparam("whose")).scalar_subquery()
    columns: dict[str, Any] = {
        name: bindparam(name, type_=getattr(Message, name).type) for name in rows[0] if name not in ("whose", "asked")
    }
    columns["channel"] = func.coalesce(bindparam("asked", type_=Message.channel.type), wanted, literal(SMS))
    return rows_changed(on_engine(cast("Any", Message.__table__)).values(columns).on_conflict_do_nothing(), rows)


def _row(one: Notice, row_id: int, *, now: datetime, key: str) -> dict[str, Any]:
    kind = KINDS[one.event]
    secret = {name: value for name, value in one.values.items() if name in kind.hidden}
    assert not secret or key, f"{one.event} has something to seal"
    return {
        "id": row_id,
        "person_id": one.person_id,
        "recipient": one.phone if one.person_id is None else f"p{one.person_id}",
        "phone": one.phone,
        "kind": NOTICE,
        "event": one.event,
        "thing": one.thing[:80],
        "details": {name: value for name, value in one.values.items() if name not in secret},
        "sealed": seal(json.dumps(secret), key=key, purpose=SEALED_FOR) if secret else "",
        "said": "",
        "status": "waiting",
        "tries": 0,
        "error": "",
        "send_at": now,
        "made_at": now,
        "whose": one.person_id,
        "asked": one.channel,
    }


def holders(role: str, *, union_id: int | None = None, merchant_id: int | None = None) -> list[int]:
    """Return the ids of the people who hold a seat now, in one organization."""
    own = SeatRow.merchant_id == merchant_id if merchant_id is not None else SeatRow.union_id == union_id
    held = select(SeatRow.person_id).where(SeatRow.role == role, own, SeatRow.ended_at.is_(None)).distinct()
    return list(db.session.scalars(held.order_by(SeatRow.person_id)))


def tell_holders(
    event: str,
    thing: str,
    values: Mapping[str, str],
    *,
    role: str,
    union_id: int | None = None,
    merchant_id: int | None = None,
    now: datetime,
) -> int:
    """Tell everybody who holds a seat in one organization, in the caller's transaction; return how many were new."""
    people = holders(role, union_id=union_id, merchant_id=merchant_id)
    return tell([Notice(event, thing, values, person_id=person_id) for person_id in people], now=now)


def person_of(member_id: int | None) -> int | None:
    """Return whose membership this is; None where there is none."""
    return db.session.scalar(select(Member.person_id).where(Member.id == member_id))


def wanting_news(member_ids: list[int]) -> dict[int, int]:
    """Return person ids by member id, of members who have not left and did not say that they want no news."""
    rows = db.session.execute(
        select(Member.id, Member.person_id)
        .outerjoin(Contact, Contact.person_id == Member.person_id)
        .where(Member.id.in_(member_ids), Member.left_on.is_(None), func.coalesce(Contact.news, true()))
    )
    return {member_id: person_id for member_id, person_id in rows}
