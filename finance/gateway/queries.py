"""Reads of payments, events, refunds, what does not match, statements and reconciliations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, func, or_, select

from finance.gateway.models import BankLine, Mismatch, Payment, PaymentEventRow, Reconciliation, Refund
from finance.gateway.rules import ARRIVED, BANK, CURRENCY, Movement
from kernel.clock import local, start_of_day
from kernel.db import db
from kernel.ids import first_id_at

MATCHED = ("matched", "second")
OPEN_LINES = ("short", "over", "again", "unknown", "second")


@dataclass(frozen=True)
class PaymentView:
    """A payment as its buyer and the operator see it."""

    id: int
    order_id: int | None
    provider: str
    reference: str
    amount_fen: int
    status: str
    created_at: datetime
    first_confirmed_by: int | None = None
    session: str | None = None
    intent: str | None = None
    url: str | None = None
    closes_at: datetime | None = None
    settled_at: datetime | None = None
    refunded_fen: int = 0


def view_of(row: Payment) -> PaymentView:
    """Return a payment as rooms above see it."""
    return PaymentView(
        row.id,
        row.order_id,
        row.provider,
        row.reference,
        row.amount_fen,
        row.status,
        row.created_at,
        row.first_confirmed_by,
        row.session,
        row.intent,
        row.url,
        row.closes_at,
        row.settled_at,
        row.refunded_fen,
    )


def by_reference(reference: str) -> PaymentView | None:
    """Return the payment a reference names."""
    row = db.session.scalar(select(Payment).filter_by(reference=reference).execution_options(populate_existing=True))
    return view_of(row) if row is not None else None


def find(payment_id: int | None) -> PaymentView | None:
    """Return a payment."""
    query = select(Payment).filter_by(id=payment_id).execution_options(populate_existing=True)
    row = db.session.scalar(query)
    return view_of(row) if row is not None else None


def of_order(order_id: int) -> list[PaymentView]:
    """Return an order's payments, the latest first."""
    rows = db.session.scalars(
        select(Payment)
        .filter_by(order_id=order_id)
        .order_by(Payment.id.desc())
        .execution_options(populate_existing=True)
    )
    return [view_of(row) for row in rows]


def waiting_transfers() -> list[PaymentView]:
    """Return the bank transfers an operator looks for on the statement."""
    rows = db.session.scalars(
        select(Payment)
        .where(Payment.provider == "bank_transfer", Payment.status == "pending")
        .order_by(Payment.id)
        .limit(200)
    )
    return [view_of(row) for row in rows]


def refunds_of(order_id: int) -> Sequence[Refund]:
    """Return the refunds of an order's payments, the oldest first."""
    return db.session.scalars(
        select(Refund).filter_by(order_id=order_id).order_by(Refund.id).execution_options(populate_existing=True)
    ).all()


def refund(refund_id: int | None) -> Refund | None:
    """Return a refund of money."""
    return db.session.scalar(select(Refund).filter_by(id=refund_id).execution_options(populate_existing=True))


def waiting_refunds(*, provider: str, limit: int = 200) -> Sequence[Refund]:
    """Return the refunds that are still to be sent by this way, the oldest first."""
    return db.session.scalars(
        select(Refund)
        .where(Refund.provider == provider, Refund.status != "succeeded")
        .order_by(Refund.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def failed_refunds(*, limit: int = 200) -> Sequence[Refund]:
    """Return the refunds a provider could not send however often it was asked: a person looks at them."""
    return db.session.scalars(
        select(Refund)
        .where(Refund.provider != BANK, Refund.status == "failed")
        .order_by(Refund.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def due_refunds(*, providers: Iterable[str], now: datetime, limit: int = 50) -> list[int]:
    """Return the refunds by these ways to send, or to ask about, at this moment."""
    return list(
        db.session.scalars(
            select(Refund.id)
            .where(Refund.status == "pending", Refund.provider.in_(list(providers)), Refund.try_at <= now)
            .order_by(Refund.try_at)
            .limit(limit)
        )
    )


def refund_by_reference(provider: str, reference: str) -> int | None:
    """Return the refund a provider's own name means."""
    return db.session.scalar(select(Refund.id).where(Refund.provider == provider, Refund.reference == reference))


def named(*, payment_id: int | None, session: str | None, intent: str | None) -> PaymentView | None:
    """Return the payment a provider speaks of: by our own number, or by the provider's names."""
    for column, value in ((Payment.id, payment_id), (Payment.session, session), (Payment.intent, intent)):
        if value is not None:
            query = select(Payment).where(column == value, Payment.provider != BANK).limit(1)
            row = db.session.scalar(query.execution_options(populate_existing=True))
            if row is not None:
                return view_of(row)
    return None


def to_ask(*, now: datetime, limit: int = 50) -> list[int]:
    """Return the payments whose provider is to be asked how they stand."""
    return list(
        db.session.scalars(
            select(Payment.id)
            .where(Payment.ask_at <= now, Payment.status == "pending")
            .order_by(Payment.ask_at)
            .limit(limit)
        )
    )


def event(event_id: int) -> PaymentEventRow | None:
    """Return a stored event."""
    query = select(PaymentEventRow).filter_by(id=event_id).execution_options(populate_existing=True)
    return db.session.scalar(query)


def waiting_events(*, now: datetime, limit: int = 100) -> list[int]:
    """Return the stored events that are to be acted on now, the oldest first."""
    return list(
        db.session.scalars(
            select(PaymentEventRow.id)
            .where(
                PaymentEventRow.acted_at.is_(None), or_(PaymentEventRow.try_at.is_(None), PaymentEventRow.try_at <= now)
            )
            .order_by(PaymentEventRow.id)
            .limit(limit)
        )
    )


def events_of(
    provider: str,
    *,
    subject: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[PaymentEventRow]:
    """Return a provider's events about one thing, or of a time, the oldest first."""
    query = (
        select(PaymentEventRow)
        .where(PaymentEventRow.provider == provider, PaymentEventRow.kind != "")
        .order_by(PaymentEventRow.id)
    )
    if subject is not None:
        query = query.where(PaymentEventRow.subject == subject)
    if since is not None:
        query = query.where(PaymentEventRow.received_at >= since)
    if until is not None:
        query = query.where(PaymentEventRow.received_at < until)
    return db.session.scalars(query).all()


def mismatches(*, limit: int = 200, closed: bool = False) -> Sequence[Mismatch]:
    """Return what does not match and waits for a person, the oldest first; or the latest that were closed."""
    query = select(Mismatch).limit(limit).execution_options(populate_existing=True)
    if closed:
        query = query.where(Mismatch.closed_at.is_not(None)).order_by(Mismatch.closed_at.desc())
    else:
        query = query.where(Mismatch.closed_at.is_(None)).order_by(Mismatch.id)
    return db.session.scalars(query).all()


def mismatch(mismatch_id: int | None) -> Mismatch | None:
    """Return one thing that does not match."""
    return db.session.scalar(select(Mismatch).filter_by(id=mismatch_id).execution_options(populate_existing=True))


def open_mismatches() -> int:
    """Return how many things wait for a person."""
    return db.session.scalar(select(func.count()).where(Mismatch.closed_at.is_(None))) or 0


def looked_at(reference: str) -> bool:
    """Return whether a person looked at money of this name and closed it."""
    closed = select(Mismatch.id).where(Mismatch.reference == reference, Mismatch.closed_at.is_not(None))
    return db.session.scalar(closed.limit(1)) is not None


def bank_lines(*statuses: str, limit: int = 200) -> Sequence[BankLine]:
    """Return statement lines in these states, the oldest first."""
    return db.session.scalars(
        select(BankLine)
        .where(BankLine.status.in_(statuses))
        .order_by(BankLine.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def bank_line(line_id: int | None) -> BankLine | None:
    """Return a statement line."""
    return db.session.scalar(select(BankLine).filter_by(id=line_id).execution_options(populate_existing=True))


def lines_of(payment_id: int) -> Sequence[BankLine]:
    """Return the statement lines that name a payment, the oldest first."""
    return db.session.scalars(
        select(BankLine)
        .where(BankLine.payment_id == payment_id)
        .order_by(BankLine.id)
        .execution_options(populate_existing=True)
    ).all()


def statement_movements(since: datetime, until: datetime) -> Sequence[Movement]:
    """Return the statement's lines of these days, as a provider's list; a payment's parts come as one."""
    rows = db.session.scalars(
        select(BankLine).where(
            BankLine.booked_on >= local(since).date(),
            BankLine.booked_on < local(until).date(),
            BankLine.status.not_in(("ignored", "sent_back", "new", "second")),
        )
    ).all()
    parts: dict[int, int] = {}
    found = []
    for row in rows:
        at = start_of_day(row.booked_on)
        if row.status == "matched" and row.payment_id is not None:
            parts[row.payment_id] = parts.get(row.payment_id, 0) + row.amount_fen
        elif row.status == "out":
            found.append(Movement("refund", row.serial, -row.amount_fen, CURRENCY, at, None, row.text))
        else:
            found.append(Movement("payment", row.serial, row.amount_fen, CURRENCY, at, None, row.text))
    for payment_id, amount_fen in parts.items():
        at = max(start_of_day(row.booked_on) for row in rows if row.payment_id == payment_id)
        found.append(Movement("payment", f"HG{payment_id}", amount_fen, CURRENCY, at, payment_id))
    return found


def arrived(since: datetime, until: datetime) -> list[PaymentView]:
    """Return the payments that reached us in a time."""
    rows = db.session.scalars(
        select(Payment)
        .where(Payment.settled_at >= since, Payment.settled_at < until, Payment.status.in_(ARRIVED))
        .order_by(Payment.id)
        .execution_options(populate_existing=True)
    )
    return [view_of(row) for row in rows]


def sent(since: datetime, until: datetime) -> Sequence[Refund]:
    """Return the refunds that went back in a time."""
    return db.session.scalars(
        select(Refund)
        .where(Refund.settled_at >= since, Refund.settled_at < until, Refund.status == "succeeded")
        .order_by(Refund.id)
        .execution_options(populate_existing=True)
    ).all()


def received_by_order() -> Subquery:
    """Return what arrived for each order, in fen: `order_id` (0 for none), `fen`."""
    order_id = func.coalesce(Payment.order_id, 0)
    return (
        select(order_id.label("order_id"), func.sum(Payment.amount_fen).label("fen"))
        .where(Payment.status.in_(ARRIVED))
        .group_by(order_id)
        .subquery()
    )


def sent_by_order() -> Subquery:
    """Return what was sent back of each order, in fen: `order_id` (0 for none), `fen`."""
    order_id = func.coalesce(Refund.order_id, 0)
    return (
        select(order_id.label("order_id"), func.sum(Refund.amount_fen).label("fen"))
        .where(Refund.status == "succeeded")
        .group_by(order_id)
        .subquery()
    )


def reconciliation(day: date) -> Reconciliation | None:
    """Return what reconciling a day found, the last time."""
    return db.session.get(Reconciliation, day, populate_existing=True)


def reconciliations(*, limit: int = 30) -> Sequence[Reconciliation]:
    """Return the latest days that were reconciled, newest first."""
    return db.session.scalars(
        select(Reconciliation)
        .order_by(Reconciliation.day.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def by_ids(payment_ids: Iterable[int | None]) -> dict[int, PaymentView]:
    """Return payments by their numbers."""
    rows = db.session.scalars(select(Payment).where(Payment.id.in_({one for one in payment_ids if one is not None})))
    return {row.id: view_of(row) for row in rows}


def for_a_person() -> dict[str, int]:
    """Return how much waits for an operator, by one statement: `transfers` and lines, `refunds`, `mismatches`."""
    transfers = select(func.count()).where(Payment.provider == BANK, Payment.status == "pending")
    lines = select(func.count()).where(BankLine.status.in_(OPEN_LINES))
    refunds = select(func.count()).where(
        Refund.status != "succeeded", (Refund.provider == BANK) | (Refund.status == "failed")
    )
    unsettled = select(func.count()).where(Mismatch.closed_at.is_(None))
    row = db.session.execute(select(*(one.scalar_subquery() for one in (transfers, lines, refunds, unsettled)))).one()
    return {"transfers": row[0] + row[1], "refunds": row[2], "mismatches": row[3]}


def waiting_since() -> dict[str, tuple[int, datetime | None]]:
    """Return what waits for an operator and since when, by one statement.

    `transfers`, `lines`, `refunds`, `disputes`, `mismatches` (which are no disputes).
    """
    dispute = Mismatch.kind == "dispute"
    waits: dict[str, tuple[Any, ColumnElement[bool]]] = {
        "transfers": (Payment.created_at, and_(Payment.provider == BANK, Payment.status == "pending")),
        "lines": (BankLine.imported_at, BankLine.status.in_(OPEN_LINES)),
        "refunds": (
            Refund.created_at,
            and_(Refund.status != "succeeded", or_(Refund.provider == BANK, Refund.status == "failed")),
        ),
        "disputes": (Mismatch.opened_at, and_(Mismatch.closed_at.is_(None), dispute)),
        "mismatches": (Mismatch.opened_at, and_(Mismatch.closed_at.is_(None), ~dispute)),
    }
    columns = [
        column
        for since, waiting in waits.values()
        for column in (
            select(func.count(since)).where(waiting).scalar_subquery(),
            select(func.min(since)).where(waiting).scalar_subquery(),
        )
    ]
    row = db.session.execute(select(*columns)).one()
    return {name: (row[2 * at], row[2 * at + 1]) for at, name in enumerate(waits)}


def figures() -> dict[str, Any]:
    """Return what a monitor watches: differences of the last reconciliation, what waits, what fails."""
    last = db.session.scalar(select(Reconciliation).order_by(Reconciliation.day.desc()).limit(1))
    unacted = select(func.count()).where(PaymentEventRow.acted_at.is_(None))
    failed = select(func.count()).where(Refund.status == "failed")
    lines = select(func.count()).where(BankLine.status.in_(OPEN_LINES))
    return {
        "reconcile_differences": len(last.differences) if last else 0,
        "reconcile_ran": int(last.ran_at.timestamp()) if last else 0,
        "payment_mismatches_open": open_mismatches(),
        "payment_events_waiting": db.session.scalar(unacted) or 0,
        "refunds_failed": db.session.scalar(failed) or 0,
        "bank_lines_open": db.session.scalar(lines) or 0,
    }


def lately(*, since: datetime) -> dict[tuple[str, str], int]:
    """Return how many payments begun since a moment are in each state, by provider: found by the primary key."""
    rows = db.session.execute(
        select(Payment.provider, Payment.status, func.count())
        .where(Payment.id >= first_id_at(since))
        .group_by(Payment.provider, Payment.status)
    )
    return {(provider, status): count for provider, status, count in rows}


def oldest_event() -> datetime | None:
    """Return when the oldest event came that was not acted on yet."""
    return db.session.scalar(select(func.min(PaymentEventRow.received_at)).where(PaymentEventRow.acted_at.is_(None)))
