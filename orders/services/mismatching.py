"""不符: an operator looks at money that fits no order, and says what becomes of it."""

from datetime import datetime

from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from kernel import audit, idempotency
from kernel.db import after_commit, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from orders.services.paying import lock_order
from orders.services.sending import send_refund


def send_back(*, mismatch_id: int | None, actor_id: int, once: Once, now: datetime) -> Answer:
    """Send money that pays for nothing back to where it came from. Raises NotFound, StateConflict."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        found = gateway_queries.mismatch(mismatch_id)
        if found is None:
            raise NotFound("没有这一条。")
        if found.order_id is not None:
            lock_order(found.order_id)
        payment = gateway_steps.lock(payment_id=found.payment_id)
        if payment is None or payment.status != "unmatched" or payment.refunded_fen > 0 or payment.amount_fen == 0:
            raise StateConflict("这一条不能从这里退款，请在付款平台处理后登记。")
        if not gateway_steps.close_mismatch(found.id, note="sent back", actor_id=actor_id, now=now):
            raise StateConflict("这一条已经处理过。")
        intent = gateway_steps.refund(
            order_id=payment.order_id,
            payment_id=payment.id,
            amount_fen=payment.amount_fen,
            cause=f"mismatch:{found.id}",
            reason="not_matched",
            now=now,
        )
        after_commit(send_refund, refund_id=intent.id, now=now)
        after = {"amount_fen": payment.amount_fen, "refund": str(intent.id)}
        audit.record("mismatch.send_back", f"mismatch:{found.id}", actor_id=actor_id, now=now, after=after)
        content = {"id": str(found.id), "refund_id": str(intent.id), "amount_fen": payment.amount_fen}
        return idempotency.finish(once, content)


def close(*, mismatch_id: int | None, note: str, actor_id: int, once: Once | None, now: datetime) -> Answer:
    """Close what was settled elsewhere, with a note. Raises NotFound, Invalid without a note, StateConflict."""
    if not note:
        raise Invalid("请填写说明。", errors={"note": ["请填写说明。"]})
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        found = gateway_queries.mismatch(mismatch_id)
        if found is None:
            raise NotFound("没有这一条。")
        if not gateway_steps.close_mismatch(found.id, note=note, actor_id=actor_id, now=now):
            raise StateConflict("这一条已经处理过。")
        audit.record("mismatch.close", f"mismatch:{found.id}", actor_id=actor_id, now=now, after={"note": note})
        return idempotency.finish(once, {"id": str(found.id), "note": note})
