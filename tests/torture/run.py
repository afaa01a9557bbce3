"""`make torture`: a run of TORTURE_SECONDS with TORTURE_CLIENTS people, from TORTURE_SEED.

Prints its seed, what was done, what went wrong around it, and every breach; exit 1 where there is one.
"""

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import text

from benchmarks.postgres import new_database
from kernel import audit, clock
from kernel.db import db
from orders import queries as order_queries
from orders.queries import money
from orders.services import placing, tending
from people.services import arrivals, tokens
from tests import stripe_double
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, World
from tests.stripe_double import StripeDouble
from tests.torture import checker, history
from tests.torture.clients import SLUG, Client, Http, Member, Merchant, Officer, Shared, Wire
from tests.torture.faults import Faults, Postman
from tests.torture.place import SECRET, Postgres, Service
from web.app import create_app
from web.settings import ROOT, Settings

PAYMENT_SECONDS = 10
LATER = ({}, {"minutes": 5}, {"minutes": 45}, {"hours": 3}, {"hours": 6}, {"hours": 30})


@dataclass
class Outcome:
    """What a run did and found."""

    seed: int
    seconds: float
    done: dict[str, int]
    statuses: dict[str, int]
    faults: dict[str, int]
    breaches: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The run in a few lines."""
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s",
            "acknowledged: " + _counted(self.done),
            "answers: " + _counted(dict(sorted(self.statuses.items()))),
            "faults: " + _counted(self.faults),
            *self.breaches,
            f"{len(self.breaches)} breaches" if self.breaches else "no breach",
        ]
        return "\n".join(lines)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def application(address: str, stripe_url: str, files: Path) -> Flask:
    """The application on a migrated database, in this process: to fill it and to prove it."""
    app = create_app(
        Settings(
            database_url=address,
            secret_key=SECRET,
            max_unpaid=20,
            payment_seconds=PAYMENT_SECONDS,
            stripe_secret_key=stripe_double.KEY,
            stripe_webhook_secret=stripe_double.WEBHOOK_SECRET,
            stripe_api_base=stripe_url,
            stripe_seconds=5,
            files=str(files),
        )
    )
    app.config["TESTING"] = True
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.engine.dispose()
    return app


def fill(app: Flask, *, members: int, stock: int) -> tuple[World, checker.Before]:
    """A world with a campaign whose vouchers are claimed, too few for everybody; and what was in stock before."""
    world = World(app, members=members, stock=stock)
    now = clock.now()
    body = {
        "slug": SLUG,
        "name": "抢领",
        "starts_at": (now - timedelta(days=1)).isoformat(),
        "ends_at": (now + timedelta(days=20)).isoformat(),
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
        "tiers_fen": [4000, 10000, 15000],
        "member_budget_fen": members * 9 // 10 * 20000,
        "bulk_budget_fen": 3_000_000,
        "issue_mode": "claim",
    }
    answer = world.call(OPERATOR, "POST", "/admin/campaigns", body)
    assert answer.status_code == 201, answer.text
    with app.app_context():
        arrivals.bring_in(
            unions=[],
            merchants=[],
            members=[],
            honours=[],
            stations=[],
            staff=[{"name": "批", "phone": "13900000004", "role": "union_approver", "union_code": "U2"}],
        )
        found = db.session.execute(text("SELECT pack_id, taken_in FROM stocks"))
        before = checker.Before({row.pack_id: row.taken_in for row in found})
        db.session.remove()
    return world, before


def people(world: World, shared: Shared, *, members: int) -> list[Client]:
    """Everybody who takes part."""
    with world.app.app_context():
        made = tokens.make_for_login
        found: list[Client] = [
            Member(shared, f"member-{number:04d}", made(login=f"138{number:08d}", name="t", now=clock.now()))
            for number in range(1, members + 1)
        ]
        db.session.remove()
    for number, (officer, approver) in enumerate(((OFFICER, APPROVER), ("13900000003", "13900000004"))):
        found.append(Officer(shared, f"officer-{number}", world.token(officer), world.token(approver)))
    for number, (login, codes) in enumerate(((MERCHANT_A, ("A150", "A100")), (MERCHANT_B, ("B150", "B40")))):
        own = [world.packs[code] for code in codes]
        found.append(Merchant(shared, f"merchant-{number}", world.token(login), own))
    return found


def settle(app: Flask) -> None:
    """What the worker does in the hours after: everything ends."""
    for later in LATER:
        with app.app_context():
            now = clock.now() + timedelta(**later)
            while placing.expire_due(now=now):
                pass
            for _ in range(50):
                if not sum(tending.tend(second_person_fen=20_000_000, now=now).values()):
                    break
            db.session.remove()


def prove(app: Flask, stripe: StripeDouble, folder: Path, before: checker.Before) -> tuple[list[str], Any]:
    """Every breach: of the histories, the rules, the books and the audit."""
    told = history.read(folder)
    with app.app_context():
        _, broken = audit.verify()
        breaches = [
            *checker.find(told, stripe, before),
            *(f"check: {one}" for one in order_queries.proof()),
            *(
                f"reconcile: {one.text}"
                for one in money.compare_lately(now=clock.now() + timedelta(hours=1)).differences
            ),
            *([f"audit: {broken}"] if broken else []),
        ]
        db.session.remove()
    return breaches, told


def torture(
    *, seconds: float, members: int, seed: int, folder: Path, pause: float, every: float = 2.0, say: Any = print
) -> Outcome:
    """One run."""
    started = time.monotonic()
    histories = folder / "histories"
    histories.mkdir(parents=True)
    say(f"seed {seed}: {members} members for {seconds:.0f} s; histories in {histories}")
    postgres = Postgres(folder / "pg")
    new_database(postgres.uri, "huigong_torture")
    with stripe_double.running() as stripe:
        app = application(postgres.address, stripe.url, folder / "files")
        world, before = fill(app, members=members, stock=max(60, members))
        service = Service(folder, postgres.address, stripe.url, payment_seconds=PAYMENT_SECONDS)
        faults = postman = None
        try:
            stop = threading.Event()
            wire: Wire = Http(service.port)
            shared = Shared(
                wire, stripe, histories, list(world.packs.values()), seed, stop, pause, float(PAYMENT_SECONDS)
            )
            everybody = people(world, shared, members=members)
            with app.app_context():
                db.engine.dispose()
            threads = [threading.Thread(target=client.run, name=client.name) for client in everybody]
            faults = Faults(seed, postgres, service, stripe, every=every)
            postman = Postman(seed, stripe, wire, service.port)
            for thread in (*threads, faults, postman):
                thread.start()
            faults.stopping.wait(seconds)
            faults.stop()
            stop.set()
            for thread in threads:
                thread.join(120)
            say(f"everybody has stopped after {time.monotonic() - started:.0f} s; settling")
            ended = service.died()
            postman.stop()
            with app.app_context():
                db.engine.dispose()
            settle(app)
            # The refunds just sent have events of their own.
            postman.bring(lossy=False)
            settle(app)
            say(f"settled after {time.monotonic() - started:.0f} s; proving")
            breaches, told = prove(app, stripe, histories, before)
            breaches += ended + [f"{thread.name} never ended" for thread in threads if thread.is_alive()]
            breaches += checker.asked_nothing(told)
            breaches += service.unexpected()
            breaches += _commands(service)
        finally:
            for one in (faults, postman):
                if one is not None:
                    one.stopping.set()
            stop.set()
            service.stop()
            with app.app_context():
                db.session.remove()
                db.engine.dispose()
            postgres.stop()
    counts: Counter[str] = faults.counts + postman.counts
    return Outcome(
        seed, time.monotonic() - started, told.counts(), told.statuses, dict(sorted(counts.items())), breaches
    )


def _commands(service: Service) -> list[str]:
    found = []
    for command in (("check",), ("reconcile",), ("audit", "verify")):
        code, said = service.command(*command)
        if code != 0:
            found.append(f"huigong {' '.join(command)}: exit {code}: {said[-500:]}")
    return found


def main() -> None:
    """Run once, as the environment says."""
    seed = int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(10**6))
    folder = Path(os.environ.get("TORTURE_FOLDER") or tempfile.mkdtemp(prefix="huigong-torture-"))
    outcome = torture(
        seconds=float(os.environ.get("TORTURE_SECONDS") or 300),
        members=int(os.environ.get("TORTURE_CLIENTS") or 200),
        seed=seed,
        folder=folder,
        pause=float(os.environ.get("TORTURE_PAUSE") or 2),
    )
    print(outcome)
    if outcome.breaches:
        print(f"histories and logs: {folder}")
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
