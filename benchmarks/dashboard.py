"""Time an operator's dashboard: `python -m benchmarks.dashboard --members 1000000 --orders 200000`.

Fills a PostgreSQL with that many vouchers and orders, folds the summaries, and asks for the page, each of its files and
pictures, and the rows behind its figures, as an operator's browser would, in one process: what is timed is the answer,
without the network. Prints the median and the slowest of each in milliseconds, and the queries each takes.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from benchmarks import fill, postgres
from kernel import clock
from kernel.db import db
from orders.services import summing
from orders.views_dashboard import PICTURES

OPERATOR = "13600000001"
TABLES = (*PICTURES, "stock", "overdue")
BASE = f"/admin/campaigns/{fill.SLUG}"


def signed_in(app: Flask) -> FlaskClient:
    """Return a client signed in as the operator by the sign-in pages."""
    client = app.test_client()

    def found(pattern: str, page: str) -> str:
        match = re.search(pattern, page)
        assert match, page
        return match[1]

    form = {
        "phone": OPERATOR,
        "csrf_token": found(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text),
    }
    code = found(r'id="code-shown"[^>]*>(\d{6})<', client.post("/sign-in", data=form).text)
    client.post("/sign-in", data={**form, "code": code})
    return client


def addresses(client: FlaskClient) -> list[str]:
    """Return the page's own addresses: itself, its files and pictures, and each kind of opening to rows."""
    page = client.get(f"{BASE}/dashboard").text
    openings: dict[str, str] = {}
    for link in re.findall(rf'href="({BASE}/dashboard/orders\?[^"]+)"', page):
        link = link.replace("&amp;", "&")
        openings.setdefault(re.sub(r"=[^&]*", "", link), link)
    union = re.search(rf'href="({BASE}/assisted/\d+)"', client.get(f"{BASE}/assisted").text)
    files = [f"{BASE}/dashboard/{part}.{kind}" for part in TABLES for kind in ("xlsx", "csv")]
    pictures = [f"{BASE}/dashboard/{part}.svg" for part in PICTURES]
    narrowed = [f"{BASE}/dashboard?channel=member", f"{BASE}/dashboard?tier={fill.PRICE_FEN}"]
    rest = [f"{BASE}/assisted", *([union[1]] if union else []), "/admin/queues", "/admin/"]
    return [f"{BASE}/dashboard", *narrowed, *files, *pictures, *sorted(openings.values()), *rest]


def timed(ask: Callable[[], object], *, times: int) -> tuple[float, float]:
    """Return the median and the slowest of some runs, in milliseconds; the first, which warms up, is not counted."""
    ask()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken), max(taken)


def main() -> None:
    """Fill, fold, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the database is kept (default: a temporary folder)")
    parser.add_argument("--filled", action="store_true", help="the folder's database is filled already")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, postgres.server(chosen.folder or Path(temporary)) as uri:
        app = postgres.app_on(
            postgres.address_of(uri, "dashboard") if chosen.filled else postgres.new_database(uri, "dashboard")
        )
        if not chosen.filled:
            fill.people(app, members=chosen.members)
            fill.vouchers(app)
            fill.orders(app, count=chosen.orders)
        with app.app_context():
            begun = time.perf_counter()
            postings = summing.rebuild(now=clock.now())
            print(f"{postings} postings folded in {time.perf_counter() - begun:.1f} s", flush=True)
            engine = db.engine
        client, asked = signed_in(app), 0

        def count(*_: object) -> None:
            nonlocal asked
            asked += 1

        event.listen(engine, "before_cursor_execute", count)
        print("| address | median ms | slowest ms | queries |\n| --- | ---: | ---: | ---: |")
        for path in addresses(client):
            middle, slowest = timed(lambda path=path: client.get(path), times=chosen.times)  # type: ignore[misc]
            asked = 0
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.status_code)
            print(f"| {path.removeprefix(BASE)} | {middle:.0f} | {slowest:.0f} | {asked} |", flush=True)


if __name__ == "__main__":
    main()
