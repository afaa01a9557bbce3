"""A demonstration with its own clock and dice, a Chromium that looks at it, and pictures kept where they change."""

import io
import json
import random
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from babel.messages.pofile import read_po
from flask_migrate import upgrade
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from finance.settlement import services as settlement
from kernel import clock, ids, jobs
from kernel.db import db
from orders.services import placing, summing, webhooks
from voucher import services as voucher_services
from web import demo
from web.app import create_app
from web.cli import HANDLERS
from web.settings import ROOT, Settings

PICTURES = ROOT / "docs" / "guides" / "pictures"
CATALOGUE = ROOT / "web" / "translations" / "en" / "LC_MESSAGES" / "messages.po"
LANGUAGES = {"zh-CN": "zh_CN", "en": "en"}
PHONE, DESK = (390, 844), (1200, 800)
# The demonstration campaign lasts 21 days: from here it ends with 27 January, as the real one did.
FIRST_DAY = datetime.fromisoformat("2027-01-07T09:30:00+08:00")


@cache
def translations() -> dict[str, str]:
    """Return the English of every text of the pages."""
    with CATALOGUE.open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file) if message.id and not message.context}


def words(text: str, language: str) -> str:
    """Return a text of the pages, Chinese, as a reader of the language is shown it."""
    return text if language == "zh-CN" else translations()[text]


class Demonstration:
    """The demonstration on loopback, in this process: each thing done takes a minute, and chance is loaded."""

    def __init__(self, folder: Path, port: int) -> None:
        self.moment, self.made = FIRST_DAY, 0
        dice = random.Random(2027)
        secrets._sysrand = dice  # type: ignore[attr-defined]
        secrets.randbits, secrets.choice = dice.getrandbits, dice.choice
        clock.now = self.now
        ids.time = SimpleNamespace(time=self.tick)  # type: ignore[assignment]
        url = f"sqlite:///{folder / 'demo.db'}"
        account = json.loads((ROOT / "demo" / "campaign.json").read_text(encoding="utf-8"))["district"]["bank_account"]
        settings = Settings(database_url=url, files=str(folder / "files"), bank_account=account)
        self.app = create_app(settings)
        with self.app.app_context():
            upgrade(directory=str(ROOT / "migrations"))
            demo.load(now=self.now())
        self.server = make_server("127.0.0.1", port, self.answer, threaded=True, request_handler=Quiet)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def now(self) -> datetime:
        """Return the demonstration's moment, in UTC."""
        return self.moment.astimezone(clock.UTC)

    def tick(self) -> float:
        """Return the moment for a new id, each a thousandth after the last, so that ids sort as they were made."""
        self.made += 1
        return self.moment.timestamp() + self.made / 1000

    def answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Let a minute pass with each thing done."""
        if environ["REQUEST_METHOD"] == "POST":
            self.moment += timedelta(minutes=1)
        return self.app(environ, start_response)

    def work(self, days: int = 0) -> None:
        """Let days pass, and do what the worker does then."""
        self.moment += timedelta(days=days)
        with self.app.app_context():
            placing.expire_due(now=self.now())
            while voucher_services.expire_ended(now=self.now()):
                pass
            while jobs.run_next(HANDLERS, clock=self.now):
                pass
            summing.tend(now=self.now())
            webhooks.note(now=self.now())
            webhooks.deliver(key=self.app.config["HUIGONG"].secret_key, private=True, now=self.now())
            settlement.close_due(now=self.now())
            db.session.remove()

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        with self.app.app_context():
            db.engine.dispose()


class Quiet(WSGIRequestHandler):
    """Tells nobody of each request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Camera:
    """Walks through the demonstration in one language and keeps pictures of it."""

    def __init__(self, demonstration: Demonstration, browser: Browser, language: str) -> None:
        self.demo, self.browser, self.language = demonstration, browser, language
        self.kept: list[str] = []

    def words(self, text: str) -> str:
        """Return a text of the pages in this walk's language."""
        return words(text, self.language)

    def page(self, size: tuple[int, int]) -> Page:
        """Return a window of nobody."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale=self.language,
            timezone_id="Asia/Shanghai",
            device_scale_factor=1.5 if size == PHONE else 1,
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        return page

    def sign_in(self, phone: str, size: tuple[int, int], keep: str = "") -> Page:
        """Return a window in which a person is signed in."""
        page = self.page(size)
        page.goto(f"{self.demo.address}/sign-in")
        page.get_by_label(self.words("手机号")).fill(phone)
        self.press(page, "获取验证码")
        if keep:
            self.keep(page, keep)
        page.get_by_label(self.words("6 位验证码")).fill(page.locator("#code-shown").inner_text())
        self.press(page, "登录")
        expect(page.locator("#code")).to_have_count(0)
        return page

    def go(self, page: Page, path: str) -> None:
        """Open an address of the demonstration."""
        page.goto(f"{self.demo.address}{path}")

    def press(self, page: Page, text: str) -> None:
        """Press the button, or follow the link, that says this: up to where a figure stands in it."""
        said = self.words(text)
        if "%(" in said:
            name: Any = re.compile(re.escape(said.partition("%(")[0].strip()))
        else:
            name = re.compile(rf"^\s*{re.escape(said)}( →)?\s*$")
        main = page.locator("main")
        main.get_by_role("button", name=name).or_(main.get_by_role("link", name=name)).first.click()
        page.wait_for_load_state("load")

    def fill(self, page: Page, label: str, value: str) -> None:
        """Fill the field of this label."""
        page.get_by_label(self.words(label)).first.fill(value)

    def keep(self, page: Page, name: str, at: str = "") -> None:
        """Keep a picture of the window, the part that a selector names scrolled to its top, where it changed."""
        page.wait_for_load_state("networkidle")
        if at:
            page.locator(at).first.evaluate(
                "part => window.scrollTo(0, part.getBoundingClientRect().top + scrollY - 70)"
            )
        page.evaluate("document.activeElement && document.activeElement.blur()")
        # What is below the window is asked for, too: its pictures are lazy and come while one scrolls.
        page.wait_for_function(
            "[...document.images].filter(i => i.getBoundingClientRect().top < innerHeight).every(i => i.complete)"
        )
        taken = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
        file = PICTURES / f"{name}.{self.language}.webp"
        self.kept.append(file.name)
        if file.exists():
            with Image.open(file) as old:
                if looks_the_same(taken, old.convert("RGB")):
                    return
        taken.save(file, "WEBP", quality=72, method=6)


def looks_the_same(one: Image.Image, other: Image.Image) -> bool:
    """Return whether two pictures differ by no more than compression does."""
    if one.size != other.size:
        return False
    difference = ImageChops.difference(one, other).convert("L").reduce(4)
    return difference.getextrema()[1] < 24


@contextmanager
def camera(language: str, port: int = 8465) -> Iterator[Camera]:
    """Yield a camera before a new demonstration; its address is in the pictures, and so is always the same."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory(prefix="huigong-guides-") as folder, sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--font-render-hinting=none"]
        options: dict[str, Any] = {"executable_path": chromium} if chromium else {}
        demonstration = Demonstration(Path(folder), port)
        browser = playwright.chromium.launch(args=flags, **options)
        try:
            yield Camera(demonstration, browser, language)
        finally:
            browser.close()
            demonstration.close()
