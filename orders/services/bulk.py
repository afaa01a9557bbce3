"""基层福利: a union's order: drafted, its roster put, submitted, decided by a second person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from catalog import queries as catalog_queries
from catalog import steps as catalog_steps
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause
from kernel import audit, idempotency
from kernel.db import db, transaction
from kernel.errors import Forbidden, Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from kernel.money import MAX_FEN
from orders import queries, roster, schemas
from orders.models import Order, Recipient
from orders.queries import OrderView
from orders.roster import Report
from orders.rules import UNION_BUYER, Line, Wanted
from orders.services.placing import close, held_quantities, make_lines, write_lines
from orders.why import Sentence, why_discount
from voucher import queries as voucher_queries
from voucher import steps as voucher_steps
from voucher.queries import CampaignView
from voucher.rules import OPEN, CampaignClosed, Purse, Quote, quote


@dataclass(frozen=True)
class PricedBulk:
    """A union's basket with its price."""

    campaign: CampaignView
    quote: Quote
    lines: tuple[Line, ...]

    @property
    def why(self) -> list[Sentence]:
        """How the price comes about."""
        left = Purse("active", self.campaign.bulk_budget_fen - self.campaign.bulk_committed_fen)
        discount_fen = self.quote.discount_fen
        return why_discount(self.campaign.offer, self.lines, discount_fen=discount_fen, purse=left, bulk=True)


@dataclass(frozen=True)
class _PackOf:
    pack_name: str
    pack_name_en: str
    picture: str
    merchant_id: int
    merchant_name: str
    merchant_name_en: str
    price_fen: int


def price(*, slug: str, wanted: Sequence[Wanted], now: datetime) -> PricedBulk:
    """试算: return what a union's order would cost now (rules.md, 'The bulk channel'). Nothing is changed."""
    campaign = voucher_queries.campaign(slug, now=now)
    if campaign.status != OPEN:
        raise CampaignClosed("活动未开始或已结束。")
    views = catalog_queries.packs_by_id(line.pack_id for line in wanted)
    offered = {
        view.id: _PackOf(
            view.name,
            view.name_en,
            view.picture,
            view.merchant.id,
            view.merchant.short_name,
            view.merchant.name_en,
            view.price_fen,
        )
        for view in views.values()
        if view.status == "on_sale" and view.price_fen in campaign.tiers_fen
    }
    errors = {
        f"lines.{index}.pack_id": ["没有这个礼包。"] for index, line in enumerate(wanted) if line.pack_id not in offered
    }
    if errors:
        raise Invalid("有礼包已下架或不存在。", errors=errors)
    amounts = tuple(offered[line.pack_id].price_fen * line.quantity for line in wanted)
    if sum(amounts) > MAX_FEN:
        raise Invalid("订单金额过大。", errors={"lines": ["订单金额过大。"]})
    left_fen = campaign.bulk_budget_fen - campaign.bulk_committed_fen
    if campaign.recipient_cap_fen is not None:
        left_fen = min(left_fen, campaign.recipient_cap_fen * sum(line.quantity for line in wanted))
    quoted = quote(campaign.offer, amounts_fen=amounts, available_fen=left_fen)
    lines = make_lines(offered, wanted, amounts=amounts, discounts=quoted.line_discounts_fen)
    return PricedBulk(campaign=campaign, quote=quoted, lines=lines)


def draft(
    *,
    slug: str,
    union_id: int | None,
    wanted: Sequence[Wanted],
    delivery: dict[str, Any],
    once: Once,
    now: datetime,
) -> Answer:
    """Begin a union's order; nothing is held yet."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        priced = price(slug=slug, wanted=wanted, now=now)
        order_id = new_id()
        db.session.execute(
            insert(Order).values(
                id=order_id,
                campaign_id=priced.campaign.id,
                buyer_kind=UNION_BUYER,
                union_id=union_id,
                placed_by=once.person_id,
                status="draft",
                step_fen=priced.campaign.offer.step_fen,
                save_fen=priced.campaign.offer.save_fen,
                subtotal_fen=priced.quote.subtotal_fen,
                discount_fen=priced.quote.discount_fen,
                payable_fen=priced.quote.payable_fen,
                delivery=delivery,
                placed_at=now,
            )
        )
        write_lines(order_id, priced.lines)
        view = queries.order_of_union(str(order_id), union_id=union_id, now=now)
        return idempotency.finish(once, schemas.BulkOrder().dump(view))


def put_roster(
    *,
    number: str,
    union_id: int | None,
    rows: Sequence[tuple[int, dict[str, str]]],
    partial: bool,
    now: datetime,
) -> dict[str, Any]:
    """Put an order's roster, in place of the one before: all of it or nothing, or the good rows only if asked.

    Raises NotFound, StateConflict once the order is submitted.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    if order.status != "draft":
        raise StateConflict("订单已提交，花名册不能再改。")
    packs = _names_of_packs(order)
    report = roster.check(rows, packs=packs)
    accepted = len(report.entries) if partial or not report.faults else 0
    if accepted:
        _store(order, report, now=now)
    return {
        "accepted": accepted,
        "rejected": report.rows - accepted,
        "errors": [fault.__dict__ for fault in report.faults],
    }


def _names_of_packs(order: OrderView) -> dict[str, int]:
    names: dict[str, int] = {}
    for view in catalog_queries.packs_by_id(line.pack_id for line in order.lines).values():
        names |= {str(view.id): view.id, view.code: view.id, view.name: view.id}
    return names


def _store(order: OrderView, report: Report, *, now: datetime) -> None:
    with transaction():
        _lock_in(order.id, ("draft",), "订单已提交，花名册不能再改。")
        db.session.execute(delete(Recipient).where(Recipient.order_id == order.id))
        db.session.execute(
            insert(Recipient),
            [
                {
                    "order_id": order.id,
                    "position": position,
                    "name": entry.name,
                    "phone": entry.phone,
                    "employee_no": entry.employee_no,
                    "department": entry.department,
                    "pack_id": entry.pack_id,
                    "address": entry.address,
                }
                for position, entry in enumerate(report.entries, start=1)
            ],
        )
        audit.record("roster.put", f"order:{order.id}", now=now, after={"people": len(report.entries)})


def _lock_in(order_id: int, statuses: tuple[str, ...], otherwise: str) -> None:
    found = db.session.scalar(
        select(Order.id).where(Order.id == order_id, Order.status.in_(statuses)).with_for_update()
    )
    if found is None:
        raise StateConflict(otherwise)


def submit(*, number: str, union_id: int | None, actor_id: int, now: datetime) -> OrderView:
    """Hand an order to the approver. Raises StateConflict, and Invalid where the roster has more people than packs."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    with transaction():
        _lock_in(order.id, ("draft",), "只有草稿可以提交。")
        people = db.session.scalar(select(func.count()).select_from(Recipient).where(Recipient.order_id == order.id))
        packs = sum(line.quantity for line in order.lines)
        if (people or 0) > packs:
            raise Invalid(
                "花名册有 %(people)s 人，礼包只有 %(packs)s 份。",
                people=people,
                packs=packs,
                errors={"roster": ["花名册人数多于礼包份数。"]},
            )
        _refuse_overallocated(order)
        db.session.execute(
            update(Order)
            .where(Order.id == order.id)
            .values(status="submitted", submitted_by=actor_id, submitted_at=now)
        )
        audit.record("order.submit", f"order:{order.id}", actor_id=actor_id, now=now)
    return queries.order_of_union(number, union_id=union_id, now=now)


def _refuse_overallocated(order: OrderView) -> None:
    """Nobody on the roster may be promised a pack the order does not have."""
    chosen = db.session.execute(
        select(Recipient.pack_id, func.count())
        .where(Recipient.order_id == order.id, Recipient.pack_id.is_not(None))
        .group_by(Recipient.pack_id)
    )
    ordered = held_quantities(order.id)
    names = {line.pack_id: line.pack_name for line in order.lines}
    for pack_id, people in chosen:
        assert pack_id is not None
        if people > ordered.get(pack_id, 0):
            raise Invalid(
                "花名册中有 %(people)s 人领取“%(name)s”，订单只有 %(packs)s 份。",
                people=people,
                name=names[pack_id],
                packs=ordered[pack_id],
                errors={"roster": ["花名册人数多于礼包份数。"]},
            )


def approve(*, number: str, union_id: int | None, actor_id: int, may_approve: bool, now: datetime) -> OrderView:
    """A second person approves: the bulk budget and the stock are held, and the payment term begins.

    Raises Forbidden for whoever submitted, StateConflict, OutOfStock naming the pack, and over_limit where the
    budget does not cover it; then nothing is held.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    _refuse_same_person(order, actor_id=actor_id, may_approve=may_approve)
    campaign = voucher_queries.campaign_by_id(order.campaign_id, now=now)
    if campaign.status != OPEN:
        raise CampaignClosed("活动未开始或已结束。")
    quantities = held_quantities(order.id)
    with transaction():
        _lock_in(order.id, ("submitted",), "只有已提交的订单可以审批。")
        db.session.execute(
            update(Order)
            .where(Order.id == order.id)
            .values(
                status="approved",
                decided_by=actor_id,
                decided_at=now,
                expires_at=now + timedelta(days=campaign.bulk_payment_days),
            )
        )
        postings = voucher_steps.hold_bulk(campaign_id=order.campaign_id, amount_fen=order.discount_fen)
        postings += catalog_steps.hold_postings(quantities)
        ledger_steps.post(Cause("hold", f"{order.id}:1", order_id=order.id, actor_id=actor_id), postings, now=now)
        catalog_steps.hold(quantities)
        audit.record(
            "order.approve", f"order:{order.id}", actor_id=actor_id, now=now, after={"payable_fen": order.payable_fen}
        )
    return queries.order_of_union(number, union_id=union_id, now=now)


def reject(
    *, number: str, union_id: int | None, actor_id: int, may_approve: bool, reason: str, now: datetime
) -> OrderView:
    """A second person sends an order back, with a reason."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    _refuse_same_person(order, actor_id=actor_id, may_approve=may_approve)
    with transaction():
        _lock_in(order.id, ("submitted",), "只有已提交的订单可以审批。")
        db.session.execute(
            update(Order)
            .where(Order.id == order.id)
            .values(status="rejected", decided_by=actor_id, decided_at=now, reject_reason=reason)
        )
        audit.record("order.reject", f"order:{order.id}", actor_id=actor_id, now=now, after={"reason": reason})
    return queries.order_of_union(number, union_id=union_id, now=now)


def _refuse_same_person(order: OrderView, *, actor_id: int, may_approve: bool) -> None:
    if order.submitted_by == actor_id:
        raise Forbidden("提交人不能审批自己提交的订单，需要另一个人。")
    if not may_approve:
        raise Forbidden("需要审批人权限。")


def cancel(*, number: str, union_id: int | None, now: datetime) -> OrderView:
    """Cancel a union's order before it is paid; what was held goes back."""
    with transaction():
        order = db.session.execute(
            select(Order.id, Order.status)
            .where(Order.id == as_id(number), Order.union_id == union_id)
            .with_for_update()
        ).one_or_none()
        if order is None:
            raise NotFound("没有这个订单。")
        if order.status in ("draft", "submitted", "rejected"):
            db.session.execute(update(Order).where(Order.id == order.id).values(status="cancelled", closed_at=now))
        elif not close(order_id=order.id, sources=("approved", "pending_payment"), to="cancelled", now=now):
            raise StateConflict("这个订单已不能取消。")
        audit.record("order.cancel", f"order:{order.id}", now=now, before={"status": order.status})
    return queries.order_of_union(number, union_id=union_id, now=now)
