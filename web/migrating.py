"""Migrations in two phases, so that old and new code serve side by side while a release is rolled out.

A migration says `phase = "expand"` (it adds: the code before it goes on working) or `phase = "contract"` (it takes away
or tightens: for when no code of before runs any more). Those that say nothing expand. `huigong migrate expand` comes
before the new code, `huigong migrate contract` after the last of the old.
"""

import sys
import time
from typing import Any

import click
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from flask_migrate import upgrade
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from kernel.db import db
from web.settings import ROOT

FOLDER = str(ROOT / "migrations")
TRIES = 10
PAUSE = 3.0  # seconds


class OutOfOrder(Exception):
    """Why a phase cannot be run now; nothing was changed."""


def current() -> str | None:
    """Return the migration the database is at."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def phase_of(script: Script) -> str:
    """Return a migration's phase."""
    return str(getattr(script.module, "phase", "expand"))


def pending(at: str | None) -> list[Script]:
    """Return the migrations that follow, the next one first; none where the database is ahead of this code."""
    scripts = list(ScriptDirectory(FOLDER).walk_revisions())
    scripts.reverse()
    known = [script.revision for script in scripts]
    if at is not None and at not in known:
        return []
    return scripts[known.index(at) + 1 if at is not None else 0 :]


def works_with(at: str | None) -> bool:
    """Return whether this code works with a database at that migration.

    It does where all that is left to do is to take away. A migration that is newer than any we know was run for a
    release that is being rolled out: it expanded, or nobody would have been let run it.
    """
    if at is None:
        return False
    head = ScriptDirectory(FOLDER).get_current_head()
    known = {script.revision for script in ScriptDirectory(FOLDER).walk_revisions()}
    if at not in known:
        return at.isdigit() and head is not None and int(at) > int(head)
    return all(phase_of(script) == "contract" for script in pending(at))


def target_of(phase: str, left: list[Script]) -> str | None:
    """Return the migration that ends a phase; None where nothing is left of it. Raises OutOfOrder."""
    phases = [phase_of(script) for script in left]
    first = phases.index("contract") if "contract" in phases else len(phases)
    if "expand" in phases[first:]:
        later = left[first + phases[first:].index("expand")].revision
        raise OutOfOrder(
            f"{left[first].revision} takes away before {later} adds: first roll out the release that ends at"
            f" {left[first].revision}, then this one"
        )
    if phase == "expand":
        return left[first - 1].revision if first else None
    if first:
        raise OutOfOrder(f"{left[0].revision} is still to be added: 'huigong migrate expand', then the new code, first")
    return left[-1].revision if left else None


def run(phase: str) -> tuple[str | None, str | None]:
    """Run a phase; return the migrations the database was and is at. Raises OutOfOrder, or where no lock was to be had.

    Each migration is one transaction that waits 5 s for a lock (migrations/env.py), then lets everybody pass and tries
    again after a pause.
    """
    before = current()
    target = target_of(phase, pending(before))
    for left in range(TRIES - 1, -1, -1):
        if target is None:
            break
        try:
            upgrade(directory=FOLDER, revision=target)
            break
        except OperationalError as error:
            db.engine.dispose()
            if not isinstance(error.orig, LockNotAvailable) or left == 0:
                raise
            click.echo(f"a table is busy: again in {PAUSE:.0f} s, {left} tries left", err=True)
            time.sleep(PAUSE)
    after = current()
    db.engine.dispose()
    return before, after


@click.group()
def migrate() -> None:
    """Bring the database to this release, in two phases."""


@migrate.command()
def status() -> None:
    """Show where the database is and what each migration that is left would do."""
    with _app().app_context():
        at = current()
        db.engine.dispose()
        click.echo(f"at {at or 'nothing'}; this code {'works' if works_with(at) else 'does not work'} with it")
        for script in pending(at):
            click.echo(f"{script.revision} {phase_of(script)}: {script.doc}")


@migrate.command()
def expand() -> None:
    """Before the new code: add what it needs. The code that runs goes on working."""
    _do("expand")


@migrate.command()
@click.option("--yes", is_flag=True, help="No process of the release before runs any more.")
def contract(yes: bool) -> None:
    """After the new code: take away what only the code before needed."""
    if not yes:
        click.confirm("Does no process of the release before run any more, on any machine?", abort=True)
    _do("contract")


def _do(phase: str) -> None:
    with _app().app_context():
        try:
            before, after = run(phase)
        except OutOfOrder as why:
            click.echo(f"huigong: {why}", err=True)
            sys.exit(2)
        except OperationalError as error:
            click.echo(f"huigong: not done, and nothing half done: {error.orig}", err=True)
            sys.exit(1)
    click.echo(f"{phase}: {before or 'nothing'} -> {after}" if before != after else f"{phase}: nothing to do")


def _app() -> Any:
    from web.cli import _app  # that module knows this one

    return _app()
