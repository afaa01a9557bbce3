"""发货表: reading a spreadsheet of tracking numbers, with each fault named by row and column."""

from collections.abc import Iterable
from dataclasses import dataclass

from kernel import sheets
from kernel.errors import Invalid
from kernel.sheets import Fault, Rows
from orders import carriers

HEADERS = {
    "parcel": ("包裹号", "包裹", "包裹编号", "parcel_id", "parcel id", "parcel", "id"),
    "carrier": ("快递公司", "快递", "物流公司", "carrier"),
    "tracking_no": ("运单号", "快递单号", "单号", "tracking_no", "tracking no", "tracking number", "tracking"),
}
COLUMN_NAMES = {name: names[0] for name, names in HEADERS.items()}
LENGTHS = {"parcel": 30, "carrier": 40, "tracking_no": 60}


@dataclass(frozen=True)
class Shipment:
    """What one row says: a parcel has left, with whom, under which number."""

    row: int
    parcel: str
    carrier: str
    tracking_no: str


def read_file(content: bytes, filename: str) -> Rows:
    """Return a sheet's rows. Raises Invalid for what is no sheet of shipments."""
    rows = sheets.read(content, filename, HEADERS, required=("parcel", "carrier", "tracking_no"))
    if not rows:
        raise Invalid("表格里没有内容。", errors={"file": ["表格里没有内容。"]})
    return rows


def check(rows: Iterable[tuple[int, dict[str, str]]]) -> tuple[list[Shipment], list[Fault], int]:
    """Return the rows that make sense, every fault, and how many rows there are."""
    good: list[Shipment] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    total = 0
    for row, values in rows:
        total += 1
        found = _faults_of(row, values, seen=seen)
        faults += found
        if not found:
            seen[values["parcel"]] = row
            name = carriers.known(values["carrier"]) or values["carrier"]
            good.append(Shipment(row, values["parcel"], name, values["tracking_no"]))
    return good, faults, total


def _faults_of(row: int, values: dict[str, str], *, seen: dict[str, int]) -> list[Fault]:
    faults = [Fault(row, COLUMN_NAMES[name], "请填写这一项。") for name in HEADERS if not values.get(name)]
    faults += [
        Fault(row, COLUMN_NAMES[name], "最多 %(max)s 个字。", {"max": length})
        for name, length in LENGTHS.items()
        if len(values.get(name, "")) > length
    ]
    parcel = values.get("parcel", "")
    if parcel in seen:
        faults.append(Fault(row, COLUMN_NAMES["parcel"], "这个包裹与第 %(row)s 行重复。", {"row": seen[parcel]}))
    return faults
