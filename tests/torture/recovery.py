"""Try it: point-in-time recovery. Archived WAL brings the database back to before an accident (`python -m`)."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import text

from benchmarks.postgres import new_database
from kernel.db import db
from orders import queries as order_queries
from tests.torture import run
from tests.torture.place import Postgres

M1 = "13800000001"


class Recovered(Postgres):
    """A server on a base backup, recovered from the archive up to a named moment."""

    def __init__(self, folder: Path, source: Postgres, archive: Path, moment: str) -> None:
        self.programs, self.user, self.folder = source.programs, source.user, folder
        self.options = (
            *("-c", f"restore_command=cp {archive}/%f %p"),
            *("-c", f"recovery_target_name={moment}"),
            *("-c", "recovery_target_action=promote", "-c", "archive_mode=off"),
        )
        folder.chmod(0o700)
        signal = folder / "recovery.signal"
        signal.touch()
        if self.user is not None:
            shutil.chown(signal, self.user)
        self.process = None
        self.start()


def recover(folder: Path) -> list[str]:
    """Orders, a base backup, more orders, an accident; then the moment before it. What is there, in words."""
    archive, base = folder / "archive", folder / "base"
    archive.mkdir()
    base.mkdir()
    archiving = ("-c", "archive_mode=on", "-c", f"archive_command=test ! -f {archive}/%f && cp %p {archive}/%f")
    source = Postgres(folder / "pg", *archiving)
    for path in (archive, base):
        if source.user is not None:
            shutil.chown(path, source.user)
    new_database(source.uri, "huigong_torture")
    app = run.application(source.address, "http://127.0.0.1:9", folder / "files")
    world, _ = run.fill(app, members=20, stock=500)
    for _ in range(5):
        assert world.place(M1, ("B40", 1)).status_code == 201
    command = source.command(
        "pg_basebackup", f"--dbname=user=postgres host={source.folder}", "-D", str(base), "-c", "fast"
    )
    subprocess.run(command, check=True, user=source.user, cwd=base, capture_output=True)
    for number in range(2, 12):
        assert world.place(f"138{number:08d}", ("A150", 1)).status_code == 201
    with psycopg.connect(source.plain(), autocommit=True) as connection:
        connection.execute("SELECT pg_create_restore_point('before the accident')")
        connection.execute("UPDATE stocks SET taken_in = taken_in + 1000")  # the accident
        connection.execute("UPDATE orders SET status = 'cancelled'")
        connection.execute("SELECT pg_switch_wal()")
    with app.app_context():
        breaches = len(order_queries.proof())
        db.session.remove()
        db.engine.dispose()
    source.stop()
    recovered = Recovered(base, source, archive, "before the accident")
    again = run.application(f"postgresql+psycopg://postgres@/huigong_torture?host={base}", "http://127.0.0.1:9", folder)
    with again.app_context():
        found = db.session.execute(text("SELECT status, count(*) FROM orders GROUP BY status")).all()
        left = order_queries.proof()
        db.session.remove()
        db.engine.dispose()
    recovered.stop()
    orders = ", ".join(f"{count} {status}" for status, count in found)
    return [
        f"after the accident: {breaches} breaches",
        f"recovered: {orders}; {len(left)} breaches, {len(list(archive.iterdir()))} segments of WAL read",
    ]


def main() -> None:
    """Run once."""
    folder = Path(tempfile.mkdtemp(prefix="huigong-recovery-"))
    folder.chmod(0o755)
    print("\n".join(recover(folder)))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
