"""What orders do with stock, inside their own transaction.

Rows are taken in the order of their ids by one statement, so two orders for the same packs wait and never deadlock.
The postings are made apart from the UPDATE (`*_postings`): the caller writes them first and takes the stock last,
so that a popular pack's row is locked for one statement and the commit.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, case, select, update

from catalog.models import GiftPack, Stock
from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import db, rows_changed
from kernel.errors import DomainError


class OutOfStock(DomainError):
    """A pack has too few left; nothing of the order is held. `packs` names them."""

    code, status = "out_of_stock", 409


def hold_postings(quantities: Mapping[int, int]) -> list[Posting]:
    """What the ledger says of a hold."""
    return _postings(ledger.STOCK_AVAILABLE, ledger.STOCK_HELD, quantities)


def sell_postings(quantities: Mapping[int, int]) -> list[Posting]:
    """What the ledger says when held packs are sold."""
    return _postings(ledger.STOCK_HELD, ledger.STOCK_SOLD, quantities)


def release_postings(quantities: Mapping[int, int]) -> list[Posting]:
    """What the ledger says when held packs go back."""
    return _postings(ledger.STOCK_HELD, ledger.STOCK_AVAILABLE, quantities)


def take_back_postings(quantities: Mapping[int, int]) -> list[Posting]:
    """What the ledger says when sold packs that never left are available again."""
    return _postings(ledger.STOCK_SOLD, ledger.STOCK_AVAILABLE, quantities)


def hold(quantities: Mapping[int, int]) -> None:
    """锁定: set packs aside, all or none. Raises OutOfStock naming the packs that have too few."""
    wanted = _by_pack(quantities)
    held = _update(
        quantities,
        Stock.taken_in - Stock.held - Stock.sold >= wanted,
        held=Stock.held + wanted,
    )
    if held != len(quantities):
        raise _out_of_stock(quantities)


def sell(quantities: Mapping[int, int]) -> None:
    """已售: what was held for an order is sold."""
    wanted = _by_pack(quantities)
    _update(quantities, None, held=Stock.held - wanted, sold=Stock.sold + wanted)


def release(quantities: Mapping[int, int]) -> None:
    """释放: what was held for an order is available again."""
    _update(quantities, None, held=Stock.held - _by_pack(quantities))


def take_back(quantities: Mapping[int, int]) -> None:
    """退回货架: what was sold and never left is available again."""
    _update(quantities, None, sold=Stock.sold - _by_pack(quantities))


def ship(quantities: Mapping[int, int]) -> None:
    """What was sold leaves the merchant's hands."""
    _update(quantities, None, shipped=Stock.shipped + _by_pack(quantities))


def _postings(debit: str, credit: str, quantities: Mapping[int, int]) -> list[Posting]:
    return [Posting(debit, credit, quantity, pack_id=pack_id) for pack_id, quantity in sorted(quantities.items())]


def _by_pack(quantities: Mapping[int, int]) -> ColumnElement[int]:
    return case(dict(quantities), value=Stock.pack_id)


def _update(quantities: Mapping[int, int], condition: ColumnElement[bool] | None, **values: ColumnElement[int]) -> int:
    own = select(Stock.pack_id).where(Stock.pack_id.in_(sorted(quantities)))
    if db.session.get_bind().dialect.name == "postgresql":
        # One statement locks all rows, in the order of their ids. SQLite has one writer and needs no order.
        own = select(own.order_by(Stock.pack_id).with_for_update(key_share=True).cte("locked").c.pack_id)
    statement = update(Stock).where(Stock.pack_id.in_(own)).values(**values)
    if condition is not None:
        statement = statement.where(condition)
    return rows_changed(statement)


def _out_of_stock(quantities: Mapping[int, int]) -> OutOfStock:
    rows = db.session.execute(
        select(GiftPack.id, GiftPack.name, Stock.taken_in - Stock.held - Stock.sold)
        .join(Stock, Stock.pack_id == GiftPack.id)
        .where(GiftPack.id.in_(quantities))
        .order_by(GiftPack.id)
    )
    # Those of this order that were held a moment ago still count as held: only the short ones are named.
    short: list[dict[str, Any]] = [
        {"id": str(pack_id), "name": name, "available": max(0, int(available))}
        for pack_id, name, available in rows
        if available < quantities[pack_id]
    ]
    names = "、".join(pack["name"] for pack in short)
    return OutOfStock("“%(names)s”库存不足。", extra={"packs": short}, names=names)
