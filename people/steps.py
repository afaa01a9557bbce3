"""What rooms above do with a person, inside their own transaction."""

from datetime import datetime

from sqlalchemy import delete, select, update

from kernel.db import db
from kernel.errors import NotFound, StateConflict
from people.models import (
    ApiToken,
    Contact,
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
    db.session.execute(delete(Message).where((Message.phone == row.phone) | (Message.person_id == person)))
    db.session.execute(delete(Contact).where(Contact.person_id == person))
    return person, row.phone
