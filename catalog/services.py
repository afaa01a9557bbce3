"""Use-cases of merchants: offer and change packs, adjust and count stock; and of the operator who approves."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from catalog import queries, schemas, sheet
from catalog.models import PACK_MOVES, GiftPack, LowStock, PackChange, PackContent, Stock
from catalog.queries import PackView
from catalog.steps import OutOfStock
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency, pictures
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, Stale, StateConflict
from kernel.files import Store
from kernel.idempotency import Answer, Once
from kernel.ids import new_id
from kernel.sheets import Fault, Rows
from people import queries as people_queries


def offer_pack(*, merchant_id: int, details: dict[str, Any], now: datetime) -> PackView:
    """Add a merchant's pack, which waits for an operator's approval."""
    with transaction():
        pack_id = _add_pack(
            merchant_id=merchant_id, details={"code": f"N{new_id()}", **details}, status="pending", now=now
        )
        audit.record("pack.offer", f"pack:{pack_id}", now=now, after={"merchant_id": merchant_id})
    return queries.pack(pack_id, merchant_id=merchant_id)


def change_pack(
    *,
    pack_id: int | None,
    merchant_id: int,
    changes: dict[str, Any],
    expected: Collection[str] | None = None,
    actor_id: int,
    now: datetime,
) -> PackView:
    """Change a merchant's pack: on and off sale, alert and unions' share at once, the rest when an operator approves.

    A pack that was never on sale is changed at once, and waits for approval as a whole. Otherwise the pack sells on
    as it is while the change waits; a later change is added to one that waits. `expected` are the versions
    (queries.version_of) the change is meant for. Raises NotFound, StateConflict, Stale for a version that is no more,
    and Invalid for a share below what unions have taken.
    """
    split = "bulk_share" in changes
    share = changes.get("bulk_share")
    changes = {name: value for name, value in changes.items() if name != "bulk_share"}
    with transaction():
        pack = _lock_pack(pack_id, merchant_id=merchant_id)
        if expected is not None and queries.version_of(pack.id) not in expected:
            raise Stale("这个礼包在您打开后又有改动，请重新打开再改。")
        at_once: dict[str, Any] = {name: changes[name] for name in ("status", "alert_below") if name in changes}
        offered = {name: value for name, value in changes.items() if name not in at_once}
        status = at_once.get("status", pack.status)
        if status != pack.status and (pack.status == "pending" or status not in PACK_MOVES[pack.status]):
            raise StateConflict("礼包当前状态不能这样修改。")
        before, after = audit.changed({name: getattr(pack, name) for name in at_once}, at_once)
        for name, value in after.items():
            setattr(pack, name, value)
        offered = _different(pack, offered)
        if offered and pack.status in ("pending", "rejected"):
            make_it(pack, offered)
            pack.status, pack.reject_reason = "pending", None
        elif offered:
            _offer_change(pack.id, offered, actor_id=actor_id, now=now)
        db.session.flush()
        if split:
            _split(pack.id, share)
            after = after | {"bulk_share": share}
        audit.record("pack.change", f"pack:{pack_id}", now=now, before=before, after=after | offered)
    return queries.pack(pack_id, merchant_id=merchant_id)


def _split(pack_id: int, share: int | None) -> None:
    """Keep `share` packs for unions' orders, None for no split. Raises Invalid below what unions have taken."""
    enough = Stock.bulk_taken <= share if share is not None else literal(True)
    if rows_changed(update(Stock).where(Stock.pack_id == pack_id, enough).values(bulk_share=share)) == 0:
        taken = db.session.scalar(select(Stock.bulk_taken).where(Stock.pack_id == pack_id))
        raise Invalid(
            "集采已占用 %(taken)s 份，不能少于这个数。", taken=taken, errors={"bulk_share": ["少于集采已占用的份数。"]}
        )


def _lock_pack(pack_id: int | None, *, merchant_id: int | None = None) -> GiftPack:
    query = select(GiftPack).filter_by(id=pack_id).with_for_update().execution_options(populate_existing=True)
    if merchant_id is not None:
        query = query.filter_by(merchant_id=merchant_id)
    pack = db.session.scalar(query)
    if pack is None:
        raise NotFound("没有这个礼包。")
    return pack


def _different(pack: GiftPack, offered: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a change would not change."""
    contents = queries.contents_of([pack.id]).get(pack.id, ())
    same = {**{name: getattr(pack, name, None) for name in offered}, "contents": [asdict(one) for one in contents]}

    def plain(name: str, value: Any) -> Any:
        if name != "contents":
            return value
        return [{**EMPTY_CONTENT, **one, "name_en": one.get("name_en") or one["name"]} for one in value]

    return {name: value for name, value in offered.items() if plain(name, same[name]) != plain(name, value)}


EMPTY_CONTENT = {"shelf_life": "", "origin": ""}


def _offer_change(pack_id: int, offered: dict[str, Any], *, actor_id: int, now: datetime) -> None:
    waiting = db.session.scalar(select(PackChange).filter_by(pack_id=pack_id, status="pending").with_for_update())
    if waiting is not None:
        offered = {**waiting.details, **offered}
        waiting.status, waiting.decided_at = "withdrawn", now
        db.session.flush()
    db.session.add(
        PackChange(id=new_id(), pack_id=pack_id, details=offered, status="pending", asked_by=actor_id, asked_at=now)
    )


def make_it(pack: GiftPack, details: dict[str, Any]) -> None:
    """Make a pack what its details say, with its words to search, in the caller's transaction."""
    for name, value in details.items():
        if name != "contents":
            setattr(pack, name, value)
    contents = details.get("contents")
    if contents is not None:
        db.session.execute(delete(PackContent).where(PackContent.pack_id == pack.id))
        _add_contents(pack.id, contents)
    db.session.flush()
    words = [asdict(one) for one in queries.contents_of([pack.id]).get(pack.id, ())]
    pack.search = _words_of(pack, words)


def approve_pack(*, pack_id: int | None, change_id: int | None = None, actor_id: int | None, now: datetime) -> None:
    """Put a pack that waits for approval on sale, or make it what its waiting change says.

    With `change_id` only that change is approved: not one that came after the operator looked. Raises StateConflict.
    """
    with transaction():
        pack = _lock_pack(pack_id)
        change = _waiting_change(pack.id, change_id)
        if change is not None:
            before = {name: getattr(pack, name, None) for name in change.details if name != "contents"}
            make_it(pack, change.details)
            change.status, change.decided_by, change.decided_at = "approved", actor_id, now
            audit.record("pack.approve", f"pack:{pack_id}", now=now, before=before, after=change.details)
        elif pack.status == "pending" and change_id is None:
            pack.status = "on_sale"
            db.session.flush()
            audit.record("pack.approve", f"pack:{pack_id}", now=now)
        else:
            raise StateConflict("这个礼包不在待审核状态。")


def reject_pack(
    *, pack_id: int | None, change_id: int | None = None, reason: str, actor_id: int | None, now: datetime
) -> None:
    """Send a pack that waits for approval, or its waiting change, back with a reason. Raises StateConflict."""
    with transaction():
        pack = _lock_pack(pack_id)
        change = _waiting_change(pack.id, change_id)
        if change is not None:
            change.status, change.decided_by, change.decided_at, change.reason = "rejected", actor_id, now, reason
        elif pack.status == "pending" and change_id is None:
            pack.status, pack.reject_reason = "rejected", reason
        else:
            raise StateConflict("这个礼包不在待审核状态。")
        db.session.flush()
        audit.record("pack.reject", f"pack:{pack_id}", now=now, after={"reason": reason})


def _waiting_change(pack_id: int, change_id: int | None) -> PackChange | None:
    query = select(PackChange).filter_by(pack_id=pack_id, status="pending").with_for_update()
    return db.session.scalar(query if change_id is None else query.filter_by(id=change_id))


def change_picture(
    *, pack_id: int | None, merchant_id: int, content: bytes, store: Store, actor_id: int, now: datetime
) -> PackView:
    """Take a picture for a merchant's pack, which waits for approval like any change of it.

    The picture is drawn and kept before the transaction. Raises NotFound, Invalid, StoreUnavailable.
    """
    queries.pack(pack_id, merchant_id=merchant_id)
    name = pictures.keep(store, content, public=True)
    return change_pack(pack_id=pack_id, merchant_id=merchant_id, changes={"picture": name}, actor_id=actor_id, now=now)


def adjust_stock(
    *,
    pack_id: int | None,
    merchant_id: int,
    delta: int | None,
    count: int | None,
    reason: str,
    actor_id: int,
    once: Once | None,
    now: datetime,
) -> Answer:
    """库存调整: change what is in the merchant's hands by `delta`, or to a `count` of it, with a reason.

    A count is of packs on hand, those sold and not yet shipped included; a sale made meanwhile is not lost, because
    the difference is worked out by the UPDATE itself. Raises NotFound for another's pack and OutOfStock where fewer
    would be left than are held and sold.
    """
    assert (delta is None) != (count is None)
    with transaction():
        if once is not None and (first := idempotency.begin(once)) is not None:
            return first
        stocks = _lock_stocks([pack_id] if pack_id is not None else [], merchant_id=merchant_id)
        if pack_id is None or pack_id not in stocks:
            raise NotFound("没有这个礼包。")
        content = _adjust(stocks[pack_id], delta=delta, count=count, reason=reason, actor_id=actor_id, now=now)
        return idempotency.finish(once, content)


def adjust_by_sheet(
    *, merchant_id: int, rows: Rows, partial: bool, actor_id: int, once: Once | None, now: datetime
) -> Answer:
    """Adjust and count many packs by a spreadsheet's rows: all of them or nothing, or the good rows only if asked.

    Answers how many rows were accepted and rejected, each fault with its row, and the figures of each pack. A row
    that would leave fewer than are held and sold is a fault of its own.
    """
    packs = queries.names_of_packs(merchant_id)
    read = sheet.check(rows, packs=packs)
    faults = list(read.faults)
    done: list[dict[str, Any]] = []
    try:
        with transaction():
            if (first := idempotency.begin(once)) is not None:
                return first
            stocks = _lock_stocks([row.pack_id for row in read.rows], merchant_id=merchant_id)
            for row in read.rows:
                try:
                    figures = _adjust(
                        stocks[row.pack_id],
                        delta=row.delta,
                        count=row.count,
                        reason=row.reason,
                        actor_id=actor_id,
                        now=now,
                    )
                except OutOfStock as short:
                    column = sheet.COLUMN_NAMES["count" if row.delta is None else "delta"]
                    faults.append(Fault(row.row, column, short.message, short.figures))
                    continue
                done.append({"row": row.row, "pack_id": str(row.pack_id), **figures})
            if faults and not partial:
                raise _NothingOfIt
            return idempotency.finish(once, _report(read.total, done, faults))
    except _NothingOfIt:
        return idempotency.answer_of(_report(read.total, [], faults))


class _NothingOfIt(Exception):
    """A row is wrong, so the whole sheet is rolled back."""


def _report(total: int, done: list[dict[str, Any]], faults: Sequence[Fault]) -> dict[str, Any]:
    ordered = sorted(faults, key=lambda fault: fault.row)
    content: dict[str, Any] = schemas.StockReport().dump(
        {
            "accepted": len(done),
            "rejected": total - len(done),
            "errors": [fault.__dict__ for fault in ordered],
            "rows": done,
        }
    )
    return content


def _lock_stocks(pack_ids: Sequence[int], *, merchant_id: int) -> dict[int, Stock]:
    """Lock a merchant's stocks, in the order of their ids, as orders do."""
    rows = db.session.scalars(
        select(Stock)
        .join(GiftPack, GiftPack.id == Stock.pack_id)
        .where(Stock.pack_id.in_(set(pack_ids)), GiftPack.merchant_id == merchant_id)
        .order_by(Stock.pack_id)
        .with_for_update(of=Stock)
        .execution_options(populate_existing=True)
    )
    return {row.pack_id: row for row in rows}


def _adjust(
    before: Stock, *, delta: int | None, count: int | None, reason: str, actor_id: int, now: datetime
) -> dict[str, Any]:
    """Change a locked stock in the caller's transaction and return its figures. Raises OutOfStock."""
    change = delta if count is None else count - (before.taken_in - before.shipped)
    assert change is not None
    if before.taken_in + change < before.held + before.sold:
        raise OutOfStock(
            "可售只有 %(available)s 份，不能再减少这么多。",
            extra={"available": before.available},
            available=before.available,
        )
    adjusted = rows_changed(
        update(Stock)
        .where(Stock.pack_id == before.pack_id, Stock.taken_in + change >= Stock.held + Stock.sold)
        .values(taken_in=Stock.taken_in + change)
    )
    assert adjusted == 1, "the row is locked and was just read"
    _post_stock(before.pack_id, change, actor_id=actor_id, reason=reason, now=now)
    db.session.refresh(before)
    on_hand = before.taken_in - before.shipped
    audit.record(
        "stock.adjust",
        f"pack:{before.pack_id}",
        actor_id=actor_id,
        now=now,
        before={"on_hand": on_hand - change},
        after={"on_hand": on_hand, "reason": reason},
    )
    figures = {"available": before.available, "held": before.held, "sold": before.sold}
    return {**figures, "on_hand": on_hand, "to_ship": before.sold - before.shipped}


def note_low_stocks(*, now: datetime) -> None:
    """Note which packs have fallen below their merchant's threshold, and forget those that have risen again."""
    low = (
        select(GiftPack.id)
        .join(Stock, Stock.pack_id == GiftPack.id)
        .where(GiftPack.status == "on_sale", Stock.available < GiftPack.alert_below)
    )
    known = set(db.session.scalars(select(LowStock.pack_id)))
    found = set(db.session.scalars(low))
    if known == found:
        return
    with transaction():
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        for pack_id in sorted(found - known):
            db.session.execute(on_engine(LowStock).values(pack_id=pack_id, since=now).on_conflict_do_nothing())
        db.session.execute(delete(LowStock).where(LowStock.pack_id.in_(sorted(known - found))))


def enter_pack(*, merchant_id: int, details: dict[str, Any], now: datetime) -> int:
    """Put a pack of an operator's list on sale, in the caller's transaction; return its id."""
    return _add_pack(merchant_id=merchant_id, details=details, status="on_sale", now=now)


def post_first_stock(pack_id: int, count: int, *, now: datetime) -> None:
    """Write what a new pack begins with on the ledger, in the caller's transaction."""
    _post_stock(pack_id, count, actor_id=None, reason="期初入库", now=now)


def _post_stock(pack_id: int, change: int, *, actor_id: int | None, reason: str, now: datetime) -> None:
    if change == 0:
        return
    sides = (ledger.STOCK_SOURCE, ledger.STOCK_AVAILABLE)
    debit, credit = sides if change > 0 else sides[::-1]
    ledger_steps.post(
        Cause("adjust", f"{pack_id}:{new_id()}", actor_id=actor_id, reason=reason),
        [Posting(debit, credit, abs(change), pack_id=pack_id)],
        now=now,
    )


def _add_pack(*, merchant_id: int, details: dict[str, Any], status: str, now: datetime) -> int:
    contents = details.pop("contents")
    pack = GiftPack(**details, merchant_id=merchant_id, status=status, created_at=now)
    pack.search = _words_of(pack, contents)
    db.session.add(pack)
    db.session.flush()
    _add_contents(pack.id, contents)
    db.session.execute(insert(Stock).values(pack_id=pack.id, taken_in=0, held=0, sold=0, shipped=0))
    return pack.id


def _add_contents(pack_id: int, contents: Sequence[dict[str, Any]]) -> None:
    db.session.execute(
        insert(PackContent),
        [
            {"pack_id": pack_id, "position": position, "name_en": "", **EMPTY_CONTENT, **content}
            for position, content in enumerate(contents)
        ],
    )


def _words_of(pack: GiftPack, contents: Sequence[dict[str, Any]]) -> str:
    """Return what a pack is found by."""
    words = [pack.name, pack.name_en or "", pack.description or ""]
    words += [word for content in contents for word in (content["name"], content.get("name_en", ""))]
    merchant = people_queries.merchant(pack.merchant_id)
    words += [merchant.name, merchant.region] if merchant else []
    return " ".join(words).lower()[:2000]


def bring_in_packs(packs: Sequence[dict[str, Any]], *, now: datetime) -> int:
    """Bring a catalogue file's packs in, on sale and stocked; those there already (by code) stay as they are."""
    with transaction():
        known = set(db.session.scalars(select(GiftPack.code)))
        merchant_of = {merchant.code: merchant.id for merchant in people_queries.merchants()}
        fresh = [pack for pack in packs if pack["code"] not in known]
        for pack in fresh:
            details = {name: value for name, value in pack.items() if name not in ("merchant", "stock")}
            pack_id = enter_pack(merchant_id=merchant_of[pack["merchant"]], details=details, now=now)
            db.session.execute(update(Stock).where(Stock.pack_id == pack_id).values(taken_in=pack["stock"]))
            post_first_stock(pack_id, pack["stock"], now=now)
    return len(fresh)
