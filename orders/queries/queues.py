"""What waits for an operator: how much of each, and since when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from finance.settlement import queries as settlement_queries
from kernel import jobs
from kernel.db import db
from orders.models import Order, Parcel
from orders.queries import refunds as refund_queries
from orders.summary_models import ProofRun
from people import message_queries
from people import queries as people_queries
from voices import queries as voice_queries

PROOF_JOB = "proof"  # the kind of job that runs one


@dataclass(frozen=True)
class Queue:
    """One queue, by name; `oldest` is since when the first in it waits."""

    name: str
    count: int
    oldest: datetime | None


def queues(*, ship_seconds: int, now: datetime) -> list[Queue]:
    """Return every queue, those that are empty too, in the order an operator works them off: money first."""
    money = gateway_queries.waiting_since()
    found = {
        "mismatches": money["mismatches"],
        "disputes": money["disputes"],
        "transfers": money["transfers"],
        "lines": money["lines"],
        "send_back": money["refunds"],
        "refunds": refund_queries.escalated_since(now=now),
        "statements": settlement_queries.disputed_since(),
        "packs": catalog_queries.waiting_since(),
        "parcels": _overdue(now - timedelta(seconds=ship_seconds)),
        "messages": message_queries.unsure_since(),
        **voice_queries.waiting_since(now=now),
        "jobs": jobs.failed_since(),
    }
    return [Queue(name, count, oldest) for name, (count, oldest) in found.items()]


def _overdue(late: datetime) -> tuple[int, datetime | None]:
    merchant_ids = [one.id for one in people_queries.merchants()]
    count, oldest = db.session.execute(
        select(func.count(), func.min(Order.paid_at))
        .select_from(Parcel)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.merchant_id.in_(merchant_ids), Parcel.status == "to_ship", Order.paid_at <= late)
    ).one()
    return count, oldest


def proof(kind: str, *, limit: int = 10) -> dict[str, Any]:
    """Return what a page shows of a proof: its last runs, newest first, who asked, whether one is under way."""
    runs = db.session.scalars(
        select(ProofRun)
        .where(ProofRun.kind == kind)
        .order_by(ProofRun.id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()
    return {
        "kind": kind,
        "runs": runs,
        "names": people_queries.names([run.asked_by for run in runs]),
        "is_open": jobs.is_open(PROOF_JOB, {"kind": kind}),
    }
