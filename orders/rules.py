"""The life of an order and of its parcels, and what a buyer may ask for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ORDER_MOVES = {
    "draft": {"choosing", "submitted", "cancelled"},
    "choosing": {"submitted", "cancelled"},
    # A change after submission voids it: the order is a draft (or chosen) again.
    "submitted": {"approved", "rejected", "cancelled", "draft", "choosing"},
    "approved": {"pending_payment", "cancelled", "expired", "draft", "choosing"},
    "pending_payment": {"paid", "cancelled", "expired"},
    "paid": {"fulfilling", "completed", "refunded"},
    "fulfilling": {"completed", "refunded"},
    "completed": {"refunded"},
    "expired": {"paid"},  # a payment that came late, where stock and voucher were there again
    "rejected": {"draft", "choosing", "cancelled"},
    "cancelled": set[str](),
    "refunded": set[str](),
}
PARCEL_MOVES = {
    "to_ship": {"shipped", "cancelled", "delivered"},  # delivered at once: handed over at the counter
    "shipped": {"delivered"},
    "delivered": set[str](),
    "cancelled": set[str](),  # all of it was given back before it left
}
REFUND_MOVES = {
    "requested": {"accepted", "declined"},
    "declined": {"accepted"},  # by the operator, where the buyer appeals
    "accepted": set[str](),
}
REFUNDABLE = ("paid", "fulfilling", "completed")

GRANT_MOVES = {
    "waiting": {"confirmed", "declined", "lapsed"},
    "confirmed": set[str](),
    "declined": set[str](),
    "lapsed": set[str](),
}

MEMBER_BUYER, UNION_BUYER, GRANTED = "member", "union", "grant"


# Until when a union's roster, packs and counts may change. Once a payment was begun, money may be on its way for the
# old amount: then the order is cancelled and copied instead.
CHANGEABLE = ("draft", "choosing", "submitted", "approved", "rejected")
HELD = ("approved", "pending_payment")  # stock is held, and nobody has paid yet
SENDING = ("paid", "fulfilling")  # paid, and not all of it has arrived
COUNTED = ("submitted", "approved", "pending_payment", "paid", "fulfilling", "completed")  # towards the yearly cap
DELIVERY_MODES = ("union", "department", "recipient")


@dataclass(frozen=True)
class District:
    """What the district settled for its unions: people on two rosters, and the yearly cap per head in fen (0: none)."""

    refuse_twice: bool = False
    yearly_cap_fen: int = 0
    refuse_over_cap: bool = False


@dataclass(frozen=True)
class Wanted:
    """One line a buyer asks for."""

    pack_id: int
    quantity: int


@dataclass(frozen=True)
class Line:
    """订单行, as copied onto an order: amounts in fen, the discount its share."""

    line_no: int
    pack_id: int
    pack_name: str
    pack_name_en: str
    picture: str
    merchant_id: int
    merchant_name: str
    merchant_name_en: str
    quantity: int
    price_fen: int
    amount_fen: int
    discount_fen: int
    parcel_no: int
    refund_asked: int = 0
    refunded: int = 0
    shipped: int = 0
    withdrawn: int = 0

    @property
    def left(self) -> int:
        """How many of its units were not given back."""
        return self.quantity - self.refunded

    @property
    def to_send(self) -> int:
        """How many of its units the merchant still has to send."""
        return self.quantity - self.shipped - self.withdrawn


@dataclass(frozen=True)
class GiveBack:
    """What units of a line bring back, in fen: cash to the buyer, value to the voucher (or the bulk budget)."""

    cash_fen: int
    voucher_fen: int


def give_back(*, amount_fen: int, discount_fen: int, quantity: int, before: int, units: int) -> GiveBack:
    """Return what `units` more units of a line bring back, `before` of its `quantity` having gone back already.

    The share of the first k units is floored once and what went back before is taken off, so refunds in parts end at
    exactly the amounts of one refund (rules.md, 'Life of a discount').

    >>> give_back(amount_fen=150_00, discount_fen=30_00, quantity=1, before=0, units=1)
    GiveBack(cash_fen=12000, voucher_fen=3000)
    >>> [give_back(amount_fen=300, discount_fen=100, quantity=3, before=k, units=1).voucher_fen for k in (0, 1, 2)]
    [33, 33, 34]
    """
    assert 0 < units <= quantity - before

    def value(returned: int) -> tuple[int, int]:
        voucher_fen = discount_fen * returned // quantity
        return amount_fen * returned // quantity - voucher_fen, voucher_fen

    (cash_then, voucher_then), (cash_before, voucher_before) = value(before + units), value(before)
    return GiveBack(cash_fen=cash_then - cash_before, voucher_fen=voucher_then - voucher_before)


def swap(lines: Sequence[Line], *, line_no: int, units: int, by: Line) -> tuple[Line, ...]:
    """Return an order's lines with `units` of one line given to another pack of the same price.

    `by` is the other pack's line: one of the order's, or a new one of no units yet. The units take their share of the
    discount along, so no sum of the order changes; a line without units is gone.
    """
    old = next(line for line in lines if line.line_no == line_no)
    assert by.price_fen == old.price_fen
    assert by.line_no != old.line_no
    assert 0 < units <= old.to_send
    assert old.refund_asked == by.refund_asked == 0
    share_fen = old.discount_fen * units // old.quantity

    def more(line: Line, count: int, discount_fen: int) -> Line:
        return replace(
            line,
            quantity=line.quantity + count,
            amount_fen=line.amount_fen + count * line.price_fen,
            discount_fen=line.discount_fen + discount_fen,
        )

    changed = {one.line_no: one for one in (more(old, -units, -share_fen), more(by, units, share_fen))}
    after = {**{line.line_no: line for line in lines}, **changed}
    return tuple(after[number] for number in sorted(after) if after[number].quantity)


def only_pack(lines: Iterable[Line]) -> int | None:
    """Return the only pack an order has: what everybody gets whose row of the roster names none."""
    packs = {line.pack_id for line in lines}
    return packs.pop() if len(packs) == 1 else None


def quantities_of(lines: Iterable[Line | Wanted]) -> dict[int, int]:
    """Return how many of each pack the lines take together; two lines of one pack take both.

    >>> quantities_of([Wanted(7, 1), Wanted(3, 2), Wanted(7, 1)])
    {7: 2, 3: 2}
    """
    total: dict[int, int] = defaultdict(int)
    for line in lines:
        total[line.pack_id] += line.quantity
    return dict(total)


@dataclass(frozen=True)
class Box:
    """What of a parcel goes to one department: units by line number, and how many of them are still to be sent."""

    department: str
    units: Mapping[int, int]
    to_send: Mapping[int, int]


def boxes(
    lines: Sequence[Line], people: Iterable[tuple[str, int | None, int]], sent: Mapping[str, Mapping[int, int]]
) -> tuple[Box, ...]:
    """Return what of a parcel goes to which department, in the order of the roster; nobody's units are the last box's.

    `people` are (department, pack, units) of the roster; who has no pack yet is in nobody's box. `sent` are the units
    by line that have left for a department already.
    """
    left = {line.line_no: line.left for line in lines}
    wanted: dict[str, dict[int, int]] = {}
    for department, pack_id, units in people:
        for line in lines:
            if line.pack_id == pack_id and units > 0:
                taken = min(units, left[line.line_no])
                own = wanted.setdefault(department, {})
                own[line.line_no] = own.get(line.line_no, 0) + taken
                left[line.line_no] -= taken
                units -= taken
    for line_no, units in left.items():
        if units > 0:
            nobodys = wanted.setdefault("", {})
            nobodys[line_no] = nobodys.get(line_no, 0) + units
    unsent = {line.line_no: line.to_send for line in lines}
    found = []
    for department, counts in wanted.items():
        gone, to_send = sent.get(department, {}), {}
        for line_no, units in counts.items():
            to_send[line_no] = min(max(0, units - gone.get(line_no, 0)), unsent[line_no])
            unsent[line_no] -= to_send[line_no]
        own_units = {line_no: units for line_no, units in counts.items() if units}
        if own_units:
            found.append(Box(department, own_units, {line_no: units for line_no, units in to_send.items() if units}))
    return tuple(found)


def number_parcels(merchant_ids: Sequence[int]) -> dict[int, int]:
    """Return each merchant's parcel number in an order, in the order of the lines.

    >>> number_parcels([9, 4, 9])
    {9: 1, 4: 2}
    """
    return {merchant_id: number for number, merchant_id in enumerate(dict.fromkeys(merchant_ids), start=1)}


def parcel_id(order_id: int, parcel_no: int) -> str:
    """Return the name a parcel has from the moment its order is placed."""
    return f"{order_id}-{parcel_no}"


def pickup_code(number: int) -> str:
    """Return a pickup code: seven digits and one that checks them (Luhn), so that a slip of the finger is no code.

    >>> pickup_code(1234567), pickup_code(0)
    ('12345674', '00000000')
    """
    digits = f"{number:07d}"
    return digits + str(-_luhn_sum(digits + "0") % 10)


def is_pickup_code(text: str) -> bool:
    """Return whether a text can be a pickup code.

    >>> is_pickup_code("12345674"), is_pickup_code("12345647"), is_pickup_code("1234567x")
    (True, False, False)
    """
    return len(text) == 8 and text.isascii() and text.isdigit() and _luhn_sum(text) % 10 == 0


def _luhn_sum(digits: str) -> int:
    doubled = [int(one) * (2 if place % 2 else 1) for place, one in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled)


def owed_by_merchant(lines: Sequence[Line]) -> Mapping[int, tuple[int, int]]:
    """Return (paid by the buyer, subsidy by the union) for each merchant, in fen (rules.md, rule 4)."""
    owed: dict[int, tuple[int, int]] = {}
    for line in lines:
        paid_fen, subsidy_fen = owed.get(line.merchant_id, (0, 0))
        owed[line.merchant_id] = (
            paid_fen + line.amount_fen - line.discount_fen,
            subsidy_fen + line.discount_fen,
        )
    return owed


def status_after_shipping(parcel_statuses: Sequence[str]) -> str:
    """Return what an order is when its parcels are in these states; a cancelled one counts no more.

    >>> status_after_shipping(["shipped", "to_ship"]), status_after_shipping(["delivered", "cancelled"])
    ('fulfilling', 'completed')
    """
    going = [status for status in parcel_statuses if status != "cancelled"]
    if all(status == "delivered" for status in going):
        return "completed"
    return "paid" if all(status == "to_ship" for status in going) else "fulfilling"


def refund_status(part_statuses: Sequence[str]) -> str:
    """Return what a refund is when its merchants' parts are in these states.

    >>> refund_status(["accepted", "requested"]), refund_status(["accepted", "declined"]), refund_status(["declined"])
    ('requested', 'partly_accepted', 'declined')
    """
    if "requested" in part_statuses:
        return "requested"
    return part_statuses[0] if len(set(part_statuses)) == 1 else "partly_accepted"


def delivery_text(delivery: Mapping[str, Any]) -> str:
    """Return a place of delivery in one line, as a label has it."""
    if delivery.get("kind") == "pickup":
        return str(delivery.get("station_name", ""))
    return f"{delivery.get('region', '')} {delivery.get('address', '')}".strip()
