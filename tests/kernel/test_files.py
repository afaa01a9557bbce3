"""Uploads: what is kept, what is refused, and how it is served; on disk and on an S3-compatible server."""

import io
import re
import struct
import threading
import zlib
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from kernel import files, pictures
from kernel.errors import Invalid

PDF = b"%PDF-1.7\nsomething"


class Objects:
    """A small S3-compatible server: objects by path, signed requests only."""

    def __init__(self):
        self.kept, self.kinds, self.failing = {}, {}, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = outer.answer(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_DELETE = _any

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method, path, headers, body):
        if self.failing:
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        if "Credential=key/" not in headers.get("Authorization", ""):
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        if "list-type=2" in path:
            return 200, self.listing(path)
        if method == "PUT":
            self.kept[path], self.kinds[path] = body, headers["Content-Type"]
            return 200, b""
        if method == "DELETE":
            self.kept.pop(path, None)
            return 204, b""
        if path not in self.kept:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, self.kept[path]

    def listing(self, path):
        """A page of two objects under a prefix, and where the next one begins."""
        asked = parse_qs(urlsplit(path).query)
        bucket = urlsplit(path).path.rstrip("/") + "/"
        keys = sorted(key.removeprefix(bucket) for key in self.kept)
        begin = int(asked.get("continuation-token", ["0"])[0])
        found = [key for key in keys if key.startswith(asked["prefix"][0])]
        rows = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in found[begin : begin + 2]
        )
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{begin + 2}</NextContinuationToken>"
        return f"<ListBucketResult>{rows}{more if len(found) > begin + 2 else ''}</ListBucketResult>".encode()


@pytest.fixture
def objects():
    server = Objects()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return files.store_at(str(tmp_path / "files"))
    server = request.getfixturevalue("objects")
    return files.store_at("s3://papers/huigong/", endpoint=server.url, key="key", secret="a secret")


def test_a_file_is_kept_read_and_dropped(store):
    name = files.keep(store, PDF, allowed=frozenset({files.PDF}), most=1024)
    assert re.fullmatch(r"[0-9a-f]{32}\.pdf", name)
    assert files.read(store, name) == PDF
    assert files.keep(store, PDF, allowed=frozenset({files.PDF}), most=1024) != name
    store.drop(name)
    store.drop(name)
    assert files.read(store, name) is None


def test_files_are_listed_by_who_may_see_them_and_by_their_age(store):
    for_all = sorted(files.new_name(files.WEBP, public=True) for _ in range(5))
    own = files.new_name(files.WEBP)
    for name in (*for_all, own):
        store.put(name, b"x")
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert list(store.names(public=True, before=later)) == for_all
    assert list(store.names(public=False, before=later)) == [own]
    assert list(store.names(public=True, before=datetime(2025, 1, 1, tzinfo=UTC))) == []


def test_a_bucket_keeps_under_its_prefix_with_the_kind(objects):
    store = files.store_at("s3://papers/huigong/", endpoint=objects.url, key="key", secret="a secret")
    name = files.keep(store, PDF, allowed=frozenset({files.PDF}), most=1024)
    assert objects.kept == {f"/papers/huigong/{name}": PDF}
    assert objects.kinds == {f"/papers/huigong/{name}": "application/pdf"}


def test_a_store_that_refuses_is_a_clear_error(objects):
    store = files.store_at("s3://papers", endpoint=objects.url, key="key", secret="a secret")
    name = files.keep(store, PDF, allowed=frozenset({files.PDF}), most=1024)
    objects.failing = True

    def listed():
        return list(store.names(public=True, before=datetime.now(UTC)))

    for call in (lambda: store.get(name), lambda: store.put(name, PDF), lambda: store.drop(name), listed):
        with pytest.raises(files.StoreUnavailable) as refused:
            call()
        assert refused.value.status == 503


@pytest.mark.parametrize(
    ("case", "content"),
    [
        ("nothing", b""),
        ("too large", PDF + b" " * 2000),
        ("a page of ours to be", b"<html><script>alert(1)</script>"),
        ("a picture where a document is asked", b"\x89PNG\r\n\x1a\n"),
        ("svg, which can run scripts", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ],
)
def test_what_is_not_allowed_is_refused_and_nothing_kept(tmp_path, case, content):
    store = files.store_at(str(tmp_path / "files"))
    with pytest.raises(Invalid) as refused:
        files.keep(store, content, allowed=frozenset({files.PDF}), most=1024)
    assert refused.value.errors.keys() == {"file"}
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a.pdf", "0" * 32 + ".exe", "0" * 32 + ".pdf\n", "x" * 5000])
def test_a_name_that_is_none_of_ours_reads_nothing(tmp_path, name):
    assert files.read(files.store_at(str(tmp_path)), name) is None


def test_a_file_is_served_as_what_it_is_and_runs_nothing():
    said = files.headers("0" * 32 + ".pdf", shown_as="营业 执照.pdf")
    assert said["Content-Type"] == "application/pdf"
    assert said["Content-Disposition"].startswith("attachment; filename*=UTF-8''%E8%90%A5")
    assert said["X-Content-Type-Options"] == "nosniff"
    assert said["Cache-Control"] == "private, no-store"
    assert "sandbox" in said["Content-Security-Policy"]
    assert files.headers("0" * 32 + ".webp", public=True)["Content-Disposition"].startswith("inline")


def picture(size=(1600, 1200), kind="JPEG", **options):
    target = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(target, kind, **options)
    return target.getvalue()


def with_exif():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = 6  # turned
    exif.get_ifd(0x8825)[1] = "N"
    return picture((1600, 1200), exif=exif)


def test_a_picture_is_drawn_anew_in_three_widths_without_what_the_camera_wrote(store):
    content = with_exif()
    assert b"a camera" in content
    name = pictures.keep(store, content)
    for width, height in ((320, 426), (640, 853), (1200, 1600)):
        shown = files.read(store, pictures.at_width(name, 1280 if width == 1200 else width))
        one = Image.open(io.BytesIO(shown))
        assert (one.format, one.size) == ("WEBP", (width, height)), "turned upright"
        assert dict(one.getexif()) == {}
        assert b"a camera" not in shown
    pictures.drop(store, name)
    assert files.read(store, pictures.at_width(name, 320)) is None


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb():
    """A small PNG that says it is 30,000 × 30,000."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("case", "content", "said"),
    [
        ("a bomb", bomb(), "图片的尺寸太大。"),
        ("half a picture", picture()[:2000], "无法读取这张图片。"),
        ("only its first bytes", b"\xff\xd8\xff" + b"x" * 500, "无法读取这张图片。"),
        ("a gif", picture(kind="GIF"), "不支持这种文件格式。"),
        ("a document", PDF, "不支持这种文件格式。"),
        ("too many bytes", b"\xff\xd8\xff" + b"x" * pictures.MOST_BYTES, "文件太大。"),
    ],
)
def test_what_is_no_picture_is_refused(case, content, said):
    with pytest.raises(Invalid) as refused:
        pictures.drawn(content, field="picture")
    assert refused.value.errors == {"picture": [said]}


def test_a_small_picture_stays_small_and_keeps_its_transparency():
    target = io.BytesIO()
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(target, "PNG")
    for one in pictures.drawn(target.getvalue()).values():
        shown = Image.open(io.BytesIO(one))
        assert (shown.size, shown.mode) == ((10, 10), "RGBA")
