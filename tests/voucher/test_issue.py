"""Issuing to many: in chunks that go on where the last one ended, to each member once."""

import os
import subprocess
import sys
import time
from datetime import timedelta

from sqlalchemy import func, select, text, update

from kernel import clock, jobs
from kernel.db import db
from tests.factories import OPERATOR, World
from voucher import services
from voucher.models import Campaign, Voucher
from web.cli import HANDLERS
from web.settings import ROOT


def make_campaign(world, *, budget_fen):
    now = clock.now()
    body = {
        "slug": "next",
        "name": "下一场",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(days=100)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        "tiers_fen": [10000],
        "member_budget_fen": budget_fen,
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201


def begun(world):
    """Ask for an issue to everybody and do one step of it, after which the worker dies; return the job."""
    asked = world.call(OPERATOR, "POST", "/admin/campaigns/next/issue", {"audience": {"all": True}})
    job_id = int(asked.json["id"])
    with world.app.app_context():
        taken = jobs.take(now=clock.now())
        assert taken is not None
        assert not services.issue_job(job_id, taken[2], clock.now())
        db.session.rollback()
    return job_id


def go_on(world):
    """Let the dead worker's lease run out and another take its job."""
    with world.app.app_context():
        db.session.execute(text("UPDATE jobs SET leased_until = NULL"))
        db.session.commit()
        while jobs.run_next(HANDLERS, clock=clock.now):
            pass


def test_a_job_that_died_goes_on_and_issues_to_each_member_once(world, monkeypatch):
    monkeypatch.setattr(services, "CHUNK", 2)
    make_campaign(world, budget_fen=120000)
    job_id = begun(world)
    go_on(world)
    job = world.call(OPERATOR, "GET", f"/admin/jobs/{job_id}").json
    assert (job["status"], job["done"], job["total"]) == ("done", 6, 6)
    report = world.call(OPERATOR, "GET", "/admin/campaigns/next/report").json
    assert (report["vouchers"], report["member_budget_left_fen"]) == (6, 0)
    assert world.breaches() == []


def test_a_campaign_that_is_over_issues_nothing_also_in_the_middle_of_a_job(world, monkeypatch):
    monkeypatch.setattr(services, "CHUNK", 2)
    make_campaign(world, budget_fen=120000)
    job_id = begun(world)
    with world.app.app_context():
        over = {"starts_at": clock.now() - timedelta(days=9), "ends_at": clock.now() - timedelta(minutes=1)}
        db.session.execute(update(Campaign).where(Campaign.slug == "next").values(over))
        db.session.commit()
    go_on(world)
    job = world.call(OPERATOR, "GET", f"/admin/jobs/{job_id}").json
    assert (job["status"], job["done"], job["total"]) == ("failed", 2, 6)
    again = world.call(OPERATOR, "POST", "/admin/campaigns/next/issue", {"audience": {"all": True}})
    assert (again.status_code, again.json["code"]) == (409, "campaign_closed")
    assert issued(world) == (2, 2)
    assert world.breaches() == []


def issued(world):
    with world.app.app_context():
        campaign = select(Campaign.id).where(Campaign.slug == "next").scalar_subquery()
        vouchers = select(func.count(), func.count(Voucher.member_id.distinct())).where(Voucher.campaign_id == campaign)
        counts = tuple(db.session.execute(vouchers).one())
        db.session.rollback()
    return counts


def test_a_killed_issue_leaves_whole_steps_and_started_again_gives_each_member_one(app):
    members = 400
    world = World(app, members=members)
    make_campaign(world, budget_fen=members * 20000)
    environ = {
        **os.environ,
        "DATABASE_URL": app.config["SQLALCHEMY_DATABASE_URI"],
        "SECRET_KEY": app.config["SECRET_KEY"],
    }
    command = [sys.executable, "-m", "web.cli", "issue", "next", "--all", "--yes", "--chunk"]
    kills = 0
    while kills < 3:
        before = issued(world)[0]
        running = subprocess.Popen(
            [*command, "4"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until = time.monotonic() + 30
        while issued(world)[0] == before and time.monotonic() < until:
            time.sleep(0.005)
        running.kill()
        running.communicate()
        kills += 1
        count, people = issued(world)
        assert before < count < members, "it was killed on its way"
        assert (count, count % 4) == (people, 0), "a step is whole or is not there"
        assert world.breaches() == []
    finished = subprocess.run([*command, "100"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert f"issued to {members - count} members" in finished.stdout
    assert issued(world) == (members, members)
    again = subprocess.run([*command, "100"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert "issued to 0 members" in again.stdout
    report = world.call(OPERATOR, "GET", "/admin/campaigns/next/report").json
    assert (report["vouchers"], report["member_budget_left_fen"]) == (members, 0)
    assert world.breaches() == []
