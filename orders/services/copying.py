"""Beginning again: last year's order copied."""

from datetime import datetime, timedelta

from catalog import queries as catalog_queries
from kernel.errors import Invalid
from kernel.idempotency import Answer, Once
from orders import queries
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.rules import Wanted
from orders.services import bulk, rostering
from orders.services.bulk import WantedChoice
from voucher import queries as voucher_queries

NEW_DEADLINE = timedelta(days=7)


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
    made = queries.order_of_union(answer.body["number"], union_id=union_id, now=now)
    # The people come in a transaction of their own: sent again after a crash between the two, they still come.
    if people and made.status == "draft" and made.recipient_count == 0:
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


def last_order(union_id: int | None, *, now: datetime) -> OrderView | None:
    """Return the union's last paid order, to copy from."""
    row = union_queries.last_order_of(union_id)
    return queries.order_of_union(str(row.id), union_id=union_id, now=now) if row is not None else None
