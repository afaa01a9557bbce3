"""表格: rows of a spreadsheet by what their columns are called, with the sheet's own row numbers; and a sheet written.

Reads .xlsx, .xls and .csv (UTF-8 with or without a mark, UTF-16, GB18030), told apart by their content, not by
their names. Headers may stand below a title, in any order; merged cells count for each row they cover; blank rows and
notes are left out. What is no sheet, or would not fit in memory, is refused with a clear word (Invalid).
"""

import csv
import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import xlsxwriter
from python_calamine import CalamineWorkbook

from kernel.errors import Invalid

MAX_ROWS = 20_000
MAX_UNPACKED = 120 * 1024 * 1024  # bytes a packed workbook may grow to
MAX_CELLS = 4_000_000  # of the rectangle around all that is written: the reader keeps every cell of it
MAX_SHEETS = 5  # are looked through for the header
HEADER_WITHIN = 20  # rows from the top
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")

Headers = Mapping[str, Sequence[str]]
Rows = list[tuple[int, dict[str, str]]]

_REF = re.compile(rb"""r\s*=\s*["']([A-Z]{0,4})([0-9]{1,9})["']""")
# A cell beyond column CZ or row 99,999: reason to measure the whole sheet.
_FAR_REF = re.compile(rb"""r\s*=\s*["'](?:[D-Z][A-Z]|[A-Z]{3}|[A-Z]{0,2}[0-9]{6})""")
_OTHER_BOOKS = {"content.xml", "xl/workbook.bin"}  # .ods and .xlsb: what their cells cover cannot be measured so
_EXPONENT = re.compile(r"[0-9](?:\.[0-9]+)?[eE]\+?[0-9]{1,2}")
NOTE_WORDS = (
    "备注",
    "说明",
    "合计",
    "总计",
    "小计",
    "共计",
    "制表",
    "填表",
    "审核",
    "经办",
    "单位",
    "note",
    "total",
    "subtotal",
)
_NOTE = re.compile(r"\u6ce8[:\d]|.*[,\u3002;:!]")  # a numbered or plain 'note:' (the word of one sign), or a sentence
_LONG_NOTE = 16  # characters that no name has


@dataclass(frozen=True)
class Fault:
    """What is wrong, where: `row` is the sheet's own, the header counted."""

    row: int
    column: str
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A sheet as it was read: all its cells by row number, where the header stands, and its columns by field."""

    cells: list[tuple[int, Sequence[Any]]]
    header: int
    columns: dict[str, int]


def read(content: bytes, filename: str, headers: Headers, *, required: Sequence[str], limit: int = MAX_ROWS) -> Rows:
    """Return a sheet's rows as (row number, field → text), blank rows and notes left out.

    `headers` gives each field's names, the first being what a fault calls it. Raises Invalid for what is no sheet,
    for a sheet without the `required` columns, and for more than `limit` rows.
    """
    return rows_of(table(content, filename, headers, required=required), required=required, limit=limit)


def table(content: bytes, filename: str, headers: Headers, *, required: Sequence[str]) -> Table:
    """Return a sheet's cells and where its header is; the first sheet that has one. Raises Invalid."""
    refused: Invalid | None = None
    for cells in _sheets(content, filename):
        try:
            first, columns = find_header(cells, headers, required)
            return Table(cells, first, columns)
        except Invalid as missing:
            refused = refused or missing
    raise refused or unreadable()  # a book may have no sheet at all


def rows_of(found: Table, *, required: Sequence[str], limit: int = MAX_ROWS) -> Rows:
    """Return what stands below a table's header, by field. Raises Invalid for more than `limit` rows."""
    rows: Rows = []
    others = required[1:]
    places = list(found.columns.items())
    for number, row in found.cells[found.header :]:
        width = len(row)
        values = {name: text_of(row[index]) if index < width else "" for name, index in places}
        if not any(values.values()) or (others and not any(values[name] for name in others) and is_note(row, values)):
            continue
        rows.append((number, values))
        if len(rows) > limit:
            raise Invalid("表格最多 %(limit)s 行。", limit=limit, errors={"file": ["表格行数过多。"]})
    return rows


def is_note(row: Sequence[Any], values: Mapping[str, str]) -> bool:
    """Return whether a row without what every entry has is a remark or a sum, and no entry left unfinished."""
    first = next((text for text in map(text_of, row) if text), "")
    named = next((text for text in values.values() if text), "")
    said = [text.replace(" ", "").lower() for text in (first, named)]
    return any(text.startswith(NOTE_WORDS) or _NOTE.match(text) for text in said) or len(named) > _LONG_NOTE


def _sheets(content: bytes, filename: str) -> Iterator[list[tuple[int, Sequence[Any]]]]:
    packed = content[:2] == b"PK"
    if packed or content[:4] == b"\xd0\xcf\x11\xe0":
        yield from _workbook(content, packed=packed)
    elif content.lstrip()[:1] == b"<" or filename.lower().endswith((".xlsx", ".xls", ".ods")):
        raise unreadable()
    else:
        yield _csv_cells(content)


def unreadable() -> Invalid:
    """Return the refusal of what is no sheet."""
    said = "这个文件不是可读取的表格，请上传 .xlsx 或 .csv 文件。"
    return Invalid(said, errors={"file": [said]})


def _workbook(content: bytes, *, packed: bool) -> Iterator[list[tuple[int, Sequence[Any]]]]:
    if not packed and "EncryptedPackage".encode("utf-16-le") in content:
        said = "这个文件有密码，请去掉密码后再上传。"
        raise Invalid(said, errors={"file": [said]})
    try:
        if packed:
            _refuse_bomb(content)
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        for index in range(min(len(workbook.sheet_names), MAX_SHEETS)):
            sheet = workbook.get_sheet_by_index(index)
            if sheet.total_height * sheet.total_width > MAX_CELLS:
                raise _too_large()
            rows = sheet.to_python(skip_empty_area=False)
            _spread_merged(rows, sheet.merged_cell_ranges or ())
            yield list(enumerate(rows, start=1))
    except Invalid:
        raise
    except BaseException as broken:
        # The reader raises errors of its own for each way a file can be broken; where it breaks itself, it panics.
        if not isinstance(broken, Exception) and type(broken).__name__ != "PanicException":
            raise
        raise unreadable() from None


def _refuse_bomb(content: bytes) -> None:
    """Refuse a packed workbook that would not fit in memory, before the reader opens it.

    What the directory says of sizes is not believed: each part is unpacked piece by piece and counted. The reader
    keeps every cell of the rectangle around all that is written, so a far-off cell is as large as a full sheet.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
    names = {part.filename.lower() for part in parts}
    if names & _OTHER_BOOKS:
        raise unreadable()
    if len(parts) > 2000 or sum(part.file_size for part in parts) > MAX_UNPACKED:
        raise _too_large()
    total = 0
    for part in parts:
        far = False
        kept = b""
        for piece in _inflated(content, part):
            total += len(piece)
            if total > MAX_UNPACKED:
                raise _too_large()
            far = far or _FAR_REF.search(kept + piece) is not None
            kept = piece[-40:]
        if far and _area(content, part) > MAX_CELLS:
            raise _too_large()


def _area(content: bytes, part: zipfile.ZipInfo) -> int:
    """Return how many cells the rectangle around all cells of a sheet's part has."""
    rows = columns = 0
    kept = b""
    for piece in _inflated(content, part):
        text = kept + piece
        for letters, digits in _REF.findall(text):
            rows = max(rows, int(digits))
            columns = max(columns, _column_number(letters))
        kept = text[-40:]
    return rows * columns


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _inflated(content: bytes, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield a part's bytes, whatever length its directory promised; what cannot be unpacked, the reader refuses."""
    start = part.header_offset
    names = int.from_bytes(content[start + 26 : start + 28], "little") + int.from_bytes(
        content[start + 28 : start + 30], "little"
    )
    packed = content[start + 30 + names : start + 30 + names + part.compress_size]
    if part.compress_type == zipfile.ZIP_STORED:
        yield packed
        return
    unpacker = zlib.decompressobj(-15)
    while packed and not unpacker.eof:
        piece = unpacker.decompress(packed, 1 << 20)
        packed = unpacker.unconsumed_tail
        if piece:
            yield piece


def _too_large() -> Invalid:
    return Invalid("表格太大。", errors={"file": ["表格太大。"]})


def _spread_merged(rows: list[list[Any]], ranges: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Give each row a merged cell covers the cell's value: 'department' is often written once for many people."""
    budget = MAX_ROWS * 10
    for (top, left), (bottom, _right) in ranges:
        if bottom <= top or top >= len(rows) or left >= len(rows[top]):
            continue
        value = rows[top][left]
        for row in rows[top + 1 : bottom + 1]:
            budget -= 1
            if budget < 0:
                return
            if left < len(row) and row[left] in ("", None):
                row[left] = value


def _csv_cells(content: bytes) -> list[tuple[int, Sequence[Any]]]:
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise Invalid("无法识别文件的编码。", errors={"file": ["无法识别文件的编码。"]})
    if "\0" in text[:4096] or not text.strip():
        raise unreadable()
    head = text[:4096]
    delimiter = max(",\t;，", key=head.count)
    try:
        return list(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1))
    except csv.Error:
        raise Invalid("无法读取这个文件。", errors={"file": ["无法读取这个文件。"]}) from None


def _header_text(cell: Any) -> str:
    """Return a header as it is looked up: without spaces, marks of what must be filled in, and what is in brackets.

    >>> _header_text(" *手 机 号（必填）："), _header_text("Employee No.")
    ('手机号', 'employeeno')
    """
    return re.sub(r"\(.*?\)|\[.*?\]|[\s*:.]", "", text_of(cell).lower())


def find_header(
    cells: list[tuple[int, Sequence[Any]]], headers: Headers, required: Sequence[str]
) -> tuple[int, dict[str, int]]:
    """Return how many rows stand above a table's first entry, and its columns by field. Raises Invalid."""
    known = {_header_text(text): name for name, names in reversed(list(headers.items())) for text in names}
    for position, (_, row) in enumerate(cells[:HEADER_WITHIN]):
        columns: dict[str, int] = {}
        for index, cell in enumerate(row[:1000]):
            field_name = known.get(_header_text(cell)) if cell not in ("", None) else None
            if field_name is not None:
                columns.setdefault(field_name, index)
        if set(required) <= columns.keys():
            return position + 1, columns
    names = "、".join(f"“{headers[name][0]}”" for name in required)
    raise Invalid("没有找到表头，需要有这些列：%(names)s。", names=names, errors={"file": ["没有找到表头。"]})


def text_of(cell: Any) -> str:
    """Return what a cell says, in one line: full-width digits and letters made plain, numbers written out in full.

    >>> text_of(13800000011.0), text_of("１３８ "), text_of("1.3800000011E+10"), text_of("1.38E+10")
    ('13800000011', '138', '13800000011', '1.38E+10')
    """
    if isinstance(cell, str):
        if cell.isascii() and (cell.isdigit() or not cell):
            return cell  # most cells are a phone, a number or nothing
        text = cell.strip()
        if text[:1] == "'" and text[1:].startswith(FORMULA_MARKS):
            text = text[1:]  # a sheet of ours comes back as it was written (`safe`)
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text).strip()
        if not text.isprintable():
            spaced = re.sub(r"[\t\r\n\v\f]+", " ", text)
            text = "".join(character for character in spaced if character.isprintable()).strip()
        return _written_out(text) if text[-1:].isdigit() and ("E" in text or "e" in text) else text
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e16:
        return str(int(cell))
    return str(cell)


def _written_out(text: str) -> str:
    """Return a number in scientific notation with all its digits; as it is where the notation has lost some."""
    if not _EXPONENT.fullmatch(text):
        return text
    mantissa, _, exponent = text.upper().partition("E")
    digits = len(mantissa.replace(".", ""))
    power = int(exponent)
    return str(int(Decimal(text))) if power < 16 and digits == power + 1 else text


def safe(cell: Any) -> Any:
    """Return a cell that a spreadsheet program shows as text and never runs.

    >>> safe("=1+1"), safe("王芳"), safe(-5)
    ("'=1+1", '王芳', -5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_MARKS) else cell


@dataclass(frozen=True)
class Paper:
    """How a sheet is printed: above its header `notes`, below its rows `foot`; rows `row_height` points high."""

    notes: Sequence[str] = ()
    foot: Sequence[str] = ()
    landscape: bool = False
    row_height: float | None = None


def write(
    rows: Iterable[Sequence[Any]],
    *,
    widths: Sequence[int] = (),
    title: str | None = None,
    paper: Paper = Paper(),
    marks: Mapping[tuple[int, int], str] | None = None,
    plain_row: int | None = None,
) -> bytes:
    """Return a workbook of one sheet: `title` (if any) above the header, which is the first of `rows`.

    `marks` are what is wrong, by (row, column) counted from 0 in `rows`: shown in red with a comment. With `plain_row`
    no row but that one looks like a header: a copy of somebody's sheet as it was.
    """
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True, "strings_to_formulas": False}) as workbook:
        sheet = workbook.add_worksheet()
        forms = {
            "head": workbook.add_format({"bold": True, "border": 1, "bg_color": "#F6E7C8", "valign": "vcenter"}),
            "plain": workbook.add_format({"border": 1, "valign": "vcenter"}),
            "wrong": workbook.add_format({"border": 1, "bg_color": "#F4C7C3", "font_color": "#8E1C16"}),
        }
        start = 0
        for line in ([title] if title is not None else []) + list(paper.notes):
            big = {"bold": True, "font_size": 14} if start == 0 and title is not None else {}
            sheet.write_string(start, 0, str(safe(line)), workbook.add_format(big))
            start += 1
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        header = start if plain_row is None else plain_row
        number = start - 1
        for number, row in enumerate(rows, start=start):
            if paper.row_height is not None and number > header:
                sheet.set_row(number, paper.row_height)
            for column, cell in enumerate(row):
                said = marks.get((number - start, column)) if marks else None
                form = forms["wrong" if said is not None else "head" if number == header else "plain"]
                _write_cell(sheet, number, column, "" if cell is None else safe(cell), form)
                if said:
                    sheet.write_comment(number, column, said, {"x_scale": 2})
        for line in paper.foot:
            number += 1
            sheet.write_string(number, 0, str(safe(line)))
        sheet.freeze_panes(header + 1, 0)
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(header)
        sheet.set_footer("&C&P / &N")
        if paper.landscape:
            sheet.set_landscape()
    return target.getvalue()


def write_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows as CSV that spreadsheet programs open in the right encoding; text is never run as a formula."""
    target = io.StringIO(newline="")
    csv.writer(target).writerows([["" if cell is None else safe(cell) for cell in row] for row in rows])
    return target.getvalue().encode("utf-8-sig")


@dataclass(frozen=True)
class Sheet:
    """One sheet to write: `title` (if any) above the header, which is the first of `rows`."""

    rows: Iterable[Sequence[Any]]
    widths: Sequence[int] = ()
    title: str | None = None
    name: str | None = None


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


def _write_cell(sheet: Any, row: int, column: int, value: Any, form: Any) -> None:
    if isinstance(value, bool):
        sheet.write_string(row, column, str(value), form)
    elif isinstance(value, int | float) and abs(value) < 1e15:
        sheet.write_number(row, column, value, form)
    else:
        sheet.write_string(row, column, str(value)[:32_767], form)
