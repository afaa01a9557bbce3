"""Which workers serve best here: `python -m benchmarks.workers` places orders with each kind and number of them.

Prints orders a second and p99 by kind and number, several times in turn so that a machine's mood hits all alike. The
number is set by WEB_CONCURRENCY, its default in gunicorn.conf.py.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks import fill, postgres
from benchmarks.bench import FACE_FEN, Bench, accepted, serving
from kernel.db import db

KINDS = {"sync": (), "gthread": ("-k", "gthread", "--threads", "4")}


def main() -> None:
    """Measure each kind and number in turn; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    rates: dict[tuple[str, int], list[float]] = {}
    slow: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary, postgres.server(Path(temporary) / "pg") as uri:
        url = postgres.new_database(uri, "workers")
        app = postgres.app_on(url)
        fill.people(app, members=chosen.members, face_fen=FACE_FEN, stock=10**9)
        fill.vouchers(app)
        bench = Bench(app, url, uri, Path(temporary), fill.tokens(app), fill.pack_ids(app), seconds=chosen.seconds)
        for _ in range(chosen.runs):
            for kind in chosen.kinds:
                for number in chosen.numbers:
                    with serving(bench, *KINDS[kind], "-w", str(number)):
                        seen = bench.orders(packs=bench.packs, payable_fen=160_00, seconds=chosen.seconds)
                    rates.setdefault((kind, number), []).append(accepted(seen))
                    slow.setdefault((kind, number), []).append(seen["p99_ms"])
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    print("| workers | orders/s (median, min … max) | p99 ms |\n| --- | ---: | ---: |")
    for (kind, number), found in sorted(rates.items(), key=lambda item: -statistics.median(item[1])):
        spread = f"{statistics.median(found):.0f} ({min(found):.0f} … {max(found):.0f})"
        print(f"| {number} {kind} | {spread} | {statistics.median(slow[kind, number]):.0f} |")


if __name__ == "__main__":
    main()
