"""What orders do with payments, inside their own transaction."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.gateway.models import BankLine, Mismatch, Payment, PaymentEventRow, Reconciliation, Refund
from finance.gateway.queries import PaymentView, view_of
from finance.gateway.rules import CURRENCY, PAYMENT_MOVES, SANDBOX, Started, delay_seconds, subject_of
from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import Base, db, rows_changed, unindexed
from kernel.errors import DomainError
from kernel.ids import new_id, new_secret

ATTEMPTS = 5  # failed answers to a refund before a person looks at it
LEASE = timedelta(minutes=3)  # longer than a provider is waited for
FIRST_ASK = timedelta(minutes=5)


def _insert(table: type[Base]) -> Any:
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return on_engine(table)


def start(
    *,
    order_id: int | None,
    provider: str,
    amount_fen: int,
    now: datetime,
    start_key: str | None = None,
    closes_at: datetime | None = None,
    status: str = "pending",
) -> PaymentView:
    """Begin a payment of an order; its reference is what the money will name.

    `unmatched` is money that is here already and pays for nothing.
    """
    payment_id = new_id()
    payment = Payment(
        id=payment_id,
        order_id=order_id,
        provider=provider,
        reference=f"HG{payment_id}" if provider != SANDBOX else new_secret(),
        amount_fen=amount_fen,
        status=status,
        created_at=now,
        settled_at=now if status == "unmatched" else None,
        start_key=start_key,
        closes_at=closes_at,
        ask_at=now + FIRST_ASK if closes_at is not None else None,
    )
    db.session.add(payment)
    db.session.flush()
    return view_of(payment)


def note_start(payment_id: int, started: Started) -> None:
    """Note where the buyer pays and what the provider calls the payment."""
    db.session.execute(
        update(Payment).where(Payment.id == payment_id).values(url=started.redirect_url, session=started.session)
    )


def note_names(payment_id: int, *, session: str | None, intent: str | None) -> None:
    """Note what the provider calls a payment and its money, where it has told."""
    told = {name: value for name, value in (("session", session), ("intent", intent)) if value}
    if told:
        db.session.execute(update(Payment).where(Payment.id == payment_id).values(**told))


def by_start_key(start_key: str) -> PaymentView | None:
    """Return the payment a request began."""
    row = db.session.scalar(select(Payment).filter_by(start_key=start_key).execution_options(populate_existing=True))
    return view_of(row) if row is not None else None


def forget_start_key(payment_id: int) -> None:
    """Let the request that began a payment begin another."""
    db.session.execute(update(Payment).where(Payment.id == payment_id).values(start_key=None))


def usable(*, order_id: int, provider: str, now: datetime) -> PaymentView | None:
    """Return an order's payment of this kind that its buyer can still use, so that there is one and not two."""
    row = db.session.scalar(
        select(Payment)
        .where(
            Payment.order_id == order_id,
            Payment.provider == provider,
            Payment.status == "pending",
            (Payment.closes_at.is_(None) | ((Payment.closes_at > now + FIRST_ASK) & Payment.url.is_not(None))),
        )
        .order_by(Payment.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    return view_of(row) if row is not None else None


def store_event(*, provider: str, payload: dict[str, Any], now: datetime) -> int:
    """Keep an event as it came and return its row; one that came before changes nothing."""
    event_id = str(payload["id"])[:100]
    db.session.execute(
        _insert(PaymentEventRow)
        .values(
            provider=provider,
            event_id=event_id,
            kind=str(payload["type"])[:80],
            subject=subject_of(payload)[:255],
            payload=payload,
            received_at=now,
        )
        .on_conflict_do_nothing()
    )
    row_id = db.session.scalar(select(PaymentEventRow.id).filter_by(provider=provider, event_id=event_id))
    assert row_id is not None
    return row_id


def claim_event(event_id: int, *, now: datetime) -> bool:
    """Take a stored event to act on it in this transaction; False where it was acted on before."""
    claimed = rows_changed(
        update(PaymentEventRow)
        .where(PaymentEventRow.id == event_id, PaymentEventRow.acted_at.is_(None))
        .values(acted_at=now, error=None)
    )
    return claimed == 1


def put_event_off(event_id: int, *, error: str, now: datetime) -> int:
    """Note that acting on an event did not work; it is tried again, later each time. Return the tries so far."""
    tries = db.session.scalar(select(PaymentEventRow.tries).filter_by(id=event_id)) or 0
    later = now + timedelta(seconds=delay_seconds(tries + 1))
    db.session.execute(
        update(PaymentEventRow)
        .where(PaymentEventRow.id == event_id, PaymentEventRow.acted_at.is_(None))
        .values(tries=tries + 1, try_at=later, error=error[:300])
    )
    return tries + 1


def lock(*, payment_id: int | None) -> PaymentView | None:
    """Return a payment, locked until the transaction ends."""
    query = select(Payment).where(Payment.id == payment_id).with_for_update()
    row = db.session.scalar(query.execution_options(populate_existing=True))
    return view_of(row) if row is not None else None


def move(
    payment_id: int, *, to: str, now: datetime, confirmed_by: int | None = None, amount_fen: int | None = None
) -> bool:
    """Move a payment on; False where it is no longer where it could move from.

    `amount_fen` is what arrived, where that is another amount than was asked for.
    """
    sources = [source for source, targets in PAYMENT_MOVES.items() if to in targets and source != "refunded"]
    values: dict[str, Any] = {"status": to, "settled_at": now, "confirmed_by": confirmed_by, "ask_at": None}
    if amount_fen is not None:
        values["amount_fen"] = amount_fen
    return (
        rows_changed(update(Payment).where(Payment.id == payment_id, Payment.status.in_(sources)).values(values)) == 1
    )


def take_ask(payment_id: int, *, counted: bool, now: datetime) -> PaymentView | None:
    """Take a payment to ask its provider about it, and say when it is next asked; None where another was faster.

    Each `counted` time the next is later.
    """
    asks = db.session.scalar(select(Payment.asks).filter_by(id=payment_id)) or 0
    later = now + timedelta(seconds=delay_seconds(asks + 1, first=300))
    taken = rows_changed(
        update(Payment)
        .where(Payment.id == payment_id, Payment.status == "pending", Payment.ask_at <= now, Payment.asks == asks)
        .values(asks=asks + counted, ask_at=later)
    )
    return lock(payment_id=payment_id) if taken == 1 else None


def ask_soon(payment_id: int, *, now: datetime) -> None:
    """Let a payment's provider be asked at the next look."""
    db.session.execute(
        update(Payment).where(Payment.id == payment_id, Payment.status == "pending").values(ask_at=now),
        execution_options={"synchronize_session": False},
    )


class NothingToRefund(DomainError):
    """No payment of the order has as much left to send back."""

    code, status = "state_conflict", 409


def refund(
    *,
    order_id: int | None,
    amount_fen: int,
    cause: str,
    reason: str,
    now: datetime,
    payment_id: int | None = None,
) -> Refund:
    """Write the intent to send money of an order (of one payment, where named) back to where it came from.

    The provider is asked after the commit, under the refund's own id. Raises NothingToRefund where no payment that
    succeeded has as much left; the unique cause refuses a second intent.
    """
    query = select(Payment).where(Payment.refunded_fen + amount_fen <= Payment.amount_fen)
    if payment_id is not None:
        query = query.where(Payment.id == payment_id, Payment.status.in_(("succeeded", "unmatched")))
    else:
        query = query.where(Payment.order_id == order_id, Payment.status == "succeeded")
    payment = db.session.scalar(query.order_by(Payment.id).limit(1).with_for_update())
    taken = payment is not None and rows_changed(
        update(Payment)
        .where(Payment.id == payment.id, Payment.refunded_fen + amount_fen <= Payment.amount_fen)
        .values(refunded_fen=Payment.refunded_fen + amount_fen)
    )
    if payment is None or not taken:
        raise NothingToRefund("这个订单没有可退的付款。")
    intent = Refund(
        id=new_id(),
        payment_id=payment.id,
        order_id=order_id,
        provider=payment.provider,
        cause=cause,
        amount_fen=amount_fen,
        reason=reason,
        status="pending",
        created_at=now,
        try_at=now,
    )
    db.session.add(intent)
    db.session.flush()
    return intent


def take_refund(refund_id: int, *, now: datetime) -> bool:
    """Take a refund to ask its provider, for as long as that may take; False where it is not to be asked now."""
    taken = rows_changed(
        update(Refund)
        .where(Refund.id == refund_id, unindexed(Refund.status == "pending"), Refund.try_at <= now)
        .values(tries=Refund.tries + 1, try_at=now + LEASE)
    )
    return taken == 1


def put_refund_off(refund_id: int, *, error: str | None, reference: str | None, now: datetime) -> None:
    """Ask a refund's provider again later: it did not answer, or has not finished."""
    tries = db.session.scalar(select(Refund.tries).filter_by(id=refund_id)) or 1
    seconds = delay_seconds(tries) if error else delay_seconds(tries, first=3600, most=86400)
    values: dict[str, Any] = {"try_at": now + timedelta(seconds=seconds), "error": error[:300] if error else None}
    if reference:
        values["reference"] = reference
    db.session.execute(
        update(Refund).where(Refund.id == refund_id, unindexed(Refund.status == "pending")).values(values)
    )


def refund_did_not_go(refund_id: int, *, attempt: int, error: str, now: datetime) -> str | None:
    """Note that the provider said no to this attempt; return what the refund is now, None where that was known.

    It is tried again as another attempt, later each time, then `failed`: for a person to look at.
    """
    row = db.session.execute(select(Refund.attempt, Refund.status).where(Refund.id == refund_id)).one()
    if row.attempt != attempt or row.status == "failed":
        return None
    came_back = row.status == "succeeded"
    status = "failed" if came_back or attempt + 1 >= ATTEMPTS else "pending"
    noted = rows_changed(
        update(Refund)
        .where(Refund.id == refund_id, Refund.attempt == attempt, Refund.status == row.status)
        .values(
            status=status,
            attempt=attempt + 1,
            try_at=now + timedelta(seconds=delay_seconds(attempt + 1, first=60)),
            error=error[:300],
            reference=None,
            settled_at=None,
        )
    )
    if noted == 0:
        return None
    if came_back:
        payment_id = db.session.scalar(select(Refund.payment_id).where(Refund.id == refund_id))
        was = "succeeded" if _pays_for_order(payment_id) else "unmatched"
        db.session.execute(
            update(Payment).where(Payment.id == payment_id, Payment.status == "refunded").values(status=was)
        )
    return "came_back" if came_back else status


def _pays_for_order(payment_id: int | None) -> bool:
    unmatched = select(Mismatch.id).where(Mismatch.payment_id == payment_id, Mismatch.kind != "refund_failed")
    return db.session.scalar(unmatched.limit(1)) is None


def retry_refund(refund_id: int | None, *, now: datetime) -> bool:
    """Let a refund that failed be sent once more; False where it is not failed."""
    again = rows_changed(
        update(Refund)
        .where(Refund.id == refund_id, Refund.status == "failed")
        .values(status="pending", try_at=now, error=None)
    )
    return again == 1


def settle_refund(
    refund_id: int | None, *, campaign_id: int | None, now: datetime, reference: str | None = None
) -> list[Posting]:
    """Record that a refund's money has gone back; nothing where it was recorded before."""
    settled = rows_changed(
        update(Refund)
        .where(Refund.id == refund_id, Refund.status != "succeeded")
        .values(status="succeeded", settled_at=now, reference=reference, error=None)
    )
    if settled == 0:
        return []
    payment_id, amount_fen = db.session.execute(
        select(Refund.payment_id, Refund.amount_fen).where(Refund.id == refund_id)
    ).one()
    waiting = select(Refund.id).where(Refund.payment_id == payment_id, Refund.status != "succeeded").exists()
    db.session.execute(
        update(Payment)
        .where(Payment.id == payment_id, Payment.refunded_fen == Payment.amount_fen, ~waiting)
        .values(status="refunded"),
        execution_options={"synchronize_session": False},
    )
    return [Posting(ledger.REFUND_DUE, ledger.CASH, amount_fen, campaign_id=campaign_id)]


def note_first_confirmation(payment_id: int, *, actor_id: int | None) -> None:
    """Note the first of two people who confirm a large transfer."""
    db.session.execute(update(Payment).where(Payment.id == payment_id).values(first_confirmed_by=actor_id))


def open_mismatch(
    *,
    cause: str,
    kind: str,
    provider: str,
    amount: int,
    reference: str,
    now: datetime,
    currency: str = CURRENCY,
    payment_id: int | None = None,
    order_id: int | None = None,
    refund_id: int | None = None,
    expected_fen: int | None = None,
    detail: str = "",
) -> None:
    """Put something that does not match where a person will see it; once for its cause, however often it is told."""
    db.session.execute(
        _insert(Mismatch)
        .values(
            id=new_id(),
            cause=cause[:300],
            kind=kind,
            provider=provider,
            payment_id=payment_id,
            order_id=order_id,
            refund_id=refund_id,
            amount=amount,
            currency=currency[:3],
            expected_fen=expected_fen,
            reference=reference[:255],
            detail=detail[:300],
            opened_at=now,
            note="",
        )
        .on_conflict_do_nothing()
    )


def close_mismatch(mismatch_id: int | None, *, note: str, actor_id: int | None, now: datetime) -> bool:
    """Close something that did not match, with what was done; False where it was closed before."""
    closed = rows_changed(
        update(Mismatch)
        .where(Mismatch.id == mismatch_id, Mismatch.closed_at.is_(None))
        .values(closed_at=now, closed_by=actor_id, note=note[:200])
    )
    return closed == 1


def tell_mismatch(cause: str, *, detail: str, closed: bool, now: datetime) -> None:
    """Say the latest of something that does not match; `closed` where nothing is left to do."""
    values: dict[str, Any] = {"detail": detail[:300]} | ({"closed_at": now, "note": detail[:200]} if closed else {})
    db.session.execute(
        update(Mismatch).where(Mismatch.cause == cause[:300], Mismatch.closed_at.is_(None)).values(values)
    )


def close_refund_mismatches(refund_id: int | None, *, note: str, now: datetime) -> None:
    """Close what was open about a refund that has gone through after all."""
    db.session.execute(
        update(Mismatch)
        .where(Mismatch.refund_id == refund_id, Mismatch.closed_at.is_(None))
        .values(closed_at=now, note=note[:200])
    )


def add_line(
    *,
    serial: str,
    booked_on: date,
    amount_fen: int,
    counterparty: str,
    text: str,
    actor_id: int | None,
    now: datetime,
) -> int | None:
    """Keep a statement's line and return its id; None where it was imported before."""
    line_id = new_id()
    added = rows_changed(
        _insert(BankLine)
        .values(
            id=line_id,
            serial=serial[:80],
            booked_on=booked_on,
            amount_fen=amount_fen,
            counterparty=counterparty[:120],
            text=text[:300],
            status="new" if amount_fen > 0 else "out",
            note="",
            imported_by=actor_id,
            imported_at=now,
        )
        .on_conflict_do_nothing(index_elements=["serial"])
    )
    return line_id if added == 1 else None


def move_line(
    line_id: int, *, sources: tuple[str, ...], to: str, payment_id: int | None = None, note: str = ""
) -> bool:
    """Move a statement line on; False where it is not in one of `sources`."""
    values: dict[str, Any] = {"status": to} | ({"note": note[:200]} if note else {})
    if payment_id is not None:
        values["payment_id"] = payment_id
    return (
        rows_changed(update(BankLine).where(BankLine.id == line_id, BankLine.status.in_(sources)).values(values)) == 1
    )


def move_lines_of(payment_id: int, *, sources: tuple[str, ...], to: str) -> None:
    """Move all statement lines of a payment that are in one of `sources`."""
    db.session.execute(
        update(BankLine).where(BankLine.payment_id == payment_id, BankLine.status.in_(sources)).values(status=to)
    )


def note_first_decision(line_id: int, *, actor_id: int) -> None:
    """Note the first of two people who decide on a large line."""
    db.session.execute(update(BankLine).where(BankLine.id == line_id).values(first_decided_by=actor_id))


def keep_reconciliation(
    *, day: date, compared: int, unchecked: int, differences: list[dict[str, Any]], now: datetime
) -> None:
    """Keep what reconciling a day found, in place of what an earlier run of it found."""
    found = {"ran_at": now, "compared": compared, "unchecked": unchecked, "differences": differences}
    db.session.execute(
        _insert(Reconciliation).values(day=day, **found).on_conflict_do_update(index_elements=["day"], set_=found)
    )
