"""Reads of outgoing webhooks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from kernel.db import db
from kernel.paging import Page, page_of
from orders.models import WebhookDelivery, WebhookEndpoint


def endpoints(merchant_id: int | None) -> Sequence[Row[Any]]:
    """Return a merchant's live addresses: id, url, events, made_at."""
    return db.session.execute(
        select(WebhookEndpoint.id, WebhookEndpoint.url, WebhookEndpoint.events, WebhookEndpoint.made_at)
        .where(WebhookEndpoint.merchant_id == merchant_id, WebhookEndpoint.ended_at.is_(None))
        .order_by(WebhookEndpoint.id)
    ).all()


def deliveries(merchant_id: int | None, *, limit: int, before: int | None = None) -> Page[Row[Any]]:
    """Return what addresses were told, newest first, with how often it was tried and what they said.

    Those of one merchant, or of all where there is none.
    """
    query = (
        select(
            WebhookDelivery.id,
            WebhookDelivery.endpoint_id,
            WebhookDelivery.event,
            WebhookDelivery.thing,
            WebhookDelivery.status,
            WebhookDelivery.attempts,
            WebhookDelivery.next_at,
            WebhookDelivery.answer,
            WebhookDelivery.made_at,
            WebhookDelivery.delivered_at,
            WebhookEndpoint.url,
            WebhookEndpoint.merchant_id,
        )
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit + 1)
    )
    if merchant_id is not None:
        query = query.where(WebhookEndpoint.merchant_id == merchant_id)
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    return page_of(db.session.execute(query).all(), limit=limit, key=lambda row: row.id)
