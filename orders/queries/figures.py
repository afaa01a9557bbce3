"""Figures a monitor watches: each by one statement whose work is bounded by an index or by small tables."""

from datetime import datetime

from sqlalchemy import case, func, select

from kernel.db import db
from orders.models import Order, WebhookDelivery
from orders.summary_models import OrderDay, ProofRun, SalesDay, SummaryBook, VoucherSums

OPEN = ("pending_payment", "approved")  # what the index of due orders holds
PROOFS = ("check", "reconcile", "verify")


def open_orders(*, now: datetime) -> dict[str, tuple[int, int, datetime | None]]:
    """Return by open status: how many orders, the discount they hold (fen), when the first that is due was due."""
    due = case((Order.expires_at <= now, Order.expires_at))
    rows = db.session.execute(
        select(Order.status, func.count(), func.sum(Order.discount_fen), func.min(due))
        .where(Order.status.in_(OPEN))
        .group_by(Order.status)
    )
    found = {status: (count, int(held_fen), first) for status, count, held_fen, first in rows}
    return {status: found.get(status, (0, 0, None)) for status in OPEN}


def webhooks_waiting() -> tuple[int, datetime | None]:
    """Return how many webhooks are still to be delivered, and since when the first waits."""
    waiting = select(func.count(), func.min(WebhookDelivery.made_at)).where(WebhookDelivery.status == "waiting")
    count, oldest = db.session.execute(waiting).one()
    return count, oldest


def summarized() -> tuple[datetime | None, dict[str, int]]:
    """Return since when the summaries are up to date, and what they say in all: orders, fen, by what."""
    book = select(SummaryBook.id).where(SummaryBook.is_current).scalar_subquery()
    sums = {
        "placed": (OrderDay.placed, OrderDay.part == "all"),
        "paid": (OrderDay.paid, OrderDay.part == "all"),
        "refunded": (OrderDay.refunds, OrderDay.part == "all"),
        "sales_fen": (SalesDay.sales_fen, None),
        "discount_fen": (SalesDay.subsidy_fen, None),
        "issued_fen": (VoucherSums.issued_fen, None),
        "held_fen": (VoucherSums.held_fen, None),
        "redeemed_fen": (VoucherSums.redeemed_fen, None),
        "expired_fen": (VoucherSums.expired_fen, None),
        "revoked_fen": (VoucherSums.revoked_fen, None),
    }
    columns = []
    for column, condition in sums.values():
        query = select(func.coalesce(func.sum(column), 0)).where(column.class_.book_id == book)
        columns.append((query if condition is None else query.where(condition)).scalar_subquery())
    as_of = select(SummaryBook.as_of).where(SummaryBook.is_current).scalar_subquery()
    row = db.session.execute(select(as_of, *columns)).one()
    return row[0], {name: int(value) for name, value in zip(sums, row[1:], strict=True)}


def proofs() -> dict[str, tuple[int, datetime]]:
    """Return of each kind of proof that has run: what its last run found, and when it ended."""
    last = select(func.max(ProofRun.id)).where(ProofRun.kind.in_(PROOFS)).group_by(ProofRun.kind)
    rows = db.session.execute(select(ProofRun.kind, ProofRun.count, ProofRun.ended_at).where(ProofRun.id.in_(last)))
    return {kind: (count, ended_at) for kind, count, ended_at in rows}
