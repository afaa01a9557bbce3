"""Jobs are rows of our own database, written in the transaction that causes them, so none is lost or invented.

A job's work is done in steps, each one transaction that also moves `done` on: killed anywhere, it goes on from its
last commit. A worker takes a job by a conditional UPDATE with a lease; a dead worker's lease runs out.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from sqlalchemy import Index, String, Text, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from kernel import origin
from kernel.db import Base, Id, Json, UtcDateTime, caused_by, db, rows_changed, transaction

log = logging.getLogger("huigong.jobs")

LEASE = timedelta(seconds=60)


class Job(Base):
    """Work asked for, and how far it is."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_open", "status", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    arguments: Mapped[dict[str, Any]] = mapped_column(Json)
    status: Mapped[str] = mapped_column(String(20), default="queued")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    cursor: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    asked_by: Mapped[int | None] = mapped_column(Id)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = caused_by()


Handler = Callable[[int, dict[str, Any], datetime], bool]
"""Does one step of a job, given its id, arguments and the time; returns True when nothing is left to do."""


def enqueue(*, kind: str, arguments: dict[str, Any], total: int, asked_by: int | None, now: datetime) -> int:
    """Write a job within the caller's transaction and return its id."""
    job = Job(kind=kind, arguments=arguments, total=total, asked_by=asked_by, asked_at=now)
    db.session.add(job)
    db.session.flush()
    return job.id


def find(job_id: int) -> Job | None:
    """Return a job."""
    return db.session.get(Job, job_id, populate_existing=True)


def latest(*, limit: int, status: str | None = None) -> Sequence[Job]:
    """Return the latest jobs, newest first, of one status where one is named."""
    query = select(Job).order_by(Job.id.desc()).limit(limit).execution_options(populate_existing=True)
    return db.session.scalars(query.where(Job.status == status) if status else query).all()


def is_open(kind: str, arguments: dict[str, Any]) -> bool:
    """Return whether a job of this kind with these very arguments waits or runs."""
    query = select(Job.arguments).where(Job.kind == kind, Job.status.in_(("queued", "running")))
    return arguments in db.session.scalars(query).all()


def failed_since() -> tuple[int, datetime | None]:
    """Return how many jobs failed and wait for a person, and since when the first of them was asked for."""
    count, oldest = db.session.execute(select(func.count(), func.min(Job.asked_at)).where(Job.status == "failed")).one()
    return count, oldest


def figures() -> dict[str, tuple[int, datetime | None]]:
    """Return how many jobs are queued, running and failed, and since when the first of each was asked for.

    Done ones are not counted: they grow for ever, and the index on the status finds the others without them.
    """
    states = ("queued", "running", "failed")
    rows = db.session.execute(
        select(Job.status, func.count(), func.min(Job.asked_at)).where(Job.status.in_(states)).group_by(Job.status)
    )
    found = {status: (count, oldest) for status, count, oldest in rows}
    return {status: found.get(status, (0, None)) for status in states}


def retry(job_id: int) -> bool:
    """Queue a failed job again, within the caller's transaction; it goes on from its last step. False for another."""
    again = update(Job).where(Job.id == job_id, Job.status == "failed")
    return rows_changed(again.values(status="queued", error=None, leased_until=None)) == 1


def cursor_of(job_id: int) -> int:
    """Return where a job's next step begins."""
    return db.session.scalar(select(Job.cursor).where(Job.id == job_id)) or 0


def progress(job_id: int, *, done: int, cursor: int = 0) -> None:
    """Move a job on by `done` pieces, to `cursor`, within the transaction of the step that did them."""
    db.session.execute(update(Job).where(Job.id == job_id).values(done=Job.done + done, cursor=cursor))


def take(*, now: datetime) -> tuple[int, str, dict[str, Any], str] | None:
    """Take the oldest job that nobody works on; return its id, kind, arguments and the request that asked for it."""
    free = or_(Job.leased_until.is_(None), Job.leased_until < now)
    with transaction():
        waiting = select(Job.id).where(Job.status.in_(("queued", "running")), free).order_by(Job.id).limit(5)
        for job_id in list(db.session.scalars(waiting)):
            taken = rows_changed(
                update(Job)
                .where(Job.id == job_id, Job.status.in_(("queued", "running")), free)
                .values(status="running", leased_until=now + LEASE)
            )
            if taken == 1:
                what = select(Job.kind, Job.arguments, Job.request_id).where(Job.id == job_id)
                kind, arguments, request_id = db.session.execute(what).one()
                return job_id, kind, arguments, request_id
    return None


def run_next(
    handlers: dict[str, Handler], *, clock: Callable[[], datetime], meanwhile: Callable[[], object] = lambda: None
) -> bool:
    """Run the oldest waiting job to its end; return False where there was none.

    A handler's error ends the job as 'failed' with the error's text: a person looks at it. `meanwhile` is done between
    any two steps: what cannot wait for a job of minutes. Its own failing is logged and ends nothing.
    """
    taken = take(now=clock())
    if taken is None:
        return False
    job_id, kind, arguments, request_id = taken
    began = perf_counter()
    with origin.work_of(request_id):
        about = {"job_id": job_id, "kind": kind}
        log.info("job begun", extra=about)
        try:
            while not handlers[kind](job_id, arguments, clock()):
                _renew(job_id, now=clock())
                _aside(meanwhile)
            _close(job_id, status="done", error=None)
            log.info("job done", extra={**about, "seconds": round(perf_counter() - began, 2)})
        except Exception as error:  # the boundary of the worker: whatever happened is shown on the job
            log.exception("job failed", extra=about)
            _close(job_id, status="failed", error=f"{type(error).__name__}: {error}"[:2000])
    return True


def _aside(meanwhile: Callable[[], object]) -> None:
    try:
        meanwhile()
    except Exception:  # a message that could not be sent is no fault of the job's
        log.exception("what cannot wait for a job failed")
        db.session.rollback()


def _renew(job_id: int, *, now: datetime) -> None:
    with transaction():
        db.session.execute(update(Job).where(Job.id == job_id).values(leased_until=now + LEASE))


def _close(job_id: int, *, status: str, error: str | None) -> None:
    with transaction():
        db.session.execute(update(Job).where(Job.id == job_id).values(status=status, error=error, leased_until=None))
