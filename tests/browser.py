"""A small world served on loopback to a real Chromium, each seat signed in by its cookie."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from werkzeug.serving import make_server

from tests.factories import World

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
