"""A pickup code read by a camera, in a real Chromium whose camera is a film of the buyer's QR code."""

import hashlib
import os
import threading

import pytest
import segno
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from tests.browser import CHROMIUM, sign_in
from tests.factories import MERCHANT_A, STATION_S1
from tests.journeys.test_browser import fits
from tests.orders.test_parcels import code_of, collected, parcel
from web.settings import ROOT

pytestmark = pytest.mark.skipif(
    os.environ.get("HUIGONG_NO_BROWSER") == "1", reason="HUIGONG_NO_BROWSER=1 leaves the browser journeys out"
)
WIDTH, HEIGHT, DOT = 640, 480, 8


def film(path, text):
    """Write a film (YUV4MPEG2) that shows a QR code and nothing else."""
    code = [list(row) for row in segno.make(text, micro=False, error="m").matrix_iter(border=4)]
    left, top = (WIDTH - len(code[0]) * DOT) // 2, (HEIGHT - len(code) * DOT) // 2
    picture = bytearray(b"\xeb" * (WIDTH * HEIGHT))
    for y, row in enumerate(code):
        for x, dark in enumerate(row):
            for line in range(DOT if dark else 0):
                at = (top + y * DOT + line) * WIDTH + left + x * DOT
                picture[at : at + DOT] = b"\x10" * DOT
    frame = b"FRAME\n" + bytes(picture) + b"\x80" * (WIDTH * HEIGHT // 2)
    path.write_bytes(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420\n".encode() + frame * 5)


@pytest.fixture
def address(world):
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def filmed(playwright, path, *, camera=True):
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    flags += [f"--use-file-for-fake-video-capture={path}"]
    flags += ["--use-fake-ui-for-media-stream"] if camera else ["--deny-permission-prompts"]
    return playwright.chromium.launch(args=flags, **({"executable_path": CHROMIUM} if CHROMIUM else {}))


@pytest.mark.parametrize(("login", "path"), [(STATION_S1, "/station/"), (MERCHANT_A, "/merchant/pickup")])
def test_the_camera_reads_the_buyers_code_and_the_parcel_is_handed_over(world, address, tmp_path, login, path):
    number = collected(world, ("A150", 2))
    film(tmp_path / "code.y4m", f"{address}/pickup/?code={code_of(world, number)}")
    with sync_playwright() as playwright:
        page = sign_in(filmed(playwright, tmp_path / "code.y4m"), address, login)
        refused = []
        page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)
        page.goto(address + path)
        page.get_by_role("button", name="用摄像头扫码").click()
        expect(page.get_by_role("button", name="交给买家")).to_be_visible(timeout=15000)
        fits(page)
        assert parcel(world, f"{number}-1")["status"] == "to_ship", "to scan hands nothing over"
        page.get_by_role("button", name="交给买家").click()
        expect(page.get_by_role("status").first).to_contain_text("已交付")
        assert parcel(world, f"{number}-1")["status"] == "delivered"
        # The camera is on for the next one, and finds the same code again: it is used.
        expect(page.get_by_text("这个取货码已经用过")).to_be_visible(timeout=15000)
        assert refused == [], "the content security policy lets all of it run"


def test_another_code_and_no_permission_are_said_and_the_digits_still_do(world, address, tmp_path):
    number = collected(world, ("A150", 1))
    film(tmp_path / "other.y4m", "https://elsewhere.example/?code=1")
    with sync_playwright() as playwright:
        page = sign_in(filmed(playwright, tmp_path / "other.y4m"), address, STATION_S1)
        page.get_by_role("button", name="用摄像头扫码").click()
        expect(page.get_by_text("这个二维码不是取货码。")).to_be_visible(timeout=15000)
        page.get_by_role("button", name="停止扫码").click()
        expect(page.get_by_role("button", name="用摄像头扫码")).to_be_visible()
        refused = sign_in(filmed(playwright, tmp_path / "other.y4m", camera=False), address, STATION_S1)
        refused.get_by_role("button", name="用摄像头扫码").click()
        expect(refused.get_by_text("没有得到使用摄像头的许可")).to_be_visible(timeout=15000)
        refused.get_by_label("取货码").fill(code_of(world, number))
        refused.get_by_role("button", name="查看").click()
        refused.get_by_role("button", name="交给买家").click()
        expect(refused.get_by_role("status").first).to_contain_text("已交付")


def test_the_reader_is_the_published_one():
    """jsQR 1.4.0 as the npm registry has it (Apache-2.0), unchanged, with its licence beside it."""
    folder = ROOT / "web" / "static" / "js" / "vendor"
    content = (folder / "jsqr-1.4.0.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "bc40c8a15196236b2314db0856f72ca0b49980cd5413b8c852a7349f5fee0859"
    assert "Apache License" in (folder / "jsqr-LICENSE.txt").read_text(encoding="utf-8")
