"""On the smallest phone (360 × 640) nothing scrolls sideways, a thumb hits its target, the voucher is in sight."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser import SMALL, chromium, context_of, cookie_of, one_engine, served, with_browser
from tests.factories import MERCHANT_A, OFFICER, OPERATOR
from tests.house.test_pages import fill

pytestmark = [with_browser, one_engine]
M1 = "13800000001"
MAIN = {
    None: ("/", "/packs/<pack_id>", "/sign-in", "/sign-in/staff", "/stations/", "/announcements", "/help", "/nowhere"),
    M1: (
        *("/", "/packs/<pack_id>", "/cart", "/checkout", "/orders", "/orders/<number>", "/orders/<number>/refund"),
        *("/vouchers", "/account/", "/my-gifts/", "/search?q=A150", "/questions"),
    ),
    OFFICER: ("/union/", "/union/orders/new", "/union/orders/<bulk>"),
    MERCHANT_A: ("/merchant/", "/merchant/parcels", "/merchant/parcels/<parcel>", "/merchant/pickup"),
    OPERATOR: ("/admin/", "/admin/refunds", "/admin/transfers", "/admin/campaigns/<slug>/dashboard"),
}
# A link inside a sentence is as tall as its line (WCAG 2.5.8 allows it); everything else is a target of its own.
SHORT = """() => {
  const targets = 'a, button, input, select, textarea, summary, label:has(input)';
  const free = 'svg *, .visually-hidden, .skip, .scroll table *, [type=radio], [type=checkbox], [type=hidden]';
  return [...document.querySelectorAll(targets)].filter(one => {
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    if (box.width < 2 || !box.height || style.visibility == 'hidden' || one.matches(free)) return false;
    const alone = style.display != 'inline' || one.matches('nav a, button');
    return alone && box.height < 43.5;
  }).map(one => [one.tagName, one.className, one.textContent.trim().slice(0, 20), one.offsetHeight].join(' '));
}"""
WIDE = """() => [document.documentElement.scrollWidth, [...document.querySelectorAll('body *')].filter(
  one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, .tiers, .top-nav')
).slice(0, 3).map(one => one.tagName + '.' + one.className)]"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.mark.parametrize("login", list(MAIN))
def test_pages_fit_the_smallest_phone(world, browser, login):
    named = fill(world, 1)
    client = world.browser(login) if login else world.app.test_client()
    cart = {world.packs["A150"]: 1}
    faults = {}
    with served(world) as address:
        for language, text in (("zh_CN", "normal"), ("en", "large")):
            cookie = cookie_of(world, client, language=language, text=text, cart=cart)
            context = context_of(browser, address, cookie, SMALL, has_touch=True, is_mobile=True)
            page = context.new_page()
            for path in MAIN[login]:
                page.goto(address + re.sub(r"<(\w+)>", lambda found: named[found[1]], path))
                width, over = page.evaluate(WIDE)
                if width > SMALL[0]:
                    faults[path, language, "too wide"] = (width, over)
                if short := page.evaluate(SHORT):
                    faults[path, language, "too short"] = short
            context.close()
    assert not faults, "\n".join(f"{where}: {found}" for where, found in faults.items())


def test_the_voucher_stays_in_sight_and_says_what_the_next_step_saves(world, browser):
    with served(world) as address:
        context = context_of(browser, address, cookie_of(world, world.browser(M1)), SMALL)
        page = context.new_page()
        page.goto(address)
        expect(page.locator(".purse")).to_contain_text("¥200")
        expect(page.locator(".purse")).to_contain_text("再买 ¥100，再省 ¥20")
        page.goto(f"{address}/packs/{world.packs['A150']}")
        page.get_by_role("button", name="放入购物车").click()
        expect(page.locator(".purse")).to_contain_text("再买 ¥50，再省 ¥20")
        page.goto(address)
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        assert page.locator(".purse").evaluate("one => one.getBoundingClientRect().top") == 0
        context.close()


def test_a_cart_survives_leaving(world, browser):
    with served(world) as address:
        context = context_of(browser, address, cookie_of(world, world.browser(M1)), SMALL)
        page = context.new_page()
        page.goto(f"{address}/packs/{world.packs['A150']}")
        page.get_by_label("数量").fill("2")
        page.get_by_role("button", name="放入购物车").click()
        [kept] = context.cookies()
        assert kept["expires"] > 0, "a cookie that ends with the browser"
        context.close()
        again = context_of(browser, address, kept["value"], SMALL)
        page = again.new_page()
        page.goto(f"{address}/cart")
        expect(page.get_by_label("数量")).to_have_value("2")
        again.close()


def test_tapping_twice_orders_once_and_back_and_reload_are_safe(world, browser):
    with served(world) as address:
        cookie = cookie_of(world, world.browser(M1), cart={world.packs["A150"]: 1})
        context = context_of(browser, address, cookie, SMALL)
        page = context.new_page()
        page.goto(f"{address}/checkout")
        page.get_by_label("省市区").fill("山东省青岛市崂山区")
        page.get_by_label("详细地址").fill("海尔路 1 号")
        page.evaluate("""() => {
          const form = document.querySelector('main form'), again = new FormData(form);
          window.first = fetch(form.action, {method: 'POST', body: new URLSearchParams(again)});
          window.second = fetch(form.action, {method: 'POST', body: new URLSearchParams(again)});
        }""")
        page.get_by_role("button", name=re.compile("提交订单")).click()
        expect(page.locator("h1")).to_contain_text("待付款")
        page.reload()
        page.go_back()
        page.wait_for_load_state("load")
        context.close()
    assert len(world.call(M1, "GET", "/orders").json["items"]) == 1
    assert world.voucher(M1)["balance_fen"] == 18000
    assert world.stock("A150")[1] == 1


def test_forms_bring_the_right_keyboard_and_remember(world):
    client = world.browser(M1)
    with client.session_transaction() as session:
        session["cart"] = {world.packs["A150"]: 1}
    page = client.get("/checkout").text
    for name, kind, filled in (
        ("name", None, "name"),
        ("phone", "numeric", "tel-national"),
        ("region", None, "address-level2"),
        ("address", None, "street-address"),
    ):
        [field] = re.findall(rf'<input[^>]* name="{name}"[^>]*>', page)
        assert f'autocomplete="{filled}"' in field
        assert kind is None or f'inputmode="{kind}"' in field
    stranger = world.app.test_client()
    assert re.search(
        r'<input[^>]*name="phone"[^>]*inputmode="numeric"|inputmode="numeric"[^>]*name="phone"',
        stranger.get("/sign-in").text,
    )
    assert 'autocomplete="current-password"' in stranger.get("/sign-in/staff").text
