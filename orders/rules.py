"""The life of an order and of its parcels, and what a buyer may ask for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ORDER_MOVES = {
    "draft": {"choosing", "submitted", "cancelled"},
    "choosing": {"submitted", "cancelled"},
    "submitted": {"approved", "rejected", "cancelled"},
    "approved": {"pending_payment", "cancelled", "expired"},
    "pending_payment": {"paid", "cancelled", "expired"},
    "paid": {"fulfilling", "completed", "refunded"},
    "fulfilling": {"completed", "refunded"},
    "completed": {"refunded"},
    "expired": {"paid"},  # a payment that came late, where stock and voucher were there again
    "rejected": set[str](),
    "cancelled": set[str](),
    "refunded": set[str](),
}
PARCEL_MOVES = {"to_ship": {"shipped"}, "shipped": {"delivered"}, "delivered": set[str]()}

MEMBER_BUYER, UNION_BUYER = "member", "union"


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


def quantities_of(lines: Iterable[Line | Wanted]) -> dict[int, int]:
    """Return how many of each pack the lines take together; two lines of one pack take both.

    >>> quantities_of([Wanted(7, 1), Wanted(3, 2), Wanted(7, 1)])
    {7: 2, 3: 2}
    """
    total: dict[int, int] = defaultdict(int)
    for line in lines:
        total[line.pack_id] += line.quantity
    return dict(total)


def number_parcels(merchant_ids: Sequence[int]) -> dict[int, int]:
    """Return each merchant's parcel number in an order, in the order of the lines.

    >>> number_parcels([9, 4, 9])
    {9: 1, 4: 2}
    """
    return {merchant_id: number for number, merchant_id in enumerate(dict.fromkeys(merchant_ids), start=1)}


def parcel_id(order_id: int, parcel_no: int) -> str:
    """Return the name a parcel has from the moment its order is placed."""
    return f"{order_id}-{parcel_no}"


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
    """Return what an order is when its parcels are in these states.

    >>> status_after_shipping(["shipped", "to_ship"]), status_after_shipping(["delivered", "delivered"])
    ('fulfilling', 'completed')
    """
    if all(status == "delivered" for status in parcel_statuses):
        return "completed"
    return "paid" if all(status == "to_ship" for status in parcel_statuses) else "fulfilling"


def delivery_text(delivery: Mapping[str, Any]) -> str:
    """Return a place of delivery in one line, as a label has it."""
    if delivery.get("kind") == "pickup":
        return str(delivery.get("station_name", ""))
    return f"{delivery.get('region', '')} {delivery.get('address', '')}".strip()
