"""Commands: `huigong …`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click
from flask import Flask
from flask_migrate import upgrade

from catalog import services as catalog_services
from finance.settlement import services as settlement
from kernel import clock, imports, jobs, logs, origin
from kernel.db import db
from kernel.errors import DomainError
from orders.queries import money as money_queries
from orders.queries.queues import PROOF_JOB
from orders.services import (
    granting,
    placing,
    proving,
    reconciling,
    rostering,
    summing,
    tending,
    tidying,
    warning,
    webhooks,
)
from people import queries as people_queries
from people.services import entry, messages, senders, staff, tokens
from voucher import reminding
from voucher import services as voucher_services
from web import backup as keeping
from web import demo as demonstration
from web import importing, migrating
from web.settings import ROOT, UnsafeSetting, read

HANDLERS: dict[str, jobs.Handler] = {
    "issue": voucher_services.issue_job,
    imports.JOB: imports.job(importing.KINDS),
    PROOF_JOB: proving.run_job,
    reminding.JOB: reminding.run_job,
}


def install(app: Flask) -> None:
    """Give the app its commands."""
    app.cli.add_command(main)


@click.group()
def main() -> None:
    """惠工: a district union's welfare campaign."""


main.add_command(keeping.backup_command)
main.add_command(keeping.restore_command)
main.add_command(migrating.migrate)


def _app() -> Flask:
    from web.app import create_app  # the factory imports this module

    try:
        # What a command or a job does may take its time: a proof reads everything, and adds up between two statements.
        # Locks are waited for as by requests.
        settings = read()
        patient = {"statement_seconds": 0, "idle_transaction_seconds": 10 * settings.idle_transaction_seconds}
        return create_app(replace(settings, **patient))
    except UnsafeSetting as unsafe:
        click.echo(f"huigong: refused to start: {unsafe}", err=True)
        sys.exit(2)


@contextmanager
def _database() -> Iterator[None]:
    """Let a command use the database; refuse one without tables, of which nothing could be said."""
    with _app().app_context():
        if migrating.current() is None:
            db.engine.dispose()
            click.echo("huigong: the database has no tables yet: run 'huigong migrate expand'", err=True)
            sys.exit(2)
        yield


def _prepare(app: Flask) -> None:
    """Bring a fresh or SQLite database to the current migration; refuse an outdated PostgreSQL one."""
    with app.app_context():
        current = migrating.current()
        if migrating.works_with(current):
            return
        if current is None or db.engine.dialect.name == "sqlite":
            upgrade(directory=str(ROOT / "migrations"))
            return
    click.echo("huigong: the database is not at the current migration: run 'huigong migrate expand'", err=True)
    sys.exit(2)


@main.command()
@click.argument("login")
@click.option("--name", default="command line", help="What the token is for.")
def token(login: str, name: str) -> None:
    """Print a bearer token for LOGIN (a phone number or a staff name)."""
    with _database():
        try:
            click.echo(tokens.make_for_login(login=login, name=name, now=clock.now()))
        except DomainError as refused:
            click.echo(f"huigong: {refused}", err=True)
            sys.exit(1)


@main.command()
@click.argument("login")
def password(login: str) -> None:
    """Give LOGIN (a phone number with a seat) a first password, to be changed at the first sign-in."""
    with _database():
        try:
            identity = people_queries.by_phone(login)
            name, given = staff.give_password(
                person_id=identity.person_id if identity else None, actor_id=None, now=clock.now()
            )
        except DomainError as refused:
            click.echo(f"huigong: {refused}", err=True)
            sys.exit(1)
        click.echo(f"{name} {given}")


@main.command()
@click.argument("phone")
@click.argument("name")
def operator(phone: str, name: str) -> None:
    """Seat the first operator of a new installation; afterwards operators seat operators."""
    with _database():
        try:
            staff.first_operator(phone=phone, name=name, now=clock.now())
        except DomainError as refused:
            click.echo(f"huigong: {refused}", err=True)
            sys.exit(1)


@main.group()
def audit() -> None:
    """Who did what."""


@audit.command()
def verify() -> None:
    """Check the chain of the audit: exit 0, or 1 with its first broken link."""
    with _database():
        found, said = proving.keep("verify", asked_by=None, now=clock.now())
    if found:
        click.echo(found[0])
        sys.exit(1)
    click.echo(f"{said['entries']} entries, the chain is whole, its last hash is {said['last_hash']}")


@main.command()
@click.argument("slug")
@click.option("--all", "everyone", is_flag=True, help="To every member the campaign is for.")
@click.option("--union", "union_ids", multiple=True, type=int, help="To the members of a union, by id; repeatable.")
@click.option("--honour", help="To an honour roll, such as model_worker.")
@click.option("--joined-since", type=click.DateTime(["%Y-%m-%d"]), help="To who joined on that day or later.")
@click.option("--chunk", type=click.IntRange(1, 1_000_000), help="Members looked at by one transaction.")
@click.option("--yes", is_flag=True, help="Do not ask before issuing.")
def issue(
    slug: str,
    everyone: bool,
    union_ids: tuple[int, ...],
    honour: str | None,
    joined_since: Any,
    chunk: int | None,
    yes: bool,
) -> None:
    """Issue vouchers of campaign SLUG; started again after a crash it goes on, and nobody gets two."""
    chosen = {"all": everyone, "union_ids": list(union_ids), "honour": honour}
    chosen |= {"joined_since": joined_since.date().isoformat() if joined_since else None}
    chosen = {name: value for name, value in chosen.items() if value}
    if len(chosen) != 1:
        raise click.UsageError("choose exactly one of --all, --union, --honour, --joined-since")
    audience = voucher_services.audience_of(chosen)
    with _database():
        try:
            preview = voucher_services.preview_issue(slug=slug, audience=audience)
            click.echo(
                f"{preview['members']} members, {preview['cost_fen']} fen; left {preview['budget_left_fen']} fen"
            )
            if preview["cost_fen"] > preview["budget_left_fen"]:
                click.echo("huigong: the budget does not cover it", err=True)
                sys.exit(1)
            if not yes:
                click.confirm("Issue?", abort=True)
            with click.progressbar(length=preview["members"], label="issuing", file=sys.stderr) as bar:
                after: int | None = 0
                while after is not None:
                    after, issued = voucher_services.issue_step(
                        slug=slug, audience=audience, after=after, now=clock.now(), chunk=chunk
                    )
                    bar.update(issued)
        except DomainError as refused:
            click.echo(f"huigong: {refused}", err=True)
            sys.exit(1)
    click.echo(f"issued to {preview['members']} members")


@main.command()
def sweep() -> None:
    """Expire what is due, now."""
    with _database():
        total = 0
        while expired := placing.expire_due(now=clock.now()):
            total += expired
        ended = 0
        while vouchers := voucher_services.expire_ended(now=clock.now()):
            ended += vouchers
        lapsed = granting.lapse_due(now=clock.now())
        done = tending.tend(second_person_fen=read().second_person_fen, now=clock.now())
        closed = settlement.close_due(now=clock.now())
        summing.advance(now=clock.now(), seconds=60.0)
        click.echo(f"{total} orders expired, {ended} vouchers ended, {lapsed} gifts lapsed, {closed} statements closed")
        click.echo(", ".join(f"{count} {what}" for what, count in done.items()))


@main.command()
def check() -> None:
    """Check the conservation rules over the whole database: exit 0, or 1 with each breach."""
    with _database():
        breaches, _ = proving.keep("check", asked_by=None, now=clock.now())
    for breach in breaches:
        click.echo(breach)
    if breaches:
        click.echo(f"{len(breaches)} breaches", err=True)
        sys.exit(1)
    click.echo("all five conservation rules hold")


@main.command()
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="A day of Asia/Shanghai; without it yesterday and today."
)
def reconcile(day: Any) -> None:
    """Compare payments and refunds with the providers' lists and the ledger: exit 0, or 1 with each difference.

    What comparing a day found is kept for the page and the metrics.
    """
    with _database():
        now = clock.now()
        found = reconciling.reconcile(day.date(), now=now) if day else money_queries.compare_lately(now=now)
        if not day:
            proving.record("reconcile", [one.text for one in found.differences], now=now)
    for one in found.differences:
        click.echo(one.text)
    if found.differences:
        click.echo(f"{len(found.differences)} differences", err=True)
        sys.exit(1)
    click.echo(f"{found.compared} payments and refunds agree, {found.unchecked} wait for their bank statement")


@main.command()
@click.option("--rebuild", "anew", is_flag=True, help="Count the whole ledger anew, then show that.")
def summaries(anew: bool) -> None:
    """Bring the dashboard's summaries up to the ledger's last posting."""
    with _database():
        if anew:
            click.echo(f"counted {summing.rebuild(now=clock.now())} postings anew")
            return
        while not summing.advance(now=clock.now(), seconds=60.0, patience=60.0):
            pass
    click.echo("the summaries are up to date")


@main.command()
@click.option("--until-parent-exits", is_flag=True, hidden=True)
@click.option("--every", default=1.0, help="Seconds between looks.")
def worker(until_parent_exits: bool, every: float) -> None:
    """Expire what is due and run jobs, until stopped."""
    app = _app()
    parent = os.getppid()
    settings = app.config["HUIGONG"]
    logs.install(settings.log_format, settings.log_level)
    providers = senders.senders_of(settings.sms_gateway, settings.mail)
    key, tidy_at = settings.secret_key, clock.now()
    quiet = messages.Quiet(*settings.quiet_minutes)

    def deliver() -> None:
        messages.deliver(providers, key=key, now=clock.now(), quiet=quiet)

    while not (until_parent_exits and os.getppid() != parent):
        with app.app_context(), origin.work_of(""):
            try:
                tending.act_on_waiting(now=clock.now())
                placing.expire_due(now=clock.now())
                while voucher_services.expire_ended(now=clock.now()):
                    pass
                granting.lapse_due(now=clock.now())
                warning.warn_due(now=clock.now())
                while jobs.run_next(HANDLERS, clock=clock.now, meanwhile=deliver):
                    pass
                tending.tend(second_person_fen=settings.second_person_fen, now=clock.now())
                reconciling.reconcile_nightly(now=clock.now())
                summing.tend(now=clock.now())
                deliver()
                catalog_services.note_low_stocks(now=clock.now())
                webhooks.note(now=clock.now())
                webhooks.deliver(key=key, private=settings.webhook_private, now=clock.now())
                if clock.now() >= tidy_at:
                    entry.forget_old(now=clock.now())
                    rostering.forget_old(now=clock.now())
                    imports.forget_old(now=clock.now())
                    settlement.close_due(now=clock.now())
                    tidy_at = clock.now() + timedelta(hours=1)
                    tidying.collect_nightly(app.config["FILES"], now=clock.now())
            except Exception:  # the database may be away for a moment; the next look tries again
                app.logger.exception("the worker's look failed")
                db.session.remove()  # also where the connection is gone, of which a rollback would only fail
        time.sleep(every)


@main.command()
@click.option("--port", default=lambda: int(os.environ.get("PORT", "8000")), type=int)
@click.option("--host", default="127.0.0.1")
def serve(port: int, host: str) -> None:
    """Serve with gunicorn on DATABASE_URL, with a worker beside it."""
    _prepare(_app())
    _exec_server(host, port)


def _exec_server(host: str, port: int) -> None:
    # The worker watches its parent, which becomes gunicorn: it goes when gunicorn goes, however that happens.
    subprocess.Popen([sys.executable, "-m", "web.cli", "worker", "--until-parent-exits"], cwd=ROOT)
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "-b", f"{host}:{port}"]
    os.chdir(ROOT)
    os.execv(sys.executable, [*command, "wsgi:app"])  # noqa: S606 this interpreter, with arguments of ours


@main.command()
@click.option("--load-only", is_flag=True, help="Load the demonstration data and exit.")
@click.option("--port", default=lambda: int(os.environ.get("PORT", "8000")), type=int)
def demo(load_only: bool, port: int) -> None:
    """Load the demonstration campaign once, then serve it."""
    app = _app()
    if read().production:
        click.echo("huigong: HUIGONG_ENV: the demonstration is refused in production", err=True)
        sys.exit(2)
    _prepare(app)
    with app.app_context():
        made: dict[str, Any] = demonstration.load(now=clock.now())
    click.echo(", ".join(f"{count} new {name}" for name, count in made.items()))
    if load_only:
        return
    click.echo(demonstration.welcome(f"http://127.0.0.1:{port}/"))
    sys.stdout.flush()
    _exec_server("127.0.0.1", port)


if __name__ == "__main__":
    main()
