"""花名册: reading a roster from a spreadsheet or from JSON, with each fault named by row and column."""

from collections.abc import Iterable
from dataclasses import dataclass

from kernel import sheets
from kernel.sheets import Fault
from people.rules import normal_phone

HEADERS = {
    "name": ("姓名", "name"),
    "phone": ("手机号", "手机", "电话", "联系电话", "phone", "mobile"),
    "employee_no": ("工号", "职工编号", "employee_no", "employee no"),
    "department": ("部门", "department"),
    "pack": ("礼包", "礼包编号", "pack", "pack_id"),
    "address": ("收货地址", "地址", "address"),
}
COLUMN_NAMES = {name: names[0] for name, names in HEADERS.items()}
LENGTHS = {"name": 80, "employee_no": 40, "department": 80, "address": 200}


@dataclass(frozen=True)
class Entry:
    """A person on a roster."""

    row: int
    name: str
    phone: str
    employee_no: str = ""
    department: str = ""
    pack_id: int | None = None
    address: str = ""


@dataclass(frozen=True)
class Report:
    """What a roster has: the good entries and every fault."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    rows: int


def read_file(content: bytes, filename: str) -> sheets.Rows:
    """Return a sheet's rows as (row number, field → text). Raises Invalid for what is no roster."""
    return sheets.read(content, filename, HEADERS, required=("name", "phone"))


def check(rows: Iterable[tuple[int, dict[str, str]]], *, packs: dict[str, int]) -> Report:
    """Check every row; `packs` are the order's packs by what a roster may call them (id, code, name)."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    count = 0
    for row, values in rows:
        count += 1
        found = _faults_of(row, values, packs=packs, seen=seen)
        faults += found
        if found:
            continue
        phone = normal_phone(values["phone"]) or ""
        seen[phone] = row
        pack = values.get("pack", "")
        entries.append(
            Entry(
                row=row,
                name=values["name"],
                phone=phone,
                employee_no=values.get("employee_no", ""),
                department=values.get("department", ""),
                pack_id=packs[pack] if pack else None,
                address=values.get("address", ""),
            )
        )
    return Report(entries=tuple(entries), faults=tuple(faults), rows=count)


def _faults_of(row: int, values: dict[str, str], *, packs: dict[str, int], seen: dict[str, int]) -> list[Fault]:
    faults = []
    if not values.get("name"):
        faults.append(Fault(row, COLUMN_NAMES["name"], "请填写姓名。"))
    phone = normal_phone(values.get("phone", ""))
    if phone is None:
        faults.append(Fault(row, COLUMN_NAMES["phone"], "请填写 11 位手机号。"))
    elif phone in seen:
        faults.append(Fault(row, COLUMN_NAMES["phone"], "手机号与第 %(row)s 行重复。", {"row": seen[phone]}))
    pack = values.get("pack", "")
    if pack and pack not in packs:
        faults.append(Fault(row, COLUMN_NAMES["pack"], "这个礼包不在本订单中。"))
    for name, length in LENGTHS.items():
        if len(values.get(name, "")) > length:
            faults.append(Fault(row, COLUMN_NAMES[name], "最多 %(max)s 个字。", {"max": length}))
    return faults
