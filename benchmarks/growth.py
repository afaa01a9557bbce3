"""What growth costs: `python -m benchmarks.growth --orders 10000 500000 5000000`.

Fills a database with so many orders, every row agreeing with the ledger, and measures on it, with the shipped gunicorn:
orders a second and their p99, `huigong check`, an operator's dashboard, a merchant's month of statement. Then explains
every list and filter (benchmarks.plans) and fails where one reads a large table from end to end. Orders are bought on
all of them in turn, last. Prints a table.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from benchmarks import fill, plans, postgres
from benchmarks.bench import Bench, accepted, serving
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from orders.services import summing
from web.settings import ROOT

FACE_FEN = 10**9  # a purse that never runs out


@dataclass
class Size:
    """A filled database and what was found on it."""

    bench: Bench
    found: dict[str, Any]
    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)


def made(uri: str, folder: Path, *, orders: int, members: int) -> Size:
    """Fill one database and measure what is read on it. Raises RuntimeError where a rule of conservation is broken."""
    url = postgres.new_database(uri, f"growth{orders}")
    app = postgres.app_on(url)
    fill.people(app, members=members, face_fen=FACE_FEN, stock=10**8)
    fill.vouchers(app)
    begun = time.perf_counter()
    fill.orders(app, count=orders)
    found: dict[str, Any] = {"orders": orders, "filled in s": round(time.perf_counter() - begun, 1)}
    tokens = fill.tokens(app, at_most=20_000)
    with app.app_context():
        begun = time.perf_counter()
        summing.rebuild(now=clock.now())
        found["summaries counted anew s"] = round(time.perf_counter() - begun, 1)
        begun = time.perf_counter()
        if breaches := order_queries.all_breaches():
            raise RuntimeError(f"{orders} orders: {breaches[:5]}")
        found["huigong check s"] = round(time.perf_counter() - begun, 1)
        db.session.remove()
    look(app, found)
    return Size(Bench(app, url, uri, folder, tokens, fill.pack_ids(app)), found)


def look(app: Flask, found: dict[str, Any]) -> None:
    """Measure pages, and find every list that reads a whole table."""
    for what, who, path in (
        ("dashboard ms", "operator", f"/admin/campaigns/{fill.SLUG}/dashboard"),
        ("merchant's statement ms", "merchant", f"/merchant/statements/{clock.now():%Y-%m}"),
        ("merchant's parcels ms", "merchant", "/merchant/parcels"),
        ("member's orders ms", "member", "/orders"),
    ):
        browser = plans._signed_in(app, plans.LOGINS[who])
        took = []
        for _ in range(3):
            begun = time.perf_counter()
            status = browser.get(path).status_code
            took.append((time.perf_counter() - begun) * 1000)
            if status not in (200, 404):
                raise RuntimeError(f"{status} for {path}")
        found[what] = round(sorted(took)[1], 1) if status == 200 else "none yet"
    findings, slowest = plans.explain(app, plans.walk(app)[0])
    found["reads of a whole table"] = [str(one) for one in findings]
    found["slowest statements ms"] = [(round(took, 1), path) for took, path in slowest[:5]]


def buy(sizes: list[Size], *, seconds: float, runs: int) -> None:
    """Measure placing orders on all databases in turn, so that a machine's mood hits all alike.

    Raises RuntimeError for an order that was not placed.
    """
    for run in range(runs):
        for size in sizes if run % 2 == 0 else reversed(sizes):
            size.bench.seconds = seconds
            with serving(size.bench):
                seen = size.bench.orders(packs=size.bench.packs, payable_fen=160_00, seconds=seconds)
            size.rates.append(accepted(seen))
            size.p99s.append(seen["p99_ms"])
    for size in sizes:
        size.found["orders/s"] = round(statistics.median(size.rates))
        size.found["orders/s, least and most"] = f"{min(size.rates):.0f} … {max(size.rates):.0f}"
        size.found["p99 ms"] = round(statistics.median(size.p99s), 1)
        size.found["of the smallest"] = round(
            statistics.median(mine / least for mine, least in zip(size.rates, sizes[0].rates, strict=True)), 2
        )


def prove(size: Size) -> None:
    """Prove one database after buying, and drop it. Raises RuntimeError where a rule of conservation is broken."""
    with size.bench.app.app_context():
        if breaches := order_queries.proof():
            raise RuntimeError(f"after buying on {size.found['orders']} orders: {breaches[:5]}")
        found = db.session.scalar(text("SELECT pg_size_pretty(pg_database_size(current_database()))"))
        db.session.remove()
        db.engine.dispose()
    size.found["size"] = found
    postgres.drop_database(size.bench.uri, f"growth{size.found['orders']}")


def main() -> None:
    """Measure at each size; print the table; fail where a list reads a whole table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, nargs="+", default=[10_000, 500_000, 5_000_000])
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the database is kept (default: a temporary folder)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "growth.json")
    chosen = parser.parse_args()
    sizes: list[Size] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        with postgres.server(folder / "pg") as uri:
            for orders in sorted(chosen.orders):
                sizes.append(made(uri, Path(temporary), orders=orders, members=chosen.members))
                print(json.dumps(sizes[-1].found, ensure_ascii=False, indent=1), flush=True)
            buy(sizes, seconds=chosen.seconds, runs=chosen.runs)
            for size in sizes:
                prove(size)
    table = [size.found for size in sizes]
    chosen.results.write_text(json.dumps(table, ensure_ascii=False, indent=1))
    for row in table[0]:
        if not isinstance(table[0][row], list):
            print(f"| {row} | " + " | ".join(str(one[row]) for one in table) + " |")
    if any(one["reads of a whole table"] for one in table if one["orders"] >= 100_000):
        raise SystemExit("a list reads a large table from end to end")


if __name__ == "__main__":
    main()
