"""Paying: start a payment, take what the provider says of it, and make a paid order of it: once."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from catalog import steps as catalog_steps
from catalog.steps import OutOfStock
from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from finance.gateway.queries import PaymentView
from finance.gateway.rules import BANK, DECLINED, SANDBOX, SUCCEEDED, PaymentEvent, is_signed, signature
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency
from kernel.db import after_commit, db, transaction
from kernel.errors import Forbidden, Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from orders.models import Order, OrderLine, Parcel
from orders.rules import MEMBER_BUYER, Line, owed_by_merchant
from orders.services.placing import close, held_quantities
from voucher import steps as voucher_steps
from voucher.steps import InsufficientBulkBudget, InsufficientVoucherBalance

CASHIER_OUTCOMES = ("pay", "decline", "late", "twice", "reversed")


def start_payment(
    *,
    number: str,
    member_id: int | None = None,
    union_id: int | None = None,
    provider: str,
    allowed: tuple[str, ...],
    bank_account: dict[str, str],
    once: Once,
    now: datetime,
) -> Answer:
    """Begin to pay an order. Raises NotFound, StateConflict where it waits for no payment, Invalid for a provider
    that is not offered here."""
    if provider not in allowed:
        raise Invalid(errors={"provider": ["这里不支持这种付款方式。"]})
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        own = Order.member_id == member_id if member_id is not None else Order.union_id == union_id
        order = db.session.execute(
            select(Order.id, Order.status, Order.expires_at, Order.payable_fen)
            .where(Order.id == as_id(number), own)
            .with_for_update()
        ).one_or_none()
        if order is None:
            raise NotFound("没有这个订单。")
        due = order.expires_at is not None and order.expires_at <= now
        if order.status not in ("pending_payment", "approved") or due:
            raise StateConflict("这个订单现在不能付款。")
        db.session.execute(
            update(Order).where(Order.id == order.id, Order.status == "approved").values(status="pending_payment")
        )
        payment = gateway_steps.start(order_id=order.id, provider=provider, amount_fen=order.payable_fen, now=now)
        content: dict[str, Any] = {
            "id": str(payment.id),
            "order_number": str(order.id),
            "provider": provider,
            "status": payment.status,
            "amount_fen": payment.amount_fen,
            "redirect_url": f"/sandbox/{payment.reference}" if provider == SANDBOX else None,
        }
        if provider == BANK:
            content |= {"reference": payment.reference, "pay_to": bank_account}
        return idempotency.finish(once, content)


def receive_event(*, provider: str, body: bytes, signed: str, secret: str, now: datetime) -> bool:
    """Take an event as it came: check its signature, store it, then act on it once, in any order.

    Returns whether it was acted on now. Raises Forbidden for a signature that is not ours and Invalid for a body
    that is no event.
    """
    if not is_signed(secret, body, signed):
        raise Forbidden("签名不正确。")
    try:
        content = json.loads(body)
        event = PaymentEvent(
            id=str(content["id"]),
            type=str(content["type"]),
            reference=str(content["reference"]),
            amount_fen=int(content["amount_fen"]),
        )
    except (ValueError, KeyError, TypeError):
        raise Invalid("无法识别的支付通知。") from None
    with transaction():
        gateway_steps.store_event(provider=provider, event_id=event.id, payload=content, now=now)
    with transaction():
        if not gateway_steps.claim_event(provider=provider, event_id=event.id, now=now):
            return False
        _act(event, now=now)
    return True


def _act(event: PaymentEvent, *, now: datetime) -> None:
    order_id = gateway_steps.order_of(reference=event.reference)
    if order_id is None:
        return
    # The order's row is always taken before its payment's: payment and expiry meet there.
    order = _lock_order(order_id)
    payment = gateway_steps.lock(reference=event.reference)
    assert payment is not None
    if event.type == DECLINED:
        gateway_steps.move(payment.id, to="declined", now=now)
    elif event.type == SUCCEEDED and event.amount_fen == payment.amount_fen:
        _succeeded(order, payment, now=now)


def _lock_order(order_id: int) -> Any:
    return db.session.execute(
        select(
            Order.id,
            Order.campaign_id,
            Order.buyer_kind,
            Order.status,
            Order.voucher_id,
            Order.discount_fen,
            Order.holds,
        )
        .where(Order.id == order_id)
        .with_for_update()
    ).one()


def _succeeded(order: Any, payment: PaymentView, *, now: datetime, confirmed_by: int | None = None) -> None:
    """Make a paid order of a payment that arrived; where that is no longer possible, send all of it back."""
    if not gateway_steps.move(payment.id, to="succeeded", now=now, confirmed_by=confirmed_by):
        return
    if order.status in ("pending_payment", "approved"):
        _pay(order, holds=order.holds, now=now)
    elif order.status == "expired" and _hold_again(order, now=now):
        _pay(order, holds=order.holds + 1, now=now)
    elif payment.amount_fen > 0:
        reason = "order_closed" if order.status in ("expired", "cancelled", "rejected") else "paid_twice"
        intent = gateway_steps.refund(
            order_id=order.id,
            payment_id=payment.id,
            amount_fen=payment.amount_fen,
            cause=f"late:{payment.id}",
            reason=reason,
            now=now,
        )
        # The money reached us, so it is on the ledger both ways.
        came = Posting(ledger.CASH, ledger.REFUND_DUE, payment.amount_fen, campaign_id=order.campaign_id)
        ledger_steps.post(Cause("late", str(payment.id), order_id=order.id, reason=reason), [came], now=now)
        after_commit(send_refund, refund_id=intent.id, now=now)


def _hold_again(order: Any, *, now: datetime) -> bool:
    """Take stock and discount again for a payment that came late; False where one of them is gone."""
    quantities = held_quantities(order.id)
    try:
        with db.session.begin_nested():
            postings = _hold_discount(order)
            postings += catalog_steps.hold_postings(quantities)
            ledger_steps.post(Cause("hold", f"{order.id}:{order.holds + 1}", order_id=order.id), postings, now=now)
            catalog_steps.hold(quantities)
    except (OutOfStock, InsufficientVoucherBalance, InsufficientBulkBudget):
        return False
    return True


def _hold_discount(order: Any) -> list[Posting]:
    if order.buyer_kind != MEMBER_BUYER:
        return voucher_steps.hold_bulk(campaign_id=order.campaign_id, amount_fen=order.discount_fen)
    if order.voucher_id is None:
        return []
    return voucher_steps.hold(voucher_id=order.voucher_id, campaign_id=order.campaign_id, amount_fen=order.discount_fen)


def _pay(order: Any, *, holds: int, now: datetime) -> None:
    """The order is paid: discount redeemed, stock sold, merchants owed, a parcel for each; all in one transaction."""
    db.session.execute(
        update(Order).where(Order.id == order.id).values(status="paid", paid_at=now, closed_at=None, holds=holds)
    )
    lines = [
        Line(**{name: getattr(row, name) for name in Line.__dataclass_fields__})
        for row in db.session.scalars(
            select(OrderLine).where(OrderLine.order_id == order.id).order_by(OrderLine.line_no)
        )
    ]
    parcel_of = {line.parcel_no: line.merchant_id for line in lines}
    db.session.execute(
        insert(Parcel).values(
            [
                {"order_id": order.id, "parcel_no": number, "merchant_id": merchant_id, "status": "to_ship"}
                for number, merchant_id in parcel_of.items()
            ]
        )
    )
    quantities = held_quantities(order.id)
    postings = _redeem_discount(order)
    for merchant_id, (paid_fen, subsidy_fen) in owed_by_merchant(lines).items():
        postings += [
            Posting(source, ledger.MERCHANT_OWED, amount_fen, campaign_id=order.campaign_id, merchant_id=merchant_id)
            for source, amount_fen in ((ledger.CASH, paid_fen), (ledger.SUBSIDY, subsidy_fen))
            if amount_fen > 0
        ]
    postings += catalog_steps.sell_postings(quantities)
    ledger_steps.post(Cause("paid", str(order.id), order_id=order.id), postings, now=now)
    catalog_steps.sell(quantities)


def _redeem_discount(order: Any) -> list[Posting]:
    if order.buyer_kind != MEMBER_BUYER:
        return voucher_steps.redeem_bulk(campaign_id=order.campaign_id, amount_fen=order.discount_fen)
    if order.voucher_id is None:
        return []
    return voucher_steps.redeem(
        voucher_id=order.voucher_id, campaign_id=order.campaign_id, amount_fen=order.discount_fen
    )


def send_refund(*, refund_id: int, now: datetime) -> None:
    """Send a refund whose intent is written. The sandbox pays at once; a bank transfer waits for an operator."""
    intent = gateway_queries.refund(refund_id)
    if intent is not None and intent.provider == SANDBOX:
        with transaction():
            settle_refund(refund_id, reference=f"sandbox-{refund_id}", now=now)


def settle_refund(refund_id: int, *, reference: str, now: datetime) -> None:
    """Record, in the caller's transaction, that a refund's money has gone back; once, however often it is told."""
    intent = gateway_queries.refund(refund_id)
    assert intent is not None
    campaign_id = db.session.scalar(select(Order.campaign_id).where(Order.id == intent.order_id))
    assert campaign_id is not None
    postings = gateway_steps.settle_refund(refund_id, campaign_id=campaign_id, reference=reference, now=now)
    ledger_steps.post(Cause("sent_back", str(refund_id), order_id=intent.order_id), postings, now=now)


def confirm_transfer(
    *,
    payment_id: int | None,
    amount_fen: int,
    actor_id: int,
    second_person_fen: int,
    once: Once,
    now: datetime,
) -> Answer:
    """An operator says a bank transfer has arrived; from `second_person_fen` on, two different people have to.

    Raises NotFound, Invalid for another amount, StateConflict once confirmed, Forbidden for the same person twice.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        payment_view = gateway_queries.find(payment_id)
        if payment_view is None or payment_view.provider != BANK:
            raise NotFound("没有这笔转账。")
        order = _lock_order(payment_view.order_id)
        payment = gateway_steps.lock(payment_id=payment_id)
        assert payment is not None
        if payment.status != "pending":
            raise StateConflict("这笔转账已经确认过。")
        if payment.amount_fen != amount_fen:
            raise Invalid(
                "到账金额与应付金额不符，请核对。",
                errors={"amount_fen": ["到账金额与应付金额不符，请核对。"]},
            )
        if amount_fen >= second_person_fen and payment_view.first_confirmed_by is None:
            gateway_steps.note_first_confirmation(payment.id, actor_id=actor_id)
        elif amount_fen >= second_person_fen and payment_view.first_confirmed_by == actor_id:
            raise Forbidden("大额转账需要另一位运营确认。")
        else:
            _succeeded(order, payment, now=now, confirmed_by=actor_id)
        after = gateway_queries.find(payment.id)
        order_status = db.session.scalar(select(Order.status).where(Order.id == order.id))
        audit.record(
            "transfer.confirm",
            f"payment:{payment.id}",
            actor_id=actor_id,
            now=now,
            before={"status": payment.status},
            after={"status": after.status if after else "", "amount_fen": amount_fen},
        )
        return idempotency.finish(
            once,
            {
                "id": str(payment.id),
                "order_number": str(order.id),
                "provider": payment.provider,
                "status": after.status if after else payment.status,
                "amount_fen": amount_fen,
                "order_status": order_status,
            },
        )


def act_at_cashier(*, reference: str, outcome: str, secret: str, now: datetime) -> None:
    """The sandbox cashier: send the events a provider would send, through the same door. Development only.

    Raises NotFound for an unknown payment and Invalid for an unknown outcome.
    """
    payment = gateway_queries.by_reference(reference)
    if payment is None or payment.provider != SANDBOX:
        raise NotFound("没有这笔付款。")
    if outcome not in CASHIER_OUTCOMES:
        raise Invalid(errors={"outcome": ["请选择 pay、decline、late、twice 或 reversed。"]})
    paid, declined = _event(payment, SUCCEEDED), _event(payment, DECLINED)
    if outcome == "late":
        with transaction():
            close(order_id=payment.order_id, sources=("pending_payment",), to="expired", now=now)
    events = {
        "pay": [paid],
        "late": [paid],
        "decline": [declined],
        "twice": [paid, paid, _event(payment, SUCCEEDED)],
        "reversed": [paid, declined],
    }[outcome]
    for event in events:
        body = json.dumps(event.__dict__).encode()
        receive_event(provider=SANDBOX, body=body, signed=signature(secret, body), secret=secret, now=now)


def _event(payment: PaymentView, kind: str) -> PaymentEvent:
    return PaymentEvent(id=f"evt_{new_id()}", type=kind, reference=payment.reference, amount_fen=payment.amount_fen)
