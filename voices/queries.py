"""Reads of announcements, questions and ratings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from catalog import queries as catalog_queries
from kernel.db import db
from kernel.errors import NotFound
from kernel.paging import Page, page_of
from voices.models import Announcement, Question, Rating
from voices.rules import is_overdue


@dataclass(frozen=True)
class QuestionView:
    """A question as those who may read it see it; who asked is not part of it.

    `overdue`: it waits past its promise. `is_news`: answered, and who asked has not seen it.
    """

    id: int
    pack_id: int | None
    pack_name: str
    pack_name_en: str
    order_id: int | None
    merchant_id: int | None
    words: str
    asked_at: datetime
    due_at: datetime
    answer: str | None
    answered_as: str | None
    answered_at: datetime | None
    published_at: datetime | None
    overdue: bool
    is_news: bool = False

    @property
    def order_number(self) -> str | None:
        """订单号, where it is about an order."""
        return None if self.order_id is None else str(self.order_id)

    @property
    def late_seconds(self) -> int:
        """By how much it was answered after the promise; 0 where it was in time, or is not answered."""
        if self.answered_at is None or self.answered_at <= self.due_at:
            return 0
        return int((self.answered_at - self.due_at).total_seconds())

    @property
    def is_published(self) -> bool:
        """Whether everybody may read it."""
        return self.published_at is not None


@dataclass(frozen=True)
class RatingView:
    """A rating: stars, words and what became of them; who gave it is not part of it."""

    id: int
    order_id: int
    line_no: int
    pack_id: int
    pack_name: str
    pack_name_en: str
    stars: int
    words: str
    status: str
    rated_at: datetime

    @property
    def order_number(self) -> str:
        """订单号."""
        return str(self.order_id)


def announcements(*, now: datetime, campaign_id: int | None = None, limit: int = 50) -> Sequence[Announcement]:
    """Return the announcements that hold now (of one campaign and of all, if given): pinned first, then newest."""
    query = select(Announcement).where(Announcement.starts_at <= now, Announcement.ends_at > now)
    if campaign_id is not None:
        query = query.where((Announcement.campaign_id == campaign_id) | Announcement.campaign_id.is_(None))
    query = query.order_by(Announcement.is_pinned.desc(), Announcement.starts_at.desc(), Announcement.id.desc())
    return db.session.scalars(query.limit(limit).execution_options(populate_existing=True)).all()


def announcement(announcement_id: int | None, *, now: datetime | None) -> Announcement:
    """Return an announcement that holds `now`, or (None) whenever it held; raise NotFound."""
    query = select(Announcement).where(Announcement.id == announcement_id)
    if now is not None:
        query = query.where(Announcement.starts_at <= now, Announcement.ends_at > now)
    found = db.session.scalar(query.execution_options(populate_existing=True)) if announcement_id is not None else None
    if found is None:
        raise NotFound("没有这条公告。")
    return found


def all_announcements(*, limit: int, before: int | None = None) -> Page[Announcement]:
    """Return every announcement, the newest first."""
    query = select(Announcement).order_by(Announcement.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Announcement.id < before)
    rows = db.session.scalars(query.execution_options(populate_existing=True)).all()
    return page_of(rows, limit=limit, key=lambda row: row.id)


def _names(pack_ids: Iterable[int | None]) -> dict[int, Any]:
    wanted = {pack_id for pack_id in pack_ids if pack_id is not None}
    return catalog_queries.names_of(wanted) if wanted else {}


def _questions(query: Select[tuple[Question]], *, now: datetime) -> list[QuestionView]:
    rows = db.session.scalars(query.execution_options(populate_existing=True)).all()
    names = _names(row.pack_id for row in rows)
    views = []
    for row in rows:
        name, name_en = names.get(row.pack_id or 0, ("", ""))
        views.append(
            QuestionView(
                id=row.id,
                pack_id=row.pack_id,
                pack_name=name,
                pack_name_en=name_en,
                order_id=row.order_id,
                merchant_id=row.merchant_id,
                words=row.words,
                asked_at=row.asked_at,
                due_at=row.due_at,
                answer=row.answer,
                answered_as=row.answered_as,
                answered_at=row.answered_at,
                published_at=row.published_at,
                overdue=is_overdue(row.due_at, row.answered_at, now=now),
                is_news=row.answered_at is not None and row.seen_at is None,
            )
        )
    return views


def _page(query: Select[tuple[Question]], *, limit: int, before: int | None, now: datetime) -> Page[QuestionView]:
    query = query.order_by(Question.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Question.id < before)
    return page_of(_questions(query, now=now), limit=limit, key=lambda view: view.id)


def questions_of_member(
    member_id: int | None, *, order_id: int | None = None, limit: int, before: int | None = None, now: datetime
) -> Page[QuestionView]:
    """Return what a member asked, the newest first, about one order if named."""
    query = select(Question).where(Question.member_id == member_id)
    if order_id is not None:
        query = query.where(Question.order_id == order_id)
    return _page(query, limit=limit, before=before, now=now)


def questions_on_pack(pack_id: int, *, limit: int = 20, before: int | None = None, now: datetime) -> Page[QuestionView]:
    """Return the questions on a pack that everybody may read, the newest first."""
    query = select(Question).where(Question.pack_id == pack_id, Question.published_at.is_not(None))
    return _page(query, limit=limit, before=before, now=now)


def question_of_member(question_id: int, *, member_id: int | None, now: datetime) -> QuestionView:
    """Return an own question; raise NotFound."""
    return _one(select(Question).where(Question.id == question_id, Question.member_id == member_id), now=now)


def question(question_id: int | None, *, merchant_id: int | None = None, now: datetime) -> QuestionView:
    """Return a question (of a merchant's, if given); raise NotFound."""
    query = select(Question).where(Question.id == question_id)
    return _one(query if merchant_id is None else query.where(Question.merchant_id == merchant_id), now=now)


def _one(query: Select[tuple[Question]], *, now: datetime) -> QuestionView:
    found = _questions(query, now=now)
    if not found:
        raise NotFound("没有这个问题。")
    return found[0]


def questions_to(
    merchant_id: int | None, *, status: str | None = None, limit: int, before: int | None = None, now: datetime
) -> Page[QuestionView]:
    """Return the questions to a merchant, or (None) all, the newest first.

    `status` may be 'open', 'overdue', 'answered' or 'late' (answered, but after the promise).
    """
    query = select(Question)
    if merchant_id is not None:
        query = query.where(Question.merchant_id == merchant_id)
    if status == "late":
        query = query.where(Question.answered_at > Question.due_at)
    elif status == "answered":
        query = query.where(Question.answered_at.is_not(None))
    elif status in ("open", "overdue"):
        query = query.where(Question.answered_at.is_(None))
        query = query.where(Question.due_at <= now) if status == "overdue" else query
    return _page(query, limit=limit, before=before, now=now)


def count_open(merchant_id: int | None = None, *, now: datetime) -> tuple[int, int]:
    """Return how many questions wait for a merchant (None: all), and how many of them past their promise."""
    late = func.count().filter(Question.due_at <= now)
    query = select(func.count(), late).where(Question.answered_at.is_(None))
    if merchant_id is not None:
        query = query.where(Question.merchant_id == merchant_id)
    count, overdue = db.session.execute(query).one()
    return int(count), int(overdue)


def count_news(member_id: int) -> int:
    """Return how many of a member's questions were answered and not seen since."""
    news = (Question.member_id == member_id, Question.answered_at.is_not(None), Question.seen_at.is_(None))
    return db.session.scalar(select(func.count()).where(*news)) or 0


def count_late(merchant_id: int | None = None, *, since: datetime) -> int:
    """Return how many questions (to a merchant, or all) were answered since then, but after the promise."""
    query = select(func.count()).where(Question.answered_at >= since, Question.answered_at > Question.due_at)
    if merchant_id is not None:
        query = query.where(Question.merchant_id == merchant_id)
    return db.session.scalar(query) or 0


def waiting_since(*, now: datetime) -> dict[str, tuple[int, datetime | None]]:
    """Return what waits for an operator, how much of each and since when.

    `questions`: asked of the union itself. `late_answers`: merchants' past their promise, to be urged. `words`: of
    ratings, to be looked at.
    """
    late = (Question.merchant_id.is_not(None), Question.due_at <= now)
    to_us = Question.merchant_id.is_(None)
    row = db.session.execute(
        select(
            func.count().filter(to_us),
            func.min(Question.asked_at).filter(to_us),
            func.count().filter(*late),
            func.min(Question.due_at).filter(*late),
        ).where(Question.answered_at.is_(None))
    ).one()
    words = db.session.execute(select(func.count(), func.min(Rating.rated_at)).where(Rating.status == "waiting")).one()
    return {"questions": (row[0], row[1]), "late_answers": (row[2], row[3]), "words": (words[0], words[1])}


def _ratings(query: Select[tuple[Rating]], *, limit: int, before: int | None) -> Page[RatingView]:
    query = query.order_by(Rating.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Rating.id < before)
    rows = db.session.scalars(query.execution_options(populate_existing=True)).all()
    names = _names(row.pack_id for row in rows)
    views = [
        RatingView(
            row.id,
            row.order_id,
            row.line_no,
            row.pack_id,
            *names.get(row.pack_id, ("", "")),
            row.stars,
            row.words,
            row.status,
            row.rated_at,
        )
        for row in rows
    ]
    return page_of(views, limit=limit, key=lambda view: view.id)


def words_on_pack(pack_id: int, *, limit: int = 20, before: int | None = None) -> Page[RatingView]:
    """Return the ratings of a pack whose words an operator let be seen, the newest first."""
    return _ratings(
        select(Rating).where(Rating.pack_id == pack_id, Rating.status == "shown"), limit=limit, before=before
    )


def ratings_of_member(member_id: int | None, *, limit: int, before: int | None = None) -> Page[RatingView]:
    """Return a member's own ratings, the newest first."""
    return _ratings(select(Rating).where(Rating.member_id == member_id), limit=limit, before=before)


def all_said_by(member_id: int | None) -> tuple[Sequence[Question], Sequence[Rating]]:
    """Return every question and rating of a member, the newest first: their own copy."""
    questions = select(Question).where(Question.member_id == member_id).order_by(Question.id.desc())
    ratings = select(Rating).where(Rating.member_id == member_id).order_by(Rating.id.desc())
    fresh = {"populate_existing": True}
    return (
        db.session.scalars(questions.execution_options(**fresh)).all(),
        db.session.scalars(ratings.execution_options(**fresh)).all(),
    )


def ratings_by_pack(member_id: int | None, pack_ids: Iterable[int]) -> dict[int, RatingView]:
    """Return a member's own ratings of some packs, by pack, whichever order they were given for."""
    wanted = select(Rating).where(Rating.member_id == member_id, Rating.pack_id.in_(set(pack_ids)))
    return {view.pack_id: view for view in _ratings(wanted, limit=1000, before=None).items}


def rating_of_member(rating_id: int, *, member_id: int | None) -> RatingView:
    """Return an own rating; raise NotFound."""
    found = _ratings(select(Rating).where(Rating.id == rating_id, Rating.member_id == member_id), limit=1, before=None)
    if not found.items:
        raise NotFound("没有这条评价。")
    return found.items[0]


def ratings(*, status: str | None, limit: int, before: int | None = None) -> Page[RatingView]:
    """Return ratings with words for an operator, the newest first; of one `status` if named."""
    query = select(Rating).where(Rating.status != "none" if status is None else Rating.status == status)
    return _ratings(query, limit=limit, before=before)


def count_waiting_words() -> int:
    """Return how many ratings' words wait for an operator."""
    return db.session.scalar(select(func.count()).where(Rating.status == "waiting")) or 0


def rating_breaches() -> list[str]:
    """Return each pack whose kept summary is not the sum of its ratings."""
    said = {
        pack_id: (count, int(stars))
        for pack_id, count, stars in db.session.execute(
            select(Rating.pack_id, func.count(), func.sum(Rating.stars)).group_by(Rating.pack_id)
        )
    }
    kept = catalog_queries.rating_sums()
    return [
        f"ratings: pack {pack_id}: kept {kept.get(pack_id, (0, 0))}, given {said.get(pack_id, (0, 0))}"
        for pack_id in sorted(kept.keys() | said.keys())
        if kept.get(pack_id, (0, 0)) != said.get(pack_id, (0, 0))
    ]
