"""Beginning again: last year's order copied, and a pack that ran out replaced by another of its tier."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update

from catalog import queries as catalog_queries
from catalog.queries import PackView
from kernel import audit
from kernel.db import db, transaction
from kernel.errors import Invalid
from kernel.idempotency import Answer, Once
from orders import queries
from orders.models import Recipient, UnionTerms
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.queries.orders import Choice
from orders.rules import Wanted
from orders.services import bulk, rostering
from orders.services.bulk import WantedChoice
from voucher import queries as voucher_queries

OFFERED_AT_MOST = 6
NEW_DEADLINE = timedelta(days=7)


@dataclass(frozen=True)
class Short:
    """A pack of an order that is short, and others of its tier that are not, those of its region first."""

    pack_id: int
    name: str
    name_en: str
    wanted: int
    available: int
    others: tuple[PackView, ...]


def copy(*, number: str, union_id: int | None, slug: str, once: Once, now: datetime) -> Answer:
    """Begin a new order in a campaign with an old one's packs, as far as they are on sale there, and its people.

    Raises NotFound, CampaignClosed, and Invalid where none of the packs is to be had any more.
    """
    old = queries.order_of_union(number, union_id=union_id, now=now)
    campaign = voucher_queries.campaign(slug, now=now)
    ids = old.choice.pack_ids if old.choice is not None else [line.pack_id for line in old.lines]
    views = catalog_queries.packs_by_id(ids)
    there = [
        pack_id
        for pack_id in dict.fromkeys(ids)
        if pack_id in views and views[pack_id].status == "on_sale" and views[pack_id].price_fen in campaign.tiers_fen
    ]
    if not there:
        raise Invalid("原订单的礼包都已下架，请新建订单。")
    choice, wanted = None, []
    if old.choice is not None:
        tier_fen = views[there[0]].price_fen
        same = tuple(pack_id for pack_id in there if views[pack_id].price_fen == tier_fen)
        choice = WantedChoice(tier_fen, same, min(now + NEW_DEADLINE, campaign.ends_at))
    else:
        wanted = [Wanted(line.pack_id, line.quantity) for line in old.lines if line.pack_id in there]
    answer = bulk.draft(
        slug=slug,
        union_id=union_id,
        wanted=wanted,
        choice=choice,
        delivery=old.delivery,
        copied_from=old.id,
        once=once,
        now=now,
    )
    people = queries.recipients_of(old.id)
    if not answer.replayed and people:
        rows = [
            (
                one.position,
                {
                    "name": one.name,
                    "phone": one.phone,
                    "employee_no": one.employee_no,
                    "department": one.department,
                    "pack": str(one.pack_id) if one.pack_id in there and old.choice is None else "",
                    "quantity": str(one.quantity),
                    "address": one.address,
                },
            )
            for one in people
        ]
        rostering.put_roster(number=answer.body["number"], union_id=union_id, rows=rows, partial=True, now=now)
    return answer


def replacements(order: OrderView) -> list[Short]:
    """Return the packs of an order that are short now (before its stock is held), with what could take their place."""
    if order.status not in ("draft", "choosing", "submitted"):
        return []
    views = catalog_queries.packs_by_id((line.pack_id for line in order.lines), channel="bulk")
    found = []
    for line in order.lines:
        view = views[line.pack_id]
        available = view.available if view.status == "on_sale" else 0
        if available >= line.quantity:
            continue
        same_tier = catalog_queries.packs(
            catalog_queries.Filter(tier_fen=line.price_fen, channel="bulk"), limit=500
        ).items
        taken = {one.pack_id for one in order.lines}
        others = [one for one in same_tier if one.id not in taken and one.available >= line.quantity]
        others.sort(key=lambda one: (one.merchant.region != view.merchant.region, -one.available))
        found.append(
            Short(
                line.pack_id,
                line.pack_name,
                line.pack_name_en,
                line.quantity,
                available,
                tuple(others[:OFFERED_AT_MOST]),
            )
        )
    return found


def replace_pack(
    *, number: str, union_id: int | None, old_id: int, new_id: int, actor_id: int, now: datetime
) -> OrderView:
    """Put another pack of the same tier in a pack's place; what was submitted or approved is void by it.

    With self-choice, whoever had chosen the old pack is asked again; until then the default counts for them. Raises
    Invalid for a pack that is not of the same tier, StateConflict once a payment was begun.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    views = catalog_queries.packs_by_id([old_id, new_id])
    ids = order.choice.pack_ids if order.choice is not None else tuple(line.pack_id for line in order.lines)
    old, new = views.get(old_id), views.get(new_id)
    if old_id not in ids or new_id in ids or old is None or new is None:
        raise Invalid(errors={"pack_id": ["这个礼包不在本订单中。"]})
    if new.status != "on_sale" or new.price_fen != old.price_fen:
        raise Invalid(errors={"by_pack_id": ["请选择同一档位、在售的礼包。"]})
    with transaction():
        voided = bulk.reopen(order, now=now)
        people = update(Recipient).where(Recipient.order_id == order.id, Recipient.pack_id == old_id)
        if order.choice is None:
            db.session.execute(people.values(pack_id=new_id))
            wanted = [Wanted(new_id if line.pack_id == old_id else line.pack_id, line.quantity) for line in order.lines]
            bulk.rewrite_lines(order, wanted, now=now)
        else:
            db.session.execute(people.values(pack_id=None, chosen_at=None, reminded_at=None))
            choice = order.choice
            renewed = [new_id if pack_id == old_id else pack_id for pack_id in choice.pack_ids]
            default = new_id if choice.default_pack_id == old_id else choice.default_pack_id
            deadline = max(choice.deadline, now + timedelta(days=2))
            db.session.execute(
                update(UnionTerms)
                .where(UnionTerms.order_id == order.id)
                .values(pack_ids=renewed, default_pack_id=default, deadline=deadline)
            )
            again = Choice(choice.tier_fen, tuple(renewed), default, deadline)
            bulk.recount(order, again, now=now, as_it_is=True)
        audit.record(
            "order.replace",
            f"order:{order.id}",
            actor_id=actor_id,
            now=now,
            before={"pack": old_id, "voided": voided},
            after={"pack": new_id},
        )
    return queries.order_of_union(number, union_id=union_id, now=now)


def last_order(union_id: int | None, *, now: datetime) -> OrderView | None:
    """Return the union's last paid order, to copy from."""
    row = union_queries.last_order_of(union_id)
    return queries.order_of_union(str(row.id), union_id=union_id, now=now) if row is not None else None
