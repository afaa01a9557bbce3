"""Files that nobody should send: a corpus made by code, and a fuzzer that breaks good ones.

A sheet case gets the header and a good row of the door it is meant for, and gives a file's bytes and name. No case
may be taken: each is either no sheet at all, or has a fault in its only row.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xlsxwriter
from PIL import Image

SHEET, STRINGS, BOOK = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@dataclass(frozen=True)
class Form:
    """What a door's sheet looks like: its header, and a row with a value where a number or a name must be right."""

    header: Sequence[str]
    row: Callable[[Any], Sequence[Any]]
    good: Any


def xlsx(*rows: Sequence[Any], write: Callable[[Any, Any], None] | None = None) -> bytes:
    """A workbook of these rows, and of whatever else is written on its page."""
    target = io.BytesIO()
    with xlsxwriter.Workbook(
        target, {"in_memory": True, "strings_to_formulas": False, "nan_inf_to_errors": True}
    ) as book:
        page = book.add_worksheet()
        for number, row in enumerate(rows):
            page.write_row(number, 0, row)
        if write is not None:
            write(book, page)
    return target.getvalue()


def csv(*rows: Sequence[Any], encoding: str = "utf-8") -> bytes:
    """The rows as text between commas."""
    return "\n".join(",".join(str(cell) for cell in row) for row in rows).encode(encoding, "surrogatepass")


def parts(content: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """A workbook with its parts changed; None leaves a part out."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bad:
        for name in good.namelist():
            changed = change(name, good.read(name))
            if changed is not None:
                bad.writestr(name, changed)
    return target.getvalue()


def without(name: str) -> Callable[[bytes], bytes]:
    """Leave a part out."""
    return lambda content: parts(content, lambda one, data: None if one == name else data)


def instead(name: str, new: bytes) -> Callable[[bytes], bytes]:
    """Put other bytes in a part's place."""
    return lambda content: parts(content, lambda one, data: new if one == name else data)


def edited(name: str, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Change something in a part."""

    def change(content: bytes) -> bytes:
        return parts(content, lambda one, data: data.replace(old, new) if one == name else data)

    return change


def packed(method: int) -> Callable[[bytes], bytes]:
    """The same workbook packed in a way no spreadsheet program packs."""

    def change(content: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(target, "w", method) as bad:
            for name in good.namelist():
                bad.writestr(name, good.read(name))
        return target.getvalue()

    return change


def flagged(content: bytes) -> bytes:
    """A workbook whose parts say they are encrypted."""
    raw = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(mark, at + 4)
    return bytes(raw)


def many_parts(content: bytes) -> bytes:
    """A workbook with thousands of parts more."""
    target = io.BytesIO(content)
    with zipfile.ZipFile(target, "a") as bad:
        for number in range(2500):
            bad.writestr(f"xl/media/{number}.xml", b"")
    return target.getvalue()


def outside(content: bytes) -> bytes:
    """A workbook whose sheet lies outside of it."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(target, "w") as bad:
        for name in good.namelist():
            bad.writestr("../../etc/passwd" if name == SHEET else name, good.read(name))
    return target.getvalue()


def bomb(content: bytes) -> bytes:
    """A workbook whose sheet is 400 MB of blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    blank = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(400)) + packer.flush()
    name = b"xl/worksheets/sheet9.xml"
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(blank), 1000, len(name), 0) + name + blank
    head = content.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", content[head + 16 : head + 20])[0]
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, len(blank), 1000, len(name), 0, 0, 0, 0, 0, start
    )
    directory = content[start:head] + entry + name
    count = struct.unpack("<H", content[head + 10 : head + 12])[0] + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start + len(local), 0)
    return content[:start] + local + directory + end


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><worksheet><sheetData><row><c><v>&j;</v></c></row></sheetData></worksheet>"
)
OUTSIDE_ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<worksheet><sheetData><row><c t="str"><v>&a;</v></c></row></sheetData></worksheet>'
)


def sheets(form: Form) -> dict[str, tuple[bytes, str]]:
    """Every broken sheet for a door: what is wrong with it, its bytes and its name."""
    head, row = list(form.header), list(form.row(form.good))
    good = xlsx(head, row)
    far = xlsx(head, row, write=lambda _, page: page.write(1_048_575, 16_383, "x"))
    found: dict[str, tuple[bytes, str]] = {
        # What is no sheet.
        "nothing": (b"", "a.csv"),
        "a NUL": (b"\0", "a.csv"),
        "a mark of UTF-8 and nothing": (b"\xef\xbb\xbf", "a.csv"),
        "a mark of UTF-16 and half a letter": (b"\xff\xfe\x59", "a.csv"),
        "blanks": (b" \t\r\n  \n", "a.csv"),
        "a PDF": (b"%PDF-1.7\n" + bytes(range(256)) * 8, "a.xlsx"),
        "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8, "a.csv"),
        "a web page": (("<html><table><tr><td>" + "<td>".join(map(str, row))).encode(), "a.xls"),
        "a bare XML": (b'<?xml version="1.0"?><Workbook/>', "a.xlsx"),
        "JSON": (b'{"rows": [1, 2, 3]}', "a.csv"),
        "a program": (b"\x7fELF" + bytes(4096), "a.csv"),
        # What was a workbook.
        "its first tenth": (good[: len(good) // 10], "a.xlsx"),
        "its first half": (good[: len(good) // 2], "a.xlsx"),
        "all but its last bytes": (good[:-30], "a.xlsx"),
        "its last half": (good[len(good) // 2 :], "a.xlsx"),
        "its directory alone": (b"PK\x03\x04" + good[good.index(b"PK\x01\x02") :], "a.xlsx"),
        "an empty archive": (b"PK\x05\x06" + bytes(18), "a.xlsx"),
        "no sheet in it": (without(SHEET)(good), "a.xlsx"),
        "no book in it": (without(BOOK)(good), "a.xlsx"),
        "no words in it": (without(STRINGS)(good), "a.xlsx"),
        "a book of noise": (instead(BOOK, bytes(range(256)) * 4)(good), "a.xlsx"),
        "a sheet of noise": (instead(SHEET, bytes(range(256)) * 4)(good), "a.xlsx"),
        "a sheet that ends in the middle": (
            instead(SHEET, b'<worksheet><sheetData><row r="1"><c r="A1"')(good),
            "a.xlsx",
        ),
        "an empty sheet": (instead(SHEET, b"")(good), "a.xlsx"),
        "words that are not there": (edited(SHEET, b"<v>0</v>", b"<v>99999999</v>")(good), "a.xlsx"),
        "words of noise": (instead(STRINGS, b"\x00\xff" * 500)(good), "a.xlsx"),
        "a billion laughs": (instead(SHEET, LAUGHS)(good), "a.xlsx"),
        "somebody else's file": (instead(SHEET, OUTSIDE_ENTITY)(good), "a.xlsx"),
        "a zip bomb": (bomb(good), "a.xlsx"),
        "thousands of parts": (many_parts(good), "a.xlsx"),
        "a sheet outside of it": (outside(good), "a.xlsx"),
        "parts that say they are encrypted": (flagged(good), "a.xlsx"),
        "packed by bzip2": (packed(zipfile.ZIP_BZIP2)(good), "a.xlsx"),
        "packed by LZMA": (packed(zipfile.ZIP_LZMA)(good), "a.xlsx"),
        "a cell in the last corner": (far, "a.xlsx"),
        "a cell whose name is no number": (edited(SHEET, b'r="A1"', b'r="ZZZZZZZZ99999999999"')(good), "a.xlsx"),
        "a cell before the first": (edited(SHEET, b'r="A1"', b'r="A0"')(good), "a.xlsx"),
        "encrypted": (OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "a.xlsx"),
        "an old book of noise": (OLE + bytes(range(256)) * 8, "a.xls"),
        "an old book whose sectors are everywhere": (OLE + b"\xff" * 2048, "a.xls"),
        # What is text, and no table.
        "a million columns": (b"," * 1_000_000, "a.csv"),
        "a million lines of nothing": (b"\n" * 1_000_000, "a.csv"),
        "a quote that never ends": (csv(head) + b'\n"' + b"x" * 300_000, "a.csv"),
        "a cell of half a megabyte": (csv(head) + b"\n" + b"x" * 500_000, "a.csv"),
        "UTF-32": (csv(head, row, encoding="utf-32"), "a.csv"),
        "an encoding of nobody": (bytes([0x81, 0xFF]) * 500, "a.csv"),
        "lone surrogates": (csv(["\ud800\udfff\ud800"] * 4), "a.csv"),
        "more rows than there may be": (csv(head, *([row] * 20_001)), "a.csv"),
        "a header and no more than a header": (csv(["a", "b", "c"], head[:1]), "a.csv"),
        "a header too far down": (csv(*([["x", "y"]] * 30), head, row), "a.csv"),
        "a header of sixteen thousand columns": (xlsx(["列"] * 16_000), "a.xlsx"),
    }
    values: dict[str, Any] = {
        "a date": datetime(2027, 1, 27),
        "a sum": "=1+1",
        "a command": "=cmd|'/c calc'!A1",
        "true": True,
        "an error": float("nan"),
        "half": 1.5,
        "far too large": 1e300,
        "a number with an exponent": "1E+400",
        "a thousand digits": "9" * 1000,
        "Arabic digits": "\u0663\u0664\u0665",
        "a word from right to left": "\u202e\u4e94\u200f",
        "an emoji": "\U0001f4a5\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "control characters": "\x01\x02\x1b[31m\u4e94",
        "no width": "\u200b\u200c\u2060\ufeff\u4e94",
        "a very long text": "\u4e94" * 32_000,
        "SQL": "1'; DROP TABLE orders; --",
        "a path": "../../etc/passwd",
        "markup": "<script>alert(1)</script>",
        "a template": "{{ 7 * 7 }}${7*7}",
    }
    for name, value in values.items():
        found[f"a cell with {name}"] = (_with(head, list(form.row(value))), "a.xlsx")
        if isinstance(value, str) and "," not in value and '"' not in value:
            found[f"text with {name}"] = (csv(head, form.row(value)), "a.csv")
    return found


def _with(head: list[Any], row: list[Any]) -> bytes:
    def write(book: Any, page: Any) -> None:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for column, cell in enumerate(row):
            if isinstance(cell, datetime):
                page.write_datetime(1, column, cell, day)
            elif isinstance(cell, str) and cell.startswith("="):
                page.write_formula(1, column, cell, None, "四")
            else:
                page.write(1, column, cell)

    return xlsx(head, write=write)


ODD = (b"\0", b"<", b"&#0;", b"9" * 40, b'"', b"\xff\xfe", "\u202e".encode(), b"-1", b"]]>")


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A file with a few of its bytes, or those of one of its parts, broken."""
    if content[:2] == b"PK" and dice.random() < 0.7:
        chosen = dice.choice(zipfile.ZipFile(io.BytesIO(content)).namelist())
        return parts(content, lambda name, data: _broken(data, dice) if name == chosen else data)
    return _broken(content, dice)


def _broken(data: bytes, dice: random.Random) -> bytes:
    raw = bytearray(data or b"\0")
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(raw) or 1)
        how = dice.randrange(5)
        if how == 0:
            raw[at : at + 1] = bytes([dice.randrange(256)])
        elif how == 1:
            del raw[at : at + dice.randint(1, 200)]
        elif how == 2:
            raw[at:at] = raw[at : at + dice.randint(1, 400)]
        elif how == 3:
            raw[at:at] = dice.choice(ODD)
        else:
            other = dice.randrange(len(raw) or 1)
            raw[at : at + 8], raw[other : other + 8] = raw[other : other + 8], raw[at : at + 8]
        raw = raw or bytearray(b"\0")
    return bytes(raw)


def pictures() -> dict[str, bytes]:
    """Pictures that are none, or would unpack to far too much."""

    def png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

        head = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
        extra = b"".join(chunk(kind, body) for kind, body in more)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    def drawn(form: str, size: tuple[int, int] = (40, 40), **options: Any) -> bytes:
        target = io.BytesIO()
        Image.new("RGB", size, "red").save(target, form, **options)
        return target.getvalue()

    blank = zlib.compress(bytes(50_000_000), 9)
    text = zlib.compress(b"x" * 200_000_000, 9)
    jpeg = drawn("JPEG")
    huge = jpeg.replace(b"\x00\x28\x00\x28", b"\xff\xdc\xff\xdc", 1)
    return {
        "nothing": b"",
        "text": b"no picture",
        "SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "GIF": drawn("GIF"),
        "BMP": drawn("BMP"),
        "TIFF": drawn("TIFF"),
        "PNG of 50,000 by 50,000": png(50_000, 50_000, blank),
        "PNG of 2,147,483,647 by 1": png(2**31 - 1, 1, blank),
        "PNG of no size": png(0, 0, blank),
        "PNG that says it is small and is not whole": png(4_000, 4_000, blank[:100]),
        "PNG with 200 MB of words": png(10, 10, zlib.compress(bytes(310)), (b"zTXt", b"a\0\0" + text)),
        "PNG of noise": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
        "half a JPEG": jpeg[: len(jpeg) // 3],
        "JPEG of 65,500 by 65,500": huge,
        "JPEG of noise": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40,
        "WebP of noise": b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(range(256)) * 40,
        "a web page behind a JPEG's first bytes": b"\xff\xd8\xff<script>alert(1)</script>",
    }
