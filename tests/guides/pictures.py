"""Take the guides' pictures: `make pictures`. Each walk is the guide of its audience, done in Chromium."""

import io
import re
import sys

import xlsxwriter
from playwright.sync_api import Page, expect

from tests.guides.camera import DESK, LANGUAGES, PHONE, PICTURES, Camera, camera

MEMBER, OFFICER, APPROVER = "13800000001", "13900000001", "13900000002"
MERCHANT, OPERATOR, STATION = "13700000001", "13600000001", "13500000001"


def sheet(*rows: list[str]) -> dict[str, object]:
    """Return a spreadsheet as a file field takes it."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        page = book.add_worksheet()
        for number, row in enumerate(rows):
            page.write_row(number, 0, row)
    return {"name": "list.xlsx", "mimeType": "application/octet-stream", "buffer": file.getvalue()}


def member(take: Camera) -> None:
    """A member signs in, fills a cart, pays, collects one parcel and asks for money back."""
    page = take.sign_in(MEMBER, PHONE, keep="member-code")
    take.keep(page, "member-home")
    page.get_by_role("link", name="¥150", exact=True).click()
    page.locator(".pack").first.click()
    take.fill(page, "数量", "3")
    take.keep(page, "member-pack")
    take.press(page, "放入购物车")
    take.keep(page, "member-cart")
    take.press(page, "去下单")
    take.fill(page, "省市区", "山东省青岛市崂山区")
    take.fill(page, "详细地址", "海尔路 1 号")
    take.keep(page, "member-checkout")
    take.press(page, "提交订单 %(amount)s")
    take.keep(page, "member-order")
    take.press(page, "去付款 %(amount)s")
    page.locator("[value=pay]").click()
    page.wait_for_load_state("load")
    order = page.url
    take.go(page, "/vouchers")
    take.keep(page, "member-vouchers")
    # A second order, to collect.
    take.go(page, "/?tier_fen=10000")
    page.locator(".pack").first.click()
    take.press(page, "放入购物车")
    take.press(page, "去下单")
    page.get_by_label(take.words("自提点领取")).check()
    stations = page.locator("#station_id")
    place = stations.locator("option").filter(has_text=re.compile("区职工服务中心|District Service Centre"))
    stations.select_option(place.get_attribute("value"))
    take.keep(page, "member-station", at="legend")
    take.press(page, "提交订单 %(amount)s")
    take.press(page, "去付款 %(amount)s")
    page.locator("[value=pay]").click()
    page.wait_for_load_state("load")
    take.keep(page, "member-pickup", at=".card-box:has(.pickup-code)")
    page.goto(order)
    take.press(page, "申请退款")
    page.locator(".count-field").first.fill("1")
    take.press(page, "看看能退多少")
    take.keep(page, "member-refund", at="aside")


def merchant(take: Camera) -> None:
    """A merchant's clerk sends a parcel, adjusts stock and joins their own system."""
    page = take.sign_in(MERCHANT, PHONE)
    take.keep(page, "merchant-home")
    page.locator(".contents a").first.click()
    take.fill(page, "运单号", "SF1234567890")
    take.keep(page, "merchant-parcel", at="select[name=carrier]")
    take.press(page, "确认发货")
    take.go(page, "/merchant/")
    page.locator("table a").first.click()
    page.locator("#number").fill("20")
    take.fill(page, "原因", "到货")
    take.keep(page, "merchant-stock", at="form:has(#number)")
    take.press(page, "保存")
    parcel_to_station(take, page)
    take.go(page, "/merchant/shipments")
    take.keep(page, "merchant-sheet")
    take.go(page, "/merchant/pickup")
    take.keep(page, "merchant-pickup")
    take.go(page, "/merchant/hooks/")
    page.locator("#url").fill("https://erp.example.com/huigong")
    take.press(page, "添加")
    page.locator("code").evaluate("part => part.textContent = '••••••••••••••••••••••••'")
    take.keep(page, "merchant-hooks")


def parcel_to_station(take: Camera, page: Page) -> None:
    """The merchant sends what a member collects; the station hands it over."""
    take.go(page, "/merchant/")
    page.locator(".contents a").first.click()
    take.fill(page, "运单号", "-")
    take.press(page, "确认发货")
    buyer = take.sign_in(MEMBER, PHONE)
    take.go(buyer, "/orders")
    buyer.locator("main .lines a").first.click()
    code = buyer.locator(".pickup-code").inner_text()
    desk = take.sign_in(STATION, PHONE)
    take.keep(desk, "station-home")
    take.fill(desk, "取货码", code)
    take.press(desk, "查看")
    take.keep(desk, "station-handover")
    buyer.context.close()
    desk.context.close()


def union(take: Camera) -> None:
    """An officer drafts an order, mends a roster and submits; the approver approves; the officer pays by transfer."""
    officer = take.sign_in(OFFICER, DESK)
    take.keep(officer, "union-home")
    take.press(officer, "新建集采订单")
    take.go(officer, "/union/orders/new?tier_fen=15000")
    officer.locator("main input[type=number]").first.fill("3")
    take.keep(officer, "union-new")
    officer.locator("main form button[type=submit]").last.click()
    order = officer.url
    rows = [
        ["王芳", "13800000011", "1", "门诊"],
        ["李强", "1.38E+10", "2", "门诊"],
        ["赵敏", "13800000011", "3", "后勤"],
    ]
    head = ["姓名", "手机号", "工号", "部门"]
    officer.locator("#file").set_input_files(sheet(head, *rows))
    take.press(officer, "上传")
    take.keep(officer, "union-faults", at="#roster")
    rows[1][1], rows[2][1] = "13800000012", "13800000013"
    officer.locator("#file").set_input_files(sheet(head, *rows))
    take.press(officer, "上传")
    take.press(officer, "提交审批")
    approver = take.sign_in(APPROVER, DESK)
    approver.goto(order)
    take.keep(approver, "union-approve")
    take.press(approver, "审批通过")
    officer.goto(order)
    take.press(officer, "银行转账付款")
    take.keep(officer, "union-pay")
    choice(take, officer)
    confirm(take)
    officer.goto(order)
    take.keep(officer, "union-papers", at="#papers")


def choice(take: Camera, officer: Page) -> None:
    """Each person chooses for themselves."""
    take.go(officer, "/union/orders/new-choice?tier_fen=10000")
    for place in range(3):
        officer.locator("[name=pack_ids]").nth(place).check()
    officer.locator("[name=default_pack_id]").nth(0).check()
    take.keep(officer, "union-choice")
    take.press(officer, "生成草稿")
    people = [["王芳", "13800000011", "1", "门诊"], ["李强", "13800000012", "2", "门诊"]]
    officer.locator("#file").set_input_files(sheet(["姓名", "手机号", "工号", "部门"], *people))
    take.press(officer, "上传")
    take.press(officer, "链接和二维码")
    take.keep(officer, "union-links")
    phone = take.page(PHONE)
    phone.goto(officer.locator(".qr-cards a").first.get_attribute("href") or "")
    phone.locator("[name=pack_id]").nth(1).check()
    take.keep(phone, "union-choose")
    phone.context.close()


def confirm(take: Camera) -> None:
    """An operator sees the transfer that an officer asked for, and confirms it."""
    page = take.sign_in(OPERATOR, DESK)
    take.go(page, "/admin/transfers")
    page.locator("[name=amount]").first.fill("370")
    take.keep(page, "operator-transfer")
    take.press(page, "确认到账")
    expect(page.get_by_text(take.words("没有待确认的转账"))).to_be_visible()
    page.context.close()


def operator(take: Camera) -> None:
    """An operator imports members, makes a campaign, issues, looks on, and proves the books."""
    take.demo.work()
    page = take.sign_in(OPERATOR, DESK)
    take.go(page, "/admin/")
    take.keep(page, "operator-home")
    take.go(page, "/admin/imports/new/members")
    rows = [["LS000901", "冯晓东", "13800000901", "U01", "内科", "2026-12-01"]]
    page.locator("#file").set_input_files(sheet(["会员编号", "姓名", "手机号", "工会编号", "部门", "入会日期"], *rows))
    take.press(page, "上传并查看会改什么")
    take.demo.work()
    page.reload()
    take.keep(page, "operator-import")
    take.go(page, "/admin/campaigns/new")
    take.keep(page, "operator-campaign")
    take.go(page, "/admin/campaigns/spring/issue")
    take.press(page, "先看人数和金额")
    take.keep(page, "operator-issue")
    take.go(page, "/admin/campaigns/spring/launch")
    take.keep(page, "operator-launch")
    take.go(page, "/admin/campaigns/spring/dashboard")
    take.keep(page, "operator-dashboard")
    take.go(page, "/admin/queues")
    take.keep(page, "operator-queues")
    take.go(page, "/admin/check")
    take.press(page, "现在核账")
    take.demo.work()
    take.go(page, "/admin/check")
    take.keep(page, "operator-check")


def statements(take: Camera) -> None:
    """The month has ended: the merchant confirms, the operator pays."""
    take.demo.work(days=30)
    page = take.sign_in(MERCHANT, PHONE)
    take.go(page, "/merchant/statements/")
    page.locator("main tbody a").first.click()
    take.keep(page, "merchant-statement")
    take.press(page, "确认无误，请工会付款")
    desk = take.sign_in(OPERATOR, DESK)
    take.go(desk, "/admin/statements/?status=confirmed")
    desk.locator("main tbody a").first.click()
    take.keep(desk, "operator-statement")


WALKS = (member, merchant, union, operator, statements)


def main() -> None:
    """Walk every walk in both languages, keep what changed, and forget pictures of steps that are gone."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    kept = set()
    for language in LANGUAGES:
        with camera(language) as take:
            for walk in WALKS:
                sys.stdout.write(f"{language} {walk.__name__}\n")
                walk(take)
            kept |= set(take.kept)
    for file in PICTURES.glob("*.webp"):
        if file.name not in kept:
            file.unlink()


if __name__ == "__main__":
    main()
