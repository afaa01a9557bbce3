"""What a campaign sold, and the proof that orders, lines and ledger agree."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Subquery, func, select

from catalog import queries as catalog_queries
from finance.ledger import queries as ledger_queries
from finance.ledger import rules as ledger
from finance.settlement import queries as settlement_queries
from kernel.db import db, snapshot
from orders.models import Order, OrderLine
from orders.queries import grants, summaries
from orders.rules import REFUNDABLE, UNION_BUYER
from people import queries as people_queries
from voices import queries as voice_queries
from voucher import queries as voucher_queries


def report(campaign_id: int) -> dict[str, Any]:
    """Return a campaign's paid sales: orders, by channel, tier, merchant and region, in fen at full price."""
    sold = Order.status.in_(REFUNDABLE)
    kept = OrderLine.quantity - OrderLine.refunded
    by_status = {
        status: count
        for status, count in db.session.execute(
            select(Order.status, func.count()).where(Order.campaign_id == campaign_id).group_by(Order.status)
        )
    }
    by_line = select(
        OrderLine.merchant_id,
        OrderLine.price_fen,
        Order.buyer_kind,
        func.sum(OrderLine.price_fen * kept).label("amount_fen"),
        func.sum(OrderLine.discount_fen - _voucher_back()).label("discount_fen"),
        func.sum(kept).label("packs"),
    ).join(Order, Order.id == OrderLine.order_id)
    rows = db.session.execute(
        by_line.where(Order.campaign_id == campaign_id, sold).group_by(
            OrderLine.merchant_id, OrderLine.price_fen, Order.buyer_kind
        )
    ).all()
    merchants = {merchant.id: merchant for merchant in people_queries.merchants()}

    def add(groups: dict[Any, dict[str, Any]], key: Any, names: dict[str, Any], row: Row[Any]) -> None:
        group = groups.setdefault(key, {**names, "sales_fen": 0, "subsidy_fen": 0, "packs": 0})
        group["sales_fen"] += int(row.amount_fen)
        group["subsidy_fen"] += int(row.discount_fen)
        group["packs"] += int(row.packs)

    tiers: dict[Any, dict[str, Any]] = {}
    sellers: dict[Any, dict[str, Any]] = {}
    regions: dict[Any, dict[str, Any]] = {}
    channels: dict[Any, dict[str, Any]] = {}
    for row in rows:
        seller = merchants[row.merchant_id]
        add(tiers, row.price_fen, {"tier_fen": row.price_fen}, row)
        add(
            sellers,
            seller.id,
            {"merchant": {"id": str(seller.id), "name": seller.name, "name_en": seller.name_en}},
            row,
        )
        add(
            regions,
            seller.region,
            {"region": seller.region, "assisted_region": seller.assisted_region},
            row,
        )
        add(channels, row.buyer_kind, {"channel": {"union": "bulk"}.get(row.buyer_kind, row.buyer_kind)}, row)
    sales_fen = sum(group["sales_fen"] for group in tiers.values())
    return {
        "orders": by_status,
        "orders_total": sum(by_status.values()),
        "sales_fen": sales_fen,
        "assisted_sales_fen": sum(group["sales_fen"] for group in regions.values() if group["assisted_region"]),
        "sales_by_tier": [tiers[key] for key in sorted(tiers)],
        "sales_by_merchant": sorted(sellers.values(), key=lambda group: -group["sales_fen"]),
        "sales_by_region": sorted(regions.values(), key=lambda group: -group["sales_fen"]),
        "sales_by_channel": [channels[key] for key in sorted(channels)],
    }


def _voucher_back() -> ColumnElement[int]:
    """What of a line's discount went back (orders.rules.give_back), as SQL; whole numbers divide without a rest."""
    return OrderLine.discount_fen * OrderLine.refunded // OrderLine.quantity


def _settled_breaches() -> list[str]:
    """Return each breach of rule 4: what a merchant is owed for an order, and what of it is subsidy, is its lines'."""
    posted = ledger_queries.balances("order_id", "merchant_id")
    sums = {
        name: select(posted.c.order_id, posted.c.merchant_id, posted.c.balance)
        .where(posted.c.account == account, posted.c.balance != 0)
        .subquery(name)
        for name, account in (("owed", ledger.MERCHANT_OWED), ("subsidy", ledger.SUBSIDY))
    }
    settled = (*REFUNDABLE, "refunded")
    kept = (
        select(
            OrderLine.order_id,
            OrderLine.merchant_id,
            func.sum(OrderLine.price_fen * (OrderLine.quantity - OrderLine.refunded)).label("amount"),
            func.sum(OrderLine.discount_fen - _voucher_back()).label("discount"),
        )
        .join(Order, Order.id == OrderLine.order_id)
        .where(Order.status.in_(settled))
        .group_by(OrderLine.order_id, OrderLine.merchant_id)
        .subquery("kept")
    )

    def same(one: Subquery, other: Subquery) -> ColumnElement[bool]:
        return (one.c.order_id == other.c.order_id) & (one.c.merchant_id == other.c.merchant_id)

    owed, subsidy = (func.coalesce(table.c.balance, 0) for table in sums.values())
    paid = select(kept.c.order_id, kept.c.merchant_id, kept.c.amount, owed, kept.c.discount, -subsidy)
    for table in sums.values():
        paid = paid.outerjoin(table, same(table, kept))
    wrong = db.session.execute(paid.where((owed != kept.c.amount) | (-subsidy != kept.c.discount)))
    found = [
        f"rule 4: order {order_id}: kept {amount}, merchant {merchant_id} is owed {said};"
        f" subsidy {discount}, posted {paid_fen}"
        for order_id, merchant_id, amount, said, discount, paid_fen in sorted(wrong, key=lambda row: (row[0], row[1]))
    ]
    for name, table in sums.items():
        nobodys = select(table).outerjoin(kept, same(kept, table)).where(kept.c.order_id.is_(None))
        found += [
            f"rule 4: order {row.order_id}: merchant {row.merchant_id} has {name} {row.balance}, and sold it nothing"
            for row in sorted(db.session.execute(nobodys), key=lambda row: (row.order_id, row.merchant_id))
        ]
    return found


def breaches() -> list[str]:
    """Return each breach of conservation rules 4 and 5, and of holds against open orders, with its ids."""
    found = _settled_breaches()
    posted = ledger_queries.balances("order_id")
    lines = (
        select(
            OrderLine.order_id,
            func.sum(OrderLine.amount_fen).label("amount"),
            func.sum(OrderLine.discount_fen).label("discount"),
        )
        .group_by(OrderLine.order_id)
        .subquery()
    )
    uneven = db.session.execute(
        select(Order.id, Order.subtotal_fen, lines.c.amount, Order.discount_fen, lines.c.discount)
        .join(lines, lines.c.order_id == Order.id)
        .where((lines.c.amount != Order.subtotal_fen) | (lines.c.discount != Order.discount_fen))
    )
    found += [
        f"rule 4: order {row[0]}: subtotal {row[1]} but lines {row[2]}, discount {row[3]} but shares {row[4]}"
        for row in uneven
    ]
    held = (
        select(posted.c.order_id, posted.c.balance)
        .where(posted.c.account.in_(("voucher.held", "bulk.held")), posted.c.balance != 0)
        .subquery("held")
    )
    open_status = Order.status.in_(("pending_payment", "approved"))
    loose = db.session.execute(
        select(Order.id, Order.status, Order.discount_fen, func.coalesce(held.c.balance, 0))
        .outerjoin(held, held.c.order_id == Order.id)
        .where(
            (open_status & (func.coalesce(held.c.balance, 0) != Order.discount_fen))
            | (~open_status & (func.coalesce(held.c.balance, 0) != 0))
        )
    )
    found += [f"rule 1: order {row[0]} is {row[1]} with discount {row[2]}, but holds {row[3]}" for row in loose]
    found += _channel_breaches()
    found += grants.breaches()
    found += [f"rule 5: posting {row.id} of {row.entry} is no transfer" for row in ledger_queries.malformed()]
    return found


def _channel_breaches() -> list[str]:
    """Return each pack whose count of what unions have taken is not what their orders' postings say."""
    kept = catalog_queries.taken_by_unions()
    said = ledger_queries.stock_taken(select(Order.id).where(Order.buyer_kind == UNION_BUYER))
    return [
        f"rule 3: pack {pack_id}: unions have taken {kept.get(pack_id, 0)}, their entries say {said.get(pack_id, 0)}"
        for pack_id in sorted(kept.keys() | said.keys())
        if kept.get(pack_id, 0) != said.get(pack_id, 0)
    ]


def campaign_report(slug: str, *, now: datetime) -> dict[str, Any]:
    """Return a campaign's figures, in fen."""
    campaign = voucher_queries.campaign(slug, now=now)
    totals = voucher_queries.totals(campaign.id)
    return {
        "campaign": campaign.slug,
        **totals,
        "claimed": totals["vouchers"],
        "claimed_fen": totals["issued_fen"],
        "balance_fen": totals["issued_fen"]
        - totals["held_fen"]
        - totals["redeemed_fen"]
        - totals["expired_fen"]
        - totals["revoked_fen"],
        "member_budget_fen": campaign.member_budget_fen,
        "member_budget_left_fen": campaign.member_budget_fen - campaign.member_committed_fen,
        "bulk_budget_fen": campaign.bulk_budget_fen,
        "bulk_budget_left_fen": campaign.bulk_budget_fen - campaign.bulk_committed_fen,
        "grant_committed_fen": campaign.grant_committed_fen,
        "budget_left_fen": campaign.member_budget_fen
        - campaign.member_committed_fen
        + campaign.bulk_budget_fen
        - campaign.bulk_committed_fen,
        **report(campaign.id),
    }


def proof() -> list[str]:
    """Return every breach of the five conservation rules (rules.md) as of one moment: people may go on buying."""
    with snapshot():
        return all_breaches()


def all_breaches() -> list[str]:
    """Return every breach of the five rules, of statements, summaries and packs' kept ratings.

    As the caller's transaction sees them.
    """
    return [
        *voucher_queries.breaches(),
        *catalog_queries.breaches(),
        *breaches(),
        *settlement_queries.breaches(),
        *summaries.breaches(),
        *voice_queries.rating_breaches(),
    ]
