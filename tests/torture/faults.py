"""What goes wrong, and when: from the seed."""

import random
import threading
import time
from collections import Counter
from typing import Any

import psycopg

from tests.stripe_double import StripeDouble
from tests.torture.clients import Wire
from tests.torture.place import Postgres, Service

DECK = ("web",) * 4 + ("worker",) * 2 + ("postgres",) + ("cut",) * 3 + ("stripe",) * 4


class Faults(threading.Thread):
    """Kills and cuts at random moments until it is told to stop."""

    def __init__(
        self, seed: int, postgres: Postgres, service: Service, stripe: StripeDouble, *, every: float = 2.0
    ) -> None:
        super().__init__(name="faults")
        self.dice = random.Random(f"{seed}:faults")
        self.postgres, self.service, self.stripe, self.every = postgres, service, stripe, every
        self.deck: list[str] = []
        self.counts: Counter[str] = Counter()
        self.stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.dice.uniform(0.5, 1.5) * self.every):
                self._one()
        except BaseException as error:  # told to the run, which fails with it
            self.error = error

    def _one(self) -> None:
        if not self.deck:  # dealt like cards: every kind comes, in whatever order
            self.deck = self.dice.sample(DECK, len(DECK))
        what = self.deck.pop()
        if what == "web" and self.service.kill_web(self.dice):
            self.counts["gunicorn workers killed"] += 1
        elif what == "worker":
            self.service.kill_worker()
            self.counts["job workers killed"] += 1
        elif what == "postgres":
            self.postgres.kill()
            time.sleep(self.dice.uniform(0, 1))
            self.postgres.start()
            self.counts["PostgreSQL killed"] += 1
        elif what == "cut":
            try:
                self.counts["connections cut"] += self.postgres.cut(self.dice.uniform(0.2, 1), self.dice)
            except psycopg.OperationalError:  # the connection that cuts was cut
                self.counts["connections cut"] += 1
        elif what == "stripe":
            path = self.dice.choice(("/v1/refunds", "/v1/checkout/sessions"))
            how = self.dice.choice(("error", "lost", "lost", "busy"))
            with self.stripe.lock:
                self.stripe.fail_next(path, how)
            self.counts["Stripe's answers lost or wrong"] += 1

    def stop(self) -> None:
        """Stop; PostgreSQL runs afterwards."""
        self.stopping.set()
        self.join()
        self.postgres.start()
        if self.error is not None:
            raise self.error


class Postman(threading.Thread):
    """Brings Stripe's events: some never, some twice, in any order, again where no 200 came."""

    def __init__(self, seed: int, stripe: StripeDouble, wire: Wire, port: int) -> None:
        super().__init__(name="postman")
        self.dice = random.Random(f"{seed}:postman")
        self.stripe, self.wire, self.port = stripe, wire, port
        self.counts: Counter[str] = Counter()
        self.stopping = threading.Event()
        self.again: list[dict[str, Any]] = []

    def run(self) -> None:
        while not self.stopping.wait(0.3):
            self.bring(lossy=True)

    def bring(self, *, lossy: bool) -> None:
        """Bring what waits."""
        import http.client

        with self.stripe.lock:
            bag, self.stripe.waiting = self.stripe.waiting, []
        bag += self.again
        self.again = []
        if len(bag) > 1:
            self.dice.shuffle(bag)
            self.counts["webhooks out of order"] += len(bag)
        for event in bag:
            if lossy and self.dice.random() < 0.1:
                self.counts["webhooks lost"] += 1
                continue
            twice = self.dice.random() < 0.15
            self.counts["webhooks brought twice"] += twice
            body, signature = self.stripe.signed(event)
            for _ in range(2 if twice else 1):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=45)
                headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
                try:
                    connection.request("POST", "/webhooks/stripe", body=body, headers=headers)
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException):
                    status = 0
                finally:
                    connection.close()
                if status != 200:
                    self.again.append(event)
                    break
            else:
                self.counts["webhooks brought"] += 1

    def stop(self) -> None:
        """Stop losing events, and bring what is left."""
        self.stopping.set()
        self.join()
        for _ in range(20):
            self.bring(lossy=False)
            if not self.again and not self.stripe.waiting:
                return
            time.sleep(0.5)
