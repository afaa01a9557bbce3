"""Simulated people: members, officers with their approvers, merchants. What each does next comes from the seed."""

import http.client
import json
import random
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.stripe_double import StripeDouble
from tests.torture.history import Writer

SHIP = {"kind": "ship", "name": "王芳", "phone": "13800000001", "region": "青岛", "address": "海尔路 1 号"}
TRIES = 40  # under one key, before a client gives up and never knows
SLUG = "torture"


@dataclass(frozen=True)
class Told:
    """An answer; status None where the connection died before one came."""

    status: int | None
    text: str = ""
    replayed: bool = False

    @property
    def known(self) -> bool:
        """Whether it says what happened."""
        return self.status is not None and self.status < 500

    @property
    def answer(self) -> Any:
        """Its content, where it is JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


class Wire(Protocol):
    """How a client reaches the service."""

    def send(self, token: str, method: str, path: str, *, body: Any, key: str | None, form: str | None) -> Told:
        """Send one request; never raises for a connection that died."""


class Http:
    """Over a real connection, a new one each time."""

    def __init__(self, port: int, seconds: float = 45) -> None:
        self.port, self.seconds = port, seconds

    def send(self, token: str, method: str, path: str, *, body: Any, key: str | None, form: str | None) -> Told:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        data = form if form is not None else (None if body is None else json.dumps(body))
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Told(answer.status, text, answer.headers.get("Idempotent-Replayed") == "true")
        except (OSError, http.client.HTTPException):
            return Told(None)
        finally:
            connection.close()


@dataclass
class Shared:
    """What all clients know."""

    wire: Wire
    stripe: StripeDouble
    folder: Path
    packs: list[str]
    seed: int
    stop: threading.Event
    pause: float = 1.0
    payment_seconds: float = 10.0
    notes: dict[str, int] = field(default_factory=dict)


class Client(ABC):
    """Somebody with a token, a history, and dice of their own."""

    def __init__(self, shared: Shared, name: str, token: str) -> None:
        self.shared, self.name, self.token = shared, name, token
        self.dice = random.Random(f"{shared.seed}:{name}")
        self.history = Writer(shared.folder, name)
        self.count = 0

    def run(self) -> None:
        """Act until the run ends."""
        try:
            while not self.shared.stop.is_set():
                self.act()
                self.rest(self.shared.pause * self.dice.uniform(0.2, 1.8))
        finally:
            self.history.close()

    @abstractmethod
    def act(self) -> None:
        """Do one thing."""

    def rest(self, seconds: float) -> None:
        """Wait, or until the run ends."""
        self.shared.stop.wait(seconds)

    def key(self, what: str) -> str:
        """A new key, the same in every run of the seed."""
        self.count += 1
        return f"{self.name}-{what}-{self.count}"

    def look(self, path: str) -> Any:
        """Read something; None where it cannot be read now."""
        told = self.shared.wire.send(self.token, "GET", f"/api/v1{path}", body=None, key=None, form=None)
        return told.answer if told.status == 200 else None

    def ask(
        self,
        what: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        token: str | None = None,
        form: str | None = None,
        **more: Any,
    ) -> Told:
        """Ask under a key until somebody says what happened."""
        key = key or self.key(what)
        told = Told(None)
        where = path if form is not None else f"/api/v1{path}"
        for turn in range(TRIES):
            number = self.history.ask(what, key, path, body if form is None else form, **more)
            told = self.shared.wire.send(token or self.token, "POST", where, body=body, key=key, form=form)
            self.history.told(
                number, told.status, told.answer, text=told.text if told.status else "", replayed=told.replayed
            )
            if told.known or (self.shared.stop.is_set() and turn > 2):
                break
            time.sleep(min(0.2 * (turn + 1), 2))
        return told


class Member(Client):
    """Claims, orders, pays in every way there is, cancels, gives back, and asks everything twice."""

    def __init__(self, shared: Shared, name: str, token: str) -> None:
        super().__init__(shared, name, token)
        self.claimed = False

    def act(self) -> None:
        if not self.claimed:
            self.claimed = self.ask("claim", f"/campaigns/{SLUG}/claim", {}).known
            return
        placed = self.order()
        if placed is None:
            return
        number = placed["number"]
        what = self.dice.choices(
            ("pay", "sandbox", "both", "late", "cancel", "leave", "race"), (6, 3, 2, 1, 2, 1, 1), k=1
        )[0]
        if what in ("pay", "both", "late", "race"):
            self.pay_by_stripe(number, what)
        if what in ("sandbox", "both"):
            self.pay_by_sandbox(number)
        if what in ("cancel", "race"):
            self.ask("cancel", f"/orders/{number}/cancel", more={"number": number})
        if what in ("pay", "sandbox", "both") and self.dice.random() < 0.4:
            self.give_back(number)

    def order(self) -> Any:
        """Quote and place; ask again under the same key, and under the same key for something else."""
        chosen = self.dice.sample(self.shared.packs, self.dice.choice((1, 1, 2)))
        lines = [{"pack_id": pack, "quantity": self.dice.choice((1, 1, 2, 3))} for pack in sorted(chosen)]
        basket = {"campaign": SLUG, "lines": lines}
        quoted = self.shared.wire.send(self.token, "POST", "/api/v1/quotes", body=basket, key=None, form=None)
        if quoted.status != 200:
            return None
        body = {**basket, "payable_fen": quoted.answer["payable_fen"], "delivery": SHIP}
        key = self.key("order")
        told = self.ask("order", "/orders", body, key=key)
        if self.dice.random() < 0.2:
            self.ask("order", "/orders", body, key=key)
        if told.status != 201:
            return None
        if self.dice.random() < 0.05:
            other = {**body, "payable_fen": body["payable_fen"] + 1}
            self.ask("order", "/orders", other, key=key, clash=True)
        return told.answer

    def pay_by_stripe(self, number: str, how: str) -> None:
        """Begin at Stripe and pay there, at once or when the order's time is long over."""
        key = self.key("payment")
        told = self.ask(
            "payment", f"/orders/{number}/payments", {"provider": "stripe"}, key=key, more={"number": number}
        )
        if told.status != 201:
            return
        if self.dice.random() < 0.2:
            self.ask("payment", f"/orders/{number}/payments", {"provider": "stripe"}, key=key)
        if how == "late":
            self.rest(self.shared.payment_seconds + 2)
        url = told.answer["redirect_url"]
        pay_there(self.shared.stripe, url)

    def pay_by_sandbox(self, number: str) -> None:
        """Begin at the sandbox's cashier and act there."""
        told = self.ask("payment", f"/orders/{number}/payments", {"provider": "sandbox"}, more={"number": number})
        if told.status != 201 or not told.answer["redirect_url"]:
            return
        outcome = self.dice.choices(("pay", "twice", "reversed", "late", "decline"), (5, 2, 1, 1, 1), k=1)[0]
        self.ask(
            "cashier", told.answer["redirect_url"], form=f"outcome={outcome}", more={"number": number, "as": outcome}
        )

    def give_back(self, number: str) -> None:
        """Give some of an order back, sometimes all, sometimes twice under two keys."""
        self.rest(self.dice.uniform(0.2, 1.5))
        order = self.look(f"/orders/{number}")
        if order is None:
            return
        lines = [
            {"line_id": line["id"], "quantity": self.dice.randint(1, line["quantity"])}
            for line in order["lines"]
            if self.dice.random() < 0.8
        ]
        if not lines:
            return
        for _ in range(self.dice.choice((1, 1, 2))):
            key = self.key("refund")
            told = self.ask(
                "refund", f"/orders/{number}/refunds", {"lines": lines, "reason": key}, key=key, more={"number": number}
            )
            if told.status == 201 and self.dice.random() < 0.3:
                self.ask("refund", f"/orders/{number}/refunds", {"lines": lines, "reason": key}, key=key)


class Officer(Client):
    """Orders for a union; the approver, a second person, approves; they pay by Stripe or let it be."""

    def __init__(self, shared: Shared, name: str, token: str, approver: str) -> None:
        super().__init__(shared, name, token)
        self.approver = approver

    def act(self) -> None:
        chosen = self.dice.sample(self.shared.packs, 2)
        lines = [{"pack_id": pack, "quantity": self.dice.randint(1, 6)} for pack in sorted(chosen)]
        drafted = self.ask("bulk", "/bulk/orders", {"campaign": SLUG, "lines": lines})
        if drafted.status != 201:
            return
        number = drafted.answer["number"]
        self.ask("submit", f"/bulk/orders/{number}/submit", more={"number": number})
        approved = self.ask("approve", f"/bulk/orders/{number}/approve", token=self.approver, more={"number": number})
        if approved.status != 200:
            return
        if self.dice.random() < 0.8:
            told = self.ask(
                "payment", f"/bulk/orders/{number}/payments", {"provider": "stripe"}, more={"number": number}
            )
            if told.status == 201:
                pay_there(self.shared.stripe, told.answer["redirect_url"])
        else:
            self.ask("cancel", f"/bulk/orders/{number}/cancel", more={"number": number})


class Merchant(Client):
    """Counts stock in and out, ships, and answers who gives back."""

    def __init__(self, shared: Shared, name: str, token: str, packs: list[str]) -> None:
        super().__init__(shared, name, token)
        self.packs = packs

    def act(self) -> None:
        what = self.dice.choices(("stock", "ship", "answer"), (4, 4, 2), k=1)[0]
        if what == "stock":
            pack, delta = self.dice.choice(self.packs), self.dice.choice((30, 20, 10, 5, -1, -2))
            key = self.key("stock")
            more = {"pack": pack, "delta": delta}
            body = {"delta": delta, "reason": key}
            self.ask("stock", f"/merchant/packs/{pack}/stock", body, key=key, more=more)
            if self.dice.random() < 0.3:
                self.ask("stock", f"/merchant/packs/{pack}/stock", body, key=key, more=more)
        elif what == "ship":
            listed = self.look("/merchant/parcels?status=to_ship&limit=20")
            for parcel in (listed or {"items": []})["items"][:2]:
                number = self.key("ship")
                self.ask("ship", f"/merchant/parcels/{parcel['id']}/ship", {"carrier": "顺丰", "tracking_no": number})
        else:
            listed = self.look("/merchant/refunds?limit=20")
            for part in (listed or {"items": []})["items"]:
                if part["status"] == "requested":
                    how = self.dice.choice(("accept", "decline"))
                    body = {"reason": "不退"} if how == "decline" else {}
                    self.ask("answer", f"/merchant/refunds/{part['id']}/{how}", body)


def pay_there(stripe: StripeDouble, url: str | None) -> bool:
    """Pay at Stripe, where it still takes money for this address."""
    with stripe.lock:
        session = next((one for one in stripe.sessions.values() if one["url"] == url), None)
        if session is None or session["status"] != "open":
            return False
        stripe.pay(session["id"])
    return True
