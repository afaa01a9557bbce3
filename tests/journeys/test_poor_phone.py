"""On a poor phone: without JavaScript, without a line, and with few bytes to spend."""

import re
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from catalog import services as catalog_services
from kernel import clock
from tests.browser import PHONE, SMALL, chromium, context_of, cookie_of, one_engine, served, with_browser
from web.settings import ROOT

pytestmark = [with_browser, one_engine]
M1 = "13800000001"
AT_MOST_BYTES, FEWER_REQUESTS_THAN = 120_000, 15


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def test_a_member_buys_without_javascript(world, browser):
    with served(world) as address:
        context = context_of(browser, address, None, PHONE, java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{address}/packs/{world.packs['A150']}")
        page.get_by_role("link", name="登录后购买").click()
        page.get_by_label("手机号").fill(M1)
        page.get_by_role("button", name="获取验证码").click()
        page.get_by_label("6 位验证码").fill(page.locator("#code-shown").inner_text())
        page.get_by_role("button", name="登录").click()
        page.get_by_label("数量").fill("2")
        page.get_by_role("button", name="放入购物车").click()
        page.get_by_role("link", name="去下单").click()
        page.get_by_label("省市区").fill("山东省青岛市崂山区")
        page.get_by_label("详细地址").fill("海尔路 1 号")
        page.get_by_role("button", name=re.compile("提交订单 ¥240")).click()
        page.get_by_role("button", name=re.compile("去付款")).click()
        page.get_by_role("button", name="付款", exact=True).click()
        expect(page.locator("h1")).to_contain_text("已付款")
        page.get_by_role("link", name="深色").click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        page.get_by_role("link", name="大字").first.click()
        expect(page.locator("html")).to_have_attribute("data-text", "large")
        context.close()
    assert world.voucher(M1)["balance_fen"] == 14000
    assert world.stock("A150") == (48, 0, 2)


def until(page, true):
    """Ask until it is so; Playwright's own way would want a page to allow eval."""
    for _ in range(100):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    raise AssertionError(true)


def kept_by(page):
    """What this device keeps of a member's: the addresses."""
    return page.evaluate("""async () => {
      const keys = await (await caches.open('own')).keys();
      return keys.map(one => new URL(one.url).pathname).sort();
    }""")


def test_without_a_line_the_voucher_and_orders_are_as_last_seen_and_go_with_the_sign_out(world, browser):
    number = world.place(M1, ("A150", 1)).json["number"]
    with ExitStack() as server:
        address = server.enter_context(served(world))
        context = context_of(browser, address, cookie_of(world, world.browser(M1)), PHONE)
        page = context.new_page()
        page.goto(address)
        until(page, "navigator.serviceWorker.controller !== null")
        for path in ("/vouchers", "/orders", "/account/", f"/orders/{number}"):
            page.goto(address + path)
        until(page, "caches.open('own').then(kept => kept.keys()).then(keys => keys.length >= 2)")
        assert kept_by(page) == ["/orders", "/vouchers"]
        page.get_by_role("button", name="退出").click()
        page.wait_for_load_state("load")
        assert kept_by(page) == []
        until(page, "navigator.serviceWorker.controller !== null")  # the sign-out took it away, the page set it up anew
        # Signed in again; then the line goes.
        context.add_cookies([{"name": "session", "value": cookie_of(world, world.browser(M1)), "url": address}])
        page.goto(address)
        until(page, "navigator.serviceWorker.controller !== null")
        page.goto(f"{address}/vouchers")
        page.goto(f"{address}/orders")
        until(page, "caches.open('own').then(kept => kept.keys()).then(keys => keys.length >= 2)")
        server.close()
        page.goto(f"{address}/cart")
        expect(page.locator("h1")).to_have_text("现在连不上网络")
        expect(page.locator("#last-seen")).to_contain_text("可使用 ¥180 面值 ¥200")
        expect(page.locator("#last-seen")).to_contain_text(number)
        expect(page.locator("#last-seen")).to_contain_text("上次看到的时间")
        assert page.locator("img").first.evaluate("one => one.naturalWidth") > 0
        context.close()


def test_a_stranger_keeps_nothing(world, browser):
    with served(world) as address:
        context = context_of(browser, address, None, PHONE)
        page = context.new_page()
        page.goto(address)
        until(page, "navigator.serviceWorker.controller !== null")
        page.goto(address)
        page.goto(f"{address}/sign-in")
        assert kept_by(page) == []
        context.close()


def test_the_first_page_is_light_and_nothing_moves(world, browser):
    pictures = sorted((ROOT / "web" / "static" / "pictures" / "packs").glob("*.svg"))[:30]
    with world.app.app_context():
        catalog_services.bring_in_packs(
            [
                {
                    "code": picture.stem,
                    "merchant": "A",
                    "name": f"新礼包{picture.stem}",
                    "price_fen": 10000,
                    "contents": [{"name": "米", "quantity": 1, "unit": "袋"}],
                    "stock": 500,
                    "picture": f"pictures/packs/{picture.name}",
                }
                for picture in pictures
            ],
            now=clock.now(),
        )
    with served(world) as address:
        context = context_of(browser, address, None, SMALL)
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.send("Network.setBypassServiceWorker", {"bypass": True})
        sizes = []
        devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(address, wait_until="networkidle")
        moved = page.evaluate("""() => new Promise(tell => {
          let sum = 0;
          new PerformanceObserver(list => list.getEntries().forEach(one => sum += one.value))
            .observe({type: 'layout-shift', buffered: true});
          setTimeout(() => tell(sum), 300);
        })""")
        unsized = page.locator("main img").evaluate_all("all => all.filter(i => !i.width || !i.height).length")
        context.close()
    assert 5 < len(sizes) < FEWER_REQUESTS_THAN
    assert sum(sizes) < AT_MOST_BYTES
    assert moved < 0.01
    assert unsized == 0


def test_it_can_be_installed(world):
    client = world.app.test_client()
    manifest = client.get("/manifest.webmanifest")
    assert manifest.mimetype == "application/manifest+json"
    assert (manifest.json["start_url"], manifest.json["display"], manifest.json["short_name"]) == (
        "/",
        "standalone",
        "惠工",
    )
    assert {icon["sizes"] for icon in manifest.json["icons"]} == {"192x192", "512x512"}
    for icon in manifest.json["icons"]:
        with client.get(icon["src"]) as picture:
            assert (picture.status_code, picture.mimetype) == (200, "image/png")
    worker = client.get("/service-worker.js")
    assert worker.mimetype == "text/javascript"
    assert '"/offline"' in worker.text
    for address in re.findall(r'"(/(?:style|static)[^"]*)"', worker.text):
        with client.get(address) as file:
            assert file.status_code == 200, address


def test_files_of_ours_are_packed_and_kept_pages_are_not_packed(world):
    client = world.app.test_client()
    page = client.get("/", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in page.headers
    [address] = re.findall(r'href="(/style.css[^"]*)"', page.text)
    packed, plain = (client.get(address, headers={"Accept-Encoding": how}) for how in ("gzip", "identity"))
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert len(packed.data) < 15_000 < len(plain.data) < 80_000
    assert ".btn-primary" in plain.text
    assert ".carousel" not in plain.text
