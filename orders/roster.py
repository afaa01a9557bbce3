"""花名册: reading a roster from a spreadsheet or from JSON, with each fault named by row and column."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kernel import sheets
from kernel.sheets import Fault
from people.rules import normal_phone

HEADERS = {
    "name": ("姓名", "职工姓名", "name"),
    "phone": ("手机号", "手机", "电话", "联系电话", "手机号码", "电话号码", "联系方式", "phone", "mobile"),
    "employee_no": ("工号", "职工编号", "员工编号", "人员编号", "employee_no", "employee no", "staff no"),
    "department": ("部门", "科室", "所属部门", "department"),
    "pack": ("礼包", "礼包编号", "礼包名称", "pack", "pack_id"),
    "quantity": ("数量", "份数", "quantity"),
    "address": ("收货地址", "地址", "address"),
}
REQUIRED = ("name", "phone")
TEMPLATE = ("姓名", "手机号", "工号", "部门", "礼包", "数量", "收货地址")
COLUMN_NAMES = {name: names[0] for name, names in HEADERS.items()}
LENGTHS = {"name": 80, "employee_no": 40, "department": 80, "address": 200}
MAX_QUANTITY = 1000
_CHINESE_NAME = re.compile(r"[\u4e00-\u9fff·]+(?: +[\u4e00-\u9fff·]+)+")


class Entry(NamedTuple):
    """A person on a roster."""

    row: int
    name: str
    phone: str
    employee_no: str = ""
    department: str = ""
    pack_id: int | None = None
    quantity: int = 1
    address: str = ""


@dataclass(frozen=True)
class Report:
    """What a roster has: the good entries, every fault, and what to look at twice."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    rows: int
    warnings: tuple[Fault, ...] = ()


def read_file(content: bytes, filename: str) -> sheets.Rows:
    """Return a sheet's rows as (row number, field → text). Raises Invalid for what is no roster."""
    return sheets.read(content, filename, HEADERS, required=REQUIRED)


def check(
    rows: Iterable[tuple[int, dict[str, str]]],
    *,
    packs: Mapping[str, int],
    elsewhere: Mapping[str, tuple[tuple[str, str], dict[str, Any]]] | None = None,
    refuse_elsewhere: bool = False,
) -> Report:
    """Check every row; `packs` are the order's packs by what a roster may call them (id, code, name).

    `elsewhere` says, for a phone, on which other order or grant of the campaign its owner stands
    (orders.queries.unions): a warning, or a fault where the district refuses it.
    """
    entries: list[Entry] = []
    faults: list[Fault] = []
    warnings: list[Fault] = []
    phones: dict[str, tuple[int, str]] = {}
    numbers: dict[str, tuple[int, str]] = {}
    count = 0
    for row, values in rows:
        count += 1
        phone = normal_phone(values.get("phone", ""))
        found = _faults_of(row, values, phone, packs=packs, phones=phones, numbers=numbers)
        place = elsewhere.get(phone) if elsewhere and phone is not None else None
        if place is not None:
            twice = Fault(row, COLUMN_NAMES["phone"], place[0][0], place[1])
            (found if refuse_elsewhere else warnings).append(twice)
        faults += found
        if found or phone is None:
            continue
        name, employee_no = values["name"], values.get("employee_no", "")
        phones[phone] = (row, name)
        if employee_no:
            numbers[employee_no] = (row, name)
        pack = values.get("pack", "")
        entries.append(
            Entry(
                row,
                _plain_name(name) if " " in name else name,
                phone,
                employee_no,
                values.get("department", ""),
                packs[pack] if pack else None,
                int(values.get("quantity") or "1"),
                values.get("address", ""),
            )
        )
    return Report(entries=tuple(entries), faults=tuple(faults), rows=count, warnings=tuple(warnings))


def _plain_name(name: str) -> str:
    """Return a name without the spaces that only line characters up.

    >>> _plain_name("王  芳"), _plain_name("Anna  Maria Li")
    ('王芳', 'Anna Maria Li')
    """
    return name.replace(" ", "") if _CHINESE_NAME.fullmatch(name) else " ".join(name.split())


def _faults_of(
    row: int,
    values: dict[str, str],
    phone: str | None,
    *,
    packs: Mapping[str, int],
    phones: Mapping[str, tuple[int, str]],
    numbers: Mapping[str, tuple[int, str]],
) -> list[Fault]:
    faults = []
    if not values.get("name"):
        faults.append(Fault(row, COLUMN_NAMES["name"], "请填写姓名。"))
    if phone is None:
        faults.append(Fault(row, COLUMN_NAMES["phone"], _what_is_wrong(values.get("phone", ""))))
    elif phone in phones:
        faults.append(_twice(row, "phone", "手机号与第 %(row)s 行（%(name)s）重复。", phones[phone]))
    employee_no = values.get("employee_no", "")
    if employee_no and employee_no in numbers:
        faults.append(_twice(row, "employee_no", "工号与第 %(row)s 行（%(name)s）重复。", numbers[employee_no]))
    pack = values.get("pack", "")
    if pack and pack not in packs:
        faults.append(Fault(row, COLUMN_NAMES["pack"], "这个礼包不在本订单中。"))
    quantity = values.get("quantity", "")
    if quantity and not (
        quantity.isascii() and quantity.isdigit() and len(quantity) < 6 and 1 <= int(quantity) <= MAX_QUANTITY
    ):
        faults.append(Fault(row, COLUMN_NAMES["quantity"], "请填写 1 到 %(max)s 之间的整数。", {"max": MAX_QUANTITY}))
    for name, length in LENGTHS.items():
        if len(values.get(name, "")) > length:
            faults.append(Fault(row, COLUMN_NAMES[name], "最多 %(max)s 个字。", {"max": length}))
    return faults


def _twice(row: int, field: str, message: str, first: tuple[int, str]) -> Fault:
    return Fault(row, COLUMN_NAMES[field], message, {"row": first[0], "name": first[1][:20]})


def _what_is_wrong(text: str) -> str:
    if "E+" in text.upper():
        return "手机号被表格存成了科学计数，丢了后几位。请把这一列设成“文本”后重新填写。"
    return "请填写 11 位手机号。"
