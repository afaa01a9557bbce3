"""Pictures people upload: drawn anew in three widths, so that nothing else of the file remains.

Where and on what a picture was taken (EXIF) is gone, the turn it was taken at is not; a small file that would unpack
to a huge picture is refused before it is unpacked.
"""

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from kernel import files
from kernel.errors import Invalid
from kernel.files import Store

MOST_BYTES = 8 * 1024**2
MOST_PIXELS = 40_000_000
WIDTHS = (320, 640, 1280)  # pixels
_FORMATS = ("JPEG", "PNG", "WEBP")


def drawn(content: bytes, *, field: str = "file") -> dict[int, bytes]:
    """Return an uploaded picture as WebP in each of WIDTHS; a narrower one is not blown up.

    Raises Invalid for what is no picture, too large a file, or one that would unpack to more than MOST_PIXELS.
    """
    files.checked(content, allowed=files.PICTURES, most=MOST_BYTES, field=field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is ours to judge, below
            opened = Image.open(io.BytesIO(content), formats=_FORMATS)
            if opened.width * opened.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            opened.draft("RGB", (2 * WIDTHS[-1], 2 * WIDTHS[-1]))  # a JPEG is unpacked no larger than we need
            picture = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as large:
        said = "图片的尺寸太大。"
        raise Invalid(said, errors={field: [said]}) from large
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as broken:
        said = "无法读取这张图片。"
        raise Invalid(said, errors={field: [said]}) from broken
    plain = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return {width: _at(plain, width) for width in WIDTHS}


def _at(picture: Image.Image, width: int) -> bytes:
    if picture.width > width:
        picture = picture.resize((width, max(1, picture.height * width // picture.width)), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "WEBP", quality=82, method=4)
    return target.getvalue()


def keep(store: Store, content: bytes, *, public: bool = False, field: str = "file") -> str:
    """Keep an uploaded picture in all widths and return its name. Raises Invalid, StoreUnavailable."""
    name = files.new_name(files.WEBP, public=public)
    for width, one in drawn(content, field=field).items():
        store.put(at_width(name, width), one)
    return name


def at_width(name: str, width: int) -> str:
    """Return the name of a picture in one of WIDTHS.

    >>> at_width("0123456789abcdef0123456789abcdef.webp", 640)
    '0123456789abcdef0123456789abcdef-640.webp'
    """
    assert width in WIDTHS
    stem, _, ending = name.rpartition(".")
    return f"{stem}-{width}.{ending}"


def name_of(file: str) -> str:
    """Return the name of the picture that a file is one width of.

    >>> name_of("0123456789abcdef0123456789abcdef-640.webp")
    '0123456789abcdef0123456789abcdef.webp'
    """
    stem, _, ending = file.rpartition(".")
    return f"{stem.partition('-')[0]}.{ending}"


def drop(store: Store, name: str) -> None:
    """Forget a picture in all widths. Raises StoreUnavailable."""
    for width in WIDTHS:
        store.drop(at_width(name, width))
