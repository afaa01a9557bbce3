"""Use-cases of settlement: close months, answer statements, pay them, correct what was wrong on the next one."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.models import PostingRow
from finance.ledger.rules import Cause, Posting
from finance.settlement import queries
from finance.settlement.models import Statement, StatementLine
from finance.settlement.queries import StatementView
from finance.settlement.rules import CORRECTION, PAYOUT, Figures, month_for, next_month
from kernel import audit, idempotency
from kernel.clock import month_of, start_of_month
from kernel.db import db, rows_changed, transaction
from kernel.errors import NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import new_id
from kernel.money import yuan
from people import queries as people_queries
from people import telling
from people.rules import MERCHANT

CLOSE_AFTER = timedelta(hours=1)
"""How long after a month's end it is closed. What is posted later still, for that month, is on the next statement."""


def close_due(*, now: datetime) -> int:
    """Close every statement whose month is over; return how many. Twice, or by two at once, closes each once."""
    this_month = month_of(now - CLOSE_AFTER)
    closed = 0
    while waiting := _waiting(this_month):
        done = sum(_close(merchant_id, campaign_id, month, now=now) for merchant_id, campaign_id, month in waiting)
        closed += done
        if done == 0:  # another process closes the same ones
            break
    return closed


def _waiting(this_month: str) -> list[tuple[int, int, str]]:
    first = (
        select(PostingRow.merchant_id, PostingRow.campaign_id, func.min(PostingRow.at))
        .where(queries.on_statements(), queries.not_on_any(), PostingRow.at < start_of_month(this_month))
        .group_by(PostingRow.merchant_id, PostingRow.campaign_id)
    )
    closed = queries.last_closed()
    found = [
        (merchant_id, campaign_id, month_for(month_of(at), closed.get((merchant_id, campaign_id))))
        for merchant_id, campaign_id, at in db.session.execute(first)
        if merchant_id is not None and campaign_id is not None
    ]
    return sorted(one for one in found if one[2] < this_month)


def _close(merchant_id: int, campaign_id: int, month: str, *, now: datetime) -> bool:
    with transaction():
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        statement_id = new_id()
        opened = rows_changed(
            on_engine(Statement)
            .values(
                id=statement_id,
                merchant_id=merchant_id,
                campaign_id=campaign_id,
                month=month,
                status="issued",
                closed_at=now,
            )
            .on_conflict_do_nothing()
        )
        if opened == 0:
            return False
        own = select(PostingRow.id, literal(statement_id)).where(
            PostingRow.merchant_id == merchant_id,
            PostingRow.campaign_id == campaign_id,
            PostingRow.at < start_of_month(next_month(month)),
            queries.on_statements(),
            queries.not_on_any(),
        )
        db.session.execute(insert(StatementLine).from_select(["posting_id", "statement_id"], own))
        row = db.session.execute(
            select(*queries.sums())
            .join(StatementLine, StatementLine.posting_id == PostingRow.id)
            .where(StatementLine.statement_id == statement_id)
        ).one()
        figures = {name: int(getattr(row, name)) for name in queries.NAMES}
        net = Figures(**figures).net_fen
        db.session.execute(update(Statement).where(Statement.id == statement_id).values(**figures, net_fen=net))
        values = {"month": month, "amount": yuan(net)}
        telling.tell_holders(
            "statement.ready", str(statement_id), values, role=MERCHANT, merchant_id=merchant_id, now=now
        )
        after = {"merchant_id": merchant_id, "campaign_id": campaign_id, "month": month, "net_fen": net}
        audit.record("statement.close", f"statement:{statement_id}", now=now, after=after)
    return True


def confirm(one: StatementView, *, actor_id: int, now: datetime) -> StatementView:
    """A merchant says its statement is right. Raises StateConflict while its month lasts, and where it was answered."""
    return _answer(one, to="confirmed", actor_id=actor_id, reason=None, now=now)


def dispute(one: StatementView, *, reason: str, actor_id: int, now: datetime) -> StatementView:
    """A merchant says its statement is wrong, and why. Raises StateConflict as `confirm`."""
    return _answer(one, to="disputed", actor_id=actor_id, reason=reason, now=now)


def _answer(one: StatementView, *, to: str, actor_id: int, reason: str | None, now: datetime) -> StatementView:
    if one.id is None:
        raise StateConflict("这个月还没有结束，结算单还会变化。")
    with transaction():
        moved = rows_changed(
            update(Statement)
            .where(Statement.id == one.id, Statement.merchant_id == one.merchant_id, Statement.status == "issued")
            .values(
                status=to,
                answered_by=actor_id,
                answered_at=now,
                dispute_reason=func.coalesce(reason, Statement.dispute_reason),
            )
        )
        if moved == 0:
            raise StateConflict("这张结算单已经答复过。")
        _note(f"statement.{to}", one.id, actor_id=actor_id, now=now, after={"reason": reason} if reason else None)
    return queries.statement(one.id)


def reply(*, statement_id: int | None, text: str, actor_id: int, now: datetime) -> StatementView:
    """An operator answers a dispute; the merchant looks again. Raises NotFound, StateConflict."""
    one = queries.statement(statement_id)
    with transaction():
        moved = rows_changed(
            update(Statement)
            .where(Statement.id == one.id, Statement.status == "disputed")
            .values(status="issued", reply=text, replied_by=actor_id, replied_at=now)
        )
        if moved == 0:
            raise StateConflict("这张结算单没有待答复的异议。")
        _note("statement.reply", one.id, actor_id=actor_id, now=now, after={"reply": text})
    return queries.statement(one.id)


def pay(
    *, statement_id: int | None, bank_reference: str, actor_id: int, once: Once | None, now: datetime
) -> StatementView:
    """An operator has paid a confirmed statement, and says under which bank reference: on the ledger, once.

    Below zero it is the merchant that has paid. Raises NotFound, StateConflict where it is not confirmed, or is paid.
    """
    one = queries.statement(statement_id)
    with transaction():
        if idempotency.begin(once) is not None:
            return queries.statement(one.id)
        moved = rows_changed(
            update(Statement)
            .where(Statement.id == one.id, Statement.status == "confirmed")
            .values(status="paid", bank_reference=bank_reference, paid_by=actor_id, paid_at=now)
        )
        if moved == 0:
            raise StateConflict("只有商户已确认、还没有付款的结算单可以登记付款。")
        net = one.figures.net_fen
        ledger_steps.post(
            Cause(PAYOUT, str(one.id), actor_id=actor_id, reason=bank_reference), _payout(one, net), now=now
        )
        idempotency.finish(once, {"id": str(one.id), "status": "paid"})
        after = {"bank_reference": bank_reference, "net_fen": net}
        _note("statement.pay", one.id, actor_id=actor_id, now=now, after=after)
    return queries.statement(one.id)


def _payout(one: StatementView, net: int) -> list[Posting]:
    if net == 0:
        return []
    debit, credit = (ledger.MERCHANT_OWED, ledger.CASH) if net > 0 else (ledger.CASH, ledger.MERCHANT_OWED)
    return [Posting(debit, credit, abs(net), campaign_id=one.campaign_id, merchant_id=one.merchant_id)]


def correct(
    *, merchant_id: int | None, campaign_id: int, amount_fen: int, reason: str, once: Once, now: datetime
) -> Answer:
    """An operator corrects what a merchant is owed, by an entry of its own on the next statement to be closed.

    `amount_fen` is signed: above zero the merchant is owed more. Raises NotFound for an unknown merchant.
    """
    assert amount_fen != 0
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        if people_queries.merchant(merchant_id) is None:
            raise NotFound("没有这个商户。")
        sides = (ledger.SUBSIDY, ledger.MERCHANT_OWED)
        debit, credit = sides if amount_fen > 0 else sides[::-1]
        correction_id = new_id()
        ledger_steps.post(
            Cause(CORRECTION, str(correction_id), actor_id=once.person_id, reason=reason),
            [Posting(debit, credit, abs(amount_fen), campaign_id=campaign_id, merchant_id=merchant_id)],
            now=now,
        )
        after = {"campaign_id": campaign_id, "amount_fen": amount_fen, "reason": reason}
        audit.record("statement.correct", f"merchant:{merchant_id}", actor_id=once.person_id, now=now, after=after)
        return idempotency.finish(once, {"id": str(correction_id), "amount_fen": amount_fen, "reason": reason})


def _note(action: str, statement_id: int | None, *, actor_id: int, now: datetime, after: dict[str, Any] | None) -> None:
    audit.record(action, f"statement:{statement_id}", actor_id=actor_id, now=now, after=after)
