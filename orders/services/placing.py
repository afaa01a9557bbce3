"""A member's order: quote it, place it, cancel it, let it expire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update

from catalog import steps as catalog_steps
from catalog.steps import OutOfStock
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import idempotency
from kernel.db import db, rows_changed, transaction, unindexed
from kernel.errors import DomainError, Invalid, NotFound, OverLimit, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from kernel.money import MAX_FEN
from kernel.statements import Rows, together, write
from orders import queries, schemas
from orders.models import Order, OrderLine
from orders.queries import OrderView, parcels_from_lines
from orders.rules import MEMBER_BUYER, UNION_BUYER, Line, Wanted, number_parcels, quantities_of
from orders.why import Sentence, why_discount
from people import queries as people_queries
from voucher import queries as voucher_queries
from voucher import steps as voucher_steps
from voucher.rules import OPEN, CampaignClosed, Purse, Quote, SpendAndSave, campaign_status, quote, reason_for
from voucher.steps import InsufficientVoucherBalance

_ANSWER = schemas.Order()


class PriceChanged(DomainError):
    """The price is no longer the one the buyer saw; `quote` is the new one. Nothing is charged or held."""

    code, status = "price_changed", 409


@dataclass(frozen=True)
class Priced:
    """A basket with its price."""

    campaign_id: int
    offer: SpendAndSave
    quote: Quote
    lines: tuple[Line, ...]
    purse: Purse
    voucher_id: int | None
    reason: str | None

    @property
    def why(self) -> list[Sentence]:
        """How the price comes about."""
        return why_discount(self.offer, self.lines, discount_fen=self.quote.discount_fen, purse=self.purse)


def price_basket(*, slug: str, member_id: int | None, wanted: Sequence[Wanted], now: datetime) -> Priced:
    """试算: return the price we would charge a member now. Nothing is changed.

    Raises NotFound (campaign), Invalid (a pack that is not there) and CampaignClosed.
    """
    expire_own(member_id=member_id, now=now)
    rows = queries.basket(
        slug=slug,
        member_id=member_id,
        pack_ids=sorted({line.pack_id for line in wanted}),
        placed_by=None,
        idempotency_key=None,
        station_id=None,
        now=now,
    )
    return _price(rows, wanted, now=now)


def _price(rows: Sequence[Row[Any]], wanted: Sequence[Wanted], *, now: datetime) -> Priced:
    if not rows:
        raise NotFound("没有这个活动。")
    head = rows[0]
    if campaign_status(starts_at=head.starts_at, ends_at=head.ends_at, now=now) != OPEN:
        raise CampaignClosed("活动未开始或已结束。")
    packs = {row.pack_id: row for row in rows if _is_offered(row)}
    errors = {
        f"lines.{index}.pack_id": ["没有这个礼包。"] for index, line in enumerate(wanted) if line.pack_id not in packs
    }
    if errors:
        raise Invalid("有礼包已下架或不存在。", errors=errors)
    offer = SpendAndSave(step_fen=head.step_fen, save_fen=head.save_fen)
    purse = voucher_queries.purse_of(head, now=now)
    amounts = tuple(packs[line.pack_id].price_fen * line.quantity for line in wanted)
    if sum(amounts) > MAX_FEN:
        raise Invalid("订单金额过大。", errors={"lines": ["订单金额过大。"]})
    quoted = quote(offer, amounts_fen=amounts, available_fen=purse.usable_fen)
    return Priced(
        campaign_id=head.campaign_id,
        offer=offer,
        quote=quoted,
        lines=make_lines(packs, wanted, amounts=amounts, discounts=quoted.line_discounts_fen),
        purse=purse,
        voucher_id=head.voucher_id if purse.status == "active" else None,
        reason=reason_for(purse, quoted),
    )


def _is_offered(row: Row[Any]) -> bool:
    return row.pack_id is not None and row.pack_status == "on_sale" and row.price_fen in row.tiers_fen


def make_lines(
    packs: Mapping[int, Any], wanted: Sequence[Wanted], *, amounts: Sequence[int], discounts: Sequence[int]
) -> tuple[Line, ...]:
    """Return an order's lines with names and prices copied, numbered, and sorted into parcels by merchant."""
    parcel_of = number_parcels([packs[line.pack_id].merchant_id for line in wanted])
    return tuple(
        Line(
            line_no=line_no,
            pack_id=line.pack_id,
            pack_name=packs[line.pack_id].pack_name,
            pack_name_en=packs[line.pack_id].pack_name_en,
            picture=packs[line.pack_id].picture,
            merchant_id=packs[line.pack_id].merchant_id,
            merchant_name=packs[line.pack_id].merchant_name,
            merchant_name_en=packs[line.pack_id].merchant_name_en,
            quantity=line.quantity,
            price_fen=packs[line.pack_id].price_fen,
            amount_fen=amount_fen,
            discount_fen=discount_fen,
            parcel_no=parcel_of[packs[line.pack_id].merchant_id],
        )
        for line_no, (line, amount_fen, discount_fen) in enumerate(zip(wanted, amounts, discounts, strict=True), 1)
    )


@dataclass(frozen=True)
class Terms:
    """The operator's settings that bound an order."""

    payment_seconds: int
    max_unpaid: int


def place_order(
    *,
    slug: str,
    member_id: int | None,
    wanted: Sequence[Wanted],
    payable_fen: int,
    delivery: Mapping[str, Any],
    once: Once,
    terms: Terms,
    now: datetime,
) -> Answer:
    """Place a member's order and hold what it needs.

    Sending it twice places it once. A price other than the one the member saw is refused with the new quote, never
    charged. Raises OutOfStock naming the pack, OverLimit, CampaignClosed, Invalid; then nothing is held.
    """
    assert member_id is not None
    request: dict[str, Any] = {
        "slug": slug,
        "member_id": member_id,
        "wanted": wanted,
        "payable_fen": payable_fen,
        "delivery": delivery,
        "once": once,
        "terms": terms,
        "now": now,
    }
    try:
        return _place(**request)
    except OutOfStock:
        # Orders whose time is up may still hold what is wanted; reading must not depend on the worker.
        due = queries.due_holding({line.pack_id for line in wanted}, now=now)
        if not due:
            raise
        for order_id in due:
            expire(order_id=order_id, now=now)
        return _place(**request)
    except InsufficientVoucherBalance:
        # The balance was spent between our read and our hold: say so with the price it is now.
        priced = price_basket(slug=slug, member_id=member_id, wanted=wanted, now=now)
        raise _price_changed(priced) from None


def _place(
    *,
    slug: str,
    member_id: int,
    wanted: Sequence[Wanted],
    payable_fen: int,
    delivery: Mapping[str, Any],
    once: Once,
    terms: Terms,
    now: datetime,
) -> Answer:
    quantities = quantities_of(wanted)
    with transaction(), together(as_one=True, commits=True):
        people_queries.lock_member(member_id)
        rows = queries.basket(
            slug=slug,
            member_id=member_id,
            pack_ids=sorted(quantities),
            placed_by=once.person_id,
            idempotency_key=once.key,
            station_id=delivery.get("station_id"),
            now=now,
        )
        if rows and rows[0].first_answer is not None:
            return idempotency.replay_of(once, request_hash=rows[0].first_hash, text=rows[0].first_answer)
        priced = _price(rows, wanted, now=now)
        if priced.quote.payable_fen != payable_fen:
            raise _price_changed(priced)
        _refuse_over_limit(rows, quantities, terms=terms)

        order = _order_view(priced, slug=slug, delivery=_placed_delivery(delivery, rows[0]), terms=terms, now=now)
        answer = idempotency.answer_of(_ANSWER.dump(order))
        postings: list[Posting] = []
        if priced.voucher_id is not None:
            postings += voucher_steps.hold(
                voucher_id=priced.voucher_id,
                campaign_id=priced.campaign_id,
                amount_fen=priced.quote.discount_fen,
            )
        _write(order, priced, member_id=member_id, once=once, answer=answer)
        postings += catalog_steps.hold_postings(quantities)
        ledger_steps.post(Cause("hold", f"{order.id}:1", order_id=order.id, actor_id=once.person_id), postings, now=now)
        catalog_steps.hold(quantities)
    return answer


def _price_changed(priced: Priced) -> PriceChanged:
    return PriceChanged("价格有变化，请按新的价格重新确认。", extra={"quote": schemas.quote_body(priced)})


def _refuse_over_limit(rows: Sequence[Row[Any]], quantities: Mapping[int, int], *, terms: Terms) -> None:
    if rows[0].unpaid >= terms.max_unpaid:
        raise OverLimit("您已有 %(limit)s 个待付款订单，请先付款或取消。", limit=terms.max_unpaid)
    for row in rows:
        if row.pack_limit is not None and row.bought + quantities[row.pack_id] > row.pack_limit:
            names: dict[str, Any] = {"name": row.pack_name, "name_en": row.pack_name_en}
            raise OverLimit("“%(name)s”每人限购 %(limit)s 份。", **names, limit=row.pack_limit)


def _placed_delivery(delivery: Mapping[str, Any], row: Row[Any]) -> dict[str, Any]:
    if delivery["kind"] == "pickup":
        if row.station_name is None:
            raise Invalid("没有这个自提点。", errors={"delivery.station_id": ["没有这个自提点。"]})
        return {**delivery, "station_name": row.station_name, "station_name_en": row.station_name_en}
    return dict(delivery)


def _order_view(priced: Priced, *, slug: str, delivery: dict[str, Any], terms: Terms, now: datetime) -> OrderView:
    order_id = new_id()
    return OrderView(
        id=order_id,
        campaign=slug,
        campaign_id=priced.campaign_id,
        buyer_kind=MEMBER_BUYER,
        status="pending_payment",
        step_fen=priced.offer.step_fen,
        save_fen=priced.offer.save_fen,
        subtotal_fen=priced.quote.subtotal_fen,
        discount_fen=priced.quote.discount_fen,
        payable_fen=priced.quote.payable_fen,
        delivery=delivery,
        placed_at=now,
        expires_at=now + timedelta(seconds=terms.payment_seconds),
        paid_at=None,
        closed_at=None,
        lines=priced.lines,
        parcels=parcels_from_lines(order_id, priced.lines, "waiting"),
    )


def _write(order: OrderView, priced: Priced, *, member_id: int, once: Once, answer: Answer) -> None:
    values = {
        "id": order.id,
        "campaign_id": order.campaign_id,
        "buyer_kind": MEMBER_BUYER,
        "member_id": member_id,
        "placed_by": once.person_id,
        "voucher_id": priced.voucher_id if order.discount_fen else None,
        "status": order.status,
        "step_fen": order.step_fen,
        "save_fen": order.save_fen,
        "subtotal_fen": order.subtotal_fen,
        "discount_fen": order.discount_fen,
        "payable_fen": order.payable_fen,
        "delivery": order.delivery,
        "placed_at": order.placed_at,
        "expires_at": order.expires_at,
        "holds": 1,
        "idempotency_key": once.key,
        "request_hash": once.request_hash,
        "answer": answer.text,
    }
    write(_INSERT_ORDER, [values])
    write_lines(order.id, order.lines)


_INSERT_ORDER = Rows(
    Order,
    leaving_out=(
        *("union_id", "paid_at", "closed_at", "submitted_by", "submitted_at", "decided_by", "decided_at"),
        "reject_reason",
    ),
)
_INSERT_LINES = Rows(OrderLine)


def write_lines(order_id: int, lines: Sequence[Line]) -> None:
    """Write an order's lines by one INSERT, in the caller's transaction."""
    rows = [{"order_id": order_id, **line.__dict__} for line in lines]
    write(_INSERT_LINES, rows)


def placed_under(*, person_id: int, key: str) -> str | None:
    """Return the number of the order a person placed under this key; None where there is none.

    For a form sent again by a second tap, after the first has emptied the cart.
    """
    number = db.session.scalar(select(Order.id).where(Order.placed_by == person_id, Order.idempotency_key == key))
    return None if number is None else str(number)


def cancel(*, number: str, member_id: int | None, once: Once | None = None, now: datetime) -> Answer:
    """Cancel a member's unpaid order and give everything back. Raises NotFound, StateConflict once it is paid.

    Asked again with the same key it gives the first answer again; without, a second time is a StateConflict.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        own = select(Order.id).where(Order.id == as_id(number), Order.member_id == member_id)
        order_id = db.session.scalar(own)
        if order_id is None:
            raise NotFound("没有这个订单。")
        if not close(order_id=order_id, sources=("pending_payment",), to="cancelled", now=now):
            raise StateConflict("这个订单已不能取消。")
        view = queries.order_of_member(number, member_id=member_id, now=now)
        return idempotency.finish(once, schemas.Order().dump(view))


def expire(*, order_id: int, now: datetime) -> bool:
    """Expire an order whose payment time has run out; False where another was faster."""
    with transaction():
        return close(order_id=order_id, sources=("pending_payment", "approved"), to="expired", now=now, due_only=True)


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Expire what is due, each order in a transaction of its own; return how many were."""
    return sum(expire(order_id=order_id, now=now) for order_id in queries.due(now=now, limit=limit))


def expire_own(*, member_id: int | None, now: datetime) -> None:
    """Expire a member's own due orders: what the member is shown does not depend on the worker."""
    if member_id is None:
        return
    for order_id in queries.due(now=now, limit=20, member_id=member_id):
        expire(order_id=order_id, now=now)


def close(*, order_id: int, sources: tuple[str, ...], to: str, now: datetime, due_only: bool = False) -> bool:
    """End an order that is not paid, releasing all it holds, in the caller's transaction.

    Returns False where it was no longer in one of `sources`. The order's row is moved first: whoever moves it is
    the one who gives back.
    """
    move = update(Order).where(Order.id == order_id, unindexed(Order.status.in_(sources)))
    if due_only:
        move = move.where(unindexed(Order.expires_at <= now))
    if rows_changed(move.values(status=to, closed_at=now)) == 0:
        return False
    row = db.session.execute(
        select(Order.campaign_id, Order.buyer_kind, Order.voucher_id, Order.discount_fen, Order.holds).where(
            Order.id == order_id
        )
    ).one()
    quantities = held_quantities(order_id)
    kind = "expire" if to == "expired" else "release"
    ledger_steps.post(
        Cause(kind, f"{order_id}:{row.holds}", order_id=order_id),
        [*_release_discount(row), *catalog_steps.release_postings(quantities)],
        now=now,
    )
    catalog_steps.release(quantities, bulk=row.buyer_kind == UNION_BUYER)
    return True


def _release_discount(row: Any) -> list[Posting]:
    if row.buyer_kind != MEMBER_BUYER:
        return voucher_steps.release_bulk(campaign_id=row.campaign_id, amount_fen=row.discount_fen)
    if row.voucher_id is None:
        return []
    return voucher_steps.release(voucher_id=row.voucher_id, campaign_id=row.campaign_id, amount_fen=row.discount_fen)


def held_quantities(order_id: int) -> dict[int, int]:
    """Return how many of each pack an order is for."""
    rows = db.session.execute(select(OrderLine.pack_id, OrderLine.quantity).where(OrderLine.order_id == order_id))
    return quantities_of([Wanted(pack_id, quantity) for pack_id, quantity in rows])
