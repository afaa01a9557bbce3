"""换礼包: a pack of a union's order that is short gives way to another of its tier; who chose it is asked again.

Before stock is held that is a change like any other: a submission is void by it. Once stock is held, only a pack that
was taken off sale or that its merchant cannot send is replaced, and in its place: the same tier is the same money, so
no amount changes and the approval stands (decision 12). Its stock, and what its merchant is owed, move along.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from catalog import queries as catalog_queries
from catalog import steps as catalog_steps
from catalog.queries import PackView
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency
from kernel.db import db, transaction
from kernel.errors import Invalid, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import new_id as fresh_id
from orders import queries, union_schemas
from orders.models import OrderLine, Parcel, Recipient, Shortage, UnionTerms
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.queries.orders import Choice
from orders.queries.unions import ChoiceView
from orders.rules import CHANGEABLE, HELD, SENDING, Line, Wanted, swap
from orders.services import bulk, fulfilment, invoicing
from people import telling
from people.telling import Notice

OFFERED_AT_MOST = 6
ASKED_AGAIN_FOR = timedelta(days=2)


@dataclass(frozen=True)
class Short:
    """A pack of an order that is short, and others of its tier that are not, those of its region first.

    `units` of the `wanted` would be replaced. `reason` is 'sold_out', 'off_sale', or 'merchant' for what its merchant
    said it cannot send.
    """

    pack_id: int
    name: str
    name_en: str
    wanted: int
    available: int
    units: int
    reason: str
    note: str
    others: tuple[PackView, ...]


@dataclass(frozen=True)
class Texts:
    """How people are told: `link_for` makes somebody's own link; `key` seals it until it is sent."""

    link_for: Callable[[Recipient], str]
    key: str


def replacements(order: OrderView) -> list[Short]:
    """Return the packs of an order that are short now, with what could take their place."""
    if order.status not in (*CHANGEABLE, *HELD, *SENDING):
        return []
    views = catalog_queries.packs_by_id((line.pack_id for line in order.lines), channel="bulk")
    noted = union_queries.shortages_of(order.id)
    found = []
    for line in order.lines:
        view = views[line.pack_id]
        units, reason = _units_short(order, line, view, noted)
        if units == 0:
            continue
        told = noted.get(line.line_no)
        found.append(
            Short(
                line.pack_id,
                line.pack_name,
                line.pack_name_en,
                line.quantity,
                max(0, view.available) if reason == "sold_out" else line.quantity - units,
                units,
                reason,
                told.note if told is not None else "",
                _others(order, line, view, units),
            )
        )
    return found


def _units_short(order: OrderView, line: Line, view: PackView, noted: Mapping[int, Shortage]) -> tuple[int, str]:
    """Return how many units of a line are to be replaced, and why."""
    if order.status in SENDING:
        told = noted.get(line.line_no)
        units = min(told.units, line.to_send) if told is not None and line.refund_asked == 0 else 0
        return units, "merchant"
    if view.status != "on_sale":
        return line.quantity, "off_sale"
    if order.status not in HELD and view.available < line.quantity:
        return line.quantity, "sold_out"
    return 0, ""


def _others(order: OrderView, line: Line, view: PackView, units: int) -> tuple[PackView, ...]:
    same_tier = catalog_queries.packs(catalog_queries.Filter(tier_fen=line.price_fen, channel="bulk"), limit=500).items
    held = order.status in (*HELD, *SENDING)
    taken = {line.pack_id} if held else {one.pack_id for one in order.lines}
    gone = _merchants_done(order)
    fitting = [
        one for one in same_tier if one.id not in taken and one.available >= units and one.merchant.id not in gone
    ]
    fitting.sort(key=lambda one: (one.merchant.region != view.merchant.region, -one.available))
    return tuple(fitting[:OFFERED_AT_MOST])


def _merchants_done(order: OrderView) -> set[int]:
    """Return the merchants whose parcel of a paid order has left: nothing more goes into it."""
    if order.status not in SENDING:
        return set()
    return {parcel.merchant_id for parcel in order.parcels if parcel.status != "to_ship"}


def replace_pack(
    *,
    number: str,
    union_id: int | None,
    old_id: int,
    new_id: int,
    texts: Texts,
    actor_id: int,
    once: Once | None = None,
    now: datetime,
) -> Answer:
    """Put another pack of the same tier in a pack's place; with self-choice its people are asked again by their link.

    Before stock is held, what was submitted is void by it. After, only units that are short are replaced, at the same
    amounts, and the approval stands; nothing changes where the other pack is out of stock. Raises Invalid for a pack
    that is not of the same tier, OutOfStock, and StateConflict where nothing is short and a payment was begun.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        order = queries.order_of_union(number, union_id=union_id, now=now)
        bulk.lock_in(order.id, (*CHANGEABLE, *HELD, *SENDING), "订单已结束，不能再换礼包。")
        order = queries.order_of_union(number, union_id=union_id, now=now)
        if order.status == "expired":
            raise StateConflict("订单已结束，不能再换礼包。")
        old, new = _checked(order, old_id, new_id)
        units = _short_lines(order, old) if order.status in (*HELD, *SENDING) else {}
        if units:
            _replace_held(order, units, old, new, texts=texts, actor_id=actor_id, now=now)
        else:
            _replace_open(order, old, new, texts=texts, actor_id=actor_id, now=now)
        view = queries.order_of_union(number, union_id=union_id, now=now)
        return idempotency.finish(once, union_schemas.BulkOrder().dump(view))


def _checked(order: OrderView, old_id: int, new_id: int) -> tuple[PackView, PackView]:
    views = catalog_queries.packs_by_id([old_id, new_id], channel="bulk")
    ids = {line.pack_id for line in order.lines} | set(order.choice.pack_ids if order.choice is not None else ())
    old, new = views.get(old_id), views.get(new_id)
    if old_id not in ids or old is None:
        raise Invalid(errors={"pack_id": ["这个礼包不在本订单中。"]})
    price_fen = next((line.price_fen for line in order.lines if line.pack_id == old_id), old.price_fen)
    if new is None or new_id == old_id or new.status != "on_sale" or new.price_fen != price_fen:
        raise Invalid(errors={"by_pack_id": ["请选择同一档位、在售的礼包。"]})
    return old, new


def _short_lines(order: OrderView, pack: PackView) -> dict[int, int]:
    noted = union_queries.shortages_of(order.id)
    short = {line.line_no: _units_short(order, line, pack, noted)[0] for line in order.lines if line.pack_id == pack.id}
    return {line_no: units for line_no, units in short.items() if units}


def _replace_open(
    order: OrderView, old: PackView, new: PackView, *, texts: Texts, actor_id: int, now: datetime
) -> None:
    """A change like any other, before stock is held (or of a pack that is not short): a submission is void by it."""
    in_order = order.choice.pack_ids if order.choice is not None else [line.pack_id for line in order.lines]
    if new.id in in_order:
        raise Invalid(errors={"by_pack_id": ["这个礼包已在本订单中，请换一个。"]})
    voided = bulk.reopen(order, now=now)
    people = (Recipient.order_id == order.id, Recipient.pack_id == old.id)
    if order.choice is None:
        db.session.execute(update(Recipient).where(*people).values(pack_id=new.id))
        wanted = [Wanted(new.id if line.pack_id == old.id else line.pack_id, line.quantity) for line in order.lines]
        bulk.rewrite_lines(order, wanted, now=now)
    else:
        asked = list(db.session.scalars(select(Recipient).where(*people).order_by(Recipient.position)))
        again = _with_other(order.choice, old.id, new.id, gone=True, deadline=now + ASKED_AGAIN_FOR)
        db.session.execute(
            update(Recipient).where(*people).values(pack_id=None, chosen_at=None, reminded_at=now),
            execution_options={"synchronize_session": False},
        )
        _write_choice(order.id, again)
        bulk.recount(order, again, now=now, as_it_is=True)
        _tell(asked, texts, now=now)
    audit.record(
        "order.replace",
        f"order:{order.id}",
        actor_id=actor_id,
        now=now,
        before={"pack": old.id, "voided": voided},
        after={"pack": new.id},
    )


def _with_other(choice: Choice, old_id: int, new_id: int, *, gone: bool, deadline: datetime) -> Choice:
    """Return a choice with a pack more, in the place of the old one where that is gone."""
    ids = [new_id if pack_id == old_id and gone else pack_id for pack_id in choice.pack_ids]
    default = new_id if gone and choice.default_pack_id == old_id else choice.default_pack_id
    pack_ids = tuple(dict.fromkeys([*ids, new_id]))
    return Choice(choice.tier_fen, pack_ids, default, max(choice.deadline, deadline))


def _write_choice(order_id: int, choice: Choice) -> None:
    db.session.execute(
        update(UnionTerms)
        .where(UnionTerms.order_id == order_id)
        .values(pack_ids=list(choice.pack_ids), default_pack_id=choice.default_pack_id, deadline=choice.deadline)
    )


def _tell(people: Iterable[Recipient], texts: Texts, *, now: datetime) -> None:
    notices = [
        Notice(
            "choice.again",
            f"{one.order_id}:{one.position}:{int(now.timestamp() * 1000)}",
            {"link": texts.link_for(one)},
            phone=one.phone,
        )
        for one in people
    ]
    telling.tell(notices, key=texts.key, now=now)


def _replace_held(
    order: OrderView,
    units: Mapping[int, int],
    old: PackView,
    new: PackView,
    *,
    texts: Texts,
    actor_id: int,
    now: datetime,
) -> None:
    """Replace what is short of a pack once stock is held: same money, so what was approved stands."""
    # What its merchant cannot send is not there for anybody else either.
    lines = swap_held(order, units, new, missing=order.status in SENDING, actor_id=actor_id, now=now)
    count = sum(units.values())
    left = sum(line.quantity for line in lines if line.pack_id == old.id)
    moved = _people_over(order.id, old.id, left)
    positions = [one.position for one in moved]
    values: dict[str, Any] = {"pack_id": new.id}
    if order.choice is not None:
        values |= {"chosen_at": None, "reminded_at": now, "asked_until": now + ASKED_AGAIN_FOR}
        _write_choice(
            order.id, _with_other(order.choice, old.id, new.id, gone=left == 0, deadline=order.choice.deadline)
        )
        _tell(moved, texts, now=now)
    db.session.execute(
        update(Recipient).where(Recipient.order_id == order.id, Recipient.position.in_(positions)).values(**values),
        execution_options={"synchronize_session": False},
    )
    done = {"at": now.isoformat(), "by": actor_id, "old": old.name, "new": new.name, "units": count}
    db.session.execute(
        update(UnionTerms).where(UnionTerms.order_id == order.id).values(replaced=[*order.terms.replaced, done])
    )
    told = {"number": order.number, "old": old.name, "new": new.name, "units": str(count)}
    thing = f"{order.id}:{int(now.timestamp() * 1000)}"
    telling.tell([Notice("pack.replaced", thing, told, person_id=order.decided_by)], now=now)
    audit.record(
        "order.replace",
        f"order:{order.id}",
        actor_id=actor_id,
        now=now,
        before={"pack": old.id, "units": count, "status": order.status},
        after={"pack": new.id, "people_asked": len(moved) if order.choice is not None else 0},
    )


def _people_over(order_id: int, pack_id: int, left: int) -> list[Recipient]:
    """Return who cannot get a pack of which an order has only so many `left`: who chose last, or not at all, first.

    Raises StateConflict where no whole persons make up what is missing.
    """
    people = list(
        db.session.scalars(
            select(Recipient)
            .where(Recipient.order_id == order_id, Recipient.pack_id == pack_id)
            .order_by(Recipient.chosen_at.is_not(None), Recipient.chosen_at.desc(), Recipient.position.desc())
            .execution_options(populate_existing=True)
        )
    )
    over = sum(one.quantity for one in people) - left
    moved = []
    for one in people:
        if 0 < one.quantity <= over:
            moved.append(one)
            over -= one.quantity
    if over > 0:
        # Nobody is given part of what the roster says, so that goods and sign-off sheet say the same.
        raise StateConflict("名单中有人一人领多份，缺的份数凑不成整人，无法只换一部分。请为缺货的份数申请退款。")
    return moved


def swap_held(
    order: OrderView,
    units: Mapping[int, int],
    new: PackView,
    *,
    missing: bool = False,
    actor_id: int | None = None,
    now: datetime,
) -> Sequence[Line]:
    """Give units of an order's lines (by number) to another pack of their price, in the caller's transaction.

    The order's row is locked, its stock held or sold. `missing` units are not there for anybody. Returns the lines
    there are then. Raises StateConflict for what has left, is being refunded, or comes from a merchant whose parcel
    has left; OutOfStock.
    """
    if new.merchant.id in _merchants_done(order):
        raise StateConflict("这个商户的包裹已经发出，请换一个商户的礼包。")
    before = {line.line_no: line for line in order.lines}
    for line_no, count in units.items():
        if count > before[line_no].to_send or before[line_no].refund_asked:
            raise StateConflict("这份礼包已经发出或正在退款，不能再换。")
    by = _line_for(order, new, price_fen=before[next(iter(units))].price_fen)
    lines: Sequence[Line] = order.lines
    for line_no, count in units.items():
        lines = swap(lines, line_no=line_no, units=count, by=next((o for o in lines if o.line_no == by.line_no), by))
    _write_lines(order, lines, units)
    if order.status in SENDING:
        _write_parcels(order, lines)
        invoicing.follow(order.id, lines, actor_id=actor_id, now=now)
    _move_value(order, units, lines, new, missing=missing, actor_id=actor_id, now=now)
    return lines


def _line_for(order: OrderView, new: PackView, *, price_fen: int) -> Line:
    """Return the line another pack's units join: the order's own, or a new one of no units yet."""
    for line in order.lines:
        if line.pack_id == new.id and line.price_fen == price_fen and line.refund_asked == 0:
            return line
    numbers = {line.merchant_id: line.parcel_no for line in order.lines}
    parcel_no = numbers.get(new.merchant.id)
    if parcel_no is None:
        parcel_no = max([*numbers.values(), *(parcel.parcel_no for parcel in order.parcels)]) + 1
    return Line(
        line_no=max(line.line_no for line in order.lines) + 1,
        pack_id=new.id,
        pack_name=new.name,
        pack_name_en=new.name_en,
        picture=new.picture,
        merchant_id=new.merchant.id,
        merchant_name=new.merchant.short_name,
        merchant_name_en=new.merchant.name_en,
        quantity=0,
        price_fen=price_fen,
        amount_fen=0,
        discount_fen=0,
        parcel_no=parcel_no,
    )


def _write_lines(order: OrderView, lines: Sequence[Line], units: Mapping[int, int]) -> None:
    own = (Shortage.order_id == order.id, Shortage.line_no.in_(units))
    db.session.execute(delete(Shortage).where(*own))
    known = {line.line_no: line for line in order.lines}
    for line in lines:
        was = known.pop(line.line_no, None)
        if was is None:
            db.session.execute(insert(OrderLine).values(order_id=order.id, **line.__dict__))
        elif was != line:
            figures = {name: getattr(line, name) for name in ("quantity", "amount_fen", "discount_fen")}
            db.session.execute(
                update(OrderLine)
                .where(OrderLine.order_id == order.id, OrderLine.line_no == line.line_no)
                .values(**figures),
                execution_options={"synchronize_session": False},
            )
    if known:
        gone = (OrderLine.order_id == order.id, OrderLine.line_no.in_(known))
        db.session.execute(delete(OrderLine).where(*gone))


def _write_parcels(order: OrderView, lines: Sequence[Line]) -> None:
    """Make a parcel for a merchant who had none; one of which all units went elsewhere is no more, or has left."""
    merchants = {line.parcel_no: line.merchant_id for line in lines}
    there = {parcel.parcel_no for parcel in order.parcels}
    new = {parcel_no: merchants[parcel_no] for parcel_no in sorted(merchants.keys() - there)}
    if new:
        fulfilment.write_parcels(order.id, new, delivery=order.delivery)
    for parcel_no in sorted(there - merchants.keys()):
        db.session.execute(delete(Parcel).where(Parcel.order_id == order.id, Parcel.parcel_no == parcel_no))
    for parcel_no in sorted(there & merchants.keys()):
        fulfilment.end_parcel(order.id, parcel_no)
    fulfilment.move_order(order.id)


def _move_value(
    order: OrderView,
    units: Mapping[int, int],
    lines: Sequence[Line],
    new: PackView,
    *,
    missing: bool,
    actor_id: int | None,
    now: datetime,
) -> None:
    """Move stock, and what merchants of a paid order are owed, with the ledger; stock last, in the order of ids."""
    old_id = next(line.pack_id for line in order.lines if line.line_no in units)
    count = sum(units.values())
    old_units, new_units = {old_id: count}, {new.id: count}
    if order.status in SENDING:
        postings = [
            *_owed_elsewhere(order, units, lines, new),
            *catalog_steps.take_back_postings(old_units),
            *catalog_steps.hold_postings(new_units),
            *catalog_steps.sell_postings(new_units),
        ]
    else:
        postings = [*catalog_steps.release_postings(old_units), *catalog_steps.hold_postings(new_units)]
    thing = fresh_id()
    ledger_steps.post(Cause("replace", f"{order.id}:{thing}", order_id=order.id, actor_id=actor_id), postings, now=now)
    if missing:
        cause = Cause("adjust", f"{old_id}:{thing}", reason="商户缺货，已换成其他礼包")
        ledger_steps.post(cause, catalog_steps.write_off_postings(old_units), now=now)

    def give_back() -> None:
        if order.status not in SENDING:
            catalog_steps.release(old_units, bulk=True)
            return
        catalog_steps.take_back(old_units, bulk=True)
        if missing:
            catalog_steps.write_off(old_units)

    def take() -> None:
        catalog_steps.hold(new_units, bulk=True)
        if order.status in SENDING:
            catalog_steps.sell(new_units)

    for _, step in sorted(((old_id, give_back), (new.id, take)), key=lambda one: one[0]):
        step()


def _owed_elsewhere(order: OrderView, units: Mapping[int, int], lines: Sequence[Line], new: PackView) -> list[Posting]:
    """Return the postings that take what one merchant is owed for these units to the other."""
    before = next(line for line in order.lines if line.line_no in units)
    if before.merchant_id == new.merchant.id:
        return []
    after = {line.line_no: line for line in lines}
    kept = [after[line_no] for line_no in units if line_no in after]
    moved = [line for line in order.lines if line.line_no in units]
    subsidy_fen = sum(line.discount_fen for line in moved) - sum(line.discount_fen for line in kept)
    paid_fen = sum(line.amount_fen for line in moved) - sum(line.amount_fen for line in kept) - subsidy_fen
    postings = []
    for source, amount_fen in ((ledger.CASH, paid_fen), (ledger.SUBSIDY, subsidy_fen)):
        if amount_fen > 0:
            old_owner = {"campaign_id": order.campaign_id, "merchant_id": before.merchant_id}
            new_owner = {"campaign_id": order.campaign_id, "merchant_id": new.merchant.id}
            postings.append(Posting(ledger.MERCHANT_OWED, source, amount_fen, **old_owner))
            postings.append(Posting(source, ledger.MERCHANT_OWED, amount_fen, **new_owner))
    return postings


def choose_again(seen: ChoiceView, *, pack_id: int, now: datetime) -> None:
    """Give a recipient who is asked again another pack than the one in place, in the caller's transaction.

    The order's row is locked. Raises OutOfStock, and StateConflict for what has left or is being refunded.
    """
    new = catalog_queries.packs_by_id([pack_id], channel="bulk")[pack_id]
    if new.status != "on_sale":
        raise catalog_steps.OutOfStock("“%(names)s”已经被选完了，请换一个。", names=new.name, names_en=new.name_en)
    own = [line for line in seen.order.lines if line.pack_id == seen.pack_id and line.price_fen == new.price_fen]
    if not own:
        raise StateConflict("这份礼包已经发出或正在退款，不能再换。")
    swap_held(seen.order, {own[0].line_no: seen.quantity}, new, now=now)
