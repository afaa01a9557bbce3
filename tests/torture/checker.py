"""The proof, from what clients were told, what the database holds and what Stripe holds. A breach is a sentence.

It adds everything up anew from orders, lines, parts and postings, and does not ask the product's own proof to do so:
that one is run besides.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from kernel.db import db
from tests.stripe_double import StripeDouble
from tests.torture.history import Deed, Histories

BOUGHT = ("paid", "fulfilling", "completed", "refunded")
HOLDING = ("pending_payment", "approved")


@dataclass(frozen=True)
class Before:
    """What was there before anybody acted: packs' stock, by id."""

    taken_in: dict[int, int]


def rows(statement: str) -> list[Any]:
    """The rows a statement finds."""
    return list(db.session.execute(text(statement)))


def find(histories: Histories, stripe: StripeDouble, before: Before) -> list[str]:
    """Every breach. In an application's context, when nothing is on its way any more."""
    found = [
        *_answers(histories),
        *_orders(histories),
        *_stock(histories, before),
        *_vouchers(histories),
        *_refunds(histories),
        *_money(stripe),
    ]
    db.session.rollback()
    return found


def _answers(histories: Histories) -> list[str]:
    """One key, one answer; another request under it is never done. 503 says 'not now', 500 says nothing: none of it."""
    found = [f"{count} answers of {status}" for status, count in histories.statuses.items() if status == "500"]
    for deed in histories.deeds.values():
        texts = {said for _, _, said in deed.done}
        if deed.what in ("order", "bulk", "refund", "stock", "payment") and len(texts) > 1:
            found.append(f"{deed.key}: told {len(texts)} different things under one key")
        if deed.clashed:
            found.append(f"{deed.key}: another request under the same key was done")
    return found


def _orders(histories: Histories) -> list[str]:
    """What was acknowledged exists as it was told; what was refused does not; nothing is there that nobody asked."""
    found = []
    deeds = {deed.key: deed for deed in histories.of("order", "bulk")}
    by_key = defaultdict(list)
    status = {}
    drafted = _drafted()
    for row in rows("SELECT id, idempotency_key AS key, status, discount_fen, payable_fen FROM orders"):
        key = row.key or drafted.get(str(row.id))
        by_key[key].append(row)
        status[str(row.id)] = row.status
        if key not in deeds:
            found.append(f"order {row.id}: nobody asked for it")
    for key, deed in deeds.items():
        there = by_key[key]
        if len(there) > 1:
            found.append(f"{key}: {len(there)} orders under one key")
        if deed.done:
            told = deed.acknowledged
            if not there:
                found.append(f"{key}: order {told['number']} was acknowledged and is not there")
            elif (str(there[0].id), there[0].payable_fen, there[0].discount_fen) != (
                told["number"],
                told["payable_fen"],
                told["discount_fen"],
            ):
                found.append(f"{key}: order {told['number']} is not what was acknowledged")
        elif deed.refused and there:
            found.append(f"{key}: order {there[0].id} was refused and is there")
    for deed in histories.of("cancel"):
        number = deed.more["number"]
        if deed.done and status.get(number) != "cancelled":
            found.append(f"order {number}: was cancelled and is {status.get(number)}")
    for deed in histories.of("cashier"):
        number = deed.more["number"]
        if deed.done and deed.more["as"] in ("pay", "twice", "reversed") and status.get(number) == "pending_payment":
            found.append(f"order {number}: its payment was taken and it still waits for one")
    return found


def _drafted() -> dict[str, str]:
    """Under which key each union order was drafted: kept with the answers, not with the order."""
    found = {}
    for row in rows("SELECT key, body FROM idempotency_records WHERE body IS NOT NULL"):
        answer = json.loads(row.body)
        if isinstance(answer, dict) and answer.get("status") == "draft":
            found[str(answer["number"])] = row.key
    return found


def _stock(histories: Histories, before: Before) -> list[str]:
    """No pack oversold, no change of stock lost, doubled or invented; every counter is what the orders add up to."""
    found = []
    changes: dict[str, list[Any]] = defaultdict(list)
    for row in rows("SELECT pack_id, reason, credit, amount FROM ledger_postings WHERE kind = 'adjust'"):
        changes[row.reason].append(row)
    allowed = {pack: [count, count] for pack, count in before.taken_in.items()}
    for deed in histories.of("stock"):
        pack, delta = int(deed.more["pack"]), int(deed.more["delta"])
        written = changes[deed.key]
        if deed.done and len(written) != 1:
            found.append(f"{deed.key}: a change of stock was acknowledged and is there {len(written)} times")
        elif deed.refused and written:
            found.append(f"{deed.key}: a change of stock was refused and is there")
        elif len(written) > 1:
            found.append(f"{deed.key}: a change of stock is there {len(written)} times")
        low, high = (delta, delta) if deed.done else ((0, 0) if deed.refused else (min(delta, 0), max(delta, 0)))
        allowed[pack][0] += low
        allowed[pack][1] += high
    held, sold = _units()
    for row in rows("SELECT pack_id, taken_in, held, sold FROM stocks"):
        low, high = allowed.get(row.pack_id, [row.taken_in, row.taken_in])
        if not low <= row.taken_in <= high:
            found.append(f"pack {row.pack_id}: took in {row.taken_in}, acknowledged were {low} to {high}")
        if (row.held, row.sold) != (held[row.pack_id], sold[row.pack_id]):
            found.append(
                f"pack {row.pack_id}: holds {row.held} and sold {row.sold},"
                f" its orders {held[row.pack_id]} and {sold[row.pack_id]}"
            )
        if held[row.pack_id] + sold[row.pack_id] > row.taken_in:
            found.append(f"pack {row.pack_id}: oversold: {held[row.pack_id]} + {sold[row.pack_id]} of {row.taken_in}")
    return found


def _units() -> tuple[dict[int, int], dict[int, int]]:
    held: dict[int, int] = defaultdict(int)
    sold: dict[int, int] = defaultdict(int)
    for row in rows(
        "SELECT l.pack_id, o.status, sum(l.quantity) AS quantity, sum(l.withdrawn) AS withdrawn"
        " FROM order_lines l JOIN orders o ON o.id = l.order_id GROUP BY l.pack_id, o.status"
    ):
        if row.status in HOLDING:
            held[row.pack_id] += row.quantity
        elif row.status in BOUGHT:
            sold[row.pack_id] += row.quantity - row.withdrawn
    return held, sold


def _vouchers(histories: Histories) -> list[str]:
    """No voucher overdrawn, none claimed that is not there, none twice; each counter is what the orders add up to."""
    found = []
    held: dict[int, int] = defaultdict(int)
    redeemed: dict[int, int] = defaultdict(int)
    for row in rows("SELECT voucher_id, status, discount_fen FROM orders WHERE voucher_id IS NOT NULL"):
        if row.status in HOLDING:
            held[row.voucher_id] += row.discount_fen
        elif row.status in BOUGHT:
            redeemed[row.voucher_id] += row.discount_fen
    for row in rows(
        "SELECT o.voucher_id, sum(p.voucher_fen) AS back FROM refund_parts p JOIN order_refunds r ON r.id = p.refund_id"
        " JOIN orders o ON o.id = r.order_id WHERE p.status = 'accepted' AND o.voucher_id IS NOT NULL"
        " GROUP BY o.voucher_id"
    ):
        redeemed[row.voucher_id] -= int(row.back)
    there = set()
    for row in rows("SELECT id, face_fen, held_fen, redeemed_fen FROM vouchers"):
        there.add(str(row.id))
        if held[row.id] + redeemed[row.id] > row.face_fen:
            found.append(f"voucher {row.id}: overdrawn: {held[row.id]} + {redeemed[row.id]} of {row.face_fen}")
        if (row.held_fen, row.redeemed_fen) != (held[row.id], redeemed[row.id]):
            found.append(
                f"voucher {row.id}: holds {row.held_fen} and redeemed {row.redeemed_fen},"
                f" its orders {held[row.id]} and {redeemed[row.id]}"
            )
    owners: dict[str, str] = {}
    for deed in histories.of("claim"):
        for _, told, _ in deed.done:
            if told["id"] not in there:
                found.append(f"{deed.key}: voucher {told['id']} was acknowledged and is not there")
            if owners.setdefault(deed.client, told["id"]) != told["id"]:
                found.append(f"{deed.client}: has two vouchers")
    return found


def _refunds(histories: Histories) -> list[str]:
    """Refunds that were acknowledged are there once; refused ones are not."""
    found = []
    there: dict[str, list[str]] = defaultdict(list)
    for row in rows("SELECT id, reason FROM order_refunds"):
        there[row.reason].append(str(row.id))
    for deed in histories.of("refund"):
        ids = there[deed.key]
        if deed.done and ids != [deed.acknowledged["id"]]:
            found.append(f"{deed.key}: refund {deed.acknowledged['id']} was acknowledged, there are {ids}")
        elif not deed.done and ((deed.refused and ids) or len(ids) > 1):
            found.append(f"{deed.key}: {'a refund was refused and' if deed.refused else 'refunds'} {ids} are there")
    return found


def _money(stripe: StripeDouble) -> list[str]:
    """Each order keeps exactly what it costs less what was given back; what Stripe holds is what we say it holds."""
    found = []
    kept: dict[int, int] = defaultdict(int)
    back: dict[int, int] = defaultdict(int)
    for row in rows("SELECT payment_id, status, sum(amount_fen) AS amount FROM payment_refunds GROUP BY 1, 2"):
        back[row.payment_id] += int(row.amount)
        if row.status != "succeeded":
            found.append(f"payment {row.payment_id}: a refund of it is still {row.status}")
    by_intent = {}
    for row in rows("SELECT id, order_id, provider, status, amount_fen, intent FROM payments"):
        arrived = row.status in ("succeeded", "refunded", "unmatched")
        if row.status == "unmatched":
            found.append(f"payment {row.id}: its money pays for nothing and was not sent back")
        if row.intent is not None:
            by_intent[row.intent] = row
        if arrived:
            kept[row.order_id] += row.amount_fen - back[row.id]
        elif back[row.id]:
            found.append(f"payment {row.id}: went back and never came")
    found += _stripes(stripe, by_intent, back)
    given: dict[int, int] = defaultdict(int)
    for row in rows(
        "SELECT r.order_id, sum(p.cash_fen) AS cash FROM refund_parts p JOIN order_refunds r ON r.id = p.refund_id"
        " WHERE p.status = 'accepted' GROUP BY r.order_id"
    ):
        given[row.order_id] += int(row.cash)
    for row in rows("SELECT id, status, payable_fen FROM orders"):
        owed = row.payable_fen - given[row.id] if row.status in BOUGHT else 0
        if kept[row.id] != owed:
            found.append(f"order {row.id} ({row.status}): keeps {kept[row.id]} fen of its buyer's money, owed {owed}")
    return found


def _stripes(stripe: StripeDouble, by_intent: dict[str, Any], back: dict[int, int]) -> list[str]:
    found = []
    sent: dict[str, int] = defaultdict(int)
    named: dict[str, int] = defaultdict(int)
    for refund in stripe.refunds.values():
        if refund["status"] != "failed":
            sent[refund["payment_intent"]] += refund["amount"]
            named[refund["metadata"].get("refund_id", "?")] += 1
    found += [f"refund {name}: Stripe sent it back {times} times" for name, times in named.items() if times > 1]
    for intent, charge in stripe.charges.items():
        payment = by_intent.get(intent)
        if payment is None or payment.status not in ("succeeded", "refunded"):
            found.append(f"{intent}: {charge['amount']} fen came and are no payment here")
        elif (payment.amount_fen, back[payment.id]) != (charge["amount"], sent[intent]):
            found.append(
                f"payment {payment.id}: {payment.amount_fen} came and {back[payment.id]} went back,"
                f" Stripe says {charge['amount']} and {sent[intent]}"
            )
    return found


def asked_nothing(histories: Histories) -> list[str]:
    """A run in which nothing was bought proves nothing."""
    done = histories.counts()
    needed = ("claim", "order", "payment", "cashier", "cancel", "refund", "stock", "bulk")
    return [f"nobody's '{what}' was ever acknowledged" for what in needed if not done.get(what)]


__all__ = ["Before", "Deed", "asked_nothing", "find"]
