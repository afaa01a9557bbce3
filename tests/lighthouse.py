"""Lighthouse over the five main pages, from npm, in the local Chromium: `make lighthouse` (needs node 18.20 or newer).

Serves a demonstration of its own, signs a member in, puts a pack into the cart, and fails below 95 in any category.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM, FLAGS, PHONE
from web.settings import ROOT

LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("/", "/packs/1", "/cart", "/checkout", "/orders")
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
AT_LEAST = 95
M1 = "13800000001"


def signed_in(address: str) -> tuple[str, str]:
    """Sign a member in and fill the cart as they would; return the session's cookie and the browser's path."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(args=FLAGS, **({"executable_path": CHROMIUM} if CHROMIUM else {}))
        context = browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}, locale="zh-CN")
        page = context.new_page()
        page.goto(f"{address}/sign-in")
        page.get_by_label("手机号").fill(M1)
        page.get_by_role("button", name="获取验证码").click()
        page.get_by_label("6 位验证码").fill(page.locator("#code-shown").inner_text())
        page.get_by_role("button", name="登录").click()
        page.goto(f"{address}{PAGES[1]}")
        page.get_by_role("button", name="放入购物车").click()
        page.wait_for_load_state()
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
        path = CHROMIUM or playwright.chromium.executable_path
        browser.close()
    return cookie, path


def scores(address: str, page: str, *, cookie: str, chromium: str, folder: Path) -> dict[str, Any]:
    """Return what Lighthouse says of a page, as a phone."""
    report = folder / "report.json"
    headers = json.dumps({"Cookie": cookie, "Accept-Language": "zh-CN"})
    command = ["npx", "--yes", LIGHTHOUSE, address + page, "--quiet", "--output=json", f"--output-path={report}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", f"--extra-headers={headers}"]
    command += ["--chrome-flags=--headless=new --no-sandbox --disable-gpu"]
    subprocess.run(command, env={**os.environ, "CHROME_PATH": chromium}, check=True, timeout=300)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if not found["finalDisplayedUrl"].endswith(page):
        raise RuntimeError(f"{page} led to {found['finalDisplayedUrl']}")
    return found


def main() -> int:
    """Print a table; return 1 where a page falls short."""
    if shutil.which("npx") is None:
        print("Lighthouse comes from npm: install node first.", file=sys.stderr)
        return 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    short = 0
    with tempfile.TemporaryDirectory() as name, open(Path(name) / "log", "w") as log:
        environ = {**os.environ, "DATABASE_URL": f"sqlite:///{name}/demo.db", "HUIGONG_FILES": f"{name}/files"}
        command = [sys.executable, "-m", "web.cli", "demo", "--port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            address = f"http://127.0.0.1:{port}"
            cookie, chromium = signed_in(address)
            print(f"{'page':12}", *(f"{one:>15}" for one in CATEGORIES), f"{'bytes':>9}")
            for page in PAGES:
                found = scores(address, page, cookie=cookie, chromium=chromium, folder=Path(name))
                points = [round(found["categories"][one]["score"] * 100) for one in CATEGORIES]
                size = round(found["audits"]["total-byte-weight"]["numericValue"])
                print(f"{page:12}", *(f"{one:15}" for one in points), f"{size:9}")
                short += min(points) < AT_LEAST
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
