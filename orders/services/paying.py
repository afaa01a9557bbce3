"""Paying: start a payment, and make a paid order of money that arrived: once. What does not fit is never lost."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from catalog import steps as catalog_steps
from catalog.steps import OutOfStock
from finance.gateway import providers
from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from finance.gateway.providers import PaymentUnavailable, ProviderDown, ProviderRefused
from finance.gateway.queries import PaymentView
from finance.gateway.rules import BANK, STRIPE, Started, ToPay, closes_at_of
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency
from kernel.db import after_commit, db, transaction
from kernel.errors import Forbidden, Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, digest
from orders.models import Order, OrderLine
from orders.rules import MEMBER_BUYER, UNION_BUYER, Line, owed_by_merchant
from orders.services import telling
from orders.services.fulfilment import write_parcels
from orders.services.placing import held_quantities
from orders.services.sending import send_refund
from voucher import queries as voucher_queries
from voucher import steps as voucher_steps
from voucher.steps import InsufficientBulkBudget, InsufficientVoucherBalance


def start_payment(
    *,
    number: str,
    member_id: int | None = None,
    union_id: int | None = None,
    provider: str,
    allowed: tuple[str, ...],
    bank_account: dict[str, str],
    return_url: str = "",
    locale: str = "zh",
    once: Once,
    now: datetime,
) -> Answer:
    """Begin to pay an order: write the intent, ask the provider with no row held, record where the buyer pays.

    The same request, also after a crash in between, is the same payment here and at the provider. Raises NotFound,
    StateConflict where the order waits for no payment or the provider refuses, Invalid for a provider that is not
    offered here, PaymentUnavailable where the provider does not answer.
    """
    gateway = providers.find(provider)
    if provider not in allowed or gateway is None:
        raise Invalid(errors={"provider": ["这里不支持这种付款方式。"]})
    with transaction():
        if (first := idempotency.peek(once)) is not None:
            return first
        order = _lock_payable(number, member_id=member_id, union_id=union_id, now=now)
        payment = _payment_to_start(order, provider, once=once, now=now)
    if payment.status == "pending" and payment.url is None:
        wanted = ToPay(
            payment_id=payment.id,
            reference=payment.reference,
            order_number=str(order.id),
            campaign=voucher_queries.slugs().get(order.campaign_id, ""),
            amount_fen=payment.amount_fen,
            closes_at=payment.closes_at or now,
            locale=locale,
            return_url=return_url,
        )
        try:
            started = gateway.start(wanted)
        except ProviderRefused:
            with transaction():
                gateway_steps.move(payment.id, to="declined", now=now)
            raise StateConflict("付款没有开始，没有扣款。请再试一次，或换一种付款方式。") from None
        except ProviderDown:
            raise PaymentUnavailable("付款平台暂时没有回应，没有扣款。请稍后再试。") from None
    else:
        started = Started(redirect_url=payment.url, session=payment.session)
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        gateway_steps.note_start(payment.id, started)
        content: dict[str, Any] = {
            "id": str(payment.id),
            "order_number": str(order.id),
            "provider": provider,
            "status": payment.status,
            "amount_fen": payment.amount_fen,
            "redirect_url": started.redirect_url,
        }
        if provider == BANK:
            content |= {"reference": payment.reference, "pay_to": bank_account}
        return idempotency.finish(once, content)


def _lock_payable(number: str, *, member_id: int | None, union_id: int | None, now: datetime) -> Any:
    own = Order.member_id == member_id if member_id is not None else Order.union_id == union_id
    order_id = db.session.scalar(select(Order.id).where(Order.id == as_id(number), own))
    if order_id is None:
        raise NotFound("没有这个订单。")
    order = lock_order(order_id)
    due = order.expires_at is not None and order.expires_at <= now
    if order.status not in ("pending_payment", "approved") or due:
        raise StateConflict("这个订单现在不能付款。")
    db.session.execute(
        update(Order).where(Order.id == order.id, Order.status == "approved").values(status="pending_payment")
    )
    return order


def _payment_to_start(order: Any, provider: str, *, once: Once, now: datetime) -> PaymentView:
    """Return the payment this request began before, or one its buyer can still use, or a new one."""
    start_key = digest(f"{once.person_id}:{once.key}:{once.request_hash}")
    found = gateway_steps.by_start_key(start_key)
    if found is not None and found.status in ("declined", "expired"):
        # It ended before its buyer was ever told where to pay: the request begins another.
        gateway_steps.forget_start_key(found.id)
        found = None
    if found is None and provider in (STRIPE, BANK):
        found = gateway_steps.usable(order_id=order.id, provider=provider, now=now)
    if found is not None:
        return found
    closes_at = None
    if provider == STRIPE:
        until = order.expires_at.timestamp() if order.expires_at is not None else 0.0
        closes_at = datetime.fromtimestamp(closes_at_of(until, now=now.timestamp()), UTC)
    payment = gateway_steps.start(
        order_id=order.id,
        provider=provider,
        amount_fen=order.payable_fen,
        now=now,
        start_key=start_key,
        closes_at=closes_at,
    )
    if order.payable_fen == 0:  # a saving that covers everything: there is nothing a provider could take
        take_payment(order, payment, now=now)
        payment = gateway_steps.lock(payment_id=payment.id) or payment
    return payment


def lock_order(order_id: int) -> Any:
    """Return what paying needs of an order, its row locked: always before its payment's, as everybody does."""
    return db.session.execute(
        select(
            Order.id,
            Order.campaign_id,
            Order.buyer_kind,
            Order.status,
            Order.voucher_id,
            Order.discount_fen,
            Order.holds,
            Order.payable_fen,
            Order.expires_at,
            Order.delivery,
            Order.placed_by,
        )
        .where(Order.id == order_id)
        .with_for_update()
    ).one()


def take_payment(order: Any, payment: PaymentView, *, now: datetime, confirmed_by: int | None = None) -> None:
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
            catalog_steps.hold(quantities, bulk=order.buyer_kind == UNION_BUYER)
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
    write_parcels(order.id, {line.parcel_no: line.merchant_id for line in lines}, delivery=order.delivery)
    telling.paid(order, now=now)
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


def keep_unmatched(payment_id: int, *, order: Any, amount_fen: int, now: datetime) -> None:
    """Put money that pays for nothing on the ledger, in the caller's transaction: it came, and it is due back."""
    campaign_id = order.campaign_id if order is not None else None
    came = Posting(ledger.CASH, ledger.REFUND_DUE, amount_fen, campaign_id=campaign_id)
    cause = Cause("unmatched", str(payment_id), order_id=order.id if order is not None else None)
    ledger_steps.post(cause, [came], now=now)


def _redeem_discount(order: Any) -> list[Posting]:
    if order.buyer_kind != MEMBER_BUYER:
        return voucher_steps.redeem_bulk(campaign_id=order.campaign_id, amount_fen=order.discount_fen)
    if order.voucher_id is None:
        return []
    return voucher_steps.redeem(
        voucher_id=order.voucher_id, campaign_id=order.campaign_id, amount_fen=order.discount_fen
    )


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
        assert payment_view.order_id is not None
        order = lock_order(payment_view.order_id)
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
            take_payment(order, payment, now=now, confirmed_by=actor_id)
            gateway_steps.move_lines_of(payment.id, sources=("second", "short"), to="matched")
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
