"""A process dies between any two statements of what moves money or stock, and the books are in one of the legal states.

A fault point stands before every statement, before every commit and just after it; the work is done again and again,
dying at the first, the second, … until it gets through. What an undisturbed run shows at each of its commits (and at
its beginning) is all that may ever be there; asked again under the same key, the work ends as if nothing had happened,
with the first answer where there was one. Dying is an exception nobody catches: what is not committed is rolled back,
as a database does for a process that is gone. (Real processes are killed in tests/finance/test_crashes.py, torture.)
"""

import io
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import kernel.db
from kernel import clock, jobs
from kernel.db import db
from orders.services import placing, tending
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, SHIP, World
from tests.finance.test_bank import TODAY, sheet
from tests.orders.test_rosters import workbook
from voucher import services as voucher_services
from web.cli import HANDLERS

MOST_POINTS = 75
LOOKS = itertools.count(1)
M = [f"138{number:08d}" for number in range(1, MOST_POINTS + 3)]

# What is counted: enough to tell any two states of the business apart.
COUNTED = {
    "orders": "SELECT status, count(*), sum(payable_fen) FROM orders GROUP BY status",
    "lines": "SELECT '', sum(quantity), sum(refund_asked), sum(refunded), sum(withdrawn) FROM order_lines",
    "stocks": "SELECT '', sum(taken_in), sum(held), sum(sold), sum(shipped) FROM stocks",
    "vouchers": "SELECT '', count(*), sum(held_fen), sum(redeemed_fen) FROM vouchers",
    "campaigns": "SELECT '', count(*) FROM campaigns",
    "postings": "SELECT kind, count(*), sum(amount) FROM ledger_postings GROUP BY kind",
    "payments": "SELECT status, count(*), sum(amount_fen), sum(refunded_fen) FROM payments GROUP BY status",
    "refunds": "SELECT status, count(*), sum(amount_fen) FROM payment_refunds GROUP BY status",
    "asked back": "SELECT status, count(*), sum(cash_fen), sum(voucher_fen) FROM refund_parts GROUP BY status",
    "parcels": "SELECT status, count(*) FROM parcels GROUP BY status",
    "events": "SELECT '', count(*), count(acted_at) FROM payment_events",
    "jobs": "SELECT status, count(*), sum(done) FROM jobs GROUP BY status",
    "recipients": "SELECT '', count(*), sum(quantity) FROM recipients",
    "bank lines": "SELECT status, count(*), sum(amount_fen) FROM bank_lines GROUP BY status",
    "answers": "SELECT '', count(body) FROM idempotency_records",
}


class Died(BaseException):
    """The process is gone."""


class Points:
    """Counts the fault points that are passed, and dies at one of them; notes what is there at each commit."""

    def __init__(self, state: Callable[[], Counter[Any]]) -> None:
        self.state, self.die_at, self.count, self.on = state, 0, 0, False
        self.seen: list[Counter[Any]] = []

    def _pass(self) -> None:
        if self.on:
            self.count += 1
            if self.count == self.die_at:
                self.on = False
                raise Died

    def statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE", "PRAGMA", "SET ")):
            self._pass()

    def commit(self, session: Session, commit: Callable[[Session], None]) -> None:
        self._pass()
        commit(session)
        if self.on and not self.die_at:
            self.on = False
            self.seen.append(self.state())
            self.on = True
        self._pass()

    def run(self, work: Callable[[], Any], *, die_at: int = 0) -> Any:
        """Do the work with the fault points on; return what it returns, or Died."""
        self.die_at, self.count, self.on = die_at, 0, True
        try:
            return work()
        except Died as died:
            return died
        finally:
            self.on = False
            db.session.rollback()


@pytest.fixture
def big(app):
    return World(app, members=len(M), stock=5000)


@pytest.fixture
def points(big, monkeypatch):
    """The fault points, and how a state is read: on a connection of its own, so that only what is committed counts."""

    def state() -> Counter[Any]:
        found: Counter[Any] = Counter()
        with db.engine.connect() as connection:
            for name, statement in COUNTED.items():
                for row in connection.execute(text(statement)):
                    for place, value in enumerate(row[1:]):
                        found[name, row[0], place] = int(value or 0)
        return found

    made = Points(state)
    event.listen(Engine, "before_cursor_execute", made.statement)
    ours = kernel.db._Session
    commit = ours.commit
    monkeypatch.setattr(ours, "commit", lambda session: made.commit(session, commit))
    yield made
    event.remove(Engine, "before_cursor_execute", made.statement)


@dataclass
class Case:
    """Something that is done again and again, each time from the beginning, by somebody else."""

    prepare: Callable[[World, int], Any]
    work: Callable[[World, Any], Any]
    least: int
    """How many fault points it has at least."""


def basket(world: World, code: str = "A100") -> dict[str, Any]:
    return {**world.lines((code, 1)), "payable_fen": 8000, "delivery": SHIP}


def order_of(world: World, turn: int) -> tuple[str, str]:
    number = world.call(M[turn], "POST", "/orders", basket(world)).json["number"]
    return M[turn], number


def place(world: World, prepared: Any) -> Any:
    return world.call(prepared[0], "POST", "/orders", basket(world), key="place")


def place_bulk(world: World, turn: int) -> tuple[str, str]:
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A100", 1))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    return OFFICER, number


def approve(world: World, prepared: Any) -> Any:
    return world.call(APPROVER, "POST", f"/bulk/orders/{prepared[1]}/approve", {}, key=f"approve-{prepared[1]}")


def at_cashier(world: World, turn: int) -> Any:
    login, number = order_of(world, turn)
    body = {"provider": "sandbox"}
    return login, world.call(login, "POST", f"/orders/{number}/payments", body).json["redirect_url"], number


def start(world: World, prepared: Any) -> Any:
    login, number = prepared
    return world.call(login, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}, key="start")


def pay(world: World, prepared: Any) -> Any:
    return world.app.test_client().post(prepared[1], data={"outcome": "pay"}, headers={"Accept": "application/json"})


def expire(world: World, prepared: Any) -> Any:
    placing.expire_due(now=clock.now() + timedelta(hours=1))


def paid(world: World, turn: int) -> Any:
    prepared = at_cashier(world, turn)
    assert pay(world, prepared).status_code == 200
    return prepared


def give_back(world: World, prepared: Any) -> Any:
    body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
    return world.call(prepared[0], "POST", f"/orders/{prepared[2]}/refunds", body, key="back")


def campaign(world: World, turn: int) -> Any:
    now = clock.now()
    body = {
        "slug": f"next{turn}",
        "name": "下一场",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(days=100)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        "tiers_fen": [10000],
        "member_budget_fen": 20000 * len(M),
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201
    return OPERATOR, f"next{turn}"


def issue(world: World, prepared: Any) -> Any:
    return world.call(
        OPERATOR, "POST", f"/admin/campaigns/{prepared[1]}/issue", {"audience": {"all": True}}, key=prepared[1]
    )


def issue_asked(world: World, turn: int) -> Any:
    prepared = campaign(world, turn)
    assert issue(world, prepared).status_code == 202
    return prepared


def run_job(world: World, prepared: Any) -> Any:
    # A worker that died holds the job until its lease is over: each looks two minutes after the one before.
    later = clock.now() + timedelta(minutes=2 * next(LOOKS))
    while jobs.run_next(HANDLERS, clock=lambda: later):
        pass


def draft(world: World, turn: int) -> Any:
    return OFFICER, world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A100", 2))).json["number"]


def put_roster(world: World, prepared: Any) -> Any:
    content = workbook(["姓名", "手机号"], ["王芳", 13800000011], ["李强", 13800000012])
    return world.call(
        OFFICER, "PUT", f"/bulk/orders/{prepared[1]}/roster", data={"file": (io.BytesIO(content), "r.xlsx")}, key=None
    )


def stock_sheet(world: World, prepared: Any) -> Any:
    rows = [[world.packs[code], 5, "到货"] for code in ("A100", "A150")]
    content = workbook(["礼包编号", "增减", "原因"], *rows)
    return world.call(
        MERCHANT_A, "PUT", "/merchant/stock", data={"file": (io.BytesIO(content), "s.xlsx")}, key=f"sheet-{prepared}"
    )


def transfer(world: World, turn: int) -> Any:
    _, number = place_bulk(world, turn)
    approve(world, (OFFICER, number))
    body = {"provider": "bank_transfer"}
    payment = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", body).json
    return turn, sheet([TODAY, f"S{turn}", "80", "", "x", payment["reference"]])


def import_statement(world: World, prepared: Any) -> Any:
    return world.call(
        OPERATOR,
        "POST",
        "/admin/bank-statements",
        data={"file": (io.BytesIO(prepared[1]), "b.csv")},
        key=f"statement-{prepared[0]}",
    )


CASES = {
    "placing": Case(lambda world, turn: (M[turn],), place, 5),
    "approving a union's order": Case(place_bulk, approve, 8),
    "starting a payment": Case(order_of, start, 8),
    "paying": Case(at_cashier, pay, 12),
    "expiring": Case(order_of, expire, 6),
    "giving back": Case(paid, give_back, 15),
    "asking to issue": Case(campaign, issue, 4),
    "issuing": Case(issue_asked, run_job, 8),
    "importing a roster": Case(draft, put_roster, 5),
    "importing stock": Case(lambda world, turn: turn, stock_sheet, 5),
    "importing a bank statement": Case(transfer, import_statement, 6),
}


def since(state: Counter[Any], before: Counter[Any]) -> dict[Any, int]:
    """What a state has that the one before had not."""
    return {name: state[name] - before[name] for name in state.keys() | before.keys() if state[name] != before[name]}


def business(change: dict[Any, int]) -> dict[Any, int]:
    """A change without how often a provider has told of it."""
    return {name: count for name, count in change.items() if name[0] != "events"}


def tidy(world: World) -> None:
    """What the worker does: all that waits."""
    tending.tend(second_person_fen=20_000_000, now=clock.now() + timedelta(minutes=5))
    run_job(world, None)


@pytest.mark.parametrize("name", list(CASES))
def test_dying_at_any_point_leaves_a_legal_state_and_asking_again_ends_it(big, points, name, monkeypatch):
    case = CASES[name]
    monkeypatch.setattr(voucher_services, "CHUNK", 40)
    for login in (OFFICER, APPROVER, OPERATOR, MERCHANT_A, *M):
        big.token(login)
    with big.app.app_context():
        prepared = case.prepare(big, 0)
        before = points.state()
        points.run(lambda: case.work(big, prepared))
        legal = [{}, *[since(one, before) for one in points.seen]]
        tidy(big)
        end = business(since(points.state(), before))
        undisturbed = [business(one) for one in legal]
        assert end in undisturbed or name == "asking to issue", "an undisturbed run leaves nothing but events to tidy"
        assert end
        died = 0
        for turn in range(1, MOST_POINTS):
            prepared = case.prepare(big, turn)
            before = points.state()
            answer = points.run(lambda prepared=prepared: case.work(big, prepared), die_at=turn)
            after = since(points.state(), before)
            assert after in legal, f"point {turn}: {after}"
            again = case.work(big, prepared)
            db.session.remove()
            assert again is None or again.status_code < 300 or again.status_code == 409, again.text
            tidy(big)
            assert business(since(points.state(), before)) == end, f"point {turn}"
            if not isinstance(answer, Died):
                break
            died = turn
        assert case.least <= died < MOST_POINTS - 1
    assert big.breaches() == []
