"""The member's, the union's and the merchant's way, walked in a real Chromium on a served demonstration."""

import contextlib
import io
import os
import re

import pyotp
import pytest
import xlsxwriter
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect

from tests.browser import chromium, demonstration, sign_in, with_browser
from tests.conftest import SECRET_LOOKING

pytestmark = with_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journey")
    with demonstration(folder, WEB_CONCURRENCY="2") as served:
        yield served
    # The greeting names the demonstration's logins; nothing after it may name a phone.
    _, _, after = (folder / "demo.log").read_text().partition("operators          13600000001, 13600000002")
    assert not SECRET_LOOKING.search(after), "a phone, a token or an address in the log"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def fits(page: Page) -> None:
    """Nothing scrolls sideways; asked once the page that a click led to has been read to its end."""
    page.wait_for_load_state("load")
    for last_try in (False, False, True):
        try:
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
        except PlaywrightError:  # the document was exchanged while it was asked
            if last_try:
                raise
            page.wait_for_load_state("load")
        else:
            return


def shot(page: Page, name: str) -> None:
    """Keep a picture where HUIGONG_SCREENSHOTS names a folder."""
    if folder := os.environ.get("HUIGONG_SCREENSHOTS"):
        os.makedirs(folder, exist_ok=True)
        with contextlib.suppress(PlaywrightError):  # a headless Chromium without a GPU sometimes refuses
            page.screenshot(path=f"{folder}/{name}.png")


def test_a_member_buys_and_a_merchant_ships(browser, address):
    page = sign_in(browser, address, "13800000001")
    expect(page.locator(".voucher strong")).to_have_text("¥200")
    fits(page)
    shot(page, "home")
    page.get_by_role("link", name="¥150", exact=True).click()
    page.locator(".pack").first.click()
    page.get_by_label("数量").fill("3")
    shot(page, "pack")
    page.get_by_role("button", name="放入购物车").click()
    expect(page.locator(".totals")).to_contain_text("−¥80")
    expect(page.locator(".hint")).to_have_text("再买 ¥50，再省 ¥20")
    fits(page)
    shot(page, "cart")
    page.get_by_role("link", name="去下单").click()
    page.get_by_role("button", name=re.compile("提交订单")).click()
    expect(page.get_by_text("请填写收货地址。")).to_be_visible()
    page.get_by_label("省市区").fill("山东省青岛市崂山区")
    page.get_by_label("详细地址").fill("海尔路 1 号")
    shot(page, "checkout")
    page.get_by_role("button", name=re.compile("提交订单")).click()
    expect(page.locator("h1")).to_contain_text("待付款")
    fits(page)
    page.get_by_role("button", name=re.compile("去付款")).click()
    expect(page.locator(".demo-box")).to_contain_text("不会真的扣款")
    shot(page, "cashier")
    page.get_by_role("button", name="付款", exact=True).click()
    expect(page.locator("h1")).to_contain_text("已付款")
    shot(page, "order")
    page.goto(f"{address}/vouchers")
    expect(page.locator(".voucher strong")).to_have_text("¥120")
    shot(page, "vouchers")

    merchant = sign_in(browser, address, "13700000001", (1440, 900))
    shot(merchant, "merchant")
    merchant.locator(".contents a").first.click()
    merchant.get_by_label("运单号").fill("SF1234567890")
    shot(merchant, "parcel")
    merchant.get_by_role("button", name="发货").click()
    expect(merchant.locator("h1")).to_contain_text("已发货")
    merchant.goto(f"{address}/merchant/packs/2")
    merchant.get_by_label("数量").fill("-3")
    merchant.get_by_label("原因").fill("破损")
    merchant.get_by_role("button", name="保存").click()
    expect(merchant.locator("tbody tr").first).to_contain_text("破损")
    shot(merchant, "stock")

    page.goto(f"{address}/orders")
    page.locator(".stretch").first.click()
    expect(page.get_by_text("SF1234567890")).to_be_visible()
    page.get_by_role("button", name="确认收货").click()
    expect(page.locator("h1")).to_contain_text("已完成")


def test_a_member_cancels_and_the_voucher_is_whole_again(browser, address):
    page = sign_in(browser, address, "13800000002")
    page.goto(f"{address}/packs/4")
    page.get_by_role("button", name="放入购物车").click()
    page.get_by_role("link", name="去下单").click()
    page.get_by_label("自提点领取").check()
    page.locator("#station_id").select_option(index=1)
    page.get_by_role("button", name=re.compile("提交订单")).click()
    page.get_by_role("button", name="取消订单").click()
    expect(page.locator("h1")).to_contain_text("已取消")
    page.goto(address)
    expect(page.locator(".voucher strong")).to_have_text("¥200")


def test_a_union_orders_for_its_people(browser, address, tmp_path):
    officer = sign_in(browser, address, "13900000001", (1440, 900))
    shot(officer, "union")
    officer.get_by_role("link", name="新建集采订单").first.click()
    officer.locator("#pack_2").fill("20")
    officer.get_by_role("button", name="试算金额").click()
    expect(officer.locator(".totals")).to_contain_text("−¥600")
    shot(officer, "union-new")
    officer.get_by_role("button", name="生成草稿").first.click()
    roster = io.BytesIO()
    book = xlsxwriter.Workbook(roster, {"in_memory": True})
    sheet = book.add_worksheet()
    for number, row in enumerate([["姓名", "手机号"], ["王芳", "13800000011"], ["李强", "1380000"]]):
        sheet.write_row(number, 0, row)
    book.close()
    upload = {"name": "r.xlsx", "mimeType": "application/octet-stream", "buffer": roster.getvalue()}
    officer.locator("#file").set_input_files(upload)
    officer.get_by_role("button", name="上传", exact=True).click()
    expect(officer.locator("tbody tr").first).to_contain_text("请填写 11 位手机号。")
    officer.locator("#file").set_input_files(upload)
    officer.get_by_label("有错误时只接收正确的行").check()
    officer.get_by_role("button", name="上传", exact=True).click()
    expect(officer.get_by_text("138****0011")).to_be_visible()
    officer.goto(re.sub(r"/roster$", "", officer.url))
    officer.get_by_role("button", name="提交审批").click()
    expect(officer.get_by_text("需要本工会的审批人（另一个人）审批。")).to_be_visible()
    order = officer.url

    approver = sign_in(browser, address, "13900000002")
    approver.goto(order)
    fits(approver)
    approver.get_by_role("button", name="审批通过").click()
    expect(approver.get_by_role("button", name="审批通过")).to_have_count(0)
    officer.goto(order)
    officer.get_by_role("button", name="银行转账付款").click()
    expect(officer.get_by_text("¥2,400").first).to_be_visible()
    shot(officer, "union-order")

    operator = sign_in(browser, address, "13600000001", (1440, 900))
    shot(operator, "operator")
    operator.get_by_role("link", name=re.compile("待确认转账")).click()
    operator.get_by_label("银行到账金额（元）").fill("2400.00")
    operator.get_by_role("button", name="确认到账").click()
    expect(operator.get_by_text("没有待确认的转账")).to_be_visible()
    operator.goto(f"{address}/admin/check")
    operator.get_by_role("button", name="现在核账").click()
    expect(operator.get_by_text("五条守恒规则全部成立")).to_be_visible(timeout=60_000)

    merchant = sign_in(browser, address, "13700000001")
    fits(merchant)
    expect(merchant.locator(".contents").first).to_contain_text("20 份")


def test_an_operator_signs_in_with_a_password_and_a_second_factor(browser, address):
    operator = sign_in(browser, address, "13600000001", (1440, 900))
    operator.goto(f"{address}/admin/people/")
    row = operator.locator("tbody tr", has_text="136****0002")
    row.get_by_role("button", name="发初始密码").click()
    login = operator.locator("#given-login").inner_text()
    first = operator.locator("#given-password").inner_text()
    shot(operator, "people")

    page = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN").new_page()
    page.goto(f"{address}/sign-in")
    page.get_by_role("link", name="工作人员登录").click()
    page.get_by_label("登录名").fill(login)
    page.get_by_label("密码").fill("wrong")
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_text("登录名或密码不正确。")).to_be_visible()
    page.get_by_label("密码").fill(first)
    page.get_by_role("button", name="登录").click()
    page.get_by_label("初始密码").fill(first)
    page.get_by_label("新密码").fill("a long new password")
    page.get_by_role("button", name="保存并继续").click()
    fits(page)
    shot(page, "second-factor")
    totp = pyotp.TOTP(page.locator("#totp-secret").inner_text())
    page.get_by_label("6 位动态码").fill(totp.now())
    page.get_by_role("button", name="完成设置").click()
    expect(page.locator(".codes li")).to_have_count(10)
    fits(page)
    shot(page, "recovery-codes")
    page.get_by_role("link", name="已保存，继续").click()
    expect(page.locator("h1")).to_contain_text("2027")
    page.goto(f"{address}/account/")
    fits(page)
    shot(page, "account")
    page.goto(f"{address}/admin/audit/")
    page.get_by_role("button", name="现在核对链条").click()
    expect(page.get_by_text("链条完整")).to_be_visible(timeout=60_000)
    fits(page)
    shot(page, "audit")
    page.goto(f"{address}/account/")
    page.get_by_role("button", name="在所有设备退出").click()
    expect(page.get_by_role("heading", name="登录")).to_be_visible()


def test_the_api_page_works_under_the_strict_policy(browser, address):
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{address}/api/docs")
    expect(page.get_by_text("/api/v1/quotes").first).to_be_visible()
    assert refused == []
