"""The operator's dashboard, the report of assisted regions, the queues, the jobs and the proofs."""

import csv
import io
from datetime import timedelta

import pytest
from python_calamine import CalamineWorkbook
from sqlalchemy import select, update

from kernel import clock, jobs
from kernel.audit import AuditEntry
from kernel.db import db
from kernel.jobs import Job
from orders.models import Order
from orders.queries import dashboard, queues
from orders.queries.dashboard import Behind, Wanted
from orders.services import proving, summing
from orders.summary_models import CampaignTarget, ProofRun, SalesDay, SummaryBook
from people import queries as people_queries
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, csrf_of
from web.cli import HANDLERS

M1, M4 = "13800000001", "13800000004"
PAGE = "/admin/campaigns/spring/dashboard"


@pytest.fixture
def sold(world):
    """M1 (U1) bought ¥150 of A and 2 × ¥40 of B, M4 (U2) ¥150 of B and gave it back; U1 bought 2 × ¥150 of A."""
    world.pay(M1, world.place(M1, ("A150", 1), ("B40", 2)).json["number"])
    number = world.place(M4, ("B150", 1)).json["number"]
    world.pay(M4, number)
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "不要了"}
    assert world.call(M4, "POST", f"/orders/{number}/refunds", body).status_code == 201
    bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{bulk}/approve")
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/payments", {"provider": "bank_transfer"}).json
    body = {"amount_fen": payment["amount_fen"]}
    world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", body)
    with world.app.app_context():
        assert summing.advance(now=clock.now(), patience=60)
    return world


def look(world, **wanted):
    with world.app.app_context():
        return dashboard.look("spring", Wanted(**wanted), ship_seconds=60, now=clock.now())


def groups(found, part):
    return [
        (one.key, one.orders, one.net_packs, one.sales_fen, one.back_fen, one.net_subsidy_fen)
        for one in found.groups[part]
    ]


def merchant_ids(found):
    return {one.code: str(one.id) for one in found.merchants.values()}


def test_the_dashboard_says_what_was_sold_and_spent(sold):
    found = look(sold)
    named = merchant_ids(found)
    today = clock.local(clock.now()).date().isoformat()
    assert groups(found, "days") == [(today, 3, 5, 68000, 15000, 10000)]
    assert groups(found, "tiers") == [("4000", 1, 2, 8000, 0, 1391), ("15000", 3, 3, 60000, 15000, 8609)]
    assert groups(found, "merchants") == [
        (named["A"], 2, 3, 45000, 0, 8609),
        (named["B"], 2, 2, 23000, 15000, 1391),
    ]
    assert [one[:3] for one in groups(found, "regions")] == [("山东青岛", 2, 3), ("贵州安顺", 2, 2)]
    assert groups(found, "channels") == [("member", 2, 3, 38000, 15000, 4000), ("bulk", 1, 2, 30000, 0, 6000)]
    assert (found.whole.orders, found.whole.net_fen, found.assisted_fen) == (3, 53000, 8000)
    assert found.vouchers == {
        "issued": 6,
        "issued_fen": 120000,
        "held_fen": 0,
        "redeemed_fen": 4000,
        "released_fen": 0,
        "expired_fen": 0,
        "revoked_fen": 0,
        "balance_fen": 116000,
    }
    assert [(one.name, one.issued, one.redeemed_fen, one.net_fen, one.assisted_fen) for one in found.unions] == [
        ("医院工会", 3, 4000, 53000, 8000),
        ("学校工会", 3, 0, 0, 0),
    ]
    with sold.app.app_context():
        report = sold.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert (report["sales_fen"], report["assisted_sales_fen"]) == (53000, 8000)
    assert (report["redeemed_fen"], report["issued_fen"]) == (4000, 120000)


def test_the_budget_ends_on_a_day_at_the_rate_of_the_last_days(sold):
    burn = look(sold).burn
    # Budgets of ¥1,600 for members' vouchers (140000 fen) and ¥4,000 for unions, ¥100 spent on the one day so far.
    assert (burn.budget_fen, burn.spent_fen, burn.rate_days, burn.spent_lately_fen) == (540000, 10000, 1, 10000)
    assert burn.last_day == clock.local(clock.now()).date() + timedelta(days=53)


def test_filters_narrow_sales_and_say_what_was_not_counted(sold):
    by_tier = look(sold, tier_fen=15000)
    assert (by_tier.total.orders, by_tier.total.net_fen, by_tier.whole.net_fen) == (3, 45000, 53000)
    assert [one[1] for one in groups(by_tier, "merchants")] == [None, None]
    assert [one[:2] for one in groups(by_tier, "channels")] == [("member", 2), ("bulk", 1)]
    both = look(sold, tier_fen=15000, region="贵州安顺", channel="member")
    assert (both.total.orders, both.total.sales_fen, both.total.net_fen) == (None, 15000, 0)
    tomorrow = clock.local(clock.now()).date() + timedelta(days=1)
    assert groups(look(sold, since=tomorrow), "days") == []
    assert look(sold, until=tomorrow).total.orders == 3


def test_the_rows_behind_a_figure_are_its_orders(sold):
    with sold.app.app_context():
        now = clock.now()

        def behind(union_id=None, **wanted):
            rows, more = dashboard.rows_behind("spring", Behind(Wanted(**wanted), union_id), before=None, now=now)
            assert more is None
            return [(row.buyer_kind, row.packs, row.amount_fen, row.subsidy_fen, row.back_fen) for row in rows]

        everything = [("union", 2, 30000, 6000, 0), ("member", 1, 15000, 2000, 15000), ("member", 3, 23000, 4000, 0)]
        assert behind() == everything
        assert behind(tier_fen=4000) == [("member", 2, 8000, 1391, 0)]
        assert behind(region="贵州安顺") == [("member", 1, 15000, 2000, 15000), ("member", 2, 8000, 1391, 0)]
        assert behind(channel="bulk") == everything[:1]
        one, other = (union.id for union in people_queries.unions())
        assert behind(one) == [everything[0], everything[2]]
        assert behind(other) == [everything[1]]
        today = clock.local(now).date()
        assert behind(since=today, until=today) == everything
        assert behind(since=today + timedelta(days=1)) == []


def test_the_page_its_pictures_and_its_files(sold):
    client = sold.browser(OPERATOR)
    page = client.get(PAGE).text
    for told in ("¥530</strong>", "目标 15%", "15.0%", "与账本一致", 'href="/admin/campaigns/spring/dashboard/orders?'):
        assert told in page, told
    english = sold.browser(OPERATOR)
    english.get("/language/en")
    assert "Dashboard" in english.get(PAGE).text
    for part in ("days", "tiers", "merchants", "regions", "channels", "unions", "budget", "vouchers"):
        picture = client.get(f"{PAGE}/{part}.svg")
        assert (picture.status_code, picture.mimetype) == (200, "image/svg+xml"), part
        assert b"<script" not in picture.data
        assert f'src="{PAGE}/{part}.svg"' in page
    for part in (
        "days",
        "tiers",
        "merchants",
        "regions",
        "channels",
        "unions",
        "budget",
        "vouchers",
        "stock",
        "overdue",
    ):
        plain = client.get(f"{PAGE}/{part}.csv")
        rows = list(csv.reader(io.StringIO(plain.data.decode("utf-8-sig"))))
        book = client.get(f"{PAGE}/{part}.xlsx")
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(book.data)).get_sheet_by_index(0).to_python()
        assert [str(cell) for cell in sheet[1]] == rows[0], part
        assert len(sheet) == len(rows) + 1
    tiers = client.get(f"{PAGE}/tiers.csv?channel=bulk").data.decode("utf-8-sig").splitlines()
    assert tiers[1:] == ["¥150,1,2,300.00,0.00,300.00,60.00"]
    assert client.get(f"{PAGE}/stock.svg").status_code == 404
    assert client.get(f"{PAGE}/days.exe").status_code == 404
    assert client.get(f"{PAGE}/nothing.csv").status_code == 404
    assert client.get("/admin/campaigns/none/dashboard").status_code == 404
    odd = "?tier=x&merchant=99999999999999999999&since=0001-01-01&channel=%27&region=%00"
    assert client.get(f"{PAGE}?tier=x&merchant=99999999999999999999&since=0001-01-01&channel=%27").status_code == 200
    assert client.get(f"{PAGE}/orders{odd}").status_code == 422
    assert "¥300" in client.get(f"{PAGE}/orders?channel=bulk").text


def test_a_page_that_would_be_old_brings_the_summaries_up_to_date_itself(world):
    client = world.browser(OPERATOR)
    assert "<strong>¥0</strong>" in client.get(PAGE).text
    world.pay(M1, world.place(M1, ("A150", 1)).json["number"])
    assert "¥150</strong>" not in client.get(PAGE).text  # looked at a moment ago: as it was then
    with world.app.app_context():
        db.session.execute(update(SummaryBook).values(as_of=clock.now() - timedelta(minutes=5)))
        db.session.commit()
    assert "¥150</strong>" in client.get(PAGE).text


def test_assisted_regions_against_a_target_that_can_be_set(sold):
    client = sold.browser(OPERATOR)
    path = "/admin/campaigns/spring/assisted"
    page = client.get(path).text
    assert "15.0%" in page
    assert "已达到目标 15%" in page
    form = {"percent": "20", "csrf_token": csrf_of(page)}
    assert client.post(path, data=form).status_code == 303
    page = client.get(path).text
    # ¥80 of ¥530; with x more from there (80 + x) / (530 + x) = 20 %: x = ¥32.50.
    assert "再卖出 ¥32.5" in page
    for wrong in ("0", "101", "", "x", "15.5"):
        refused = client.post(path, data={**form, "percent": wrong})
        assert (refused.status_code, "请填写 1 到 100 的整数。" in refused.text) == (422, True), wrong
    with sold.app.app_context():
        assert list(db.session.scalars(select(CampaignTarget.assisted_percent))) == [20]
        told = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "campaign.target")).all()
        assert [(one.object, one.after) for one in told] == [("campaign:spring", '{"assisted_percent":20}')]
        union_id = dashboard.assisted("spring", now=clock.now()).unions[0].id
    rows = client.get("/admin/campaigns/spring/assisted-unions.csv").data.decode("utf-8-sig").splitlines()
    assert rows[1:] == ["医院工会,530.00,80.00,15.0,否", "学校工会,0.00,0.00,0.0,"]
    own = client.get(f"{path}/{union_id}")
    assert "医院工会" in own.text
    report = client.get(f"{path}/{union_id}/report.csv").data.decode("utf-8-sig").splitlines()
    assert report[1:] == ["贵州乙,贵州安顺,是,2,80.00", "青岛甲,山东青岛,否,3,450.00"]
    assert client.get(f"{path}/{union_id}/report.xlsx").status_code == 200
    assert client.get(f"{path}/999").status_code == 404
    assert client.get(f"{path}/x").status_code == 404


def test_what_sells_out_before_the_campaign_ends_is_at_risk_and_late_parcels_are_counted(sold):
    with sold.app.app_context():
        db.session.execute(update(Order).values(paid_at=clock.now() - timedelta(minutes=2)))
        db.session.commit()
    found = look(sold)
    assert found.risks == []
    # M4's parcel was given back before it left; A's of M1 and of the union, and B's of M1 are late.
    assert sorted(row.parcels for row in found.overdue) == [1, 2]
    with sold.app.app_context():
        db.session.execute(update(SalesDay).where(SalesDay.tier_fen == 15000).values(packs=40))
        db.session.commit()
    # 20 days to go; 47 of A150 at 40 in 7 days last 8 days. B150: 50, one of 40 came back.
    assert [(row["code"], row["available"], row["sold"], row["days_left"]) for row in look(sold).risks] == [
        ("A150", 47, 80, 4),
        ("B150", 50, 39, 8),
    ]


def test_each_queue_says_how_many_and_since_when(sold):
    with sold.app.app_context():
        found = {one.name: (one.count, one.oldest) for one in queues.queues(ship_seconds=10**6, now=clock.now())}
    assert {name: count for name, (count, _) in found.items()} == dict.fromkeys(
        (
            "mismatches",
            "disputes",
            "transfers",
            "lines",
            "send_back",
            "refunds",
            "statements",
            "packs",
            "parcels",
            "messages",
            "questions",
            "late_answers",
            "words",
            "jobs",
        ),
        0,
    )
    made = {"name": "新", "price_fen": 15000, "contents": [{"name": "米", "quantity": 1, "unit": "袋"}]}
    assert sold.call(MERCHANT_A, "POST", "/merchant/packs", made).status_code == 201
    number = sold.call(M1, "GET", "/orders").json["items"][0]["number"]
    for merchant, parcel in ((MERCHANT_A, 1), (MERCHANT_B, 2)):
        body = {"carrier": "顺丰", "tracking_no": "SF1"}
        assert sold.call(merchant, "POST", f"/merchant/parcels/{number}-{parcel}/ship", body).status_code == 200
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "坏"}
    refund = sold.call(M1, "POST", f"/orders/{number}/refunds", body).json
    assert refund["status"] == "requested"
    with sold.app.app_context():
        jobs.enqueue(kind="nonsense", arguments={}, total=0, asked_by=None, now=clock.now())
        db.session.commit()
        assert jobs.run_next(HANDLERS, clock=clock.now)
        later = clock.now() + timedelta(days=10)
        found = {one.name: (one.count, one.oldest) for one in queues.queues(ship_seconds=60, now=later)}
        counts = {name: count for name, (count, _) in found.items() if count}
        assert counts == {"packs": 1, "refunds": 1, "jobs": 1, "parcels": 1}
        assert all(oldest is not None and oldest < later for count, oldest in found.values() if count)
    page = sold.browser(OPERATOR).get("/admin/queues").text
    for told in ("待审核的礼包 · 1", "失败的任务 · 1", 'href="/admin/packs/"', 'href="/admin/jobs?status=failed"'):
        assert told in page, told


def test_a_failed_job_is_retried_once_and_the_audit_says_by_whom(world):
    client = world.browser(OPERATOR)
    with world.app.app_context():
        job_id = jobs.enqueue(kind="proof", arguments={"kind": "none"}, total=1, asked_by=None, now=clock.now())
        db.session.commit()
        assert jobs.run_next(HANDLERS, clock=clock.now)
    page = client.get("/admin/jobs?status=failed").text
    assert "KeyError" in page
    form = {"csrf_token": csrf_of(page)}
    assert client.post(f"/admin/jobs/{job_id}/retry", data=form).status_code == 303
    assert client.post(f"/admin/jobs/{job_id}/retry", data=form).status_code == 409
    assert client.post("/admin/jobs/999/retry", data=form).status_code == 404
    assert client.post("/admin/jobs/x/retry", data=form).status_code == 404
    with world.app.app_context():
        job = db.session.get(Job, job_id)
        assert (job.status, job.error) == ("queued", None)
        told = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "job.retry")).all()
        assert [(one.object, one.actor_id is not None) for one in told] == [(f"job:{job_id}", True)]


@pytest.mark.parametrize(
    ("kind", "path", "well"),
    [
        ("check", "/admin/check", "五条守恒规则全部成立"),
        ("reconcile", "/admin/reconcile", "与付款平台、银行和账本一致"),
        ("verify", "/admin/audit/", "链条完整"),
    ],
)
def test_a_proof_is_run_by_a_job_and_its_last_result_kept(sold, kind, path, well):
    client = sold.browser(OPERATOR)
    page = client.get(path).text
    assert "还没有核对过" in page
    form = {"csrf_token": csrf_of(page)}
    for _ in range(2):  # pressed twice, it runs once
        assert client.post(f"/admin/proofs/{kind}", data=form).headers["Location"] == path
    waiting = client.get(path).text
    assert "正在核对" in waiting
    assert well not in waiting
    with sold.app.app_context():
        assert jobs.run_next(HANDLERS, clock=clock.now)
        assert not jobs.run_next(HANDLERS, clock=clock.now)
    page = client.get(path).text
    assert well in page
    assert "运营" in page
    assert client.post("/admin/proofs/nothing", data=form).status_code == 404
    with sold.app.app_context():
        run = db.session.scalars(select(ProofRun)).one()
        assert (run.kind, run.count, run.found, run.asked_by is not None) == (kind, 0, [], True)
        assert run.ended_at >= run.begun_at


def test_a_breach_is_shown_with_its_ids(sold):
    with sold.app.app_context():
        db.session.execute(update(SalesDay).values(sales_fen=SalesDay.sales_fen + 1))
        db.session.commit()
        proving.keep("check", asked_by=None, now=clock.now())
    page = sold.browser(OPERATOR).get("/admin/check").text
    assert "summaries: campaign 1, merchant 1" in page
    assert "命令行或定时任务" in page
    assert "五条守恒规则全部成立" not in page
