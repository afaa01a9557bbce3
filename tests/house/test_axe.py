"""axe-core finds nothing on any page, in any seat, in both languages, in light, dark and large text.

Each page is looked at in one of the six ways in turn, the main pages in all six. `make axe` looks at every page in all.
"""

import os
import re
from importlib.resources import files
from itertools import product

import pytest

from tests.browser import PHONE, chromium, context_of, cookie_of, one_engine, served, with_browser
from tests.factories import APPROVER, OFFICER
from tests.house.test_pages import M1, PAGES, fill

pytestmark = [with_browser, one_engine]
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
EVERY = os.environ.get("HUIGONG_AXE") == "all"
LOOKS = {"light": {"theme": "light"}, "dark": {"theme": "dark"}, "large": {"theme": "light", "text": "large"}}
WAYS = list(product(("zh_CN", "en"), LOOKS))
FILES = re.compile(r"\.(xlsx|pdf|csv|svg|png|json)$|<kind>$")
MAIN = {"/", "/packs/<pack_id>", "/cart", "/checkout", "/orders/<number>", "/vouchers", "/sign-in"}
MAIN |= {"/union/", "/union/orders/<number>", "/merchant/", "/admin/"}
# What the list of pages does not have: errors, pages with nothing on them, somebody else who looks.
MORE = {
    None: ("/nowhere", "/help/saving", "/styleguide", "/offline"),
    M1: ("/admin/",),
    "13800000002": ("/cart", "/orders", "/vouchers", "/my-gifts/", "/questions", "/search?q=zzz"),
    OFFICER: (),
    APPROVER: ("/union/orders/<number>",),
}
SEATS = {login: (*PAGES.get(login, ()), *MORE.get(login, ())) for login in [*PAGES, "13800000002", APPROVER]}
RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ['violations']});
  return found.violations.map(one => one.id + ': ' + one.nodes.slice(0, 3).map(
    node => node.target.join(' ') + ' ' + (node.any[0]?.message || node.all[0]?.message || node.none[0]?.message || '')
  ).join(' | '));
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.mark.parametrize("login", list(SEATS))
def test_axe_finds_nothing(world, browser, login):
    named = fill(world, 1)
    if login in (OFFICER, APPROVER):
        named["number"] = named["bulk"]
    client = world.browser(login) if login else world.app.test_client()
    cart = {} if login == "13800000002" else {world.packs["A150"]: 1, world.packs["B40"]: 1}
    pages = [path for path in SEATS[login] if not FILES.search(path)]
    faults = {}
    with served(world) as address:
        for number, way in enumerate(WAYS):
            language, look = way
            chosen = [p for at, p in enumerate(pages) if EVERY or p in MAIN or at % len(WAYS) == number]
            session = {"language": language, "cart": cart, "text": "normal", **LOOKS[look]}
            context = context_of(browser, address, cookie_of(world, client, **session), PHONE)
            page = context.new_page()
            for path in chosen:
                answer = page.goto(address + re.sub(r"<(\w+)>", lambda found: named[found[1]], path))
                assert answer.status in (200, 403, 404), (path, answer.status)
                page.evaluate(AXE)
                if found := page.evaluate(RUN):
                    faults[path, language, look] = found
            context.close()
    assert not faults, "\n".join(f"{where}: {found}" for where, found in faults.items())
