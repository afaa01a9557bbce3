"""问与评: a member asks about a pack or an own order, and rates what they have received."""

from datetime import datetime, timedelta

from catalog import queries as catalog_queries
from kernel import audit
from kernel.db import transaction
from kernel.errors import Invalid, NotFound, StateConflict
from orders import queries
from orders.services.fulfilment import lock_order
from voices import steps as voice_steps


def ask_on_pack(*, pack_id: int | None, member_id: int | None, words: str, answer_seconds: int, now: datetime) -> int:
    """Ask its merchant about a pack that is on sale; return the question's id. Raises NotFound."""
    assert member_id is not None
    pack = catalog_queries.pack(pack_id)
    with transaction():
        return voice_steps.ask(
            member_id=member_id,
            pack_id=pack.id,
            order_id=None,
            merchant_id=pack.merchant.id,
            words=words,
            due_at=now + timedelta(seconds=answer_seconds),
            now=now,
        )


def ask_on_order(
    *,
    number: str,
    member_id: int | None,
    merchant_id: int | None,
    words: str,
    answer_seconds: int,
    now: datetime,
) -> int:
    """Ask one merchant of an own order, or (None) the district union; return the question's id.

    Raises NotFound for another's order, Invalid for a merchant that is not in it.
    """
    assert member_id is not None
    order = queries.order_of_member(number, member_id=member_id, now=now)
    if merchant_id is not None and merchant_id not in {line.merchant_id for line in order.lines}:
        raise Invalid(errors={"merchant_id": ["这个订单里没有这个商户。"]})
    with transaction():
        return voice_steps.ask(
            member_id=member_id,
            pack_id=None,
            order_id=order.id,
            merchant_id=merchant_id,
            words=words,
            due_at=now + timedelta(seconds=answer_seconds),
            now=now,
        )


def rate(*, number: str, line_no: int | None, member_id: int | None, stars: int, words: str, now: datetime) -> int:
    """Rate a pack of an own order once its parcel has arrived; return the rating's id.

    Said again, for this order or another of the same pack, it takes the place of what was said. Raises NotFound for
    another's order or no such line, StateConflict before it has arrived and for units that were never sent.
    """
    assert member_id is not None
    order = queries.order_of_member(number, member_id=member_id, now=now)
    with transaction():
        lock_order(order.id)
        # Read again under the lock: what has arrived never goes back, but a line may be withdrawn meanwhile.
        fresh = queries.order_of_member(number, member_id=member_id, now=now)
        line = next((one for one in fresh.lines if one.line_no == line_no), None)
        if line is None:
            raise NotFound("没有这个订单行。")
        parcel = next((one for one in fresh.parcels if one.parcel_no == line.parcel_no), None)
        if parcel is None or parcel.status != "delivered" or line.shipped == 0:
            raise StateConflict("确认收货以后才能评价。")
        rating_id, changed = voice_steps.rate(
            member_id=member_id,
            order_id=order.id,
            line_no=line.line_no,
            pack_id=line.pack_id,
            stars=stars,
            words=words,
            now=now,
        )
        if changed:
            audit.record("rating.give", f"rating:{rating_id}", now=now, after={"pack": line.pack_id, "stars": stars})
    return rating_id
