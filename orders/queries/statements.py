"""Statements with the names of their campaign and merchant, by the period their address names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from finance.settlement import queries as settlement_queries
from finance.settlement.queries import LineView, StatementView
from finance.settlement.rules import STATEMENT_MOVES, Figures, period_of, read_period
from kernel.db import db
from kernel.errors import Invalid, NotFound
from orders.models import OrderLine
from people import queries as people_queries
from voucher import queries as voucher_queries


@dataclass(frozen=True)
class NamedStatement:
    """A statement, and what its campaign and its merchant are called."""

    statement: StatementView
    campaign: str
    campaign_name: str
    campaign_name_en: str
    merchant_name: str
    merchant_name_en: str

    @property
    def period(self) -> str:
        """What an address calls it."""
        return period_of(self.statement.month, self.campaign)

    @property
    def figures(self) -> Figures:
        """Its figures, in fen."""
        return self.statement.figures


def _named(found: Sequence[StatementView], *, now: datetime) -> list[NamedStatement]:
    campaigns = {one.id: one for one in voucher_queries.campaigns(now=now)}
    merchants = {one.id: one for one in people_queries.merchants()}
    return [
        NamedStatement(
            statement=one,
            campaign=campaigns[one.campaign_id].slug,
            campaign_name=campaigns[one.campaign_id].name,
            campaign_name_en=campaigns[one.campaign_id].name_en or campaigns[one.campaign_id].name,
            merchant_name=merchants[one.merchant_id].name,
            merchant_name_en=merchants[one.merchant_id].name_en or merchants[one.merchant_id].name,
        )
        for one in found
    ]


def of_merchant(merchant_id: int | None, *, now: datetime) -> list[NamedStatement]:
    """Return a merchant's statements, the latest month first."""
    return _named(settlement_queries.statements(merchant_id=merchant_id or 0), now=now)


def of_period(text: str, *, merchant_id: int | None, now: datetime) -> list[NamedStatement]:
    """Return a merchant's statements of '2026-11' (all campaigns) or '2026-11-spring'; raise NotFound for none."""
    wanted = read_period(text)
    found = of_merchant(merchant_id, now=now) if wanted is not None else []
    month, slug = wanted or ("", None)
    chosen = [one for one in found if one.statement.month == month and slug in (None, one.campaign)]
    if not chosen:
        raise NotFound("没有这张结算单。")
    return chosen


def one_of_period(text: str, *, merchant_id: int | None, now: datetime) -> NamedStatement:
    """Return the one statement a period names; raise NotFound, and Invalid where the month has several campaigns'."""
    found = of_period(text, merchant_id=merchant_id, now=now)
    if len(found) > 1:
        periods = "、".join(one.period for one in found)
        raise Invalid("这个月有几张结算单，请写明是哪一张：%(periods)s。", periods=periods)
    return found[0]


def all_statements(*, status: str | None, now: datetime) -> list[NamedStatement]:
    """Return every merchant's statements (in one status), the latest month first."""
    assert status is None or status in STATEMENT_MOVES
    return [
        one
        for one in _named(settlement_queries.statements(), now=now)
        if status is None or one.statement.status == status
    ]


def by_id(statement_id: int | None, *, now: datetime) -> NamedStatement:
    """Return a closed statement; raise NotFound."""
    return _named([settlement_queries.statement(statement_id)], now=now)[0]


def lines(
    one: NamedStatement, *, figure: str | None = None, limit: int | None = None, after: int | None = None
) -> list[LineView]:
    """Return a statement's entries, the oldest first; with `figure` (rules.OPENED) those it is made of."""
    return settlement_queries.lines_of(one.statement, figure=figure, limit=limit, after=after)


@dataclass(frozen=True)
class Sold:
    """A pack of an order as it was called when it was ordered, and how many."""

    name: str
    name_en: str
    quantity: int


def packs_of(found: Sequence[LineView], *, merchant_id: int) -> dict[int, list[Sold]]:
    """Return what a merchant's packs in the orders of some entries are, by order."""
    wanted = {line.order_id for line in found if line.order_id is not None}
    rows = db.session.execute(
        select(OrderLine.order_id, OrderLine.pack_name, OrderLine.pack_name_en, OrderLine.quantity)
        .where(OrderLine.order_id.in_(wanted), OrderLine.merchant_id == merchant_id)
        .order_by(OrderLine.order_id, OrderLine.line_no)
    )
    packs: dict[int, list[Sold]] = {}
    for row in rows:
        packs.setdefault(row.order_id, []).append(Sold(row.pack_name, row.pack_name_en or row.pack_name, row.quantity))
    return packs
