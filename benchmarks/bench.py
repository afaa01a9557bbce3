"""`make bench`: what the service does against what the same PostgreSQL could do, in turn, in the same run.

Every figure is a ratio between two things measured one after the other, several times; the table shows the median and
the spread. Written to benchmarks/results.json too.

1 place an order · 2 the rush (everybody after one pack, sold exactly out) · 3 issue · 4 a roster of 10,000 rows ·
5 pages and lists while orders run · 6 more people than can be served, arriving whoever was answered.
The limit of 1 and 2 is the service's own statements driven by pgbench.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from benchmarks import fill, limit, postgres, rosters, scale
from kernel.db import db
from orders import queries as order_queries
from web.settings import ROOT

FACE_FEN = 10**9  # a purse that never runs out: every order is of the same work
CLIENTS, PGBENCH_CLIENTS = 16, 8
PEER_ORDERS = 15  # orders a second of the fastest peer on such a machine (docs/performance.md)
RESULTS = ROOT / "benchmarks" / "results.json"


@dataclass
class Figure:
    """One row of the table: what was measured, its unit, each run's value, and what it should be."""

    name: str
    values: list[float]
    target: str
    more: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the row as text."""
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        told = ", ".join(f"{name} {value}" for name, value in self.more.items())
        return f"{self.name:<52} {middle:>8.2f}  {low:>7.2f} … {high:<7.2f} {self.target:<22} {told}"


@dataclass
class Bench:
    """A filled database, the service on it, and who can be asked."""

    app: Flask
    url: str
    uri: str
    folder: Path
    tokens: list[str]
    packs: list[str]
    port: int = 0
    seconds: float = 20
    turn: int = 0

    def orders(self, *, packs: list[str], payable_fen: int, seconds: float, count: int = 10**9) -> dict[str, Any]:
        """Place orders with all clients; return what the client saw."""
        self.turn += 1
        work = {"kind": "orders", "name": f"b{self.turn}", "packs": packs, "tokens": self.tokens, "campaign": fill.SLUG}
        work |= {"payable_fen": payable_fen, "count": count, "first": self.turn * 1009}
        return self.client(work, seconds=seconds, clients=CLIENTS)

    def hunters(self, *, rate: float, seconds: float) -> dict[str, Any]:
        """Let people arrive who want to order, so many a second, whoever is answered; return what they saw."""
        self.turn += 1
        work = {"name": f"b{self.turn}", "packs": self.packs[1:], "tokens": self.tokens, "campaign": fill.SLUG}
        work |= {"payable_fen": 160_00, "first": self.turn * 1009, "rate": rate}
        return self.client(work, seconds=seconds, clients=0, program="benchmarks.hunters")

    def client(
        self, work: dict[str, Any], *, seconds: float, clients: int, program: str = "benchmarks.client"
    ) -> dict[str, Any]:
        """Run the load client as a process of its own."""
        asked = json.dumps({**work, "port": self.port, "seconds": seconds, "clients": clients})
        command = [sys.executable, "-m", program]
        ran = subprocess.run(command, input=asked, capture_output=True, text=True, cwd=ROOT, check=True)
        seen: dict[str, Any] = json.loads(ran.stdout)
        return seen

    def pgbench(self, *, packs: int) -> float:
        """Drive the same statements by pgbench; return orders a second."""
        self.turn += 1
        script = limit.place_order(self.app, packs=packs, first_order=limit.FIRST_ORDER + self.turn * 10**16)
        uri = self.url.replace("postgresql+psycopg://", "postgresql://", 1)
        return script.run(self.folder, uri, clients=PGBENCH_CLIENTS, seconds=max(1, round(self.seconds)))

    def scalar(self, statement: str, **values: Any) -> Any:
        """Return one value."""
        with self.app.app_context():
            found = db.session.execute(text(statement), values).scalar_one()
            db.session.remove()
        return found


@contextmanager
def serving(bench: Bench, *options: str) -> Iterator[None]:
    """Run the shipped gunicorn, with further options, on the filled database."""
    bench.port = postgres.free_port()
    environ = {
        **os.environ,
        "DATABASE_URL": bench.url,
        "SECRET_KEY": postgres.SECRET,
        "HUIGONG_MAX_UNPAID_ORDERS": "1000000000",
        "HUIGONG_TRIES_PER_ADDRESS": "1000000000",
        "HUIGONG_WAIT_MILLISECONDS": "3000",  # as in production
        "HUIGONG_LOG_FORMAT": "json",  # too
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", f"127.0.0.1:{bench.port}", "wsgi:app"]
    command[-1:-1] = options
    with open(bench.folder / "gunicorn.log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            postgres.wait_for(bench.port)
            bench.client({"kind": "gets", "paths": ["/healthz"]}, seconds=1, clients=1)  # until the workers have begun
            bench.orders(packs=bench.packs, payable_fen=160_00, seconds=min(3, bench.seconds))
            yield
        finally:
            server.terminate()
            server.wait(60)


def accepted(seen: dict[str, Any]) -> float:
    """Return the orders a second that were answered 201. Raises RuntimeError for any other answer."""
    others = {status: count for status, count in seen["statuses"].items() if status != "201"}
    if others:
        raise RuntimeError(f"answers other than 201: {others}")
    return float(seen["statuses"]["201"]) / float(seen["seconds"])


def place_orders(bench: Bench, *, runs: int) -> list[Figure]:
    """Work 1: two lines from 100 packs, a voucher drawn."""
    ours, limits, seen = [], [], {}
    for _ in range(runs):
        seen = bench.orders(packs=bench.packs, payable_fen=160_00, seconds=bench.seconds)
        ours.append(accepted(seen))
        limits.append(bench.pgbench(packs=2))
    client = f"{100 * seen['cpu_seconds'] / seen['seconds']:.0f} % of one core"
    latency = {"p50 ms": round(seen["p50_ms"], 1), "p99 ms": round(seen["p99_ms"], 1), "client": client}
    return [
        Figure("1 place an order: orders/s", ours, "", latency),
        Figure("  pgbench, the same statements: orders/s", limits, ""),
        Figure("  ratio", [mine / other for mine, other in zip(ours, limits, strict=True)], ">= 0.20, aim 0.33"),
        Figure("  times the fastest peer", [mine / PEER_ORDERS for mine in ours], ">= 30"),
    ]


def rush(bench: Bench, *, runs: int, last: int) -> list[Figure]:
    """Work 2: everybody after one pack; then the last of it, sold exactly to zero."""
    one = bench.packs[:1]
    ours, limits = [], []
    for _ in range(runs):
        ours.append(accepted(bench.orders(packs=one, payable_fen=80_00, seconds=bench.seconds)))
        limits.append(bench.pgbench(packs=1))
    with bench.app.app_context():
        fill.leave(int(one[0]), last)
    before = bench.scalar("SELECT held FROM stocks WHERE pack_id = :pack", pack=int(one[0]))
    seen = bench.orders(packs=one, payable_fen=80_00, seconds=600, count=last + 4 * CLIENTS)
    sold = bench.scalar("SELECT held FROM stocks WHERE pack_id = :pack", pack=int(one[0])) - before
    left = bench.scalar("SELECT taken_in - held - sold FROM stocks WHERE pack_id = :pack", pack=int(one[0]))
    if (seen["statuses"].get("201"), sold, left) != (last, last, 0):
        raise RuntimeError(f"of the last {last}, {seen['statuses']} were answered, {sold} sold, {left} left")
    return [
        Figure("2 the rush: orders/s", ours, "", {"of the last": last, "sold": sold}),
        Figure("  pgbench on one row: orders/s", limits, ""),
        Figure("  ratio", [mine / other for mine, other in zip(ours, limits, strict=True)], ">= 0.50, aim 0.80"),
    ]


def look(bench: Bench, *, runs: int) -> list[Figure]:
    """Work 5: the campaign page and the list of packs while orders run."""
    ratios, seen = [], {}
    for _ in range(runs):
        orders = threading.Thread(
            target=bench.orders,
            kwargs={"packs": bench.packs, "payable_fen": 160_00, "seconds": bench.seconds + 1},
        )
        orders.start()
        time.sleep(0.5)
        work = {"kind": "gets", "paths": ["/", f"/api/v1/packs?campaign={fill.SLUG}&limit=24"]}
        seen = bench.client(work, seconds=bench.seconds, clients=4)
        orders.join()
        ratios.append(seen["p99_ms"] / seen["p50_ms"])
    more = {"p50 ms": round(seen["p50_ms"], 1), "p99 ms": round(seen["p99_ms"], 1)}
    return [Figure("5 look while orders run: p99 / p50", ratios, "< 3", more)]


def gift_hunters(bench: Bench, *, runs: int) -> list[Figure]:
    """Work 6: twice and four times as many arrive as can be served. Raises RuntimeError where anybody's was lost.

    At four times a machine may not even refuse so many: who got no answer in time is a figure there.
    """
    able = accepted(bench.orders(packs=bench.packs[1:], payable_fen=160_00, seconds=min(5, bench.seconds)))
    figures = []
    for times in (2, 4):
        served, refused, goodput, seen = [], [], [], {}
        for _ in range(runs):
            before = bench.scalar("SELECT count(*) FROM orders")
            seen = bench.hunters(rate=times * able, seconds=bench.seconds)
            placed = bench.scalar("SELECT count(*) FROM orders") - before
            told = seen["statuses"]
            unanswered = seen["lost"] if times == 2 else 0
            if set(told) - {"201", "429", "503"} or unanswered or seen["without_retry_after"]:
                raise RuntimeError(f"hunters lost or told otherwise: {seen}")
            if told.get("201", 0) != placed:
                raise RuntimeError(f"{placed} orders stand, {told} were told")
            served.append(seen["p99_ms"]["201"])
            refused.append(seen["p99_ms"].get("503", 0.0))
            goodput.append(placed / seen["seconds"] / able)
        more = {
            "arrivals/s": round(times * able),
            "p50 ms": seen["p50_ms"],
            "answers": seen["statuses"],
            "lost": seen["lost"],
            "client": f"{100 * seen['cpu']:.0f} % of one core",
        }
        figures += [
            Figure(f"6 hunters, {times} x what can be served: p99 ms served", served, "bounded", more),
            Figure("  p99 ms refused (503, Retry-After)", refused, "bounded"),
            Figure("  served a second, of what can be served", goodput, ""),
        ]
    with bench.app.app_context():
        if breaches := order_queries.proof():
            raise RuntimeError(f"after the hunters: {breaches[:3]}")
        db.session.remove()
    return figures


def issue(uri: str, *, members: int, runs: int) -> list[Figure]:
    """Work 3: vouchers with their ledger to everybody, against the bare INSERT … SELECT of the same rows."""
    ratios, times = [], []
    for turn in range(runs):
        app = postgres.app_on(postgres.new_database(uri, f"issue{turn}"))
        fill.people(app, members=members)
        bare = scale.bare(app)
        begun = time.perf_counter()
        fill.vouchers(app)
        took = time.perf_counter() - begun
        ratios.append(took / bare)
        times.append(took)
        with app.app_context():
            if breaches := order_queries.proof():
                raise RuntimeError(f"after the issue: {breaches[:3]}")
            db.session.remove()
            db.engine.dispose()
        postgres.drop_database(uri, f"issue{turn}")
    return [
        Figure(f"3 issue to {members:,} members: seconds", times, ""),
        Figure("  times the bare INSERT … SELECT", ratios, "<= 1.5, aim 1.15"),
    ]


def machine() -> dict[str, Any]:
    """Say what this was measured on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def run(
    *, works: list[int], members: int, seconds: float, runs: int, last: int, issue_members: int, roster_rows: int
) -> list[Figure]:
    """Measure the works asked for."""
    with tempfile.TemporaryDirectory() as temporary, postgres.server(Path(temporary) / "pg") as uri:
        url = postgres.new_database(uri, "bench")
        app = postgres.app_on(url)
        fill.people(app, members=members, face_fen=FACE_FEN, stock=10**9)
        fill.vouchers(app)
        tokens = fill.tokens(app)
        packs = fill.pack_ids(app)
        bench = Bench(app, url, uri, Path(temporary), tokens, packs, seconds=seconds)
        figures: list[Figure] = []
        with serving(bench):
            figures += place_orders(bench, runs=runs) if 1 in works else []
            figures += rush(bench, runs=runs, last=last) if 2 in works else []
            figures += look(bench, runs=runs) if 5 in works else []
            figures += gift_hunters(bench, runs=runs) if 6 in works else []
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
        if 3 in works:
            figures += issue(uri, members=issue_members, runs=min(runs, 3))
        if 4 in works:
            figures += [Figure(*row) for row in rosters.measure(uri, rows=roster_rows, runs=runs)]
    return figures


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6], help="which works (default: all)")
    parser.add_argument("--members", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--last", type=int, default=2_000, help="packs left for the end of the rush")
    parser.add_argument("--issue-members", type=int, default=1_000_000)
    parser.add_argument("--roster-rows", type=int, default=10_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = vars(parser.parse_args())
    results: Path = chosen.pop("results")
    figures = run(**chosen)
    print(f"{'':<52} {'median':>8}  {'min … max':^17} {'should be':<22}")
    for figure in figures:
        print(figure.line())
    told = [figure.__dict__ for figure in figures]
    results.write_text(json.dumps({"machine": machine(), **chosen, "figures": told}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
