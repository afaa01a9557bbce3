"""A union's whole way in Chromium: a roster with faults, self-choice on phones, two people, two batches, papers."""

import io
import re
import zipfile

import xlsxwriter
from playwright.sync_api import expect
from python_calamine import CalamineWorkbook

from tests.browser import sign_in
from tests.journeys.test_browser import address, browser, fits, pytestmark, shot

__all__ = ["address", "browser", "pytestmark"]

DESK = (1440, 900)


def roster(*rows):
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([["医院工会慰问名单"], ["姓名", "手机号", "工号", "部门"], *rows, ["合计：3 人"]]):
            sheet.write_row(number, 0, row)
    return {"name": "名单.xlsx", "mimeType": "application/octet-stream", "buffer": file.getvalue()}


def cells(content):
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def test_from_a_faulty_roster_to_the_signed_sheet(browser, address):
    officer = sign_in(browser, address, "13900000001", DESK)
    officer.goto(f"{address}/union/orders/new-choice?tier_fen=15000")
    packs = officer.locator("[name=pack_ids]")
    merchants = officer.locator(".counts .quiet").all_inner_texts()
    other = next(place for place, text in enumerate(merchants) if text.split(" · ")[0] != merchants[0].split(" · ")[0])
    packs.nth(0).check()
    packs.nth(other).check()
    officer.locator("[name=default_pack_id]").nth(0).check()
    officer.get_by_role("button", name="生成草稿").click()
    order = officer.url
    number = order.rpartition("/")[2]

    # A roster with faults: named by row, marked in a copy, nothing kept; then corrected.
    rows = [["王芳", 13800000011, "1", "门诊"], ["李强", "1.38E+10", "2", "门诊"], ["赵敏", 13800000011, "3", "后勤"]]
    officer.locator("#file").set_input_files(roster(*rows))
    officer.get_by_role("button", name="上传", exact=True).click()
    faults = officer.locator("#roster tbody tr")
    expect(faults.nth(0)).to_contain_text("科学计数")
    expect(faults.nth(1)).to_contain_text("与第 3 行（王芳）重复")
    with officer.expect_download() as marked:
        officer.get_by_role("link", name="下载标出错误的表格").click()
    with open(marked.value.path(), "rb") as file:
        assert cells(file.read())[4][4] == "手机号: 手机号与第 3 行（王芳）重复。"
    rows[1][1], rows[2][1] = 13800000012, 13800000013
    officer.locator("#file").set_input_files(roster(*rows))
    officer.get_by_role("button", name="上传", exact=True).click()
    expect(officer.get_by_text("接收 3 行，未接收 0 行。")).to_be_visible()
    officer.goto(f"{order}/links")
    shot(officer, "union-links")
    links = [link.get_attribute("href") for link in officer.locator(".qr-cards a").all()]
    board = officer.locator(".board .break").inner_text()

    # Three people on their phones: by link, by the notice board, and one who changes their mind.
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN").new_page()
    phone.goto(links[0])
    fits(phone)
    shot(phone, "union-choose")
    phone.locator("[name=pack_id]").nth(1).check()
    phone.get_by_role("button", name="就选这份").click()
    expect(phone.get_by_text("选好了。截止前还可以改。")).to_be_visible()
    phone.goto(board)
    phone.get_by_label("手机号").fill("138 0000 0012")
    phone.get_by_label("工号").fill("2")
    phone.get_by_role("button", name="打开我的页面").click()
    expect(phone.get_by_text("李强，您好。")).to_be_visible()
    phone.locator("[name=pack_id]").nth(0).check()
    phone.get_by_role("button", name="就选这份").click()
    phone.goto(links[2])
    for place, button in ((1, "就选这份"), (0, "改成这份")):
        phone.locator("[name=pack_id]").nth(place).check()
        phone.get_by_role("button", name=button).click()
        expect(phone.locator("[name=pack_id]").nth(place)).to_be_checked()

    officer.goto(order)
    expect(officer.get_by_text("3 / 3 人已选")).to_be_visible()
    officer.get_by_role("button", name="结束自选，提交审批").click()
    approver = sign_in(browser, address, "13900000002")
    approver.goto(order)
    fits(approver)
    approver.get_by_role("button", name="审批通过").click()
    expect(approver.get_by_role("button", name="审批通过")).to_have_count(0)
    officer.goto(order)
    officer.get_by_role("button", name="银行转账付款").click()
    expect(officer.get_by_text("¥370").first).to_be_visible()  # 3 × ¥150, ¥80 off

    operator = sign_in(browser, address, "13600000001", DESK)
    operator.goto(f"{address}/admin/transfers")
    operator.get_by_label("银行到账金额（元）").fill("370")
    operator.get_by_role("button", name="确认到账").click()
    expect(operator.get_by_text("没有待确认的转账")).to_be_visible()

    # Two merchants, two batches; of the second, one pack comes broken.
    officer.goto(order)
    suppliers = officer.locator("section:has(.status-to_ship)")
    expect(suppliers).to_have_count(2)
    for login in [f"137{place:08d}" for place in range(1, 13)]:
        merchant = sign_in(browser, address, login, DESK)
        merchant.goto(f"{address}/merchant/parcels")
        own = merchant.locator(f"a[href*='/merchant/parcels/{number}-']")
        if own.count():
            own.first.click()
            merchant.get_by_label("运单号").fill(f"SF{login}")
            merchant.get_by_role("button", name="确认发货").click()
            expect(merchant.locator("h1")).to_contain_text("已发货")
        merchant.context.close()
        officer.goto(order)
        if officer.locator("section:has(.status-to_ship)").count() == 0:
            break
    officer.get_by_role("button", name="全部收到，确认收货").first.click()
    officer.locator("summary", has_text="有缺少或破损").last.click()
    officer.get_by_label("破损（份）").last.fill("1")
    officer.get_by_role("button", name="收货并告诉商户").last.click()
    expect(officer.get_by_text("缺 0 份，破损 1 份，已告诉商户。")).to_be_visible()
    expect(officer.locator("h1")).to_contain_text("已完成")

    # One confirms by link, one signs on paper; the sheet, read back, shows both.
    phone.goto(links[0])
    phone.get_by_role("button", name="我已收到").click()
    expect(phone.get_by_text("已确认收到，谢谢。")).to_be_visible()
    officer.goto(order)
    officer.get_by_label("李强 已签收").check()
    officer.get_by_role("button", name="登记所选的人已签收").click()
    expect(officer.get_by_text("已登记 1 人签收。")).to_be_visible()
    with officer.expect_download() as sheet:
        officer.locator("#papers").get_by_role("link", name="Excel 表格").first.click()
    with open(sheet.value.path(), "rb") as file:
        read = [[row[1], row[2], row[3], row[4], row[7]] for row in cells(file.read())[3:6]]
    assert read == [
        ["门诊", "王芳", "1", "138****0011", "已在线确认"],
        ["门诊", "李强", "2", "138****0012", "已签收"],
        ["后勤", "赵敏", "3", "138****0013", ""],
    ]
    officer.get_by_label("发票抬头").fill("某某医院工会委员会")
    officer.get_by_label("统一社会信用代码（18 位）").fill("91350100M000100Y43")
    officer.get_by_role("button", name="向商户申请").click()
    expect(officer.locator("#invoices tbody tr")).to_have_count(2)
    shot(officer, "union-order-paid")
    with officer.expect_download() as dossier:
        officer.get_by_role("link", name="下载 ZIP").click()
    with zipfile.ZipFile(dossier.value.path()) as archive:
        assert archive.namelist()[0] == "0-contents.pdf"
    operator.goto(f"{address}/admin/check")
    operator.get_by_role("button", name="现在核账").click()
    expect(operator.get_by_text("五条守恒规则全部成立")).to_be_visible(timeout=60_000)
    assert re.fullmatch(r"\d+", number)
