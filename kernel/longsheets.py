"""长表格: a sheet of a million rows, read piece by piece: memory holds a piece of it, never the whole.

A .csv is streamed however long it is; a workbook is packed, has to be opened as a whole, and is bounded by its size.
"""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import IO, Any

from kernel import sheets
from kernel.errors import Invalid
from kernel.sheets import Headers

MAX_ROWS = 2_000_000  # of a .csv
MAX_WORKBOOK = 10 * 1024 * 1024  # bytes
MAX_WORKBOOK_ROWS = 100_000
BLOCK = 1 << 20

Record = tuple[int, list[str]]


class LongSheet:
    """A sheet that is open: its `fields`, and `rows` as (the sheet's own number, one text per field), blank ones out.

    Iterating `rows` raises Invalid where the file turns out to be broken or too long.
    """

    def __init__(self, fields: Sequence[str], rows: Iterator[Record]) -> None:
        self.fields = tuple(fields)
        self.rows = rows


def opened(file: IO[bytes], filename: str, headers: Headers, *, required: Sequence[str]) -> LongSheet:
    """Return an uploaded sheet, its header found. Raises Invalid for what is no sheet or lacks `required` columns."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"PK" or start == b"\xd0\xcf\x11\xe0":
        content = file.read(MAX_WORKBOOK + 1)
        if len(content) > MAX_WORKBOOK:
            said = "这个表格文件太大，请另存为 .csv 后上传。"
            raise Invalid(said, errors={"file": [said]})
        found = sheets.table(content, filename, headers, required=required)
        return _of(found.cells[found.header :], found.columns, MAX_WORKBOOK_ROWS)
    text = _decoded(file, filename)
    delimiter = max(",\t;，", key=text.read(4096).count)
    text.seek(0)
    cells = _records(text, delimiter)
    first = list(itertools.islice(cells, sheets.HEADER_WITHIN))
    header, columns = sheets.find_header(first, headers, required)
    return _of(itertools.chain(first[header:], cells), columns, MAX_ROWS)


def _of(cells: Any, columns: dict[str, int], limit: int) -> LongSheet:
    places = list(columns.values())

    def rows() -> Iterator[Record]:
        count = 0
        for number, row in cells:
            width = len(row)
            record = [_plain(row[place]) if place < width else "" for place in places]
            if any(record):
                count += 1
                if count > limit:
                    raise Invalid("表格最多 %(limit)s 行。", limit=limit, errors={"file": ["表格行数过多。"]})
                yield number, record

    return LongSheet(list(columns), rows())


def _plain(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else sheets.text_of(cell)


def _decoded(file: IO[bytes], filename: str) -> io.TextIOWrapper:
    """Return a .csv as text in the encoding that all of it is in. Raises Invalid."""
    start = file.read(BLOCK)
    if start.lstrip()[:1] == b"<" or filename.lower().endswith((".xlsx", ".xls", ".ods")) or not start.strip():
        raise sheets.unreadable()
    marked = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not marked and b"\0" in start[:4096]:
        raise sheets.unreadable()
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        file.seek(0)
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            while block := file.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        file.seek(0)
        return io.TextIOWrapper(io.BufferedReader(_Kept(file)), encoding=encoding, newline="")
    raise Invalid("无法识别文件的编码。", errors={"file": ["无法识别文件的编码。"]})


class _Kept(io.RawIOBase):
    """A file that is read through here and stays open: it is whose it was."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int:
        block = self.file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _records(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, Sequence[Any]]]:
    try:
        yield from enumerate(csv.reader(text, delimiter=delimiter), start=1)
    except csv.Error:
        raise Invalid("无法读取这个文件。", errors={"file": ["无法读取这个文件。"]}) from None
