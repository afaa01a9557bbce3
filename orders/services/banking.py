"""银行对账单: imported, each line finds its transfer by reference and amount, the rest waits for a person.

Parts of one transfer add up: they confirm it when their sum is right. Short and over payments, money that names no
transfer of ours, and money for one that was confirmed before are decided by an operator, by two above an amount.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from finance.gateway.rules import ARRIVED, BANK
from kernel import audit, idempotency, sheets
from kernel.db import transaction
from kernel.errors import Forbidden, Invalid, NotFound, OverLimit, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id
from kernel.money import fen_of
from orders.services.paying import keep_unmatched, lock_order, take_payment

HEADERS = {
    "date": ("交易日期", "记账日期", "入账日期", "交易时间", "日期", "date", "booked on"),
    "income": ("收入金额", "贷方发生额", "贷方金额", "收入", "贷方", "收入(元)", "收入金额(元)", "credit", "amount in"),
    "expense": (
        "支出金额",
        "借方发生额",
        "借方金额",
        "支出",
        "借方",
        "支出(元)",
        "支出金额(元)",
        "debit",
        "amount out",
    ),
    "amount": ("交易金额", "发生额", "金额", "交易金额(元)", "amount"),
    "serial": ("交易流水号", "流水号", "交易流水", "凭证号", "serial", "transaction id"),
    "counterparty": ("对方户名", "对方名称", "付款人", "对方账户名称", "counterparty", "payer"),
    "summary": ("摘要", "summary"),
    "postscript": ("附言", "交易附言", "reference", "text"),
    "purpose": ("用途", "purpose"),
    "remark": ("备注", "note", "remark"),
}
TEXTS = ("summary", "postscript", "purpose", "remark")
REFERENCE = re.compile(r"HG([0-9]{10,19})")
UNDECIDED = ("short", "over", "again", "unknown")
ROWS = 5000


@dataclass(frozen=True)
class StatementRow:
    """One line of a statement, in fen; negative is money out."""

    serial: str
    booked_on: date
    amount_fen: int
    counterparty: str
    text: str


def read_statement(content: bytes, filename: str) -> list[StatementRow]:
    """Return a statement's lines. Raises Invalid with each row that cannot be read; then nothing is taken."""
    rows = sheets.read(content, filename, HEADERS, required=("date",), limit=ROWS)
    found, faults, seen = [], [], dict[str, int]()
    for number, values in rows:
        booked_on = _day(values.get("date", ""))
        amount_fen = _amount(values)
        if booked_on is None and amount_fen is None:
            continue  # a total or a remark below the table
        if booked_on is None or amount_fen is None:
            column = "交易日期" if booked_on is None else "金额"
            faults.append({"row": number, "column": column, "message": "无法识别这一格，请改正后重新上传。"})
            continue
        if amount_fen == 0:
            continue
        text = " ".join(values[name] for name in TEXTS if values.get(name))
        row = StatementRow("", booked_on, amount_fen, values.get("counterparty", ""), text)
        serial = values.get("serial", "")
        if not serial:
            # A bank that gives no numbers: the same line twice in one file is two payments, in two files one.
            name = "|".join([str(booked_on), str(amount_fen), row.counterparty, text])
            seen[name] = seen.get(name, 0) + 1
            serial = "x" + hashlib.sha256(f"{name}|{seen[name]}".encode()).hexdigest()[:40]
        found.append(StatementRow(serial, booked_on, amount_fen, row.counterparty, text))
    if faults:
        raise Invalid("对账单里有无法识别的行，没有导入。", rows=faults)
    if not found:
        raise Invalid("对账单里没有可导入的行。", errors={"file": ["对账单里没有可导入的行。"]})
    return found


def _day(text: str) -> date | None:
    found = re.match(r"(\d{4})\D?(\d{1,2})\D?(\d{1,2})", text, re.ASCII)
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _amount(values: dict[str, str]) -> int | None:
    income, expense = (values.get(name, "").strip() for name in ("income", "expense"))
    if income in ("", "-", "0", "0.00") and expense in ("", "-", "0", "0.00"):
        whole = values.get("amount", "").strip()
        amount = fen_of(whole.lstrip("+-"))
        if amount is None:
            return 0 if (income or expense) and not whole else None
        return -amount if whole.startswith("-") else amount
    if income not in ("", "-", "0", "0.00"):
        return fen_of(income)
    spent = fen_of(expense.lstrip("-"))
    return -spent if spent is not None else None


def import_statement(
    *, rows: Sequence[StatementRow], actor_id: int, second_person_fen: int, once: Once, now: datetime
) -> Answer:
    """Keep a statement's lines, then match each; lines that were imported before change nothing."""
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        added = []
        for row in rows:
            line_id = gateway_steps.add_line(**row.__dict__, actor_id=actor_id, now=now)
            if line_id is not None:
                added.append(line_id)
        audit.record(
            "statement.import", f"statement:{once.key[:60]}", actor_id=actor_id, now=now, after={"lines": len(added)}
        )
        content = {"lines": len(rows), "new": len(added), "repeated": len(rows) - len(added)}
        answer = idempotency.finish(once, content)
    match_new(second_person_fen=second_person_fen, now=now)
    return answer


def match_new(*, second_person_fen: int, now: datetime) -> int:
    """Match each line that nobody looked at yet, in a transaction of its own; return how many."""
    waiting = gateway_queries.bank_lines("new", limit=ROWS)
    for line in waiting:
        with transaction():
            _match(line.id, sources=("new",), reference=None, second_person_fen=second_person_fen, now=now)
    return len(waiting)


def _match(
    line_id: int, *, sources: tuple[str, ...], reference: str | None, second_person_fen: int, now: datetime
) -> str:
    """Match one line, in the caller's transaction; return what it is then."""
    line = gateway_queries.bank_line(line_id)
    assert line is not None
    named = REFERENCE.search(re.sub(r"[\s-]", "", (reference or line.text).upper()))
    found = gateway_queries.find(as_id(named[1]) if named else None)
    if found is None or found.provider != BANK or found.order_id is None or found.status == "unmatched":
        gateway_steps.move_line(line_id, sources=sources, to="unknown")
        return "unknown"
    order = lock_order(found.order_id)
    payment = gateway_steps.lock(payment_id=found.id)
    assert payment is not None
    line = gateway_queries.bank_line(line_id)  # again, under the lock
    if line is None or line.status not in sources:
        return line.status if line is not None else "unknown"
    others = gateway_queries.lines_of(payment.id)
    if payment.status in ARRIVED:
        counted = sum(one.amount_fen for one in others if one.status in ("matched", "second"))
        status = "matched" if counted + line.amount_fen == payment.amount_fen else "again"
        gateway_steps.move_line(line_id, sources=sources, to=status, payment_id=payment.id)
        return status
    total = line.amount_fen + sum(one.amount_fen for one in others if one.status in ("short", "second", "over"))
    if total != payment.amount_fen:
        status = "short" if total < payment.amount_fen else "over"
        gateway_steps.move_line(line_id, sources=sources, to=status, payment_id=payment.id)
        return status
    if total >= second_person_fen:
        first = payment.first_confirmed_by
        if first is None or first == line.imported_by:
            gateway_steps.note_first_confirmation(payment.id, actor_id=line.imported_by)
            gateway_steps.move_line(line_id, sources=sources, to="second", payment_id=payment.id)
            return "second"
    take_payment(order, payment, now=now, confirmed_by=line.imported_by)
    gateway_steps.move_line(line_id, sources=sources, to="matched", payment_id=payment.id)
    gateway_steps.move_lines_of(payment.id, sources=("short", "second"), to="matched")
    return "matched"


def decide(
    *,
    line_id: int | None,
    verdict: str,
    reference: str = "",
    note: str = "",
    actor_id: int,
    second_person_fen: int,
    once: Once,
    now: datetime,
) -> Answer:
    """An operator decides on a line that did not match.

    `assign`: it is for the transfer `reference` names. `take`: confirm the transfer it is too much for, the rest goes
    back. `send_back`: all of the line goes back. `ignore`: it is not ours, with a note. From `second_person_fen` on,
    `take` and `send_back` need two people. Raises NotFound, Invalid, StateConflict, Forbidden, OverLimit.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        line = gateway_queries.bank_line(line_id)
        if line is None:
            raise NotFound("没有这一行。")
        if line.status not in UNDECIDED:
            raise StateConflict("这一行已经处理过。")
        before, waits = line.status, False
        if verdict in ("take", "send_back") and _waits_for_another(line, actor_id, second_person_fen):
            status, waits = before, True
        elif verdict == "assign":
            status = _assign(line, reference, second_person_fen=second_person_fen, now=now)
        elif verdict == "take":
            status = _take(line, actor_id=actor_id, now=now)
        elif verdict == "send_back":
            reason = "overpaid" if before in ("over", "again") else "not_matched"
            _send_back(line, amount_fen=line.amount_fen, reason=reason, now=now)
            status = "sent_back"
            gateway_steps.move_line(line.id, sources=UNDECIDED, to=status, note=note)
        elif verdict == "ignore" and note:
            status = "ignored"
            gateway_steps.move_line(line.id, sources=UNDECIDED, to=status, note=note)
        else:
            raise Invalid("请填写说明。", errors={"note": ["请填写说明。"]})
        after = {"status": status, "amount_fen": line.amount_fen} | ({"note": note} if note else {})
        audit.record(
            f"statement.{verdict}",
            f"line:{line.id}",
            actor_id=actor_id,
            now=now,
            before={"status": before},
            after=after,
        )
        return idempotency.finish(once, {"id": str(line.id), "status": status, "waits_for_another": waits})


def _waits_for_another(line: Any, actor_id: int, second_person_fen: int) -> bool:
    """Note the first of two people; False where there is nothing to wait for."""
    if line.amount_fen < second_person_fen:
        return False
    if line.first_decided_by is None:
        gateway_steps.note_first_decision(line.id, actor_id=actor_id)
        return True
    if line.first_decided_by == actor_id:
        raise Forbidden("大额款项需要另一位运营确认。")
    return False


def _assign(line: Any, reference: str, *, second_person_fen: int, now: datetime) -> str:
    named = REFERENCE.fullmatch(re.sub(r"[\s-]", "", reference.upper()))
    found = gateway_queries.find(as_id(named[1]) if named else None)
    if found is None or found.provider != BANK or found.status == "unmatched":
        raise Invalid(errors={"reference": ["没有这个转账编号。"]})
    return _match(line.id, sources=UNDECIDED, reference=found.reference, second_person_fen=second_person_fen, now=now)


def _take(line: Any, *, actor_id: int, now: datetime) -> str:
    found = gateway_queries.find(line.payment_id)
    if found is None or found.order_id is None or line.status != "over":
        raise StateConflict("只有多付的转账可以这样处理。")
    order = lock_order(found.order_id)
    payment = gateway_steps.lock(payment_id=found.id)
    assert payment is not None
    if payment.status != "pending":
        raise StateConflict("这笔转账已经确认过。")
    parts = [one for one in gateway_queries.lines_of(payment.id) if one.status in ("short", "over")]
    rest = sum(one.amount_fen for one in parts) - payment.amount_fen
    if rest <= 0:
        raise OverLimit("金额不足，不能确认。")
    take_payment(order, payment, now=now, confirmed_by=actor_id)
    gateway_steps.move_lines_of(payment.id, sources=("short", "over"), to="matched")
    _send_back(line, amount_fen=rest, reason="overpaid", now=now)
    return "matched"


def _send_back(line: Any, *, amount_fen: int, reason: str, now: datetime) -> None:
    """Money that pays for nothing goes back: on the ledger both ways, with an intent a person carries out."""
    found = gateway_queries.find(line.payment_id)
    order = lock_order(found.order_id) if found is not None and found.order_id is not None else None
    order_id = order.id if order is not None else None
    stray = gateway_steps.start(order_id=order_id, provider=BANK, amount_fen=amount_fen, status="unmatched", now=now)
    keep_unmatched(stray.id, order=order, amount_fen=amount_fen, now=now)
    gateway_steps.refund(
        order_id=order_id,
        payment_id=stray.id,
        amount_fen=amount_fen,
        cause=f"line:{line.id}",
        reason=reason,
        now=now,
    )
