"""What rooms above do with a person, inside their own transaction."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from kernel.db import db
from kernel.errors import NotFound, StateConflict
from kernel.ids import new_ids
from kernel.sealing import seal
from people.models import (
    ApiToken,
    Credential,
    Honour,
    Member,
    Message,
    Person,
    RecoveryCode,
    SeatRow,
    SignIn,
    SignInCode,
)

ERASED = "已删除"
NOTICE = "notice"  # a text message that is no one-time code


def write_notices(notices: Iterable[tuple[str, str]], *, key: str, now: datetime) -> int:
    """Have text messages sent, (phone, text) each, in the caller's transaction; return how many."""
    told = list(notices)
    rows = [
        {
            "id": message_id,
            "phone": phone,
            "kind": NOTICE,
            "sealed": seal(text, key=key, purpose="code"),
            "status": "waiting",
            "send_at": now,
            "made_at": now,
        }
        for message_id, (phone, text) in zip(new_ids(len(told)), told, strict=True)
    ]
    if rows:
        db.session.execute(insert(Message), rows)
    return len(rows)


def erase_member(member_id: int | None, *, now: datetime) -> tuple[int, str]:
    """Take a member's personal data out of this room; return (person id, the phone there was).

    What stays are numbers that nobody outside can trace. Raises NotFound, and StateConflict for somebody with a seat
    or erased before.
    """
    row = db.session.execute(
        select(Member.person_id, Member.member_no, Person.phone)
        .join(Person, Person.id == Member.person_id)
        .where(Member.id == member_id)
    ).one_or_none()
    if row is None:
        raise NotFound("没有这个会员。")
    if row.phone.startswith("x"):
        raise StateConflict("这个会员的个人信息已经删除。")
    seat = select(SeatRow.id).where(SeatRow.person_id == row.person_id, SeatRow.ended_at.is_(None))
    if db.session.scalar(seat) is not None:
        raise StateConflict("这个人还有岗位，请先撤销岗位。")
    person = row.person_id
    db.session.execute(update(Person).where(Person.id == person).values(name=ERASED, phone=f"x{person}"))
    db.session.execute(
        update(Member).where(Member.id == member_id).values(member_no=f"x{member_id}", department="", joined_on=None)
    )
    db.session.execute(
        update(Honour)
        .where((Honour.phone == row.phone) | (Honour.member_no == row.member_no))
        .values(name=ERASED, phone=f"x{person}", member_no=f"x{member_id}", unit="")
    )
    db.session.execute(update(SignIn).where(SignIn.person_id == person).values(ended_at=now, address="", agent=""))
    db.session.execute(update(ApiToken).where(ApiToken.person_id == person).values(revoked_at=now, name=ERASED))
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person))
    db.session.execute(delete(Credential).where(Credential.person_id == person))
    db.session.execute(delete(SignInCode).where(SignInCode.phone == row.phone))
    db.session.execute(delete(Message).where(Message.phone == row.phone))
    return person, row.phone
