"""How gunicorn serves: sync workers from cores, bounded lives, graceful ends."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from gunicorn.glogging import Logger

from kernel import logs

workers = int(os.environ.get("WEB_CONCURRENCY", min(2 * multiprocessing.cpu_count() + 1, 9)))
backlog = 65_535  # as many as the kernel lets wait (net.core.somaxconn): web.admission answers whom we cannot serve
timeout = 60
graceful_timeout = 30
drain_seconds = int(os.environ.get("HUIGONG_DRAIN_SECONDS", "0"))
max_requests = 20_000
max_requests_jitter = 2_000


class logger_class(Logger):
    """Gunicorn's own lines, without one for each request: it would name the address asked for."""

    def access(self, resp, req, environ, request_time):
        """Say nothing: web.requests does."""


logconfig_dict = logs.config(*logs.chosen(os.environ))
control_socket_disable = True  # it would want a home folder, and two servers of one user would share it

# Where the workers count (web.metrics), each in files of its slot: a folder for each start, the same after a reload,
# and another one for a successor that inherits our environment.
_mine = f"huigong-{os.getpid()}-"
if not Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")).name.startswith(_mine):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_mine)
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def pre_fork(server, worker):
    """Give a worker the lowest slot that no living one has."""
    taken = {other.slot for other in server.WORKERS.values()}
    worker.slot = min(set(range(len(taken) + 1)) - taken)


def post_fork(server, worker):
    """Tell the worker its slot, before it loads the application."""
    os.environ["WORKER_SLOT"] = str(worker.slot)


def post_worker_init(worker):
    """Let the worker's admission see how many wait to be accepted."""
    admission = worker.wsgi.wsgi_app
    if hasattr(admission, "watch"):
        admission.watch(worker.sockets)


def child_exit(server, worker):
    """Forget what a worker that is gone had open; what it counted stays."""
    for gauge in folder.glob(f"gauge_live*_{worker.slot}.db"):
        gauge.unlink()


def on_exit(server):
    """Leave nothing behind."""
    shutil.rmtree(folder, ignore_errors=True)


def when_ready(server):
    """Let the signal to end (TERM) be known before it is obeyed, where there is somebody to know it.

    For HUIGONG_DRAIN_SECONDS readyz says that nobody more is to be sent here while whoever comes is served. A second
    signal ends the wait, and so does a successor (USR2) that serves the same address already.
    """
    end_at_once = server.handle_term

    def drain_then_end():
        if not server.reexec_pid:
            (folder / "draining").touch()
        until = time.monotonic() + drain_seconds
        while time.monotonic() < until and not server.reexec_pid:
            for sig in server.wait_for_signals(timeout=0.1):
                if sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                    until = 0
            server.reap_workers()
            server.manage_workers()
        end_at_once()

    server.handle_term = drain_then_end
