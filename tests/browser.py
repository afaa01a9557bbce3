"""A small world served on loopback to a real Chromium, each seat signed in by its cookie."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from werkzeug.serving import make_server

from tests.factories import World
from web.settings import ROOT

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PHONE, SMALL, DESK = (390, 844), (360, 640), (1440, 900)
with_browser = pytest.mark.skipif(
    os.environ.get("HUIGONG_NO_BROWSER") == "1", reason="HUIGONG_NO_BROWSER=1 leaves the browser out"
)
# Pages look the same on either engine: one is enough for what only a browser can see.
one_engine = pytest.mark.parametrize("engine_app", ["sqlite"], indirect=True)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, or Playwright's own."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(args=FLAGS, **({"executable_path": CHROMIUM} if CHROMIUM else {}))


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the world's application; give its address."""
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def cookie_of(world: World, client: Any, **session: Any) -> str:
    """Put things in a client's session; return its cookie's value."""
    with client.session_transaction() as kept:
        kept.update(session)
        for name in [name for name, value in session.items() if value is None]:
            del kept[name]
    return str(client.get_cookie("session").value)


def context_of(
    browser: Browser, address: str, cookie: str | None, size: tuple[int, int], **more: Any
) -> BrowserContext:
    """Open a window of this size, with this session."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="zh-CN", **more)
    context.set_default_timeout(20_000)
    if cookie is not None:
        context.add_cookies([{"name": "session", "value": cookie, "url": address}])
    return context


@contextmanager
def demonstration(folder: Path, **environ: str) -> Iterator[str]:
    """Serve `huigong demo` from a folder, as its own processes; give its address. Its log is the folder's demo.log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {name: value for name, value in os.environ.items() if name != "HUIGONG_ENV"}
    settings |= {"DATABASE_URL": f"sqlite:///{folder / 'demo.db'}", **environ}
    command = [sys.executable, "-W", "ignore", "-m", "web.cli", "demo", "--port", str(port)]
    with open(folder / "demo.log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def sign_in(browser: Browser, address: str, phone: str, size: tuple[int, int] = PHONE) -> Page:
    """Sign somebody in by phone and code in a window of their own, as they would; give its page."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{address}/sign-in")
    page.get_by_label("手机号").fill(phone)
    page.get_by_role("button", name="获取验证码").click()
    page.get_by_label("6 位验证码").fill(page.locator("#code-shown").inner_text())
    page.get_by_role("button", name="登录").click()
    expect(page.locator("#code")).to_have_count(0)  # the next page is there, and with it the cookie
    page.wait_for_load_state("load")
    return page
