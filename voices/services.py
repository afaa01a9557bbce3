"""Announcing, answering, publishing and moderating: one transaction each."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update

from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.ids import new_id
from people import telling
from people.telling import Notice
from voices.models import Announcement, Question, Rating
from voices.queries import QuestionView
from voices.rules import MODERATION

MERCHANT, OPERATOR = "merchant", "operator"


def announce(*, announcement_id: int | None, details: Mapping[str, Any], actor_id: int, now: datetime) -> int:
    """Write an announcement (None), or change some of one; return its id.

    `details` are the fields of `Announcement`. Raises NotFound, Invalid where it would end before it begins.
    """
    with transaction():
        row = Announcement(id=new_id(), written_by=actor_id, written_at=now, campaign_id=None, is_pinned=False)
        if announcement_id is not None:
            found = db.session.get(Announcement, announcement_id, with_for_update=True, populate_existing=True)
            if found is None:
                raise NotFound("没有这条公告。")
            row = found
        names = [name for name in details if name in Announcement.__table__.columns]
        before, after = audit.changed({name: getattr(row, name) for name in names}, details)
        if not after:
            return row.id
        for name, value in after.items():
            setattr(row, name, value)
        if row.starts_at >= row.ends_at:
            raise Invalid(errors={"ends_at": ["结束要晚于开始。"]})
        db.session.add(row)
        db.session.flush()
        action = "announcement.write" if announcement_id is None else "announcement.change"
        audit.record(action, f"announcement:{row.id}", actor_id=actor_id, now=now, before=before, after=after)
        return row.id


def take_down(*, announcement_id: int | None, actor_id: int, now: datetime) -> None:
    """End an announcement now; one that has not begun never will. Raises NotFound."""
    with transaction():
        row = (
            db.session.get(Announcement, announcement_id, with_for_update=True, populate_existing=True)
            if announcement_id is not None
            else None
        )
        if row is None:
            raise NotFound("没有这条公告。")
        if row.ends_at <= now:
            return
        if row.starts_at >= now:
            db.session.delete(row)
        else:
            row.ends_at = now
        audit.record(
            "announcement.end", f"announcement:{row.id}", actor_id=actor_id, now=now, after={"title": row.title}
        )


def answer(*, question_id: int | None, merchant_id: int | None, words: str, actor_id: int, now: datetime) -> None:
    """Answer a question, once: as its merchant, or (None) as the district union.

    The same answer again changes nothing. Raises NotFound for another merchant's, StateConflict where it is answered.
    """
    role = OPERATOR if merchant_id is None else MERCHANT
    with transaction():
        row = _question(question_id, merchant_id=merchant_id)
        if row.answer == words and row.answered_as == role:
            return
        answered = rows_changed(
            update(Question)
            .where(Question.id == row.id, Question.answer.is_(None))
            .values(answer=words, answered_as=role, answered_by=actor_id, answered_at=now)
        )
        if answered == 0:
            raise StateConflict("这个问题已经有人回答了。")
        person_id = telling.person_of(row.member_id)
        told = Notice("question.answered", str(row.id), {"question": row.words[:40]}, person_id=person_id)
        telling.tell([told], now=now)
        audit.record("question.answer", f"question:{row.id}", actor_id=actor_id, now=now, after={"as": role})


def see_answers(questions: Iterable[QuestionView], *, member_id: int | None, now: datetime) -> None:
    """Note that a member has seen the answers to their questions; where nothing of it is news, write nothing."""
    news = [one.id for one in questions if one.is_news]
    if not news:
        return
    with transaction():
        db.session.execute(
            update(Question)
            .where(
                Question.id.in_(news),
                Question.member_id == member_id,
                Question.answered_at.is_not(None),
                Question.seen_at.is_(None),
            )
            .values(seen_at=now),
            execution_options={"synchronize_session": False},
        )


def _question(question_id: int | None, *, merchant_id: int | None) -> Question:
    found = (
        db.session.get(Question, question_id, with_for_update=True, populate_existing=True)
        if question_id is not None
        else None
    )
    if found is None or (merchant_id is not None and found.merchant_id != merchant_id):
        raise NotFound("没有这个问题。")
    return found


def publish(*, question_id: int | None, shown: bool, actor_id: int, now: datetime) -> None:
    """Show a question and its answer on the pack's page, or no longer.

    Raises NotFound, StateConflict for one that is not answered or is about somebody's order.
    """
    with transaction():
        row = _question(question_id, merchant_id=None)
        if shown and (row.answer is None or row.pack_id is None or row.answer == ""):
            raise StateConflict("只有关于礼包、已经回答的问题可以公开。")
        if shown and row.member_id is None and row.published_at is None:
            raise StateConflict("提问人的个人信息已删除，这个问题不能再公开。")
        if shown == (row.published_at is not None):
            return
        row.published_at = now if shown else None
        audit.record("question.publish", f"question:{row.id}", actor_id=actor_id, now=now, after={"shown": shown})


def moderate(*, rating_id: int | None, shown: bool, actor_id: int, now: datetime) -> None:
    """Let a rating's words be seen, or hide them; its stars count either way.

    Raises NotFound, StateConflict for a rating without words.
    """
    wanted = "shown" if shown else "hidden"
    with transaction():
        row = (
            db.session.get(Rating, rating_id, with_for_update=True, populate_existing=True)
            if rating_id is not None
            else None
        )
        if row is None:
            raise NotFound("没有这条评价。")
        if row.status == wanted:
            return
        if wanted not in MODERATION[row.status]:
            raise StateConflict("这条评价没有文字，不需要审核。")
        before = row.status
        row.status, row.decided_by, row.decided_at = wanted, actor_id, now
        audit.record(
            "rating.moderate",
            f"rating:{row.id}",
            actor_id=actor_id,
            now=now,
            before={"status": before},
            after={"status": wanted},
        )
