"""Outgoing webhooks: a merchant's own system is told what happened to its parcels, refunds and stock.

What happened is found by looking, not by being told: whatever has no delivery yet gets one, once, by a unique key. So
the hot paths know nothing of it, and a worker that was away misses nothing.
"""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from catalog import queries as catalog_queries
from kernel import audit, origin, outbound
from kernel.clock import local
from kernel.db import db, rows_changed, transaction, unindexed
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.ids import new_id, new_secret
from kernel.outbound import signature
from kernel.sealing import seal, unseal
from orders.models import Order, OrderRefund, Parcel, ParcelFault, RefundPart, WebhookDelivery, WebhookEndpoint
from orders.rules import parcel_id

EVENTS = ("parcel.made", "parcel.cancelled", "refund.asked", "stock.low", "parcel.faults")
MOST_ENDPOINTS = 5
ATTEMPTS = 10
LEASE = timedelta(minutes=2)
AT_ONCE = 200
PURPOSE = "webhook"
CAUSE = "request_id"  # of what happened: kept beside the delivery, in its header and in the logs, not in its body

log = logging.getLogger("huigong.webhooks")


def delay_after(attempts: int) -> timedelta:
    """Return how long to wait after so many tries: half a minute, then four times as long each time, a day at most.

    >>> [str(delay_after(tries)) for tries in (1, 2, 3, 9)]
    ['0:00:30', '0:02:00', '0:08:00', '1 day, 0:00:00']
    """
    return min(timedelta(seconds=30 * 4 ** (attempts - 1)), timedelta(days=1))


def add(
    *, merchant_id: int, url: str, events: Sequence[str], private: bool, key: str, actor_id: int, now: datetime
) -> tuple[int, str]:
    """Note where a merchant wants to be told of which events; return its id and the secret, shown this once.

    Raises Invalid for no address of the web or an unknown event, StateConflict past MOST_ENDPOINTS.
    """
    url = outbound.checked_url(url, private=private)
    if not events or not set(events) <= set(EVENTS):
        said = "请选择要通知的事件。"
        raise Invalid(said, errors={"events": [said]})
    endpoint_id, secret = new_id(), new_secret("whsec_")
    with transaction():
        live = select(WebhookEndpoint.id).where(
            WebhookEndpoint.merchant_id == merchant_id, WebhookEndpoint.ended_at.is_(None)
        )
        if len(db.session.execute(live).all()) >= MOST_ENDPOINTS:
            raise StateConflict("最多登记 %(most)s 个地址。", most=MOST_ENDPOINTS)
        db.session.add(
            WebhookEndpoint(
                id=endpoint_id,
                merchant_id=merchant_id,
                url=url,
                sealed_secret=seal(secret, key=key, purpose=PURPOSE),
                events=[event for event in EVENTS if event in events],
                made_at=now,
            )
        )
        db.session.flush()
        after = {"merchant_id": merchant_id, "url": url, "events": sorted(events)}
        audit.record("webhook.add", f"webhook:{endpoint_id}", actor_id=actor_id, now=now, after=after)
    return endpoint_id, secret


def end(*, endpoint_id: int | None, merchant_id: int, actor_id: int, now: datetime) -> None:
    """Tell an address nothing more. Raises NotFound."""
    with transaction():
        ended = rows_changed(
            update(WebhookEndpoint)
            .where(
                WebhookEndpoint.id == endpoint_id,
                WebhookEndpoint.merchant_id == merchant_id,
                WebhookEndpoint.ended_at.is_(None),
            )
            .values(ended_at=now)
        )
        if ended == 0:
            raise NotFound("没有这个通知地址。")
        audit.record("webhook.end", f"webhook:{endpoint_id}", actor_id=actor_id, now=now)


def replay(*, delivery_id: int | None, merchant_id: int, now: datetime) -> None:
    """Send a delivery again, from the first try on. Raises NotFound, StateConflict for an address that has ended."""
    own = select(WebhookEndpoint.id, WebhookEndpoint.ended_at).where(WebhookEndpoint.merchant_id == merchant_id)
    with transaction():
        found = db.session.execute(
            own.join(WebhookDelivery, WebhookDelivery.endpoint_id == WebhookEndpoint.id).where(
                WebhookDelivery.id == delivery_id
            )
        ).one_or_none()
        if found is None:
            raise NotFound("没有这条通知。")
        if found.ended_at is not None:
            raise StateConflict("这个通知地址已停用。")
        db.session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id)
            .values(status="waiting", attempts=0, next_at=now)
        )


def note(*, now: datetime) -> int:
    """Write a delivery for whatever happened that an address has not been told of yet; return how many."""
    endpoints = db.session.scalars(select(WebhookEndpoint).where(WebhookEndpoint.ended_at.is_(None))).all()
    return sum(_note_for(endpoint, event, now=now) for endpoint in endpoints for event in endpoint.events)


def _note_for(endpoint: WebhookEndpoint, event: str, *, now: datetime) -> int:
    finders: dict[str, Callable[[WebhookEndpoint], dict[str, dict[str, Any]]]] = {
        "parcel.made": _parcels_made,
        "parcel.cancelled": _parcels_cancelled,
        "refund.asked": _refunds_asked,
        "stock.low": _stocks_low,
        "parcel.faults": _faults_said,
    }
    happened = finders[event](endpoint)
    if not happened:
        return 0
    with transaction():
        insert = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        noted = 0
        for thing, found in happened.items():
            delivery_id = new_id()
            data = {name: value for name, value in found.items() if name != CAUSE}
            body = {
                "id": str(delivery_id),
                "event": event,
                "at": local(now).isoformat(timespec="seconds"),
                "data": data,
            }
            noted += rows_changed(
                insert(WebhookDelivery)
                .values(
                    id=delivery_id,
                    endpoint_id=endpoint.id,
                    event=event,
                    thing=thing,
                    body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
                    status="waiting",
                    attempts=0,
                    next_at=now,
                    answer="",
                    made_at=now,
                    request_id=found.get(CAUSE) or origin.request_id(),
                )
                .on_conflict_do_nothing()
            )
    return noted


def _told(endpoint: WebhookEndpoint, event: str, thing: Any) -> ColumnElement[bool]:
    return (
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.event == event,
            WebhookDelivery.thing == thing,
        )
        .exists()
    )


def _parcel_name() -> Any:
    text = WebhookDelivery.thing.type
    return Parcel.order_id.cast(text).concat("-").concat(Parcel.parcel_no.cast(text))


def _parcels_made(endpoint: WebhookEndpoint) -> dict[str, dict[str, Any]]:
    return _parcels(endpoint, "parcel.made", Order.paid_at >= endpoint.made_at)


def _parcels_cancelled(endpoint: WebhookEndpoint) -> dict[str, dict[str, Any]]:
    cancelled = and_(Parcel.status == "cancelled", Order.paid_at >= endpoint.made_at)
    return _parcels(endpoint, "parcel.cancelled", cancelled)


def _parcels(endpoint: WebhookEndpoint, event: str, condition: ColumnElement[bool]) -> dict[str, dict[str, Any]]:
    rows = db.session.execute(
        select(Parcel.order_id, Parcel.parcel_no, Parcel.status, Parcel.request_id)
        .join(Order, Order.id == Parcel.order_id)
        .where(Parcel.merchant_id == endpoint.merchant_id, condition, ~_told(endpoint, event, _parcel_name()))
        .order_by(Parcel.order_id)
        .limit(AT_ONCE)
    )
    return {
        name: {"parcel_id": name, "order_number": str(row.order_id), "status": row.status, CAUSE: row.request_id}
        for row in rows
        for name in [parcel_id(row.order_id, row.parcel_no)]
    }


def _refunds_asked(endpoint: WebhookEndpoint) -> dict[str, dict[str, Any]]:
    thing = RefundPart.refund_id.cast(WebhookDelivery.thing.type)
    rows = db.session.execute(
        select(RefundPart, OrderRefund.order_id, OrderRefund.request_id)
        .join(OrderRefund, OrderRefund.id == RefundPart.refund_id)
        .where(
            RefundPart.merchant_id == endpoint.merchant_id,
            OrderRefund.asked_at >= endpoint.made_at,
            ~_told(endpoint, "refund.asked", thing),
        )
        .order_by(RefundPart.refund_id)
        .limit(AT_ONCE)
    )
    return {
        str(part.refund_id): {
            "refund_id": str(part.refund_id),
            "parcel_id": parcel_id(order_id, part.parcel_no),
            "status": part.status,
            "due_at": local(part.due_at).isoformat(timespec="seconds") if part.due_at else None,
            CAUSE: request_id,
        }
        for part, order_id, request_id in rows
    }


def _things_told(endpoint: WebhookEndpoint, event: str) -> set[str]:
    return set(
        db.session.scalars(
            select(WebhookDelivery.thing).where(
                WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.event == event
            )
        )
    )


def _faults_said(endpoint: WebhookEndpoint) -> dict[str, dict[str, Any]]:
    told = _things_told(endpoint, "parcel.faults")
    rows = db.session.scalars(
        select(ParcelFault)
        .where(ParcelFault.merchant_id == endpoint.merchant_id, ParcelFault.told_at >= endpoint.made_at)
        .order_by(ParcelFault.told_at, ParcelFault.line_no)
        .execution_options(populate_existing=True)
    )
    said = {
        f"{row.order_id}:{row.line_no}:{int(row.told_at.timestamp())}": {
            "parcel_id": parcel_id(row.order_id, row.parcel_no),
            "order_number": str(row.order_id),
            "line_id": str(row.line_no),
            "missing": row.missing,
            "broken": row.broken,
            "note": row.note,
            CAUSE: row.request_id,
        }
        for row in rows
    }
    return {thing: data for thing, data in said.items() if thing not in told}


def _stocks_low(endpoint: WebhookEndpoint) -> dict[str, dict[str, Any]]:
    told = _things_told(endpoint, "stock.low")
    return {
        thing: {"pack_id": str(low.pack_id), "available": low.available, "alert_below": low.alert_below}
        for low in catalog_queries.low_stocks(endpoint.merchant_id)
        for thing in [f"{low.pack_id}:{int(low.since.timestamp())}"]
        if thing not in told
    }


def deliver(*, key: str, private: bool, now: datetime, limit: int = 20) -> int:
    """Send what is due, one after another, no row locked meanwhile; return how many were taken by their addresses."""
    due = select(WebhookDelivery.id).where(WebhookDelivery.status == "waiting", WebhookDelivery.next_at <= now)
    ids = list(db.session.scalars(due.order_by(WebhookDelivery.next_at).limit(limit)))
    return sum(_send(delivery_id, key=key, private=private, now=now) for delivery_id in ids)


def _send(delivery_id: int, *, key: str, private: bool, now: datetime) -> bool:
    with transaction():
        taken = rows_changed(
            update(WebhookDelivery)
            .where(
                WebhookDelivery.id == delivery_id,
                unindexed(WebhookDelivery.status == "waiting"),
                unindexed(WebhookDelivery.next_at <= now),
            )
            .values(attempts=WebhookDelivery.attempts + 1, next_at=now + LEASE)
        )
        if taken == 0:
            return False
        delivery, endpoint = db.session.execute(
            select(WebhookDelivery, WebhookEndpoint)
            .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
            .where(WebhookDelivery.id == delivery_id)
            .execution_options(populate_existing=True)
        ).one()
        attempts, body, event = delivery.attempts, delivery.body.encode(), delivery.event
        url, sealed, ended = endpoint.url, endpoint.sealed_secret, endpoint.ended_at
        endpoint_id, cause = endpoint.id, delivery.request_id
    answer = outbound.Answer(0, "ended")
    secret = unseal(sealed, key=key, purpose=PURPOSE)
    with origin.work_of(cause):
        if ended is None and secret is not None:
            answer = _post(url, body, delivery_id=delivery_id, event=event, secret=secret, private=private, now=now)
        # Not the address: its query may be the receiver's key.
        about = {"delivery_id": delivery_id, "endpoint_id": endpoint_id, "kind": event, "attempt": attempts}
        log.info("webhook sent", extra={**about, "status": answer.status})
    delivered = 200 <= answer.status < 300
    given_up = not delivered and (attempts >= ATTEMPTS or ended is not None)
    with transaction():
        db.session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, unindexed(WebhookDelivery.status == "waiting"))
            .values(
                status="delivered" if delivered else "failed" if given_up else "waiting",
                next_at=now + delay_after(attempts),
                answer=f"{answer.status} {answer.text}".replace("\0", "")[:200],
                delivered_at=now if delivered else None,
            )
        )
    return delivered


def _post(
    url: str, body: bytes, *, delivery_id: int, event: str, secret: str, private: bool, now: datetime
) -> outbound.Answer:
    at = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Huigong-Webhook",
        "Huigong-Event": event,
        "Huigong-Delivery": str(delivery_id),
        "X-Request-ID": origin.request_id(),
        "Huigong-Signature": f"t={at},v1={signature(secret, at=at, body=body)}",
    }
    try:
        return outbound.post(url, body, headers, private=private)
    except outbound.NotAllowed as refused:
        return outbound.Answer(0, str(refused))
