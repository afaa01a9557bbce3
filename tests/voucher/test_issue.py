"""Issuing to many: in chunks that go on where the last one ended, to each member once."""

from sqlalchemy import text

from kernel import clock, jobs
from kernel.db import db
from tests.factories import OPERATOR
from voucher import services
from web.cli import HANDLERS


def test_a_job_that_died_goes_on_and_issues_to_each_member_once(world, monkeypatch):
    monkeypatch.setattr(services, "CHUNK", 2)
    now = clock.now()
    body = {
        "slug": "next",
        "name": "下一场",
        "starts_at": now.isoformat(),
        "ends_at": now.replace(year=now.year + 1).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        "tiers_fen": [10000],
        "member_budget_fen": 120000,
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201
    asked = world.call(OPERATOR, "POST", "/admin/campaigns/next/issue", {"audience": {"all": True}})
    job_id = int(asked.json["id"])
    with world.app.app_context():
        taken = jobs.take(now=now)
        assert taken is not None
        # One step, and the worker dies; its lease runs out and another takes the job.
        assert not services.issue_job(job_id, taken[2], now)
        db.session.execute(text("UPDATE jobs SET leased_until = NULL"))
        db.session.commit()
        while jobs.run_next(HANDLERS, clock=clock.now):
            pass
    job = world.call(OPERATOR, "GET", f"/admin/jobs/{job_id}").json
    assert (job["status"], job["done"], job["total"]) == ("done", 6, 6)
    report = world.call(OPERATOR, "GET", "/admin/campaigns/next/report").json
    assert (report["vouchers"], report["member_budget_left_fen"]) == (6, 0)
    assert world.breaches() == []
