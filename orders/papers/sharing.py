"""分享图: a pack on one picture to be sent on: what it is, what it costs, and a code that leads to it."""

import functools
import io
from collections.abc import Sequence
from importlib import resources

import segno
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, EDGE = 1080, 1440, 72  # pixels
RED, DARK, GOLD, PAPER, GROUND = "#b3261e", "#9a1f18", "#e8c37a", "#fffaf2", "#fbeed6"
INK, QUIET = "#2b1d1a", "#6d5a54"
PICTURE = 640  # how high the pack's own picture stands
CODE = 260
KEPT = 64
"""Pictures kept in each process: drawing one takes a tenth of a second."""


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    with resources.as_file(resources.files("paperang_p2_fonts_cjk") / "fonts" / "wqy-microhei.ttc") as path:
        return ImageFont.truetype(str(path), size)


@functools.lru_cache(KEPT)
def share_picture(
    *,
    heading: str,
    name: str,
    price: str,
    saving: str,
    origin: str,
    contents: Sequence[str],
    hint: str,
    address: str,
    picture: bytes | None,
) -> bytes:
    """Return a PNG of a pack: `heading` above, `address` as a QR code with `hint` beside it.

    `picture` is the pack's own as a bitmap; where there is none, its contents stand in its place.
    """
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, WIDTH, 128), fill=RED)
    draw.rectangle((0, 128, WIDTH, 136), fill=GOLD)
    _line(draw, heading, EDGE, 36, size=48, fill=PAPER, room=WIDTH - 2 * EDGE)
    top = 136
    if picture is not None:
        sheet.paste(_fitted(picture), (0, top))
    else:
        draw.rectangle((0, top, WIDTH, top + PICTURE), fill=GROUND)
        _gift(draw, WIDTH - EDGE - 210, top + PICTURE - 50)
        for number, text in enumerate(contents[:6]):
            room = WIDTH - 2 * EDGE - (0 if number < 2 else 380 + EDGE)  # beside the gift from the third on
            _line(draw, text, EDGE, top + 48 + number * 84, size=46, room=room)
    top += PICTURE + 40
    top = _lines(draw, name, EDGE, top, size=60, room=WIDTH - 2 * EDGE, most=2)
    _line(draw, origin, EDGE, top + 8, size=36, fill=QUIET, room=WIDTH - 2 * EDGE)
    room = WIDTH - 3 * EDGE - CODE
    foot = HEIGHT - EDGE - CODE
    _line(draw, price, EDGE, foot - 6, size=92, fill=RED, room=room)
    _lines(draw, saving, EDGE, foot + 112, size=38, room=room, most=2)
    _line(draw, hint, EDGE, HEIGHT - EDGE - 40, size=30, fill=QUIET, room=room)
    sheet.paste(_code(address), (WIDTH - EDGE - CODE, foot))
    target = io.BytesIO()
    sheet.quantize(128).save(target, "PNG", optimize=True)
    return target.getvalue()


def _gift(draw: ImageDraw.ImageDraw, middle: int, bottom: int) -> None:
    """Draw a wrapped gift that stands on `bottom`."""
    draw.ellipse((middle - 250, bottom - 430, middle + 250, bottom + 10), fill="#f5e2bd")
    draw.ellipse((middle - 200, bottom - 16, middle + 200, bottom + 16), fill="#dcc59a")
    draw.rounded_rectangle((middle - 160, bottom - 240, middle + 160, bottom), 10, fill=RED)
    draw.rounded_rectangle((middle - 180, bottom - 300, middle + 180, bottom - 230), 10, fill=DARK)
    draw.rectangle((middle - 24, bottom - 300, middle + 24, bottom), fill=GOLD)
    for side in (-1, 1):
        left, right = sorted((middle, middle + side * 150))
        draw.ellipse((left, bottom - 390, right, bottom - 300), outline=GOLD, width=22)
    draw.ellipse((middle - 30, bottom - 340, middle + 30, bottom - 286), fill="#d5a94f")


def _fitted(picture: bytes) -> Image.Image:
    """Return a picture that fills its place: what stands over is cut off on both sides."""
    with Image.open(io.BytesIO(picture)) as opened:
        plain = opened.convert("RGBA")
    ground = Image.new("RGBA", plain.size, PAPER)
    whole = Image.alpha_composite(ground, plain).convert("RGB")
    scale = max(WIDTH / whole.width, PICTURE / whole.height)
    size = (max(WIDTH, round(whole.width * scale)), max(PICTURE, round(whole.height * scale)))
    left, top = (size[0] - WIDTH) // 2, (size[1] - PICTURE) // 2
    return whole.resize(size, Image.Resampling.LANCZOS).crop((left, top, left + WIDTH, top + PICTURE))


def _code(address: str) -> Image.Image:
    drawn = io.BytesIO()
    segno.make(address, micro=False, error="m").save(drawn, kind="png", border=2, scale=8)
    drawn.seek(0)
    with Image.open(drawn) as opened:
        return opened.convert("RGB").resize((CODE, CODE), Image.Resampling.NEAREST)


def _line(
    draw: ImageDraw.ImageDraw, text: str, left: int, top: int, *, size: int, fill: str = INK, room: int = 0
) -> None:
    """Write one line; what does not fit ends with …"""
    font = _font(size)
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "…", font) > room:
            text = text[:-1]
        text += "…"
    draw.text((left, top), text, fill, font)


def _lines(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, *, size: int, room: int, most: int) -> int:
    """Write a few lines; return where the next thing may begin."""
    font = _font(size)
    for number in range(most):
        end = len(text)
        while end > 1 and draw.textlength(text[:end], font) > room:
            end -= 1
        if number + 1 < most and end < len(text) and " " in text[:end] and text[end] != " ":
            end = text[:end].rindex(" ")  # a word stays whole
        _line(draw, text if number + 1 == most else text[:end], left, top, size=size, room=room)
        top, text = top + size * 5 // 4, text[end:].lstrip()
        if not text:
            break
    return top
