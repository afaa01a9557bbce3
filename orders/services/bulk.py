"""基层福利: a union's order: drafted, submitted, decided by a second person; what changes later is decided again.

Its roster is in `rostering`, the recipients' own choices in `choosing`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, delete, func, insert, select, update

from catalog import queries as catalog_queries
from catalog import steps as catalog_steps
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause
from kernel import audit, idempotency
from kernel.db import db, rows_changed, transaction
from kernel.errors import Forbidden, Invalid, NotFound, OverLimit, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from kernel.money import MAX_FEN, yuan
from orders import queries, union_schemas
from orders.models import Order, OrderLine, Recipient, UnionTerms
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.queries.orders import Choice
from orders.rules import CHANGEABLE, UNION_BUYER, District, Line, Wanted
from orders.services import telling
from orders.services.placing import close, held_quantities, make_lines, write_lines
from orders.why import Sentence, why_discount
from people.rules import masked
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


def price(*, slug: str, wanted: Sequence[Wanted], now: datetime, as_it_is: bool = False) -> PricedBulk:
    """试算: return what a union's order would cost now (rules.md, 'The bulk channel'). Nothing is changed.

    `as_it_is` also prices packs that are off sale by now: while people choose, submitting is what asks for that.
    """
    campaign = voucher_queries.campaign(slug, now=now)
    if campaign.status != OPEN and not as_it_is:
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
        if as_it_is or (view.status == "on_sale" and view.price_fen in campaign.tiers_fen)
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


@dataclass(frozen=True)
class WantedChoice:
    """What the officer lets recipients choose from; without a default, the first pack is."""

    tier_fen: int
    pack_ids: tuple[int, ...]
    deadline: datetime
    default_pack_id: int | None = None


def draft(
    *,
    slug: str,
    union_id: int | None,
    wanted: Sequence[Wanted],
    choice: WantedChoice | None = None,
    delivery: dict[str, Any],
    copied_from: int | None = None,
    once: Once,
    now: datetime,
) -> Answer:
    """Begin a union's order, of packs or of a choice of packs; nothing is held yet."""
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
        if priced.lines:
            write_lines(order_id, priced.lines)
        terms: dict[str, Any] = {"order_id": order_id, "copied_from": copied_from, "pack_ids": []}
        if choice is not None:
            terms |= _checked(choice, priced.campaign, now=now)
        db.session.execute(insert(UnionTerms).values(**terms))
        view = queries.order_of_union(str(order_id), union_id=union_id, now=now)
        return idempotency.finish(once, union_schemas.BulkOrder().dump(view))


def _checked(choice: WantedChoice, campaign: CampaignView, *, now: datetime) -> dict[str, Any]:
    errors: dict[str, list[str]] = {}
    if choice.tier_fen not in campaign.tiers_fen:
        errors["choice.tier_fen"] = ["活动没有这个档位。"]
    if not now < choice.deadline <= campaign.ends_at:
        errors["choice.deadline"] = ["截止时间必须晚于现在，且不晚于活动结束。"]
    pack_ids = list(dict.fromkeys(choice.pack_ids))
    views = catalog_queries.packs_by_id(pack_ids)
    for index, pack_id in enumerate(choice.pack_ids):
        view = views.get(pack_id)
        if view is None or view.status != "on_sale":
            errors[f"choice.pack_ids.{index}"] = ["没有这个礼包。"]
        elif view.price_fen != choice.tier_fen:
            errors[f"choice.pack_ids.{index}"] = ["这个礼包不是这个档位的。"]
    default = choice.default_pack_id if choice.default_pack_id is not None else pack_ids[0]
    if default not in pack_ids:
        errors["choice.default_pack_id"] = ["默认礼包要在可选的礼包之中。"]
    if errors:
        raise Invalid(errors=errors)
    return {
        "tier_fen": choice.tier_fen,
        "pack_ids": pack_ids,
        "default_pack_id": default,
        "deadline": choice.deadline,
    }


def recount(order: OrderView, choice: Choice, *, now: datetime, as_it_is: bool) -> None:
    """Make the order's lines what its recipients get, in the caller's transaction; the order's row is locked."""
    counts = union_queries.chosen_counts(order.id, choice.default_pack_id)
    ranks = {pack_id: rank for rank, pack_id in enumerate(choice.pack_ids)}
    wanted = [Wanted(pack_id, counts[pack_id]) for pack_id in sorted(counts, key=lambda one: ranks.get(one, 0))]
    rewrite_lines(order, wanted, now=now, as_it_is=as_it_is)


def rewrite_lines(order: OrderView, wanted: Sequence[Wanted], *, now: datetime, as_it_is: bool = False) -> None:
    """Put other lines in place of an order's, with their price, in the caller's transaction."""
    priced = price(slug=order.campaign, wanted=wanted, now=now, as_it_is=as_it_is)
    db.session.execute(delete(OrderLine).where(OrderLine.order_id == order.id))
    if priced.lines:
        write_lines(order.id, priced.lines)
    db.session.execute(
        update(Order)
        .where(Order.id == order.id)
        .values(
            subtotal_fen=priced.quote.subtotal_fen,
            discount_fen=priced.quote.discount_fen,
            payable_fen=priced.quote.payable_fen,
        )
    )


def lock_in(order_id: int, statuses: tuple[str, ...], otherwise: str) -> str:
    """Lock an order's row in one of these states, in the caller's transaction; return which. Raises StateConflict."""
    found = db.session.scalar(
        select(Order.status).where(Order.id == order_id, Order.status.in_(statuses)).with_for_update()
    )
    if found is None:
        raise StateConflict(otherwise)
    return found


def begin_choosing(order_id: int) -> None:
    """Let recipients choose: a draft with its roster on it; in the caller's transaction."""
    db.session.execute(update(Order).where(Order.id == order_id, Order.status == "draft").values(status="choosing"))


def reopen(order: OrderView, *, now: datetime) -> str | None:
    """Lock an order for a change; what was submitted or approved is void by it, and what was held goes back.

    In the caller's transaction. Returns the state that was voided, None where nobody had decided on anything yet.
    Raises StateConflict once a payment was begun.
    """
    status = lock_in(order.id, CHANGEABLE, "订单已开始付款或已结束，不能再改。需要改动时，请取消后复制为新订单。")
    if status in ("draft", "choosing"):
        return None
    if status == "approved":
        row = db.session.execute(select(Order.holds, Order.discount_fen).where(Order.id == order.id)).one()
        quantities = held_quantities(order.id)
        postings = voucher_steps.release_bulk(campaign_id=order.campaign_id, amount_fen=row.discount_fen)
        postings += catalog_steps.release_postings(quantities)
        ledger_steps.post(Cause("release", f"{order.id}:{row.holds}", order_id=order.id), postings, now=now)
        catalog_steps.release(quantities, bulk=True)
    db.session.execute(
        update(Order)
        .where(Order.id == order.id)
        .values(
            status="choosing" if order.choice is not None else "draft",
            holds=Order.holds + (1 if status == "approved" else 0),
            submitted_by=None,
            submitted_at=None,
            decided_by=None,
            decided_at=None,
            expires_at=None,
            reject_reason=None,
        )
    )
    if status == "rejected":
        return None
    db.session.execute(
        update(UnionTerms)
        .where(UnionTerms.order_id == order.id)
        .values(voided_at=now, voided_was=status, cap_override=None, overridden_by=None, warned_at=None)
    )
    return status


def change_lines(
    *, number: str, union_id: int | None, wanted: Sequence[Wanted], actor_id: int, now: datetime
) -> OrderView:
    """Change packs and counts before payment; what was submitted or approved is void by it, and says so.

    Raises StateConflict once a payment was begun, and for an order whose recipients choose themselves.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    if order.choice is not None:
        raise StateConflict("这个订单由领取人自选，份数随花名册变化。")
    with transaction():
        voided = reopen(order, now=now)
        rewrite_lines(order, wanted, now=now)
        audit.record(
            "order.change",
            f"order:{order.id}",
            actor_id=actor_id,
            now=now,
            before={"payable_fen": order.payable_fen, "voided": voided},
            after={"lines": [[line.pack_id, line.quantity] for line in wanted]},
        )
    return queries.order_of_union(number, union_id=union_id, now=now)


def submit(
    *, number: str, union_id: int | None, actor_id: int, district: District = District(), now: datetime
) -> OrderView:
    """Hand an order to the approver; with self-choice, who has not chosen gets the default.

    Raises StateConflict, Invalid where the roster has more people than packs or, where the district refuses it,
    somebody who stands on another list.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    with transaction():
        lock_in(order.id, ("draft", "choosing"), "只有草稿可以提交。")
        # Read again under the lock: packs and counts may have been changed meanwhile.
        order = queries.order_of_union(number, union_id=union_id, now=now)
        people = db.session.scalar(select(func.sum(Recipient.quantity)).where(Recipient.order_id == order.id)) or 0
        if order.choice is not None:
            if people == 0:
                raise Invalid("请先上传花名册。", errors={"roster": ["请先上传花名册。"]})
            db.session.execute(
                update(Recipient)
                .where(Recipient.order_id == order.id, Recipient.pack_id.is_(None))
                .values(pack_id=order.choice.default_pack_id)
            )
            recount(order, order.choice, now=now, as_it_is=False)
        else:
            _refuse_too_few(order, people)
        _value(order)
        doubles = union_queries.twice(order) if district.refuse_twice else []
        if doubles:
            raise Invalid(
                "花名册上有 %(count)s 人已在本活动的其他名单上，请先去掉。",
                count=len(doubles),
                errors={"roster": [one.text % one.figures for one in doubles[: union_queries.NAMED_AT_MOST]]},
            )
        db.session.execute(
            update(Order)
            .where(Order.id == order.id)
            .values(status="submitted", submitted_by=actor_id, submitted_at=now)
        )
        telling.approval_asked(order, now=now)
        audit.record("order.submit", f"order:{order.id}", actor_id=actor_id, now=now)
    return _with_warnings(queries.order_of_union(number, union_id=union_id, now=now), district, now=now)


def _with_warnings(order: OrderView, district: District, *, now: datetime) -> OrderView:
    return replace(order, warnings=union_queries.warnings_of(order, cap_fen=district.yearly_cap_fen, now=now))


def _refuse_too_few(order: OrderView, people: int) -> None:
    packs = sum(line.quantity for line in order.lines)
    if people > packs:
        raise Invalid(
            "花名册有 %(people)s 人，礼包只有 %(packs)s 份。",
            people=people,
            packs=packs,
            errors={"roster": ["花名册人数多于礼包份数。"]},
        )
    _refuse_overallocated(order)


def _refuse_overallocated(order: OrderView) -> None:
    """Nobody on the roster may be promised a pack the order does not have."""
    chosen = union_queries.chosen_counts(order.id, None)
    ordered = held_quantities(order.id)
    names = {line.pack_id: line.pack_name for line in order.lines}
    for pack_id, people in chosen.items():
        if people > ordered.get(pack_id, 0):
            raise Invalid(
                "花名册中有 %(people)s 人领取“%(name)s”，订单只有 %(packs)s 份。",
                people=people,
                name=names.get(pack_id, ""),
                packs=ordered.get(pack_id, 0),
                errors={"roster": ["花名册人数多于礼包份数。"]},
            )


def _value(order: OrderView) -> None:
    """Write what each recipient gets at list price; where the roster leaves the pack open, the dearest it can be."""
    lines = db.session.execute(select(OrderLine.pack_id, OrderLine.price_fen).where(OrderLine.order_id == order.id))
    prices: Mapping[int, int] = {pack_id: price_fen for pack_id, price_fen in lines}
    value = case(prices, value=Recipient.pack_id, else_=max(prices.values())) if prices else 0
    db.session.execute(
        update(Recipient).where(Recipient.order_id == order.id).values(value_fen=value * Recipient.quantity),
        execution_options={"synchronize_session": False},
    )


def approve(
    *,
    number: str,
    union_id: int | None,
    actor_id: int,
    may_approve: bool,
    override_reason: str = "",
    district: District = District(),
    once: Once | None = None,
    now: datetime,
) -> Answer:
    """A second person approves: the bulk budget and the stock are held, and the payment term begins.

    Raises Forbidden for whoever submitted, StateConflict, OutOfStock naming the pack, and over_limit where the
    budget does not cover it or, without the approver's reason, the yearly cap is passed; then nothing is held. Asked
    again with the same key it gives the first answer again.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order = queries.order_of_union(number, union_id=union_id, now=now)
        _refuse_same_person(order, actor_id=actor_id, may_approve=may_approve)
        campaign = voucher_queries.campaign_by_id(order.campaign_id, now=now)
        if campaign.status != OPEN:
            raise CampaignClosed("活动未开始或已结束。")
        quantities = held_quantities(order.id)
        over = union_queries.over_cap(order.id, cap_fen=district.yearly_cap_fen, now=now)
        if over and district.refuse_over_cap and not override_reason:
            raise OverLimit(
                "有 %(count)s 人超过每人每年 %(cap)s 的慰问上限。确需发放的，请审批人写明理由。",
                count=len(over),
                cap=yuan(district.yearly_cap_fen),
                extra={
                    "people": [
                        {"name": one.name, "phone": masked(one.phone), "worth_fen": one.worth_fen}
                        for one in over[: union_queries.NAMED_AT_MOST]
                    ]
                },
            )
        lock_in(order.id, ("submitted",), "只有已提交的订单可以审批。")
        unchanged = rows_changed(
            update(Order)
            .where(Order.id == order.id, Order.submitted_at == order.submitted_at)
            .values(
                status="approved",
                decided_by=actor_id,
                decided_at=now,
                expires_at=now + timedelta(days=campaign.bulk_payment_days),
            )
        )
        if unchanged == 0:
            raise StateConflict("订单刚刚有改动，请刷新后再审批。")
        pay_until = now + timedelta(days=campaign.bulk_payment_days)
        telling.approval_decided(order, pay_until=pay_until, now=now)
        if over and override_reason:
            db.session.execute(
                update(UnionTerms)
                .where(UnionTerms.order_id == order.id)
                .values(cap_override=override_reason, overridden_by=actor_id)
            )
        holds = db.session.scalar(select(Order.holds).where(Order.id == order.id))
        postings = voucher_steps.hold_bulk(campaign_id=order.campaign_id, amount_fen=order.discount_fen)
        postings += catalog_steps.hold_postings(quantities)
        cause = Cause("hold", f"{order.id}:{holds}", order_id=order.id, actor_id=actor_id)
        ledger_steps.post(cause, postings, now=now)
        catalog_steps.hold(quantities, bulk=True)
        after: dict[str, Any] = {"payable_fen": order.payable_fen}
        if over:
            after |= {"over_yearly_cap": len(over), "override_reason": override_reason}
        audit.record("order.approve", f"order:{order.id}", actor_id=actor_id, now=now, after=after)
        view = _with_warnings(queries.order_of_union(number, union_id=union_id, now=now), district, now=now)
        return idempotency.finish(once, union_schemas.BulkOrder().dump(view))


def reject(
    *, number: str, union_id: int | None, actor_id: int, may_approve: bool, reason: str, now: datetime
) -> OrderView:
    """A second person sends an order back, with a reason."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    _refuse_same_person(order, actor_id=actor_id, may_approve=may_approve)
    with transaction():
        lock_in(order.id, ("submitted",), "只有已提交的订单可以审批。")
        db.session.execute(
            update(Order)
            .where(Order.id == order.id)
            .values(status="rejected", decided_by=actor_id, decided_at=now, reject_reason=reason)
        )
        telling.approval_decided(order, reason=reason, now=now)
        audit.record("order.reject", f"order:{order.id}", actor_id=actor_id, now=now, after={"reason": reason})
    return queries.order_of_union(number, union_id=union_id, now=now)


def _refuse_same_person(order: OrderView, *, actor_id: int, may_approve: bool) -> None:
    if order.submitted_by == actor_id:
        raise Forbidden("提交人不能审批自己提交的订单，需要另一个人。")
    if not may_approve:
        raise Forbidden("需要审批人权限。")


def cancel(*, number: str, union_id: int | None, once: Once | None = None, now: datetime) -> Answer:
    """Cancel a union's order before it is paid; what was held goes back. With a key it may be asked again."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order = db.session.execute(
            select(Order.id, Order.status)
            .where(Order.id == as_id(number), Order.union_id == union_id)
            .with_for_update()
        ).one_or_none()
        if order is None:
            raise NotFound("没有这个订单。")
        if order.status in ("draft", "choosing", "submitted", "rejected"):
            db.session.execute(update(Order).where(Order.id == order.id).values(status="cancelled", closed_at=now))
        elif not close(order_id=order.id, sources=("approved", "pending_payment"), to="cancelled", now=now):
            raise StateConflict("这个订单已不能取消。")
        audit.record("order.cancel", f"order:{order.id}", now=now, before={"status": order.status})
        view = queries.order_of_union(number, union_id=union_id, now=now)
        return idempotency.finish(once, union_schemas.BulkOrder().dump(view))
