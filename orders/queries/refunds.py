"""Reads of refunds: what buyers asked back, what merchants and the operator have to answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select

from kernel.db import UtcDateTime, db
from kernel.errors import NotFound
from kernel.ids import as_id
from kernel.paging import Page, page_of
from orders.models import Order, OrderRefund, RefundLine, RefundPart, RefundPicture
from orders.queries.parcels import lines_of
from orders.rules import GiveBack, Line, give_back, refund_status
from voucher import queries as voucher_queries


@dataclass(frozen=True)
class PartView:
    """One merchant's part of a refund; amounts in fen, an estimate until it is accepted.

    `restocked` says how many units of a line came back to the merchant and are sold again, by line number.
    """

    refund_id: int
    order_id: int
    merchant_id: int
    merchant_name: str
    merchant_name_en: str
    parcel_no: int
    shipped: bool
    status: str
    reason: str
    cash_fen: int
    voucher_fen: int
    asked_at: datetime
    due_at: datetime | None
    decided_at: datetime | None
    decline_reason: str | None
    appealed_at: datetime | None
    appeal_reason: str | None
    final: bool
    lines: tuple[tuple[Line, int], ...]
    pictures: tuple[str, ...] = ()
    restocked: Mapping[int, int] = field(default_factory=dict)

    @property
    def gone(self) -> dict[int, int]:
        """Of each line's units, by line number, how many have left the merchant: what could come back and be sold."""
        return {line.line_no: max(0, units - line.to_send) for line, units in self.lines}


@dataclass(frozen=True)
class RefundView:
    """A refund as its buyer sees it. `voucher_to` is where the value goes: 'balance', 'budget' or None."""

    id: int
    order_id: int
    reason: str
    asked_at: datetime
    parts: tuple[PartView, ...]
    voucher_to: str | None = None

    @property
    def status(self) -> str:
        """What became of it as a whole."""
        return refund_status([part.status for part in self.parts])

    @property
    def cash_back_fen(self) -> int:
        """What comes back to the buyer of all parts that were not declined."""
        return sum(part.cash_fen for part in self.parts if part.status != "declined")

    @property
    def voucher_back_fen(self) -> int:
        """What comes back to the voucher of all parts that were not declined."""
        return sum(part.voucher_fen for part in self.parts if part.status != "declined")


def _views(rows: Sequence[Row[Any]]) -> list[PartView]:
    if not rows:
        return []
    refund_ids = {row.RefundPart.refund_id for row in rows}
    lines = {
        (order_id, line.line_no): line
        for order_id, own in lines_of({row.OrderRefund.order_id for row in rows}).items()
        for line in own
    }
    units: dict[tuple[int, int], list[tuple[int, int]]] = {}
    restocked: dict[tuple[int, int], dict[int, int]] = {}
    for line in db.session.scalars(
        select(RefundLine)
        .where(RefundLine.refund_id.in_(refund_ids))
        .order_by(RefundLine.line_no)
        .execution_options(populate_existing=True)
    ):
        units.setdefault((line.refund_id, line.merchant_id), []).append((line.line_no, line.quantity))
        restocked.setdefault((line.refund_id, line.merchant_id), {})[line.line_no] = line.restocked
    pictures: dict[int, list[str]] = {}
    for refund_id, name in db.session.execute(
        select(RefundPicture.refund_id, RefundPicture.name)
        .where(RefundPicture.refund_id.in_(refund_ids))
        .order_by(RefundPicture.added_at)
    ):
        pictures.setdefault(refund_id, []).append(name)
    views = []
    for row in rows:
        part, refund = row.RefundPart, row.OrderRefund
        own = tuple(
            (lines[refund.order_id, line_no], count) for line_no, count in units[part.refund_id, part.merchant_id]
        )
        views.append(
            PartView(
                refund_id=part.refund_id,
                order_id=refund.order_id,
                merchant_id=part.merchant_id,
                merchant_name=own[0][0].merchant_name,
                merchant_name_en=own[0][0].merchant_name_en,
                parcel_no=part.parcel_no,
                shipped=part.shipped,
                status=part.status,
                reason=refund.reason,
                cash_fen=part.cash_fen,
                voucher_fen=part.voucher_fen,
                asked_at=refund.asked_at,
                due_at=part.due_at,
                decided_at=part.decided_at,
                decline_reason=part.decline_reason,
                appealed_at=part.appealed_at,
                appeal_reason=part.appeal_reason,
                final=part.final,
                lines=own,
                pictures=tuple(pictures.get(part.refund_id, ())),
                restocked=restocked[part.refund_id, part.merchant_id],
            )
        )
    return views


def _parts() -> Select[Any]:
    return (
        select(RefundPart, OrderRefund)
        .join(OrderRefund, OrderRefund.id == RefundPart.refund_id)
        .execution_options(populate_existing=True)
    )


def parts_of(refund_ids: Iterable[int]) -> list[PartView]:
    """Return the merchants' parts of refunds."""
    query = _parts().where(RefundPart.refund_id.in_(set(refund_ids)))
    return _views(db.session.execute(query.order_by(RefundPart.refund_id, RefundPart.parcel_no)).all())


def part_of_merchant(refund: str, *, merchant_id: int | None) -> PartView:
    """Return a merchant's part of a refund; raise NotFound, also for another's."""
    query = _parts().where(RefundPart.refund_id == as_id(refund), RefundPart.merchant_id == merchant_id)
    found = _views(db.session.execute(query).all())
    if not found:
        raise NotFound("没有这个退款申请。")
    return found[0]


def parts_of_merchant(
    merchant_id: int | None, *, status: str | None, limit: int, before: int | None = None
) -> Page[PartView]:
    """Return what a merchant was asked to take back, newest first."""
    query = _parts().where(RefundPart.merchant_id == merchant_id)
    if status is not None:
        query = query.where(RefundPart.status == status)
    if before is not None:
        query = query.where(RefundPart.refund_id < before)
    rows = db.session.execute(query.order_by(RefundPart.refund_id.desc()).limit(limit + 1)).all()
    page = page_of(rows, limit=limit, key=lambda row: row.RefundPart.refund_id)
    return Page(items=_views(page.items), next_cursor=page.next_cursor)


def _for_operator(now: datetime) -> ColumnElement[bool]:
    late = (RefundPart.status == "requested") & (RefundPart.due_at <= now)
    appealed = (RefundPart.status == "declined") & RefundPart.appealed_at.is_not(None) & RefundPart.final.is_(False)
    return or_(late, appealed)


def escalated_since(*, now: datetime) -> tuple[int, datetime | None]:
    """Return how many parts of refunds an operator has to answer, and since when the first of them does."""
    since = func.coalesce(RefundPart.appealed_at, RefundPart.due_at, type_=UtcDateTime)
    count, oldest = db.session.execute(select(func.count(), func.min(since)).where(_for_operator(now))).one()
    return count, oldest


def asked_and_escalated(*, now: datetime) -> list[Select[tuple[int]]]:
    """Return two statements that count: parts of refunds merchants have to answer, and those an operator has."""
    asked = select(func.count()).where(RefundPart.status == "requested")
    return [asked, select(func.count()).select_from(RefundPart).where(_for_operator(now))]


def parts_for_operator(*, now: datetime, limit: int = 200) -> list[PartView]:
    """Return what an operator answers: parts a merchant left too long, and those that were appealed."""
    query = _parts().where(_for_operator(now)).order_by(RefundPart.refund_id).limit(limit)
    return _views(db.session.execute(query).all())


def refunds_of(order_id: int) -> list[RefundView]:
    """Return an order's refunds, the oldest first."""
    rows = db.session.scalars(select(OrderRefund).where(OrderRefund.order_id == order_id).order_by(OrderRefund.id))
    refunds = list(rows)
    parts = parts_of(row.id for row in refunds)
    return [
        RefundView(
            id=row.id,
            order_id=row.order_id,
            reason=row.reason,
            asked_at=row.asked_at,
            parts=tuple(part for part in parts if part.refund_id == row.id),
        )
        for row in refunds
    ]


def refund(refund_id: int, *, now: datetime) -> RefundView:
    """Return a refund, with where its voucher value goes."""
    row = db.session.get_one(OrderRefund, refund_id)
    view = next(one for one in refunds_of(row.order_id) if one.id == refund_id)
    return replace(view, voucher_to=voucher_goes_to(row.order_id, now=now))


def voucher_goes_to(order_id: int, *, now: datetime) -> str | None:
    """Return where an order's discount goes when it is given back: 'balance', 'budget', or None without one."""
    voucher_id, discount_fen, kind = db.session.execute(
        select(Order.voucher_id, Order.discount_fen, Order.buyer_kind).where(Order.id == order_id)
    ).one()
    if not discount_fen:
        return None
    if kind == "union" or voucher_id is None:
        return "budget"
    return "balance" if voucher_queries.voucher(voucher_id, now=now).status == "active" else "budget"


def back_of(units: Sequence[tuple[Line, int]]) -> GiveBack:
    """Return what giving these units back now would bring, in fen."""
    backs = [
        give_back(
            amount_fen=line.amount_fen,
            discount_fen=line.discount_fen,
            quantity=line.quantity,
            before=line.refunded,
            units=more,
        )
        for line, more in units
    ]
    return GiveBack(sum(back.cash_fen for back in backs), sum(back.voucher_fen for back in backs))
