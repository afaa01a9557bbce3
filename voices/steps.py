"""What orders do with words, inside their own transaction: ask, rate, forget who said them."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from catalog import steps as catalog_steps
from kernel.clock import local
from kernel.db import db, rows_changed
from kernel.errors import StateConflict
from kernel.ids import digest, new_id
from people import telling
from people.rules import MERCHANT
from voices.models import Question, Rating


def ask(
    *,
    member_id: int,
    pack_id: int | None,
    order_id: int | None,
    merchant_id: int | None,
    words: str,
    due_at: datetime,
    now: datetime,
) -> int:
    """Write a question down and return its id. The same words about the same thing are one question."""
    once = digest(f"{member_id}:{pack_id}:{order_id}:{merchant_id}:{words}")
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    db.session.execute(
        on_engine(Question)
        .values(
            id=new_id(),
            once=once,
            member_id=member_id,
            pack_id=pack_id,
            order_id=order_id,
            merchant_id=merchant_id,
            words=words,
            asked_at=now,
            due_at=due_at,
        )
        .on_conflict_do_nothing()
    )
    question_id = db.session.scalars(select(Question.id).where(Question.once == once)).one()
    if merchant_id is not None:
        values = {"question": words[:40], "until": f"{local(due_at):%Y-%m-%d %H:%M}"}
        telling.tell_holders(
            "question.asked", str(question_id), values, role=MERCHANT, merchant_id=merchant_id, now=now
        )
    return question_id


def rate(
    *, member_id: int, order_id: int, line_no: int, pack_id: int, stars: int, words: str, now: datetime
) -> tuple[int, bool]:
    """Write a member's rating of a pack they received; return its id and whether anything changed.

    The order's row is locked by the caller. A member rates a pack once, however many orders brought it: said again,
    for this line or another order's, it takes the place of what was said. The same changes nothing, other words wait
    for an operator anew. Raises StateConflict where the line is rated as another pack already.
    """
    status = "waiting" if words else "none"
    own = _own_rating(member_id=member_id, pack_id=pack_id)
    if own is None:
        rating_id = new_id()
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        added = rows_changed(
            on_engine(Rating)
            .values(
                id=rating_id,
                order_id=order_id,
                line_no=line_no,
                pack_id=pack_id,
                member_id=member_id,
                stars=stars,
                words=words,
                status=status,
                rated_at=now,
            )
            .on_conflict_do_nothing()
        )
        if added:
            catalog_steps.note_rating(pack_id, count=1, stars=stars)
            return rating_id, True
        # Another order of the same pack was rated a moment ago (each holds its own order's row): that one is changed.
        own = _own_rating(member_id=member_id, pack_id=pack_id)
        if own is None:
            raise StateConflict("这个订单行已经评价过。")
    if (own.stars, own.words) == (stars, words):
        return own.id, False
    changed: dict[str, object] = {"stars": stars, "rated_at": now}
    if own.words != words:
        changed |= {"words": words, "status": status, "decided_by": None, "decided_at": None}
    db.session.execute(
        update(Rating).where(Rating.id == own.id).values(changed), execution_options={"synchronize_session": False}
    )
    if own.stars != stars:
        catalog_steps.note_rating(pack_id, count=0, stars=stars - own.stars)
    return own.id, True


def _own_rating(*, member_id: int, pack_id: int) -> Rating | None:
    return db.session.scalars(
        select(Rating)
        .where(Rating.pack_id == pack_id, Rating.member_id == member_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def forget_author(member_id: int, *, erased: str) -> None:
    """Take who said it out of everything a member said; what was never shown to others goes with them.

    Stars stay counted, words and questions that everybody may see stay without their author.
    """
    own = (Question.member_id == member_id, Question.published_at.is_(None))
    db.session.execute(update(Question).where(*own).values(words=erased))
    db.session.execute(
        update(Question).where(*own, Question.answer.is_not(None)).values(answer=erased),
        execution_options={"synchronize_session": False},
    )
    for question_id in db.session.scalars(select(Question.id).where(Question.member_id == member_id)).all():
        db.session.execute(
            update(Question).where(Question.id == question_id).values(member_id=None, once=f"x{question_id}")
        )
    unseen = (Rating.member_id == member_id, Rating.status.in_(("waiting", "hidden")))
    db.session.execute(update(Rating).where(*unseen).values(words="", status="none"))
    db.session.execute(update(Rating).where(Rating.member_id == member_id).values(member_id=None))
