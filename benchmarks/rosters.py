"""Work 4: a roster of many rows read, checked row by row and stored, against reading it and COPYing it unseen."""

import io
import time

import psycopg
from flask import Flask
from python_calamine import CalamineWorkbook
from sqlalchemy import text

from benchmarks import fill, postgres
from kernel import clock, collector, sheets
from kernel.db import db
from kernel.idempotency import request_once
from orders import roster
from orders.rules import Wanted
from orders.services import bulk, rostering

COLUMNS = "order_id, position, name, phone, employee_no, department, address, quantity"


def measure(uri: str, *, rows: int, runs: int) -> list[tuple[str, list[float], str]]:
    """Return the figures of work 4: a name, each run's value, and what it should be."""
    url = postgres.new_database(uri, "rosters")
    app = postgres.app_on(url)
    fill.people(app, members=10)
    head = ["姓名", "手机号", "工号", "部门", "收货地址"]
    people = [[f"人{n}", str(13_800_100_000 + n), f"{n:05d}", f"部门{n % 30}", "海尔路 1 号"] for n in range(rows)]
    content = sheets.write([head, *people])
    collector.settle()  # as in every worker
    ours, bare = [], []
    for _ in range(runs):
        number, union_id = _draft(app, rows)
        begun = time.perf_counter()
        with app.app_context():
            read = roster.read_file(content, "roster.xlsx")
            said = rostering.put_roster(number=number, union_id=union_id, rows=read, partial=False, now=clock.now())
            db.session.remove()
        ours.append(time.perf_counter() - begun)
        if (said["accepted"], said["rejected"]) != (rows, 0):
            raise RuntimeError(f"of {rows} rows {said['accepted']} were accepted")
        bare.append(_bare(url, content, int(number)))
        with app.app_context():
            # The next run's people must not all stand on this run's order: that is another work.
            bulk.cancel(number=number, union_id=union_id, now=clock.now())
            db.session.remove()
    with app.app_context():
        db.engine.dispose()
    postgres.drop_database(uri, "rosters")
    ratios = [mine / least for mine, least in zip(ours, bare, strict=True)]
    return [
        (f"4 a roster of {rows:,} rows: seconds", ours, ""),
        ("  times calamine's read and psycopg's COPY", ratios, "< 3, aim 1.5"),
    ]


def _draft(app: Flask, packs: int) -> tuple[str, int]:
    with app.app_context():
        union_id, person_id = db.session.execute(
            text("SELECT u.id, p.id FROM grassroots_unions u, people p ORDER BY u.id, p.id LIMIT 1")
        ).one()
        pack_id = db.session.execute(text("SELECT min(id) FROM gift_packs")).scalar_one()
        key = f"roster-{time.monotonic_ns()}"
        answer = bulk.draft(
            slug=fill.SLUG,
            union_id=union_id,
            wanted=[Wanted(pack_id, packs)],
            delivery={},
            once=request_once(person_id=person_id, key=key, route="bench", body=None),
            now=clock.now(),
        )
        db.session.remove()
    return str(answer.body["number"]), union_id


def _bare(url: str, content: bytes, order_id: int) -> float:
    """Return the seconds that reading the sheet and COPYing its cells, in one transaction, take."""
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1)) as connection:
        connection.execute("DROP TABLE IF EXISTS bare_recipients")
        connection.execute("CREATE TABLE bare_recipients (LIKE recipients INCLUDING ALL)")
        connection.execute("ALTER TABLE bare_recipients ALTER link_code DROP NOT NULL")
        connection.commit()
        begun = time.perf_counter()
        cells = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
        with connection.cursor().copy(f"COPY bare_recipients ({COLUMNS}) FROM STDIN") as copy:
            for position, (name, phone, number, department, address) in enumerate(cells[1:], start=1):
                copy.write_row((order_id, position, name, phone, number, department, address, 1))
        connection.commit()
        return time.perf_counter() - begun
