"""Lighthouse over the five main pages, from npm, in the local Chromium: `make lighthouse` (needs node 18.20 or newer).

Serves a demonstration of its own, signs a member in, puts a pack into the cart, and fails below 95 in any category.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.browser import CHROMIUM, chromium, demonstration, sign_in

LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("/", "/packs/1", "/cart", "/checkout", "/orders")
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
AT_LEAST = 95
M1 = "13800000001"


def signed_in(address: str) -> tuple[str, str]:
    """Sign a member in and fill the cart as they would; return the session's cookie and the browser's path."""
    with chromium() as browser:
        page = sign_in(browser, address, M1)
        page.goto(f"{address}{PAGES[1]}")
        page.get_by_role("button", name="放入购物车").click()
        page.wait_for_load_state()
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
        return cookie, CHROMIUM or browser.browser_type.executable_path


def scores(address: str, page: str, *, cookie: str, chromium_path: str, folder: Path) -> dict[str, Any]:
    """Return what Lighthouse says of a page, as a phone."""
    report = folder / "report.json"
    headers = json.dumps({"Cookie": cookie, "Accept-Language": "zh-CN"})
    command = ["npx", "--yes", LIGHTHOUSE, address + page, "--quiet", "--output=json", f"--output-path={report}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", f"--extra-headers={headers}"]
    command += ["--chrome-flags=--headless=new --no-sandbox --disable-gpu"]
    subprocess.run(command, env={**os.environ, "CHROME_PATH": chromium_path}, check=True, timeout=300)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if not found["finalDisplayedUrl"].endswith(page):
        raise RuntimeError(f"{page} led to {found['finalDisplayedUrl']}")
    return found


def main() -> int:
    """Print a table; return 1 where a page falls short."""
    if shutil.which("npx") is None:
        print("Lighthouse comes from npm: install node first.", file=sys.stderr)
        return 2
    short = 0
    with tempfile.TemporaryDirectory() as name, demonstration(Path(name), HUIGONG_FILES=f"{name}/files") as address:
        cookie, chromium_path = signed_in(address)
        print(f"{'page':12}", *(f"{one:>15}" for one in CATEGORIES), f"{'bytes':>9}")
        for page in PAGES:
            found = scores(address, page, cookie=cookie, chromium_path=chromium_path, folder=Path(name))
            points = [round(found["categories"][one]["score"] * 100) for one in CATEGORIES]
            size = round(found["audits"]["total-byte-weight"]["numericValue"])
            print(f"{page:12}", *(f"{one:15}" for one in points), f"{size:9}")
            short += min(points) < AT_LEAST
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
