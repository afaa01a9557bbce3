"""A campaign from last year's copy to its first order, clicked through by two operators and a member."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from kernel import clock, jobs
from people import queries as people_queries
from people.services import staff
from tests.browser import DESK, PHONE, chromium, context_of, cookie_of, one_engine, served, with_browser
from tests.factories import OPERATOR
from web.cli import HANDLERS

pytestmark = [with_browser, one_engine]
M1, SECOND = "13800000001", "13600000002"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def window_of(world, browser, address, login, size):
    return context_of(browser, address, cookie_of(world, world.browser(login)), size).new_page()


def test_from_last_years_copy_to_the_first_order(world, browser):
    with world.app.app_context():
        first = people_queries.by_phone(OPERATOR).person_id
        staff.grant_seat(
            name="运营二", phone=SECOND, role="operator", organization_id=None, actor_id=first, now=clock.now()
        )
    today = clock.local(clock.now()).date()
    with served(world) as address:
        page = window_of(world, browser, address, OPERATOR, DESK)
        page.goto(f"{address}/admin/")
        page.get_by_role("link", name="建立活动").first.click()
        page.get_by_role("link", name="照“春节”").click()
        expect(page.locator(".hint").first).to_contain_text("已照抄")
        page.get_by_label("活动代号").fill("summer")
        page.get_by_label("活动名称").fill("夏送清凉")
        page.get_by_label("从哪天开始").fill(today.isoformat())
        page.get_by_label("到哪天为止（含当天）").fill((today + timedelta(days=10)).isoformat())
        page.get_by_label("会员福利券").fill("六百")
        page.get_by_role("button", name="保存").click()
        expect(page.get_by_label("会员福利券")).to_have_value("六百")
        expect(page.locator(".invalid-feedback").first).to_be_visible()
        page.get_by_label("会员福利券").fill("600")  # for three of six members
        page.get_by_role("button", name="保存").click()
        expect(page.locator("h1")).to_contain_text("夏送清凉")

        page.get_by_role("link", name="下一步：会员看到的样子").click()
        expect(page.get_by_text("礼包A150").first).to_be_visible()
        page.get_by_role("link", name="下一步：预测").click()
        page.get_by_label("多少会员会买").fill("80")
        page.get_by_role("button", name="重新预测").click()
        expect(page.locator("img[src*='forecast.svg'], main svg").first).to_be_visible()
        page.get_by_role("link", name="下一步：最坏情况与启动").click()
        expect(page.locator("main")).to_contain_text("¥1,200")  # six times ¥200 are promised

        buyer = window_of(world, browser, address, M1, PHONE)
        buyer.goto(address)
        expect(buyer.locator("main")).not_to_contain_text("夏送清凉")
        page.get_by_role("button", name="提请启动").click()
        expect(page.get_by_role("button", name="批准启动")).to_have_count(0)
        other = window_of(world, browser, address, SECOND, DESK)
        other.goto(f"{address}/admin/campaigns/summer/launch")
        other.get_by_role("button", name="批准启动").click()
        expect(other.locator("main")).to_contain_text("活动已启动")

        page.reload()
        page.get_by_role("link", name="发放福利券").click()
        page.get_by_label("会员编号（用空格或换行分开）").check()
        page.locator("#member_nos").fill("M1 M2")
        page.get_by_role("button", name="先看人数和金额").click()
        expect(page.locator("[role=status]").last).to_contain_text("将发给 2 人，共 ¥400")
        page.get_by_role("button", name="确认发放").click()
        with world.app.app_context():
            while jobs.run_next(HANDLERS, clock=clock.now):
                pass

        buyer.goto(f"{address}/?campaign=summer")
        buyer.get_by_role("link", name=re.compile("礼包A150")).first.click()
        buyer.get_by_role("button", name="放入购物车").click()
        buyer.get_by_role("link", name="去下单").click()
        buyer.get_by_label("省市区").fill("山东省青岛市崂山区")
        buyer.get_by_label("详细地址").fill("海尔路 1 号")
        buyer.get_by_role("button", name=re.compile("提交订单 ¥130")).click()
        expect(buyer.locator("main")).to_contain_text("待付款")
    assert world.breaches() == []
