"""Reads of statements: closed ones as they were closed, open ones as the ledger has them now; and the proof."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Label, String, and_, case, cast, func, literal, or_, select

from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from finance.ledger.models import PostingRow
from finance.settlement.models import Statement, StatementLine
from finance.settlement.rules import CORRECTION, OPENED, PAYOUT, Figures, month_for
from kernel.clock import month_of
from kernel.db import db
from kernel.errors import NotFound

NAMES = ("paid_fen", "subsidy_fen", "refund_cash_fen", "refund_subsidy_fen", "correction_fen")


@dataclass(frozen=True)
class StatementView:
    """结算单, amounts in fen; while its month lasts it is 'open', has no id, and changes with every posting."""

    id: int | None
    merchant_id: int
    campaign_id: int
    month: str
    status: str
    figures: Figures
    closed_at: datetime | None = None
    answered_at: datetime | None = None
    dispute_reason: str | None = None
    reply: str | None = None
    replied_at: datetime | None = None
    bank_reference: str | None = None
    paid_at: datetime | None = None


@dataclass(frozen=True)
class LineView:
    """One entry of the ledger on a statement."""

    posting_id: int
    at: datetime
    kind: str
    order_id: int | None
    reason: str | None
    figures: Figures


def on_statements() -> ColumnElement[bool]:
    """Return which postings statements are made of: all that a merchant is owed or gives back, but no pay-outs."""
    touches = or_(PostingRow.credit == ledger.MERCHANT_OWED, PostingRow.debit == ledger.MERCHANT_OWED)
    owned = and_(PostingRow.merchant_id.is_not(None), PostingRow.campaign_id.is_not(None))
    return and_(touches, owned, PostingRow.kind != PAYOUT)


def sums() -> list[Label[int]]:
    """Return the five figures as sums over postings, named."""
    owed, given_back = PostingRow.credit == ledger.MERCHANT_OWED, PostingRow.debit == ledger.MERCHANT_OWED
    plain = PostingRow.kind != CORRECTION
    parts = {
        "paid_fen": and_(plain, owed, PostingRow.debit == ledger.CASH),
        "subsidy_fen": and_(plain, owed, PostingRow.debit == ledger.SUBSIDY),
        "refund_cash_fen": and_(plain, given_back, PostingRow.credit.in_((ledger.REFUND_DUE, ledger.CASH))),
        "refund_subsidy_fen": and_(plain, given_back, PostingRow.credit == ledger.SUBSIDY),
    }
    signed = case((owed, PostingRow.amount), else_=-PostingRow.amount)
    columns: list[ColumnElement[Any]] = [case((part, PostingRow.amount), else_=0) for part in parts.values()]
    columns.append(case((or_(*parts.values()), 0), else_=signed))
    return [func.coalesce(func.sum(column), 0).label(name) for name, column in zip(NAMES, columns, strict=True)]


def _figures(row: Any) -> Figures:
    return Figures(**{name: int(getattr(row, name)) for name in NAMES})


def _month(moment: Any) -> ColumnElement[str]:
    """The month of a moment in Asia/Shanghai, which is eight hours ahead all year."""
    if db.session.get_bind().dialect.name == "postgresql":
        return func.to_char(func.timezone("Asia/Shanghai", moment), "YYYY-MM")
    return func.strftime("%Y-%m", cast(moment, String), "+8 hours")


def last_closed() -> dict[tuple[int, int], str]:
    """Return the last month that is closed, by merchant and campaign."""
    rows = db.session.execute(
        select(Statement.merchant_id, Statement.campaign_id, func.max(Statement.month)).group_by(
            Statement.merchant_id, Statement.campaign_id
        )
    )
    return {(merchant_id, campaign_id): month for merchant_id, campaign_id, month in rows}


def not_on_any() -> ColumnElement[bool]:
    """Return which postings are on no closed statement yet."""
    return ~select(literal(1)).where(StatementLine.posting_id == PostingRow.id).exists()


def open_statements(*, merchant_id: int | None = None) -> list[StatementView]:
    """Return what the ledger says of the months that are not closed yet (of one merchant)."""
    owner = [PostingRow.merchant_id, PostingRow.campaign_id]
    month = _month(PostingRow.at).label("month")
    query = select(*owner, month, *sums()).where(on_statements(), not_on_any()).group_by(*owner, month)
    if merchant_id is not None:
        query = query.where(PostingRow.merchant_id == merchant_id)
    closed = last_closed()
    found: dict[tuple[int, int, str], Figures] = defaultdict(Figures)
    for row in db.session.execute(query):
        owners = (row.merchant_id, row.campaign_id)
        found[*owners, month_for(row.month, closed.get(owners))] += _figures(row)
    return [
        StatementView(id=None, merchant_id=key[0], campaign_id=key[1], month=key[2], status="open", figures=figures)
        for key, figures in found.items()
    ]


def _closed(*conditions: ColumnElement[bool]) -> list[StatementView]:
    rows = db.session.scalars(
        select(Statement).where(*conditions).order_by(Statement.id).execution_options(populate_existing=True)
    )
    return [
        StatementView(
            id=row.id,
            merchant_id=row.merchant_id,
            campaign_id=row.campaign_id,
            month=row.month,
            status=row.status,
            figures=_figures(row),
            closed_at=row.closed_at,
            answered_at=row.answered_at,
            dispute_reason=row.dispute_reason,
            reply=row.reply,
            replied_at=row.replied_at,
            bank_reference=row.bank_reference,
            paid_at=row.paid_at,
        )
        for row in rows
    ]


def statements(*, merchant_id: int | None = None) -> list[StatementView]:
    """Return the statements (of one merchant), the latest month first."""
    conditions = [] if merchant_id is None else [Statement.merchant_id == merchant_id]
    found = open_statements(merchant_id=merchant_id) + _closed(*conditions)
    return sorted(found, key=lambda one: (one.month, one.campaign_id, one.merchant_id), reverse=True)


def statement(statement_id: int | None) -> StatementView:
    """Return a closed statement; raise NotFound."""
    found = _closed(Statement.id == statement_id) if statement_id is not None else []
    if not found:
        raise NotFound("没有这张结算单。")
    return found[0]


def lines_of(
    one: StatementView, *, figure: str | None = None, limit: int | None = None, after: int | None = None
) -> list[LineView]:
    """Return a statement's entries, the oldest first; of at most `limit`, those after a posting's id.

    With `figure`, one of rules.OPENED, those alone that figure is made of.
    """
    posting = func.min(PostingRow.id).label("posting_id")
    query = (
        select(
            posting,
            func.min(PostingRow.at).label("at"),
            func.min(PostingRow.kind).label("kind"),
            func.min(PostingRow.order_id).label("order_id"),
            func.min(PostingRow.reason).label("reason"),
            *sums(),
        )
        .where(PostingRow.merchant_id == one.merchant_id, PostingRow.campaign_id == one.campaign_id, on_statements())
        .group_by(PostingRow.entry)
        .order_by(posting)
    )
    if one.id is not None:
        query = query.join(StatementLine, StatementLine.posting_id == PostingRow.id).where(
            StatementLine.statement_id == one.id
        )
    else:
        closed = last_closed().get((one.merchant_id, one.campaign_id))
        month = _month(PostingRow.at)
        first = closed is not None and month_for(closed, closed) == one.month
        query = query.where(not_on_any(), month <= one.month if first else month == one.month)
    if figure is not None:
        of = {label.name: label.element for label in sums()}
        query = query.having(or_(*(of[name] != 0 for name in OPENED[figure])))
    if after is not None:
        query = query.having(func.min(PostingRow.id) > after)
    if limit is not None:
        query = query.limit(limit)
    return [
        LineView(int(row.posting_id), row.at, row.kind, row.order_id, row.reason, _figures(row))
        for row in db.session.execute(query)
    ]


def owed(merchant_id: int | None) -> int:
    """Return what the union owes a merchant now, pay-outs taken off, in fen."""
    balance = func.coalesce(
        func.sum(case((PostingRow.credit == ledger.MERCHANT_OWED, PostingRow.amount), else_=-PostingRow.amount)), 0
    )
    query = select(balance).where(
        PostingRow.merchant_id == merchant_id,
        or_(PostingRow.credit == ledger.MERCHANT_OWED, PostingRow.debit == ledger.MERCHANT_OWED),
    )
    return int(db.session.execute(query).scalar_one())


def count_to_confirm(merchant_id: int | None) -> int:
    """Return how many statements wait for a merchant's answer."""
    query = select(func.count()).where(Statement.merchant_id == merchant_id, Statement.status == "issued")
    return int(db.session.execute(query).scalar_one())


def disputed_since() -> tuple[int, datetime | None]:
    """Return how many statements merchants disputed that nobody answered, and since when the first of them."""
    query = select(func.count(), func.min(Statement.answered_at)).where(
        Statement.status == "disputed", Statement.replied_at.is_(None)
    )
    count, oldest = db.session.execute(query).one()
    return count, oldest


def total(found: Iterable[StatementView]) -> Figures:
    """Return the sum of statements' figures."""
    return sum((one.figures for one in found), start=Figures())


def breaches() -> list[str]:
    """Return where statements and ledger differ, to the fen: each line, each statement, each merchant, and all."""
    said = [f"statement {one.id}: {text}" for one, text in _wrong_statements()]
    balances = ledger_queries.balances("merchant_id", "campaign_id")
    posted = {
        (row.merchant_id, row.campaign_id): int(row.balance)
        for row in db.session.execute(select(balances).where(balances.c.account == ledger.MERCHANT_OWED))
    }
    paid_out = {(row[0], row[1]): int(row[2]) for row in db.session.execute(_paid_out())}
    stated: dict[tuple[int, int], int] = defaultdict(int)
    for one in statements():
        stated[one.merchant_id, one.campaign_id] += one.figures.net_fen
    for owners in sorted(posted.keys() | stated.keys()):
        rest = stated.get(owners, 0) - paid_out.get(owners, 0)
        if rest != posted.get(owners, 0):
            said.append(
                f"settlement: merchant {owners[0]} in campaign {owners[1]}: statements less pay-outs say {rest},"
                f" the ledger {posted.get(owners, 0)}"
            )
    everything = _whole_account()
    together = sum(stated.values()) - sum(paid_out.values())
    if together != everything:
        said.append(f"settlement: all merchants together are owed {together}, the ledger says {everything}")
    return said


def _paid_out() -> Any:
    signed = case((PostingRow.debit == ledger.MERCHANT_OWED, PostingRow.amount), else_=-PostingRow.amount)
    owner = [PostingRow.merchant_id, PostingRow.campaign_id]
    return select(*owner, func.sum(signed)).where(PostingRow.kind == PAYOUT).group_by(*owner)


def _whole_account() -> int:
    """The balance of what all merchants are owed, whatever the postings say of whose it is."""
    sides = (
        select(func.coalesce(func.sum(PostingRow.amount), 0)).where(side == ledger.MERCHANT_OWED).scalar_subquery()
        for side in (PostingRow.credit, PostingRow.debit)
    )
    credit, debit = sides
    return int(db.session.execute(select(credit - debit)).scalar_one())


def _wrong_statements() -> Iterable[tuple[Statement, str]]:
    lines = (
        select(StatementLine.statement_id, *sums())
        .join(PostingRow, PostingRow.id == StatementLine.posting_id)
        .group_by(StatementLine.statement_id)
        .subquery()
    )
    query = select(Statement, *[lines.c[name] for name in NAMES]).outerjoin(lines, lines.c.statement_id == Statement.id)
    for row in db.session.execute(query.execution_options(populate_existing=True)):
        kept, posted = _figures(row.Statement), Figures(*[int(value or 0) for value in row[1:]])
        if kept != posted:
            yield row.Statement, f"says {kept.net_fen}, its lines say {posted.net_fen}"
    strangers = (
        select(Statement, PostingRow.id.label("posting_id"))
        .join(StatementLine, StatementLine.statement_id == Statement.id)
        .join(PostingRow, PostingRow.id == StatementLine.posting_id)
        .where(
            or_(
                PostingRow.merchant_id != Statement.merchant_id,
                PostingRow.campaign_id != Statement.campaign_id,
                ~on_statements(),
            )
        )
    )
    for row in db.session.execute(strangers):
        yield row.Statement, f"has posting {row.posting_id}, which is not its merchant's"


def payout_of(statement_id: int) -> Sequence[Any]:
    """Return the posting by which a statement was paid; nothing where it was not, or nothing was owed."""
    query = select(PostingRow.debit, PostingRow.credit, PostingRow.amount, PostingRow.reason, PostingRow.at)
    return db.session.execute(query.where(PostingRow.entry == f"{PAYOUT}:{statement_id}")).all()


def this_month(now: datetime) -> str:
    """Return the month that is not over yet."""
    return month_of(now)
