"""Proofs run by a job, their results kept: the conservation rules, the money against the providers, the audit's chain.

A proof may take a minute; nobody's page waits for it. It reads; only its result is written.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from kernel import audit, jobs
from kernel.clock import local
from kernel.db import db, transaction
from kernel.errors import NotFound, StateConflict
from kernel.ids import new_id
from orders import queries
from orders.queries.queues import PROOF_JOB
from orders.services import reconciling
from orders.summary_models import ProofRun

KEPT = 200  # of what a proof found; the rest is counted
Found = tuple[Sequence[str], dict[str, Any]]


def _check(_now: datetime) -> Found:
    return queries.proof(), {}


def _reconcile(now: datetime) -> Found:
    """Compare yesterday and today, and keep what each day's comparison found."""
    today = local(now).date()
    found = [reconciling.reconcile(day, now=now) for day in (today - timedelta(days=1), today)]
    lines = list(dict.fromkeys(one.text for compared in found for one in compared.differences))
    return lines, {
        "compared": sum(one.compared for one in found),
        "unchecked": sum(one.unchecked for one in found),
    }


def _verify(_now: datetime) -> Found:
    count, broken = audit.verify()
    return [broken] if broken else [], {"entries": count, "last_hash": audit.last_hash()}


PROOFS: dict[str, Callable[[datetime], Found]] = {"check": _check, "reconcile": _reconcile, "verify": _verify}


def ask(kind: str, *, actor_id: int, now: datetime) -> None:
    """Have a proof run soon; one that waits or runs already is not run twice. Raises NotFound for no such proof."""
    if kind not in PROOFS:
        raise NotFound("没有找到您要的内容。")
    with transaction():
        if not jobs.is_open(PROOF_JOB, {"kind": kind}):
            jobs.enqueue(kind=PROOF_JOB, arguments={"kind": kind}, total=1, asked_by=actor_id, now=now)


def run_job(job_id: int, arguments: dict[str, Any], now: datetime) -> bool:
    """Run a proof that was asked for (a jobs.Handler): done in one step, its result kept."""
    job = jobs.find(job_id)
    asked_by = job.asked_by if job is not None else None
    db.session.rollback()
    keep(arguments["kind"], asked_by=asked_by, now=now, job_id=job_id)
    return True


def keep(kind: str, *, asked_by: int | None, now: datetime, job_id: int | None = None) -> Found:
    """Run a proof and keep its result with who asked (None: the command line); return what it found."""
    begun = time.monotonic()
    found, said = PROOFS[kind](now)
    db.session.rollback()
    with transaction():
        _record(kind, found, said, asked_by=asked_by, begun_at=now, seconds=time.monotonic() - begun)
        if job_id is not None:
            jobs.progress(job_id, done=1)
    return found, said


def record(kind: str, found: Sequence[str], *, now: datetime) -> None:
    """Keep what a proof found that the command line ran by itself, just now."""
    db.session.rollback()
    with transaction():
        _record(kind, found, {}, asked_by=None, begun_at=now, seconds=0.0)


def _record(
    kind: str, found: Sequence[str], said: dict[str, Any], *, asked_by: int | None, begun_at: datetime, seconds: float
) -> None:
    db.session.execute(
        insert(ProofRun).values(
            id=new_id(),
            kind=kind,
            asked_by=asked_by,
            begun_at=begun_at,
            ended_at=begun_at + timedelta(seconds=seconds),
            count=len(found),
            found=list(found[:KEPT]),
            said=said,
        )
    )


def retry(job_id: int | None, *, actor_id: int, now: datetime) -> None:
    """Queue a job again that failed. Raises NotFound, StateConflict where it has not failed."""
    with transaction():
        job = jobs.find(job_id) if job_id is not None else None
        if job is None:
            raise NotFound("没有这个任务。")
        if not jobs.retry(job.id):
            raise StateConflict("只有失败的任务可以重试。")
        audit.record("job.retry", f"job:{job.id}", actor_id=actor_id, now=now, after={"kind": job.kind})
