"""Two application hosts, PgBouncer and a streaming replica, on loopback: the same answers, the same books."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from benchmarks import postgres
from kernel.db import db
from tests.factories import SHIP, World
from tests.hosts import PGBOUNCER, PgBouncer, Replica
from tests.torture.place import Postgres
from web.app import create_app
from web.settings import ROOT, Settings, UnsafeSetting, read

NAME, BUYERS, STOCK = "huigong_hosts", 24, 10
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine")


class Hosts:
    """The two hosts' ports, the world they sell in, and what stands behind them."""

    def __init__(self, primary, replica, world, ports):
        self.primary, self.replica, self.world, self.ports = primary, replica, world, ports

    def ask(self, host, method, path, body=None, *, token=None, key=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[host], timeout=60)
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Idempotency-Key": key} if key else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        told = answer.status, json.loads(answer.read())
        connection.close()
        return told

    def on(self, server, statement):
        with psycopg.connect(server.uri.replace("/postgres?", f"/{NAME}?"), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchone()[0] if found.description else None

    def until_copied(self):
        end = self.on(self.primary, "SELECT pg_current_wal_lsn()")
        for _ in range(300):
            if self.on(self.replica, f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
                return
            time.sleep(0.1)
        raise TimeoutError("the replica does not follow")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    primary = Postgres(folder / "primary")
    started = []
    try:
        url = postgres.new_database(primary.uri, NAME)
        world = World(postgres.app_on(url), members=BUYERS, stock=STOCK)
        replica = Replica(folder / "replica", primary)
        started.append(replica)
        pooler = PgBouncer(folder / "pooler", host=primary.folder, user=primary.user, connections=3)
        started.append(pooler)
        ports, told = (
            [],
            {
                "DATABASE_URL": pooler.address(NAME),
                "HUIGONG_TRANSACTION_POOLING": "1",
                "HUIGONG_REPLICA_URL": postgres.address_of(replica.uri, NAME),
                "HUIGONG_WAIT_MILLISECONDS": "0",
                "SECRET_KEY": postgres.SECRET,
                "WEB_CONCURRENCY": "2",
            },
        )
        for number in (1, 2):
            ports.append(postgres.free_port())
            bind = ["-b", f"127.0.0.1:{ports[-1]}", "wsgi:app"]
            with (folder / f"host{number}").open("wb") as log:
                command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *bind]
                server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **told}, stdout=log, stderr=log)
            started.append(server)
        for port in ports:
            postgres.wait_for(port)
        yield Hosts(primary, replica, world, ports)
        with world.app.app_context():
            db.session.remove()
            db.engine.dispose()
    finally:
        for one in reversed(started):
            if isinstance(one, subprocess.Popen):
                one.terminate()
                one.wait(60)
            else:
                one.stop()
        primary.stop()
    for number in (1, 2):
        assert "Traceback" not in (folder / f"host{number}").read_text()


def test_two_hosts_through_one_pooler_sell_a_pack_exactly_out(hosts):
    world = hosts.world
    tokens = [world.token(f"138{number:08d}") for number in range(1, BUYERS + 1)]
    body = {**world.lines(("B40", 1)), "payable_fen": 40_00, "delivery": SHIP}
    told: dict[tuple[int, int], tuple] = {}
    gate = threading.Barrier(2 * BUYERS)

    def buy(number, host):
        gate.wait()
        told[number, host] = hosts.ask(host, "POST", "/api/v1/orders", body, token=tokens[number], key="once")

    # Each buyer asks both hosts at once under one key: one order.
    threads = [threading.Thread(target=buy, args=(number, host)) for number in range(BUYERS) for host in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in told.values()} == {201, 409}
    bought = {number for (number, _), (status, _) in told.items() if status == 201}
    assert len(bought) == STOCK
    for number in bought:
        answers = [told[number, host] for host in (0, 1)]
        assert answers[0] == answers[1], "one key, one answer, whichever host"
    assert world.stock("B40") == (0, STOCK, 0)
    assert world.breaches() == []


def test_what_is_set_on_a_connection_reaches_nobody_else(hosts):
    """The pooler's connections have the role's settings, however many transactions they served."""
    for host in (0, 1):
        for _ in range(8):  # past psycopg's threshold for preparing
            assert hosts.ask(host, "GET", "/api/v1/orders", token=hosts.world.token("13800000001"))[0] == 200
    set_on = "SELECT count(*) FROM pg_prepared_statements"
    assert hosts.on(hosts.primary, set_on) == 0
    assert hosts.on(hosts.primary, "SELECT current_setting('lock_timeout')") == "20s"
    assert hosts.on(hosts.primary, "SELECT current_setting('timezone')") == "UTC"


def test_strangers_read_the_replica_and_who_is_signed_in_what_is_true_now(hosts):
    # What it replayed last must be younger than the ten seconds a replica may be behind.
    hosts.on(hosts.primary, "UPDATE campaigns SET name = name WHERE slug = 'spring'")
    hosts.until_copied()
    token = hosts.world.token("13800000001")
    where = "/api/v1/campaigns/spring"
    hosts.on(hosts.replica, "SELECT pg_wal_replay_pause()")
    try:
        hosts.on(hosts.primary, "UPDATE campaigns SET name = '元宵' WHERE slug = 'spring'")
        assert hosts.ask(0, "GET", where)[1]["name"] == "春节"
        assert hosts.ask(0, "GET", where, token=token)[1]["name"] == "元宵"
    finally:
        hosts.on(hosts.replica, "SELECT pg_wal_replay_resume()")
    hosts.until_copied()
    assert hosts.ask(0, "GET", where)[1]["name"] == "元宵"


def test_a_replica_that_is_gone_is_left_out(hosts):
    hosts.replica.stop()
    try:
        time.sleep(2.1)  # how long a process believes that the replica is well
        for host in (0, 1):
            for _ in range(4):
                status, page = hosts.ask(host, "GET", "/api/v1/packs?campaign=spring")
                assert (status, len(page["items"])) == (200, 4)
    finally:
        hosts.replica.start()


def test_a_use_case_begun_in_a_look_writes_on_the_primary(hosts, monkeypatch):
    from kernel.db import REPLICA, read_the_replica, transaction

    hosts.until_copied()
    primary = postgres.address_of(hosts.primary.uri, NAME)
    replica = postgres.address_of(hosts.replica.uri, NAME)
    app = create_app(Settings(database_url=primary, replica_url=replica, secret_key=postgres.SECRET))
    with app.app_context():
        read_the_replica()
        assert db.session.connection().engine is db.engines[REPLICA]
        with transaction():
            assert db.session.connection().engine is db.engine
        assert db.session.connection().engine is db.engine
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()


def test_a_replica_is_a_postgresql():
    with pytest.raises(UnsafeSetting, match="HUIGONG_REPLICA_URL"):
        read({"HUIGONG_REPLICA_URL": "sqlite:///x"})
    assert read({"HUIGONG_REPLICA_URL": "postgresql://h/n"}).replica_url == "postgresql+psycopg://h/n"
