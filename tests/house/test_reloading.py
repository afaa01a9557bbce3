"""A real gunicorn under load is reloaded, succeeded by another and ended, and nobody is turned away."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from flask_migrate import upgrade

from kernel.db import db
from web.app import create_app
from web.settings import ROOT, Settings

# systemd hands a service its listening socket as file 3, and says so in the environment.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"])
"""
PATIENCE = 120


class Site:
    """A socket that stays, as systemd keeps it, and the servers that take turns at it."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.log = folder / "gunicorn.log"
        self.environ = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{folder / 'site.db'}",
            "WEB_CONCURRENCY": "2",
            "HUIGONG_DRAIN_SECONDS": "3",
            "HUIGONG_LOG_FORMAT": "json",
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(folder),
        }
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start a server on the socket."""
        own = self.listener.fileno()
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", AS_SYSTEMD, str(own)]
            options = {"cwd": ROOT, "env": self.environ, "stdout": log, "stderr": log, "pass_fds": (own,)}
            self.started.append(subprocess.Popen(command, **options))
        return self.started[-1]

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask once, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def lines(self) -> list[dict]:
        """Everything the servers logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def workers(self) -> set[int]:
        """The processes that have answered a request."""
        return {line["process"] for line in self.lines() if line["event"] == "request"}

    def stop(self) -> None:
        """End whatever still runs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.listener.close()


@pytest.fixture
def site(tmp_path_factory):
    folder = Path(tempfile.mkdtemp(dir=tmp_path_factory.mktemp("site")))
    app = create_app(Settings(database_url=f"sqlite:///{folder / 'site.db'}"))
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.session.remove()
        db.engine.dispose()
    one = Site(folder)
    yield one
    one.stop()


def until(said, what):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, said
        time.sleep(0.05)


def test_no_request_is_dropped_by_a_reload_or_a_successor_and_readyz_says_first_that_it_ends(site):
    first = site.start()
    assert site.get("/readyz")[0] == 200, site.log.read_text()
    told: list[tuple[int, bytes] | Exception] = []
    over = threading.Event()

    def ask():
        while not over.is_set():
            try:
                told.append(site.get("/api/v1/campaigns"))
            except Exception as failed:
                told.append(failed)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        until("nobody was answered", lambda: len(site.workers()) == 2)
        # One request is in the middle of its body while its worker is told to end.
        slow = socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE)
        body = b'{"campaign": "x"}'
        head = f"POST /api/v1/quotes HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:5])
        time.sleep(0.5)
        before = site.workers()
        first.send_signal(signal.SIGHUP)
        until("the new workers did not answer", lambda: site.workers() - before)
        slow.sendall(body[5:])
        assert slow.recv(12) == b"HTTP/1.1 401"
        slow.close()

        first.send_signal(signal.SIGTERM)
        until("readyz did not say so", lambda: site.get("/readyz") == (503, b'{"status":"draining"}\n'))
        assert site.get("/api/v1/campaigns")[0] == 200, "who comes meanwhile is served"
        assert first.wait(PATIENCE) == 0
        gone = site.workers()
        second = site.start()
        until("the successor did not answer", lambda: site.workers() - gone)
        assert site.get("/readyz")[0] == 200
    finally:
        over.set()
        for asker in askers:
            asker.join()
    assert {one if isinstance(one, Exception) else one[0] for one in told} == {200}
    assert len(told) > 50
    second.send_signal(signal.SIGTERM)
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0, "a second signal does not wait"
    assert list(site.log.parent.glob("huigong-*")) == [], "nothing is left behind"
    assert [line for line in site.lines() if line["level"] in ("error", "critical")] == []
