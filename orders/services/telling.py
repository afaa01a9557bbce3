"""What buyers, officers and merchants are told about orders: each within the transaction of what it tells."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from kernel.clock import local
from kernel.db import db
from kernel.money import yuan
from orders.models import Order, OrderRefund
from orders.queries import ParcelView
from orders.queries.refunds import PartView
from orders.rules import GRANTED
from people import telling
from people.rules import APPROVER, MERCHANT
from people.telling import Notice


def until(moment: datetime) -> str:
    """Return a moment as messages write it.

    >>> from datetime import UTC
    >>> until(datetime(2027, 1, 27, 10, tzinfo=UTC))
    '2027-01-27 18:00'
    """
    return f"{local(moment):%Y-%m-%d %H:%M}"


def paid(order: Any, *, now: datetime) -> None:
    """Tell whoever placed an order that it is paid: one INSERT, no look (`order` names who placed it)."""
    values = {"number": str(order.id), "amount": yuan(order.payable_fen)}
    telling.tell([Notice("order.paid", str(order.id), values, person_id=order.placed_by)], now=now)


def shipped(parcel: ParcelView, *, package_no: int, carrier: str, tracking_no: str, now: datetime) -> None:
    """Tell a buyer what left, with whom, under which number; a number mended later is told too."""
    person_id, delivery = _buyer(parcel.order_id)
    values = {
        "number": str(parcel.order_id),
        "merchant": parcel.merchant_name,
        "carrier": carrier,
        "tracking": tracking_no,
    }
    event = "parcel.shipped"
    if delivery.get("kind") == "pickup":
        event, values["station"] = "parcel.to_station", delivery.get("station_name", "")
    thing = f"{parcel.id}:{package_no}:{carrier} {tracking_no}"
    telling.tell([Notice(event, thing, values, person_id=person_id)], now=now)


def at_station(parcel: ParcelView, *, code: str, key: str, now: datetime) -> int:
    """Tell a buyer that a parcel is at its station, with the code that hands it over (sealed with `key`).

    Returns how many were told; 0 where it was told before.
    """
    person_id, delivery = _buyer(parcel.order_id)
    values = {"number": str(parcel.order_id), "station": delivery.get("station_name", ""), "code": code}
    return telling.tell([Notice("parcel.at_station", parcel.id, values, person_id=person_id)], now=now, key=key)


def _buyer(order_id: int) -> tuple[int | None, dict[str, Any]]:
    """Return who is told about an order's parcels, and where they go: of a gift, whoever gets it."""
    row = db.session.execute(
        select(Order.placed_by, Order.buyer_kind, Order.member_id, Order.delivery).where(Order.id == order_id)
    ).one()
    if row.buyer_kind != GRANTED:
        return row.placed_by, row.delivery
    return telling.person_of(row.member_id), row.delivery


def refund_asked(part: PartView, *, now: datetime) -> None:
    """Tell a merchant that a part of a refund waits for its answer."""
    assert part.due_at is not None
    values = {"number": str(part.order_id), "until": until(part.due_at)}
    telling.tell_holders(
        "refund.asked", str(part.refund_id), values, role=MERCHANT, merchant_id=part.merchant_id, now=now
    )


def refund_decided(part: PartView, *, cash_fen: int = 0, voucher_fen: int = 0, now: datetime, reason: str = "") -> None:
    """Tell whoever asked for a refund what was decided of one merchant's part: a `reason` is a no."""
    asked_by = db.session.scalar(select(OrderRefund.asked_by).where(OrderRefund.id == part.refund_id))
    event = "refund.declined" if reason else "refund.accepted"
    values = {"number": str(part.order_id)}
    values |= {"reason": reason} if reason else {"cash": yuan(cash_fen), "voucher": yuan(voucher_fen)}
    # A no, an appeal and another no are two things.
    thing = f"{part.refund_id}:{part.merchant_id}" + (":2" if part.appealed_at else "")
    telling.tell([Notice(event, thing, values, person_id=asked_by)], now=now)


def approval_asked(order: Any, *, now: datetime) -> None:
    """Tell a union's approvers that an order waits for them; one handed in anew is told anew."""
    payable_fen = db.session.scalars(select(Order.payable_fen).where(Order.id == order.id)).one()
    values = {"number": str(order.id), "amount": yuan(payable_fen)}
    thing = f"{order.id}:{int(now.timestamp() * 1000)}"
    telling.tell_holders("approval.asked", thing, values, role=APPROVER, union_id=order.union_id, now=now)


def approval_decided(order: Any, *, pay_until: datetime | None = None, reason: str = "", now: datetime) -> None:
    """Tell whoever submitted an order what its approver decided: until when to pay, or the reason it came back."""
    if order.submitted_by is None:
        return
    values = {"number": str(order.id)}
    if pay_until is not None:
        event, more = "approval.given", {"amount": yuan(order.payable_fen), "until": until(pay_until)}
    else:
        event, more = "approval.refused", {"reason": reason}
    thing = f"{order.id}:{int(now.timestamp() * 1000)}"
    telling.tell([Notice(event, thing, values | more, person_id=order.submitted_by)], now=now)
