"""Issue to many and prove many: `python -m benchmarks.scale --members 1000000 --orders 200000`.

Prints what the bare INSERT … SELECT of the same vouchers and postings takes, what the issue takes beside it, the memory
it took, and how long the proof of all five conservation rules takes on the filled tables.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from flask import Flask
from sqlalchemy import text

from benchmarks import fill, postgres
from kernel.db import db
from orders import queries as order_queries

BARE_VOUCHERS = """
INSERT INTO bare_vouchers (campaign_id, member_id, code, face_fen, held_fen, redeemed_fen, expired_fen, revoked_fen,
    issued_at)
SELECT :campaign, m.id, 'LOAD-' || (10000000 + m.id), :face, 0, 0, 0, 0, now() FROM members m
"""
BARE_POSTINGS = """
INSERT INTO bare_postings (entry, line, kind, debit, credit, amount, campaign_id, voucher_id, at)
SELECT 'issue:' || v.id, 1, 'issue', 'budget.member', 'voucher.balance', v.face_fen, v.campaign_id, v.id, now()
FROM bare_vouchers v
"""


def bare(app: Flask) -> float:
    """Return the seconds that one INSERT … SELECT of the vouchers and one of their postings take, in one transaction.

    Tables of the same columns, constraints, indexes and foreign keys as the real ones, empty before.
    """
    with app.app_context():
        fill.run("DROP TABLE IF EXISTS bare_vouchers, bare_postings")
        for bare_name, name in (("bare_vouchers", "vouchers"), ("bare_postings", "ledger_postings")):
            fill.run(f"CREATE TABLE {bare_name} (LIKE {name} INCLUDING ALL)")
            fill.run(f"CREATE SEQUENCE {bare_name}_id OWNED BY {bare_name}.id")
            fill.run(f"ALTER TABLE {bare_name} ALTER id SET DEFAULT nextval('{bare_name}_id')")
        fill.run("ALTER TABLE bare_vouchers ADD FOREIGN KEY (member_id) REFERENCES members (id)")
        fill.run("ALTER TABLE bare_vouchers ADD FOREIGN KEY (campaign_id) REFERENCES campaigns (id)")
        begun = time.perf_counter()
        with db.engine.begin() as connection:
            campaign = connection.execute(text("SELECT id FROM campaigns WHERE slug = 'load'")).scalar_one()
            connection.execute(text(BARE_VOUCHERS), {"campaign": campaign, "face": fill.FACE_FEN})
            connection.execute(text(BARE_POSTINGS))
        took = time.perf_counter() - begun
        fill.run("DROP TABLE bare_vouchers, bare_postings")
    return took


def main() -> None:
    """Fill, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the database is kept (default: a temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, postgres.server(chosen.folder or Path(temporary)) as uri:
        app = postgres.app_on(postgres.new_database(uri, "scale"))
        fill.people(app, members=chosen.members)
        bare_seconds = bare(app)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        fill.vouchers(app)
        issue_seconds = time.perf_counter() - begun
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            f"issue to {chosen.members}: bare INSERT … SELECT {bare_seconds:.1f} s, issue {issue_seconds:.1f} s,",
            end=" ",
        )
        print(f"ratio {issue_seconds / bare_seconds:.2f}; memory grew by {grown // 1024} MiB", flush=True)
        fill.orders(app, count=chosen.orders)
        with app.app_context():
            begun = time.perf_counter()
            breaches = order_queries.proof()
            check_seconds = time.perf_counter() - begun
        print(f"check of {chosen.members} vouchers and {chosen.orders} orders: {check_seconds:.1f} s, {breaches[:5]}")


if __name__ == "__main__":
    main()
