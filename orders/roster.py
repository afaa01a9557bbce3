"""花名册: reading a roster from a spreadsheet or from JSON, with each fault named by row and column."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from python_calamine import CalamineWorkbook

from kernel.errors import Invalid
from people.rules import normal_phone

MAX_ROWS = 20_000

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
class Fault:
    """What is wrong, where: `row` is the sheet's own, the header counted."""

    row: int
    column: str
    message: str
    figures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a roster has: the good entries and every fault."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    rows: int


def read_file(content: bytes, filename: str) -> list[tuple[int, dict[str, str]]]:
    """Return a sheet's rows as (row number, field → text). Raises Invalid for what is no roster."""
    cells = _csv_cells(content) if filename.lower().endswith(".csv") else _sheet_cells(content)
    header_row, columns = _find_header(cells)
    rows = []
    for number, row in cells[header_row:]:
        values = {name: _text(row[index]) if index < len(row) else "" for name, index in columns.items()}
        if any(values.values()):
            rows.append((number, values))
    if len(rows) > MAX_ROWS:
        raise Invalid("花名册最多 %(limit)s 行。", limit=MAX_ROWS, errors={"file": ["花名册行数过多。"]})
    return rows


def _sheet_cells(content: bytes) -> list[tuple[int, Sequence[Any]]]:
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except Exception:  # the reader raises errors of its own for each way a file can be broken
        raise Invalid(
            "这个文件不是可读取的表格，请上传 .xlsx 或 .csv 文件。",
            errors={"file": ["这个文件不是可读取的表格，请上传 .xlsx 或 .csv 文件。"]},
        ) from None
    return list(enumerate(rows, start=1))


def _csv_cells(content: bytes) -> list[tuple[int, Sequence[Any]]]:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise Invalid("无法识别文件的编码。", errors={"file": ["无法识别文件的编码。"]})
    try:
        return list(enumerate(csv.reader(io.StringIO(text)), start=1))
    except csv.Error:
        raise Invalid("无法读取这个文件。", errors={"file": ["无法读取这个文件。"]}) from None


def _find_header(cells: list[tuple[int, Sequence[Any]]]) -> tuple[int, dict[str, int]]:
    for position, (_, row) in enumerate(cells[:10]):
        texts = [_text(cell).lower() for cell in row]
        columns = {
            name: next(index for index, text in enumerate(texts) if text in names)
            for name, names in HEADERS.items()
            if any(text in names for text in texts)
        }
        if {"name", "phone"} <= columns.keys():
            return position + 1, columns
    raise Invalid(
        "没有找到表头，需要有“姓名”和“手机号”两列。",
        errors={"file": ["没有找到表头，需要有“姓名”和“手机号”两列。"]},
    )


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = unicodedata.normalize("NFKC", str(cell)).strip() if cell is not None else ""
    return "".join(character for character in text if character.isprintable())


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
