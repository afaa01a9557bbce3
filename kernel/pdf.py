"""PDF on paper: documents that flow over pages, and small sheets such as labels, one a page.

The Chinese font (文泉驿微米黑, which may be embedded freely) comes in a package, so that every machine has it. What a
document uses of it is embedded as a subset, and its text can be searched and copied. Text is always taken as text.
"""

import functools
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from xml.sax.saxutils import escape

import segno
from reportlab.graphics.barcode import code128
from reportlab.lib import colors, pagesizes
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, SimpleDocTemplate, Spacer, TableStyle
from reportlab.platypus import PageBreak as FlowableBreak
from reportlab.platypus import Paragraph as FlowableText
from reportlab.platypus import Table as FlowableTable

FONT = "WenQuanYiMicroHei"
MISSING = "〓"  # printers' sign for a character they do not have
A4: tuple[float, float] = pagesizes.A4
LABEL: tuple[float, float] = (100 * mm, 150 * mm)
_WORDS = re.compile(r"[!-~]+|.")
LINE = colors.HexColor("#c9b8a8")
SHADE = colors.HexColor("#f6e7c8")


@dataclass(frozen=True)
class Heading:
    """A line that says what follows."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Text:
    """A paragraph; `small` for notes."""

    text: str
    small: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a header (the first), which is said again on every page.

    `widths` are shares of the page's width; the columns in `right` hold figures.
    """

    rows: Sequence[Sequence[object]]
    widths: Sequence[float]
    right: frozenset[int] = frozenset()
    bold_last: bool = False


@dataclass(frozen=True)
class Qr:
    """A QR code of `side` millimetres."""

    text: str
    side: float = 30


@dataclass(frozen=True)
class Gap:
    """Empty space, in millimetres."""

    height: float = 4


@dataclass(frozen=True)
class PageBreak:
    """What follows begins on a new page."""


Block = Heading | Text | Table | Qr | Gap | PageBreak


@functools.cache
def font() -> str:
    """Return the name of the Chinese font, registered once a process."""
    with resources.as_file(resources.files("paperang_p2_fonts_cjk") / "fonts" / "wqy-microhei.ttc") as path:
        pdfmetrics.registerFont(TTFont(FONT, str(path), subfontIndex=0))
    return FONT


def document(
    blocks: Iterable[Block],
    *,
    title: str,
    size: tuple[float, float] = A4,
    margin: float = 15,
    footer: str = "",
) -> bytes:
    """Return a document that flows over as many pages as it needs, numbered at the foot; `margin` in millimetres."""
    target = io.BytesIO()
    width = size[0] - 2 * margin * mm
    room = size[1] - 2 * margin * mm
    pages = SimpleDocTemplate(
        target,
        pagesize=size,
        title=title,
        author="",
        leftMargin=margin * mm,
        rightMargin=margin * mm,
        topMargin=margin * mm,
        bottomMargin=margin * mm,
    )

    def foot(canvas: Any, template: Any) -> None:
        canvas.setFont(font(), 8)
        canvas.setFillColor(colors.grey)
        canvas.drawString(margin * mm, 8 * mm, footer)
        canvas.drawRightString(size[0] - margin * mm, 8 * mm, str(template.page))

    flowing = [_flowable(block, width=width, room=room) for block in blocks]
    pages.build(flowing or [Spacer(1, 1)], onFirstPage=foot, onLaterPages=foot)
    return target.getvalue()


def _style(size: float, *, space: float = 2, right: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        f"text{size}{space}{right}",
        fontName=font(),
        fontSize=size,
        leading=size * 1.4,
        spaceAfter=space,
        wordWrap="CJK",
        **({"alignment": TA_RIGHT} if right else {}),
    )


def _paragraph(text: object, style: ParagraphStyle) -> FlowableText:
    return FlowableText(escape(printable(text)).replace("\n", "<br/>"), style)


def _flowable(block: Block, *, width: float, room: float) -> Flowable:
    if isinstance(block, Heading):
        return _paragraph(block.text, _style(16 if block.level == 1 else 12, space=6))
    if isinstance(block, Text):
        return _paragraph(block.text, _style(8 if block.small else 10))
    if isinstance(block, Table):
        return _table(block, width=width)
    if isinstance(block, Qr):
        return _QrFlowable(block.text, min(block.side * mm, width, room))
    if isinstance(block, Gap):
        return Spacer(1, block.height * mm)
    return FlowableBreak()


def _table(table: Table, *, width: float) -> FlowableTable:
    share = width / sum(table.widths)
    cells = [
        [_paragraph(cell, _style(9, right=column in table.right)) for column, cell in enumerate(row)]
        for row in table.rows
    ]
    flowable = FlowableTable(cells, colWidths=[share * one for one in table.widths], repeatRows=1)
    style: list[tuple[Any, ...]] = [
        ("GRID", (0, 0), (-1, -1), 0.4, LINE),
        ("BACKGROUND", (0, 0), (-1, 0), SHADE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ]
    if table.bold_last:
        style.append(("BACKGROUND", (0, -1), (-1, -1), SHADE))
    flowable.setStyle(TableStyle(style))
    return flowable


def printable(text: object) -> str:
    """Return text without control characters other than line ends; 〓 stands for what the font does not have.

    >>> printable("a\\x00b\\nc"), printable("𠮷")
    ('ab\\nc', '〓')
    """
    known = pdfmetrics.getFont(font()).face.charToGlyph
    return "".join(
        one if one == "\n" or ord(one) in known else MISSING for one in str(text) if one == "\n" or one.isprintable()
    )


class _QrFlowable(Flowable):  # type: ignore[misc]  # the library has no types
    def __init__(self, text: str, side: float) -> None:
        super().__init__()
        self.text, self.width, self.height = text, side, side

    def draw(self) -> None:
        _draw_qr(self.canv, self.text, 0, 0, self.width)


def _draw_qr(canvas: Any, text: str, left: float, bottom: float, side: float) -> None:
    matrix = [bytes(row) for row in segno.make(text, micro=False, error="m").matrix_iter(border=2)]
    module = side / len(matrix)
    canvas.setFillColor(colors.black)
    for number, row in enumerate(matrix):
        for column, dark in enumerate(row):
            if dark:
                # A hair wider than a module: no white lines between neighbours on screen or paper.
                place = (left + column * module, bottom + side - (number + 1) * module)
                canvas.rect(*place, module * 1.01, module * 1.01, stroke=0, fill=1)


class Page:
    """One page of a fixed size, written from the top down; measures in millimetres from the top left."""

    def __init__(self, canvas: Canvas, size: tuple[float, float]) -> None:
        self._canvas = canvas
        self.width, self.height = size[0] / mm, size[1] / mm

    def text(self, left: float, top: float, text: str, *, size: float = 10, width: float = 0, lines: int = 1) -> float:
        """Write text that wraps at `width` and ends with … after `lines`; return where the next line may begin."""
        room = (width or self.width - 2 * left) * mm
        parts = [part for line in printable(text).split("\n") for part in _wrapped(line, size, room)]
        if len(parts) > lines:
            parts = [*parts[: lines - 1], _shortened(parts[lines - 1] + "…", size, room)]
        self._canvas.setFillColor(colors.black)
        self._canvas.setFont(font(), size)
        for part in parts:
            top += size * 1.25 / mm
            self._canvas.drawString(left * mm, (self.height - top) * mm, part)
        return top

    def line(self, top: float, *, left: float = 0, right: float = 0) -> None:
        """Draw a line across the page."""
        self._canvas.setStrokeColor(colors.black)
        self._canvas.line(left * mm, (self.height - top) * mm, (self.width - right) * mm, (self.height - top) * mm)

    def qr(self, left: float, top: float, text: str, *, side: float) -> None:
        """Draw a QR code."""
        _draw_qr(self._canvas, text, left * mm, (self.height - top - side) * mm, side * mm)

    def barcode(self, left: float, top: float, text: str, *, width: float, height: float = 12) -> None:
        """Draw a Code 128 bar code of an ASCII text, as scanners in warehouses read it."""
        plain = code128.Code128(text, barWidth=1, barHeight=height * mm, quiet=False)
        bars = code128.Code128(text, barWidth=width * mm / plain.width, barHeight=height * mm, quiet=False)
        bars.drawOn(self._canvas, left * mm, (self.height - top - height) * mm)


def pages(draw: Sequence[Callable[[Page], None]], *, title: str, size: tuple[float, float] = LABEL) -> bytes:
    """Return a PDF with one page of `size` for each function, which writes it."""
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=size)
    canvas.setTitle(title)
    for one in draw:
        one(Page(canvas, size))
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def _wrapped(text: str, size: float, room: float) -> list[str]:
    """Break between any two characters, as Chinese does, but inside a number or a Latin word only where it must be."""
    lines = [""]
    for word in _WORDS.findall(text):
        if pdfmetrics.stringWidth(lines[-1] + word, font(), size) <= room:
            lines[-1] += word
            continue
        lines.append("")
        for one in word.lstrip():
            if lines[-1] and pdfmetrics.stringWidth(lines[-1] + one, font(), size) > room:
                lines.append("")
            lines[-1] += one
    return [line for line in lines if line] or [""]


def _shortened(text: str, size: float, room: float) -> str:
    while len(text) > 1 and pdfmetrics.stringWidth(text, font(), size) > room:
        text = text[:-2] + "…"
    return text
