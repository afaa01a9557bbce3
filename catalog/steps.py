"""What orders do with stock, inside their own transaction.

Rows are taken in the order of their ids by one statement, so two orders for the same packs wait and never deadlock.
The postings are made apart from the UPDATE (`*_postings`): the caller writes them first and takes the stock last,
so that a popular pack's row is locked for one statement and the commit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Executable, and_, bindparam, case, func, or_, select, update

from catalog.models import GiftPack, Stock
from finance.ledger import rules as ledger
from finance.ledger.rules import Posting
from kernel.db import Id, db, rows_changed
from kernel.errors import DomainError
from kernel.statements import Statement, change


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
    """What the ledger says when sold packs, that never left or came back, are available again."""
    return _postings(ledger.STOCK_SOLD, ledger.STOCK_AVAILABLE, quantities)


def write_off_postings(quantities: Mapping[int, int]) -> list[Posting]:
    """What the ledger says of packs that turn out not to be there."""
    return _postings(ledger.STOCK_AVAILABLE, ledger.STOCK_SOURCE, quantities)


def _moving(condition: Callable[[ColumnElement[int]], ColumnElement[bool]] | None = None, **by: int) -> Statement:
    """Return the statement that moves packs between the counters named, by each pack's own number times 1 or -1."""

    def build(packs: int) -> Executable:
        ids = [bindparam(f"pack_{index}", type_=Id) for index in range(packs)]
        wanted: ColumnElement[int] = bindparam("units_0", type_=Id)
        own = Stock.pack_id == ids[0]
        if packs > 1:
            wanted = case(
                *[
                    (Stock.pack_id == pack_id, bindparam(f"units_{index}", type_=Id))
                    for index, pack_id in enumerate(ids)
                ]
            )
            # The rows are locked in the order of their ids. SQLite has one writer and needs no order.
            locked = select(Stock.pack_id).where(Stock.pack_id.in_(ids)).order_by(Stock.pack_id)
            in_order = locked.with_for_update(key_share=True).cte("locked", nesting=True)
            own = Stock.pack_id.in_(select(in_order.c.pack_id))
        moving = update(Stock).where(own)
        if condition is not None:
            moving = moving.where(condition(wanted))
        return moving.values({name: getattr(Stock, name) + sign * wanted for name, sign in by.items()})

    return Statement(build)


_AVAILABLE = Stock.taken_in - Stock.held - Stock.sold
_KEPT_FOR_UNIONS = func.coalesce(Stock.bulk_share - Stock.bulk_taken, 0)
_HOLD = _moving(lambda wanted: wanted <= _AVAILABLE - _KEPT_FOR_UNIONS, held=1)
_HOLD_BULK = _moving(
    lambda wanted: and_(
        wanted <= _AVAILABLE, or_(Stock.bulk_share.is_(None), Stock.bulk_share - Stock.bulk_taken >= wanted)
    ),
    held=1,
    bulk_taken=1,
)
_SELL = _moving(held=-1, sold=1)
_RELEASE = _moving(held=-1)
_RELEASE_BULK = _moving(held=-1, bulk_taken=-1)
_TAKE_BACK = _moving(sold=-1)
_TAKE_BACK_BULK = _moving(sold=-1, bulk_taken=-1)
_RESTOCK = _moving(sold=-1, shipped=-1)
_RESTOCK_BULK = _moving(sold=-1, shipped=-1, bulk_taken=-1)
_WRITE_OFF = _moving(taken_in=-1)
_SHIP = _moving(shipped=1)


def hold(quantities: Mapping[int, int], *, bulk: bool = False) -> None:
    """锁定: set packs aside, all or none, for a member or (`bulk`) a union, each from their part where it is split.

    Raises OutOfStock naming the packs that have too few.
    """
    statement = _HOLD_BULK if bulk else _HOLD
    _move(statement, quantities, rows=len(quantities), otherwise=lambda: _out_of_stock(quantities, bulk=bulk))


def lock_available(pack_id: int) -> int:
    """Lock a pack's stock until the transaction ends and return how many a union can have: 0 for a pack off sale."""
    available = db.session.scalar(select(_left(bulk=True)).where(Stock.pack_id == pack_id).with_for_update())
    on_sale = db.session.scalar(select(GiftPack.status).where(GiftPack.id == pack_id)) == "on_sale"
    return int(available or 0) if on_sale else 0


def sell(quantities: Mapping[int, int]) -> None:
    """已售: what was held for an order is sold."""
    _move(_SELL, quantities)


def release(quantities: Mapping[int, int], *, bulk: bool = False) -> None:
    """释放: what was held for an order is available again, to whom it was before."""
    _move(_RELEASE_BULK if bulk else _RELEASE, quantities)


def take_back(quantities: Mapping[int, int], *, bulk: bool = False) -> None:
    """退回货架: what was sold and never left is available again, to whom it was before."""
    _move(_TAKE_BACK_BULK if bulk else _TAKE_BACK, quantities)


def restock(quantities: Mapping[int, int], *, bulk: bool = False) -> None:
    """退货入库: what was sold and had left came back and is available again, to whom it was before."""
    _move(_RESTOCK_BULK if bulk else _RESTOCK, quantities)


def write_off(quantities: Mapping[int, int]) -> None:
    """盘亏: packs just taken back turn out not to be there; nobody can order them again."""
    _move(_WRITE_OFF, quantities)


def ship(quantities: Mapping[int, int]) -> None:
    """What was sold leaves the merchant's hands."""
    _move(_SHIP, quantities)


def note_rating(pack_id: int, *, count: int, stars: int) -> None:
    """Add to a pack's ratings: so many more, and their stars (fewer, where one was changed)."""
    adding = (
        update(GiftPack)
        .where(GiftPack.id == pack_id)
        .values(rating_count=GiftPack.rating_count + count, rating_stars=GiftPack.rating_stars + stars)
    )
    assert rows_changed(adding) == 1, "a rated pack is never deleted"


def _move(statement: Statement, quantities: Mapping[int, int], **asked: Any) -> None:
    values = {f"pack_{index}": pack_id for index, pack_id in enumerate(quantities)}
    values |= {f"units_{index}": units for index, units in enumerate(quantities.values())}
    change(statement, values, count=len(quantities), **asked)


def _postings(debit: str, credit: str, quantities: Mapping[int, int]) -> list[Posting]:
    return [Posting(debit, credit, quantity, pack_id=pack_id) for pack_id, quantity in sorted(quantities.items())]


def _left(*, bulk: bool) -> ColumnElement[int]:
    """How many packs a union, or a member, can have."""
    if not bulk:
        return _AVAILABLE - _KEPT_FOR_UNIONS
    part = Stock.bulk_share - Stock.bulk_taken
    return case((Stock.bulk_share.is_(None), _AVAILABLE), (part < _AVAILABLE, part), else_=_AVAILABLE)


def _out_of_stock(quantities: Mapping[int, int], *, bulk: bool) -> OutOfStock:
    rows = db.session.execute(
        select(GiftPack.id, GiftPack.name, GiftPack.name_en, _left(bulk=bulk))
        .join(Stock, Stock.pack_id == GiftPack.id)
        .where(GiftPack.id.in_(quantities))
        .order_by(GiftPack.id)
    ).all()
    # Those of this order that were held a moment ago still count as held: only the short ones are named. Where what was
    # missing has come back in the meantime, none is short now, and all are named.
    wanted: list[dict[str, Any]] = [
        {"id": str(pack_id), "name": name, "available": max(0, int(available))} for pack_id, name, _, available in rows
    ]
    short = [pack for pack in wanted if pack["available"] < quantities[int(pack["id"])]] or wanted
    in_english = {str(pack_id): name_en or name for pack_id, name, name_en, _ in rows}
    names = "、".join(pack["name"] for pack in short)
    names_en = ", ".join(in_english[pack["id"]] for pack in short)
    return OutOfStock("“%(names)s”库存不足。", extra={"packs": short}, names=names, names_en=names_en)
