"""What people upload: checked for size and kind, kept under random names outside the web root, served safely.

A store is a folder of ours or a bucket of an S3-compatible server, by setting. A file is written before the row that
names it, outside any transaction: a file nobody names does no harm, a row that names no file would.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from kernel.errors import DomainError, Invalid

JPEG, PNG, WEBP, PDF = "image/jpeg", "image/png", "image/webp", "application/pdf"
PICTURES = frozenset({JPEG, PNG, WEBP})
ENDINGS = {JPEG: "jpg", PNG: "png", WEBP: "webp", PDF: "pdf"}
CALLED = {JPEG: "JPEG", PNG: "PNG", WEBP: "WebP", PDF: "PDF"}
KINDS = {ending: kind for kind, ending in ENDINGS.items()}
PUBLIC, PRIVATE = "0", "f"
NAME = re.compile(r"[0-9a-f]{32}(-[0-9]{2,4})?\.(jpg|png|webp|pdf)")


class StoreUnavailable(DomainError):
    """The place where files are kept does not answer."""

    code, status = "files_unavailable", 503


class Store(Protocol):
    """Where files are kept, by name."""

    def put(self, name: str, content: bytes) -> None:
        """Keep a file. Raises StoreUnavailable."""

    def get(self, name: str) -> bytes | None:
        """Return a file; None where there is none. Raises StoreUnavailable."""

    def drop(self, name: str) -> None:
        """Forget a file; one that is not there is forgotten already. Raises StoreUnavailable."""

    def names(self, *, public: bool, before: datetime) -> Iterator[str]:
        """Return the files for everybody, or the others, that were kept before a moment. Raises StoreUnavailable."""


@dataclass(frozen=True)
class Folder:
    """A folder outside the web root."""

    path: Path

    def put(self, name: str, content: bytes) -> None:
        place = self._place(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Written whole under another name, then moved: nobody reads half a file.
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        part.write_bytes(content)
        part.replace(place)

    def get(self, name: str) -> bytes | None:
        try:
            return self._place(name).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        self._place(name).unlink(missing_ok=True)

    def names(self, *, public: bool, before: datetime) -> Iterator[str]:
        for place in sorted(self.path.glob(f"{PUBLIC if public else PRIVATE}?/*")):
            if NAME.fullmatch(place.name) and place.stat().st_mtime < before.timestamp():
                yield place.name

    def _place(self, name: str) -> Path:
        assert NAME.fullmatch(name), "a name that we did not make"
        return self.path / name[:2] / name


def store_at(place: str, *, endpoint: str = "", key: str = "", secret: str = "", region: str = "us-east-1") -> Store:
    """Return the store at a folder's path or at `s3://bucket/prefix`."""
    if not place.startswith("s3://"):
        return Folder(Path(place))
    from kernel.bucket import Bucket  # it loads boto3, which an installation with a folder does not need

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return Bucket(bucket=bucket, prefix=prefix, endpoint=endpoint, key=key, secret=secret, region=region)


def kind_of(content: bytes) -> str | None:
    """Return what a file is by its first bytes, whatever it is called; None for what we do not take.

    >>> kind_of(b"%PDF-1.7 ..."), kind_of(b"<script>")
    ('application/pdf', None)
    """
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return WEBP
    return PDF if content.startswith(b"%PDF-") else None


def checked(content: bytes, *, allowed: frozenset[str], most: int, field: str = "file") -> str:
    """Return what an upload is. Raises Invalid where it is empty, over `most` bytes, or of a kind not `allowed`."""
    kind = kind_of(content)
    if not content:
        raise Invalid("请选择文件。", errors={field: ["请选择文件。"]})
    if len(content) > most:
        raise Invalid("文件最大 %(most)s MB。", most=most // 1024**2, errors={field: ["文件太大。"]})
    if kind not in allowed:
        names = "、".join(CALLED[one] for one in CALLED if one in allowed)
        raise Invalid("只能上传这些格式：%(names)s。", names=names, errors={field: ["不支持这种文件格式。"]})
    return kind


def new_name(kind: str, *, public: bool = False) -> str:
    """Return a random name for a file of a kind; nothing of what its owner called it is kept.

    Its first digit says whether everybody may see it, so that no door for everybody serves what is somebody's own.
    """
    return f"{PUBLIC if public else PRIVATE}{secrets.token_hex(16)[1:]}.{ENDINGS[kind]}"


def is_public(name: str) -> bool:
    """Return whether a file was kept for everybody to see.

    >>> is_public(new_name(WEBP, public=True)), is_public(new_name(WEBP)), is_public("x")
    (True, False, False)
    """
    return NAME.fullmatch(name) is not None and name.startswith(PUBLIC)


def keep(store: Store, content: bytes, *, allowed: frozenset[str], most: int, field: str = "file") -> str:
    """Check an upload, keep it, and return its name. Raises Invalid, StoreUnavailable."""
    name = new_name(checked(content, allowed=allowed, most=most, field=field))
    store.put(name, content)
    return name


def read(store: Store, name: str) -> bytes | None:
    """Return a file by the name a request gives; None for what no file of ours can be called."""
    return store.get(name) if NAME.fullmatch(name) else None


def headers(name: str, *, public: bool = False, shown_as: str = "") -> Mapping[str, str]:
    """Return the headers a file is served with: of its own kind only, run as nothing, cached by whom it is for.

    A picture is shown where a page asks for it; anything else, or with `shown_as`, is saved under that name.
    """
    kind = KINDS[name.rpartition(".")[2]]
    how = "inline" if kind in PICTURES and not shown_as else "attachment"
    return {
        "Content-Type": kind,
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(shown_as or name)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "public, max-age=31536000, immutable" if public else "private, no-store",
    }
