"""表格: rows of a spreadsheet by what their columns are called, with the sheet's own row numbers; and a sheet written.

Reads .xlsx, .xls, .ods and .csv (UTF-8 with or without a mark, GB18030). Headers may stand below a title, in any
order. What is no sheet, or would not fit in memory, is refused with a clear word (Invalid).
"""

import csv
import io
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import xlsxwriter
from python_calamine import CalamineWorkbook

from kernel.errors import Invalid

MAX_ROWS = 20_000
MAX_UNPACKED = 120 * 1024 * 1024  # bytes a packed workbook may grow to
HEADER_WITHIN = 10  # rows from the top
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")

Headers = Mapping[str, Sequence[str]]
Rows = list[tuple[int, dict[str, str]]]


@dataclass(frozen=True)
class Fault:
    """What is wrong, where: `row` is the sheet's own, the header counted."""

    row: int
    column: str
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def read(content: bytes, filename: str, headers: Headers, *, required: Sequence[str], limit: int = MAX_ROWS) -> Rows:
    """Return a sheet's rows as (row number, field → text), blank rows left out.

    `headers` gives each field's names, the first being what a fault calls it. Raises Invalid for what is no sheet,
    for a sheet without the `required` columns, and for more than `limit` rows.
    """
    cells = _csv_cells(content) if filename.lower().endswith(".csv") else _sheet_cells(content)
    first, columns = _find_header(cells, headers, required)
    rows = []
    for number, row in cells[first:]:
        values = {name: _text(row[index]) if index < len(row) else "" for name, index in columns.items()}
        if any(values.values()):
            rows.append((number, values))
    if len(rows) > limit:
        raise Invalid("表格最多 %(limit)s 行。", limit=limit, errors={"file": ["表格行数过多。"]})
    return rows


def _sheet_cells(content: bytes) -> list[tuple[int, Sequence[Any]]]:
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                if sum(one.file_size for one in packed.infolist()) > MAX_UNPACKED:
                    raise Invalid("表格太大。", errors={"file": ["表格太大。"]})
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except Invalid:
        raise
    except Exception:  # the reader raises errors of its own for each way a file can be broken
        said = "这个文件不是可读取的表格，请上传 .xlsx 或 .csv 文件。"
        raise Invalid(said, errors={"file": [said]}) from None
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


def _find_header(
    cells: list[tuple[int, Sequence[Any]]], headers: Headers, required: Sequence[str]
) -> tuple[int, dict[str, int]]:
    for position, (_, row) in enumerate(cells[:HEADER_WITHIN]):
        texts = [_text(cell).lower() for cell in row]
        columns = {
            name: next(index for index, text in enumerate(texts) if text in names)
            for name, names in headers.items()
            if any(text in names for text in texts)
        }
        if set(required) <= columns.keys():
            return position + 1, columns
    names = "、".join(f"“{headers[name][0]}”" for name in required)
    raise Invalid("没有找到表头，需要有这些列：%(names)s。", names=names, errors={"file": ["没有找到表头。"]})


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = unicodedata.normalize("NFKC", str(cell)).strip() if cell is not None else ""
    if text[:1] == "'" and text[1:].startswith(FORMULA_MARKS):
        text = text[1:]  # a sheet of ours comes back as it was written (`safe`)
    return "".join(character for character in text if character.isprintable())


def safe(cell: Any) -> Any:
    """Return a cell that a spreadsheet program shows as text and never runs.

    >>> safe("=1+1"), safe("王芳"), safe(-5)
    ("'=1+1", '王芳', -5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_MARKS) else cell


@dataclass(frozen=True)
class Sheet:
    """One sheet to write: `title` (if any) above the header, which is the first of `rows`."""

    rows: Iterable[Sequence[Any]]
    widths: Sequence[int] = ()
    title: str | None = None
    name: str | None = None


def write(rows: Iterable[Sequence[Any]], *, widths: Sequence[int] = (), title: str | None = None) -> bytes:
    """Return a workbook of one sheet: `title` (if any) above the header, which is the first of `rows`."""
    return write_book([Sheet(rows, widths, title)])


def write_book(sheets: Iterable[Sheet]) -> bytes:
    """Return a workbook. A Decimal is an amount, shown with two places; text is never run as a formula."""
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True, "strings_to_formulas": False}) as workbook:
        bold = workbook.add_format({"bold": True, "border": 1, "bg_color": "#F6E7C8"})
        plain = workbook.add_format({"border": 1})
        money = workbook.add_format({"border": 1, "num_format": "#,##0.00"})
        head = workbook.add_format({"bold": True, "font_size": 14})
        for one in sheets:
            sheet = workbook.add_worksheet(one.name)
            start = 0
            if one.title is not None:
                sheet.write_string(0, 0, safe(one.title), head)
                start = 1
            for column, width in enumerate(one.widths):
                sheet.set_column(column, column, width)
            for number, row in enumerate(one.rows, start=start):
                for column, cell in enumerate(row):
                    value = "" if cell is None else safe(cell)
                    form = bold if number == start else plain
                    if isinstance(value, Decimal):
                        sheet.write_number(number, column, value, money)
                    elif isinstance(value, int | float):
                        sheet.write_number(number, column, value, form)
                    else:
                        sheet.write_string(number, column, str(value), form)
            sheet.freeze_panes(start + 1, 0)
    return target.getvalue()
