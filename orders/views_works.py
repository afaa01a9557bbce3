"""An operator's work: what waits, the jobs, and the proofs with their last results."""

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock, jobs
from kernel.doors import PageBlueprint, who
from kernel.ids import as_id
from orders.queries import queues as queue_queries
from orders.services import proving
from people import queries as people_queries

bp = PageBlueprint("works", __name__, audience="operator", url_prefix="/admin")

PAGES = {"check": "works.check", "reconcile": "money.reconcile", "verify": "audit.home"}
LATEST = 100


@bp.get("/queues")
def queues() -> ResponseReturnValue:
    """What waits for an operator, and what to do about it."""
    settings = current_app.config["HUIGONG"]
    found = queue_queries.queues(ship_seconds=settings.ship_seconds, now=clock.now())
    return render_template("operator/queues.html", queues=found, now=clock.now())


@bp.get("/jobs")
def all_jobs() -> ResponseReturnValue:
    """The latest jobs and how each ended."""
    status = request.args.get("status")
    found = jobs.latest(limit=LATEST, status=status if status in ("queued", "running", "done", "failed") else None)
    names = people_queries.names([one.asked_by for one in found])
    return render_template("operator/jobs.html", jobs=found, names=names, status=status, latest=LATEST)


@bp.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> ResponseReturnValue:
    """Queue a failed job again."""
    proving.retry(as_id(job_id), actor_id=who().person_id, now=clock.now())
    flash(gettext("任务已重新排队，会从上次完成的地方继续。"), "success")
    return redirect(url_for("works.all_jobs"), 303)


@bp.get("/check")
def check() -> ResponseReturnValue:
    """The last result of the conservation rules over the whole database, and a button to look again."""
    return render_template("operator/check.html", proof=queue_queries.proof("check"))


@bp.post("/proofs/<kind>")
def prove(kind: str) -> ResponseReturnValue:
    """Have a proof run by a job."""
    proving.ask(kind, actor_id=who().person_id, now=clock.now())
    return redirect(url_for(PAGES[kind]), 303)
