"""Parcels as they are packed: whole, a box for each department, or a packet for each recipient."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orders.models import Recipient
from orders.queries.orders import recipients_of
from orders.queries.parcels import ParcelView, lines_of
from orders.rules import UNION_BUYER, Line, only_pack


def as_packed(parcels: Sequence[ParcelView]) -> list[ParcelView]:
    """Return parcels as labels and packing slips are printed: as their union wants to get them.

    By department, boxes that have left are left out, unless all have.
    """
    packed: list[ParcelView] = []
    for parcel in parcels:
        if parcel.buyer_kind == UNION_BUYER and parcel.delivery.get("mode") == "recipient":
            packed += _by_recipient(parcel) or [parcel]
        else:
            packed += _by_department(parcel) or [parcel]
    return packed


def _by_department(parcel: ParcelView) -> list[ParcelView]:
    waiting = [(box.department, box.to_send) for box in parcel.boxes if box.to_send]
    return [
        replace(
            parcel,
            lines=tuple(_units(line, units[line.line_no]) for line in parcel.lines if units.get(line.line_no)),
            department=department,
        )
        for department, units in waiting or [(box.department, box.units) for box in parcel.boxes]
    ]


def _by_recipient(parcel: ParcelView) -> list[ParcelView]:
    """Return a packet for each recipient of the parcel's packs, as far as units were not given back; then the rest."""
    only = only_pack(lines_of([parcel.order_id])[parcel.order_id])
    left = {line.line_no: line.left for line in parcel.lines}
    packets = []
    for one in recipients_of(parcel.order_id):
        wanted = one.pack_id or only
        line = next((line for line in parcel.lines if line.pack_id == wanted and left[line.line_no] > 0), None)
        if line is None:
            continue
        units = min(one.quantity, left[line.line_no])
        left[line.line_no] -= units
        packets.append(replace(parcel, lines=(_units(line, units),), delivery=_place_of(one)))
    rest = tuple(_units(line, left[line.line_no]) for line in parcel.lines if left[line.line_no])
    return [*packets, replace(parcel, lines=rest)] if rest else packets


def _place_of(one: Recipient) -> dict[str, Any]:
    place = dict(one.delivery or {"address": one.address})
    return {**place, "name": place.get("name") or one.name, "phone": place.get("phone") or one.phone}


def packet_of(parcel: ParcelView, one: Recipient, only: int | None) -> ParcelView | None:
    """Return one recipient's packet of a parcel: what their own code hands over; None where theirs is in another.

    `only` is the order's only pack, if it has but one. The packet's status is theirs: 'delivered' once they have it,
    whatever has become of the others'.
    """
    line = next((line for line in parcel.lines if line.pack_id == (one.pack_id or only)), None)
    if line is None:
        return None
    status = "delivered" if one.received_at else "cancelled" if parcel.status == "cancelled" else "shipped"
    return replace(parcel, lines=(_units(line, one.quantity),), delivery=_place_of(one), packages=(), status=status)


def _units(line: Line, units: int) -> Line:
    """Return so many units of a line, as if none had left."""
    return replace(line, quantity=units, refunded=0, shipped=0, withdrawn=0)
