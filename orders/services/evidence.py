"""售后图片: what a buyer shows of what arrived; seen by the buyer, the merchant who answers, and the operator."""

from datetime import datetime

from sqlalchemy import func, insert, select

from kernel import pictures
from kernel.db import db, transaction
from kernel.errors import NotFound, OverLimit
from kernel.files import Store
from kernel.ids import as_id
from orders.models import Order, OrderRefund, RefundPart, RefundPicture

MOST_PICTURES = 6


def add_picture(*, number: str, refund: str, member_id: int | None, content: bytes, store: Store, now: datetime) -> str:
    """Keep a picture of a member's own refund and return its name.

    The picture is drawn and kept before the transaction. Raises NotFound for another's refund, Invalid for what is no
    picture, OverLimit past MOST_PICTURES.
    """
    refund_id = _own(number, refund, member_id=member_id)
    name = pictures.keep(store, content)
    with transaction():
        # The refund's row is locked, so that two uploads at once count each other.
        db.session.execute(select(OrderRefund.id).where(OrderRefund.id == refund_id).with_for_update())
        count = db.session.scalar(select(func.count()).where(RefundPicture.refund_id == refund_id)) or 0
        if count >= MOST_PICTURES:
            raise OverLimit("一个退款申请最多 %(most)s 张图片。", most=MOST_PICTURES)
        db.session.execute(insert(RefundPicture).values(refund_id=refund_id, name=name, added_at=now))
    return name


def _own(number: str, refund: str, *, member_id: int | None) -> int:
    found = db.session.scalar(
        select(OrderRefund.id)
        .join(Order, Order.id == OrderRefund.order_id)
        .where(OrderRefund.id == as_id(refund), Order.id == as_id(number), Order.member_id == member_id)
    )
    if found is None:
        raise NotFound("没有这个退款申请。")
    return found


def may_see(name: str, *, member_id: int | None, merchant_id: int | None, is_operator: bool) -> bool:
    """Return whether somebody may see a picture: the buyer, a merchant who answers for it, an operator."""
    stem = name.rpartition("-")[0]
    query = (
        select(Order.member_id, OrderRefund.id)
        .join(OrderRefund, OrderRefund.order_id == Order.id)
        .join(RefundPicture, RefundPicture.refund_id == OrderRefund.id)
        .where(RefundPicture.name == f"{stem}.webp")
    )
    found = db.session.execute(query).one_or_none()
    if found is None:
        return False
    if is_operator or (member_id is not None and found.member_id == member_id):
        return True
    answers = select(RefundPart.refund_id).where(
        RefundPart.refund_id == found.id, RefundPart.merchant_id == merchant_id
    )
    return merchant_id is not None and db.session.execute(answers).first() is not None
