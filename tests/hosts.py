"""A service on several hosts, on loopback: PgBouncer before the primary, a streaming replica beside it."""

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from benchmarks.postgres import free_port
from tests.torture.place import Postgres

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
ROLE_SETTINGS = ("lock_timeout = '20s'", "timezone = 'UTC'")


class PgBouncer:
    """PgBouncer in transaction mode before a server, few connections for many clients; a process of our own."""

    def __init__(self, folder: Path, *, host: str | Path, port: int = 5432, user: str | None, connections: int) -> None:
        assert PGBOUNCER is not None
        self.port = free_port()
        folder.mkdir(exist_ok=True)
        server = f"postgresql://postgres@/postgres?host={host}&port={port}"
        for setting in ROLE_SETTINGS:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"ALTER ROLE postgres SET {setting}")
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "max_client_conn": 1000,
            "server_reset_query": "",
        }
        lines = ["[databases]", f"* = host={host} port={port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(folder / "pgbouncer.ini", user)
        with (folder / "log").open("wb") as log:
            command = [PGBOUNCER, str(folder / "pgbouncer.ini")]
            self.process = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
        for _ in range(300):
            with suppress(psycopg.OperationalError), psycopg.connect(self.address("postgres")):
                return
            time.sleep(0.1)
        self.stop()
        raise TimeoutError(f"PgBouncer did not start: {(folder / 'log').read_text()[-1000:]}")

    def address(self, database: str) -> str:
        """The address of a database through it, as the driver wants it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


class Replica(Postgres):
    """A streaming copy of a primary."""

    def __init__(self, folder: Path, primary: Postgres) -> None:
        self.programs, self.user, self.folder, self.options = primary.programs, primary.user, folder, ()
        folder.mkdir()
        if self.user is not None:
            shutil.chown(folder, self.user)
        source = f"--dbname=user=postgres host={primary.folder}"
        command = self.command("pg_basebackup", source, "-D", str(folder), "-R", "-c", "fast")
        subprocess.run(command, check=True, user=self.user, cwd=folder, capture_output=True)
        folder.chmod(0o700)
        (folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # the primary's socket stands in its folder, too
        self.process = None
        self.start()
        self.uri = f"postgresql://postgres@/postgres?host={folder}"
