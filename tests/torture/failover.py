"""Try it: a primary with a streaming replica, the primary killed under load, the replica promoted (`python -m`).

With `--local` the primary confirms commits before the replica has them: what that costs is what the run shows.
"""

import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.postgres import new_database
from kernel.db import db
from tests import stripe_double
from tests.hosts import Replica
from tests.torture import checker, history, run
from tests.torture.clients import Http, Shared
from tests.torture.place import Postgres, Service

SECONDS_BEFORE, SECONDS_AFTER, WATCHDOG_SECONDS = 15.0, 20.0, 1.0
MEMBERS = 40


def ask(uri: str, statement: str) -> Any:
    """Run one statement at once and return its first value."""
    with psycopg.connect(uri, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def configure(primary: Postgres, *, remote: bool) -> None:
    """Let the primary wait for its replica at each commit, or not."""
    with psycopg.connect(primary.uri, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
        connection.execute(f"ALTER SYSTEM SET synchronous_commit = '{'on' if remote else 'local'}'")
        connection.execute("SELECT pg_reload_conf()")


def failover(folder: Path, *, remote: bool) -> list[str]:
    """Run once and say what came of it; the last lines are breaches."""
    primary = Postgres(folder / "primary")
    new_database(primary.uri, "huigong_torture")
    with stripe_double.running() as stripe:
        app = run.application(primary.address, stripe.url, folder / "files")
        world, before = run.fill(app, members=MEMBERS, stock=100_000)
        replica = Replica(folder / "replica", primary)
        configure(primary, remote=remote)
        both = f"{folder / 'primary'},{folder / 'replica'}"
        address = f"postgresql+psycopg://postgres@/huigong_torture?host={both}&target_session_attrs=read-write"
        service = Service(folder, address, stripe.url, payment_seconds=run.PAYMENT_SECONDS)
        stop = threading.Event()
        try:
            (folder / "histories").mkdir()
            shared = Shared(Http(service.port), stripe, folder / "histories", [*world.packs.values()], 1, stop, 0.2, 10)
            everybody = run.people(world, shared, members=MEMBERS)
            with app.app_context():
                db.engine.dispose()
            threads = [threading.Thread(target=client.run) for client in everybody]
            for thread in threads:
                thread.start()
            time.sleep(SECONDS_BEFORE)
            killed = time.monotonic()
            primary.kill()
            time.sleep(WATCHDOG_SECONDS)  # what watches takes a moment to be sure
            ask(replica.uri, "SELECT pg_promote()")
            promoted = time.monotonic()
            back = _first_order_after(folder / "histories", killed)
            time.sleep(SECONDS_AFTER)
            stop.set()
            for thread in threads:
                thread.join(60)
            ended = service.died()
        finally:
            stop.set()
            service.stop()
        lines = [
            f"commits confirmed by {'primary and replica' if remote else 'the primary alone'}",
            f"promoted {promoted - killed:.1f} s after the kill, the first thing made acknowledged at {back:.1f} s",
        ]
        lines += _proof(app, replica, stripe, folder, before, ended)
        replica.stop()
    return lines


def _first_order_after(histories: Path, killed: float) -> float:
    """Wait for the first order that is acknowledged from now on; how long after the kill that was."""
    seen = sum(path.read_text(encoding="utf-8").count('"told": 201') for path in histories.glob("member-*.jsonl"))
    while time.monotonic() - killed < 60:
        now = sum(path.read_text(encoding="utf-8").count('"told": 201') for path in histories.glob("member-*.jsonl"))
        if now > seen:
            break
        time.sleep(0.05)
    return time.monotonic() - killed


def _proof(app: Any, replica: Postgres, stripe: Any, folder: Path, before: Any, ended: list[str]) -> list[str]:
    url = f"postgresql+psycopg://postgres@/huigong_torture?host={folder / 'replica'}"
    promoted = run.application(url, stripe.url, folder / "files")
    run.settle(promoted)
    told = history.read(folder / "histories")
    with promoted.app_context():
        found = checker.find(told, stripe, before)
        db.session.remove()
        db.engine.dispose()
    with app.app_context(), suppress(Exception):
        db.engine.dispose()
    lost = [one for one in found if "was acknowledged and is not there" in one]
    orders = told.counts().get("order", 0) + told.counts().get("bulk", 0)
    answers = ", ".join(f"{count} of {status}" for status, count in sorted(told.statuses.items()))
    return [
        f"{orders} orders acknowledged, {len(lost)} of them lost",
        f"answers: {answers}",
        *ended,
        *[f"breach: {one}" for one in found],
    ]


def main() -> None:
    """Run once."""
    folder = Path(tempfile.mkdtemp(prefix="huigong-failover-"))
    folder.chmod(0o755)
    lines = failover(folder, remote="--local" not in sys.argv)
    print("\n".join(lines))
    if any(line.startswith("breach: ") for line in lines):
        print(folder)
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
