"""A campaign's whole life in random order, on both engines, against a simple model of its own.

The model knows only the rules of the money: purses, shelves and orders, as plain numbers. After every step the service
must say the same of each of them, and the conservation rules must hold over the whole database.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kernel import clock, jobs
from orders.services import granting, placing
from people.services import arrivals
from tests.conftest import emptied
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, SHIP, World
from voucher import services as voucher_services
from web.cli import HANDLERS

STEP, SAVE, FACE, BULK = 10000, 2000, 20000, 400000
PRICES = {"A150": 15000, "A100": 10000, "B150": 15000, "B40": 4000}
STOCK = 20
PHASES = [Phase.generate] + [Phase.shrink] * ("HUIGONG_MACHINE_SHRINK" in os.environ)  # to shrink takes minutes
EXAMPLES = int(os.environ.get("HUIGONG_MACHINE_EXAMPLES", "8"))
MINUTES_TO_PAY, DAYS_TO_PAY = 30, 7

members = st.integers(min_value=1, max_value=3)
campaigns = st.sampled_from(["spring", "claimed"])
baskets = st.lists(st.tuples(st.sampled_from(sorted(PRICES)), st.integers(1, 3)), min_size=1, max_size=3)
thens = st.sampled_from(["look", "go to pay", "go to pay", "pay"])
turns = st.integers(min_value=0, max_value=10**6)


@dataclass
class ModelVoucher:
    face: int = FACE
    balance: int = FACE
    held: int = 0
    redeemed: int = 0
    ended: str = ""  # '', 'revoked' or 'expired'


@dataclass
class ModelOrder:
    number: str
    buyer: str  # a member's login, or 'union'
    campaign: str
    lines: list[tuple[str, int, int]]  # pack, quantity, share of the discount
    discount: int
    status: str
    due: Any
    returned: dict[int, int] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    shipped: set[str] = field(default_factory=set)
    payments: list[str] = field(default_factory=list)
    transfer: str = ""

    def packs(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for code, quantity, _ in self.lines:
            total[code] = total.get(code, 0) + quantity
        return total


def shares(discount: int, amounts: list[int]) -> list[int]:
    """By amount, floored; what is left over goes to the largest remainders, ties to the earlier line."""
    whole = sum(amounts)
    parts = [discount * amount // whole for amount in amounts]
    order = sorted(range(len(amounts)), key=lambda index: (-(discount * amounts[index] % whole), index))
    for index in order[: discount - sum(parts)]:
        parts[index] += 1
    return parts


class Campaign(RuleBasedStateMachine):
    app: Any
    seen: Counter[str]
    now_is: Any

    def saw(self, what: str) -> None:
        """Count what a run came by: a machine that never meets a late payment proves nothing of it."""
        self.seen[what] += 1

    def set_clock(self) -> None:
        """Let the service read `self.now`."""
        raise AssertionError("only on an engine")

    @initialize(opening=st.lists(st.tuples(members, campaigns, baskets, thens), min_size=4, max_size=7))
    def begin(self, opening: list[tuple[int, str, list[tuple[str, int]], str]]) -> None:
        emptied(self.app)
        self.now = self.now_is()
        self.set_clock()
        self.world = World(self.app, stock=STOCK)
        self.ends = {"spring": self.now + timedelta(days=20), "claimed": self.now + timedelta(days=3)}
        made = self.world.call(
            OPERATOR,
            "POST",
            "/admin/campaigns",
            {
                "slug": "claimed",
                "name": "自领",
                "starts_at": (self.now - timedelta(hours=1)).isoformat(),
                "ends_at": self.ends["claimed"].isoformat(),
                "rule": {"step_fen": STEP, "save_fen": SAVE, "face_fen": FACE},
                "tiers_fen": sorted(set(PRICES.values())),
                "member_budget_fen": 2 * FACE,
                "issue_mode": "claim",
            },
        )
        assert made.status_code == 201, made.text
        self.logins = [f"138{number:08d}" for number in range(1, 4)]
        everybody = [f"138{number:08d}" for number in range(1, 7)]
        self.vouchers = {("spring", login): ModelVoucher() for login in everybody}
        self.left = {"spring": FACE, "claimed": 2 * FACE}
        self.bulk_left = BULK
        self.granted = 0
        self.stock = {code: [STOCK, 0, 0] for code in PRICES}
        self.orders: list[ModelOrder] = []
        self.grants: list[dict[str, Any]] = []
        self.refunds: list[dict[str, Any]] = []
        self.gifts: set[str] = set()
        self.joined = 6
        for member, slug, lines, then in opening:
            if slug == "claimed":
                self.claim(member)
            self.place(member, slug, lines, then)

    # What the model knows.

    def is_open(self, slug: str) -> bool:
        return self.now < self.ends[slug]

    def purse(self, slug: str, login: str) -> ModelVoucher | None:
        return self.vouchers.get((slug, login))

    def usable(self, slug: str, login: str) -> int:
        own = self.purse(slug, login)
        return own.balance if own and not own.ended else 0

    def price(self, lines: list[tuple[str, int]], available: int) -> tuple[int, int, list[int]]:
        amounts = [PRICES[code] * quantity for code, quantity in lines]
        discount = min(sum(amounts) // STEP * SAVE, available)
        return sum(amounts), discount, shares(discount, amounts)

    def has_stock(self, wanted: dict[str, int]) -> bool:
        return all(self.stock[code][0] >= quantity for code, quantity in wanted.items())

    def shift(self, wanted: dict[str, int], source: int, target: int) -> None:
        for code, quantity in wanted.items():
            self.stock[code][source] -= quantity
            self.stock[code][target] += quantity

    def give_to_voucher(self, order: ModelOrder, amount: int) -> None:
        """Value comes back: to the balance, or past an ended voucher to the budget."""
        if order.buyer == "union":
            self.bulk_left += amount
            return
        own = self.vouchers[order.campaign, order.buyer]
        if own.ended:
            self.saw(f"given back past a voucher that was {own.ended}")
            self.left[order.campaign] += amount
        else:
            own.balance += amount

    def pick(self, turn: int, *statuses: str, buyer: str | None = None) -> ModelOrder | None:
        found = [one for one in self.orders if one.status in statuses]
        if buyer == "member":
            found = [one for one in found if one.buyer != "union"]
        if buyer == "union":
            found = [one for one in found if one.buyer == "union"]
        return found[turn % len(found)] if found else None

    # What people do.

    @rule()
    def issue_to_everybody(self) -> None:
        """A member joins, and the union issues to everybody: to whoever has none, while the budget lasts."""
        if self.joined < 8:
            self.joined += 1
            with self.app.app_context():
                arrivals.bring_in(
                    unions=[],
                    merchants=[],
                    members=[
                        {
                            "name": f"会员{self.joined}",
                            "phone": f"138{self.joined:08d}",
                            "member_no": f"M{self.joined}",
                            "union_code": "U1",
                        }
                    ],
                    honours=[],
                    stations=[],
                    staff=[],
                )
        without = [
            f"138{number:08d}"
            for number in range(1, self.joined + 1)
            if ("spring", f"138{number:08d}") not in self.vouchers
        ]
        cost = FACE * len(without)
        asked = self.world.call(OPERATOR, "POST", "/admin/campaigns/spring/issue", {"audience": {"all": True}})
        if cost > self.left["spring"]:
            assert asked.json["code"] == "over_limit"
            return
        assert (asked.status_code, asked.json["total"]) == (202, len(without))
        with self.app.app_context():
            while jobs.run_next(HANDLERS, clock=clock.now):
                pass
        for login in without:
            self.vouchers["spring", login] = ModelVoucher()
            if not self.is_open("spring"):
                self.end_voucher("spring", login)
        self.left["spring"] -= cost
        self.sweep()

    @rule(member=members)
    def claim(self, member: int) -> None:
        login = self.logins[member - 1]
        answer = self.world.call(login, "POST", "/campaigns/claimed/claim")
        if ("claimed", login) in self.vouchers:
            assert answer.status_code == 200
        elif not self.is_open("claimed"):
            assert answer.json["code"] == "campaign_closed"
        elif self.left["claimed"] < FACE:
            assert answer.json["code"] == "over_limit"
        else:
            assert answer.status_code == 201
            self.vouchers["claimed", login] = ModelVoucher()
            self.saw("claimed")
            self.left["claimed"] -= FACE

    @rule(member=members, slug=campaigns, lines=baskets, then=thens)
    def place(self, member: int, slug: str, lines: list[tuple[str, int]], then: str) -> None:
        login = self.logins[member - 1]
        body = {**self.world.lines(*lines), "campaign": slug}
        quoted = self.world.call(login, "POST", "/quotes", body)
        if not self.is_open(slug):
            assert quoted.json["code"] == "campaign_closed"
            return
        subtotal, discount, parts = self.price(lines, self.usable(slug, login))
        assert (quoted.json["subtotal_fen"], quoted.json["discount_fen"]) == (subtotal, discount)
        assert [line["discount_fen"] for line in quoted.json["lines"]] == parts
        wrong = {**body, "payable_fen": subtotal - discount + 1, "delivery": SHIP}
        assert self.world.call(login, "POST", "/orders", wrong).json["code"] == "price_changed"
        placed = self.world.call(login, "POST", "/orders", {**wrong, "payable_fen": subtotal - discount})
        unpaid = sum(one.buyer == login and one.status == "pending_payment" for one in self.orders)
        order = ModelOrder(
            number=placed.json.get("number", ""),
            buyer=login,
            campaign=slug,
            lines=[(code, quantity, part) for (code, quantity), part in zip(lines, parts, strict=True)],
            discount=discount,
            status="pending_payment",
            due=self.now + timedelta(minutes=MINUTES_TO_PAY),
        )
        if unpaid >= 3:
            assert placed.json["code"] == "over_limit"
            self.saw("too many unpaid")
        elif not self.has_stock(order.packs()):
            assert placed.json["code"] == "out_of_stock"
        else:
            assert placed.status_code == 201, placed.text
            self.orders.append(order)
            self.saw("placed")
            self.shift(order.packs(), 0, 1)
            if discount:
                own = self.vouchers[slug, login]
                own.balance -= discount
                own.held += discount
            if then != "look":
                self.go_to_pay(order)
            if then == "pay":
                self.act_at_cashier(order, order.payments[0], "pay")

    @rule(code=st.sampled_from(sorted(PRICES)), quantity=st.integers(1, 6))
    def order_in_bulk(self, code: str, quantity: int) -> None:
        made = self.world.call(OFFICER, "POST", "/bulk/orders", self.world.lines((code, quantity)))
        if not self.is_open("spring"):
            assert made.json["code"] == "campaign_closed"
            return
        _, discount, parts = self.price([(code, quantity)], self.bulk_left)
        assert made.json["discount_fen"] == discount
        number = made.json["number"]
        assert self.world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").status_code == 200
        assert self.world.call(OFFICER, "POST", f"/bulk/orders/{number}/approve").json["code"] == "forbidden"
        approved = self.world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
        if not self.has_stock({code: quantity}):
            assert approved.json["code"] == "out_of_stock"
            return
        assert approved.status_code == 200, approved.text
        self.bulk_left -= discount
        self.shift({code: quantity}, 0, 1)
        due = self.now + timedelta(days=DAYS_TO_PAY)
        lines = [(code, quantity, parts[0])]
        self.orders.append(ModelOrder(number, "union", "spring", lines, discount, "pending_payment", due))
        payment = self.world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"})
        self.orders[-1].transfer = payment.json["id"]

    @rule(turn=turns)
    def cancel(self, turn: int) -> None:
        order = self.pick(turn, "pending_payment", "paid", "expired", "cancelled")
        if order is None:
            return
        who, path = (OFFICER, "/bulk/orders") if order.buyer == "union" else (order.buyer, "/orders")
        answer = self.world.call(who, "POST", f"{path}/{order.number}/cancel")
        if order.status != "pending_payment":
            assert answer.json["code"] == "state_conflict"
            return
        assert answer.json["status"] == "cancelled"
        self.end_order(order, "cancelled")

    def end_order(self, order: ModelOrder, status: str) -> None:
        order.status = status
        self.shift(order.packs(), 1, 0)
        if order.buyer != "union" and order.discount:
            self.vouchers[order.campaign, order.buyer].held -= order.discount
        if order.discount:
            self.give_to_voucher(order, order.discount)

    @rule(turn=turns)
    def start_payment(self, turn: int) -> None:
        order = self.pick(turn, "pending_payment", buyer="member")
        if order is not None:
            self.go_to_pay(order)

    def go_to_pay(self, order: ModelOrder) -> None:
        answer = self.world.call(order.buyer, "POST", f"/orders/{order.number}/payments", {"provider": "sandbox"})
        assert answer.status_code == 201, answer.text
        order.payments.append(answer.json["redirect_url"])

    @rule(turn=turns, outcome=st.sampled_from(["pay", "pay", "pay", "twice", "reversed", "decline", "late"]))
    def pay(self, turn: int, outcome: str) -> None:
        """The buyer pays, perhaps late, twice, or an order that has ended meanwhile."""
        waiting = [one for one in self.orders if one.payments]
        if not waiting:
            return
        order = waiting[turn % len(waiting)]
        self.act_at_cashier(order, order.payments[turn % len(order.payments)], outcome)

    def act_at_cashier(self, order: ModelOrder, url: str, outcome: str) -> None:
        answer = self.app.test_client().post(url, data={"outcome": outcome}, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        if outcome == "decline":
            return
        order.payments.remove(url)
        if outcome == "late" and order.status == "pending_payment":
            self.end_order(order, "expired")
        if order.status == "pending_payment":
            self.paid(order)
        elif order.status == "expired" and self.can_hold_again(order):
            self.saw("late, taken again")
            self.shift(order.packs(), 0, 1)
            if order.discount:
                own = self.vouchers[order.campaign, order.buyer]
                own.balance -= order.discount
                own.held += order.discount
            self.paid(order)
        else:
            self.saw(f"paid back: the order was {order.status}")

    def can_hold_again(self, order: ModelOrder) -> bool:
        enough = order.discount == 0 or self.usable(order.campaign, order.buyer) >= order.discount
        return enough and self.has_stock(order.packs())

    def paid(self, order: ModelOrder) -> None:
        order.status = "paid"
        self.shift(order.packs(), 1, 2)
        if order.buyer != "union" and order.discount:
            own = self.vouchers[order.campaign, order.buyer]
            own.held -= order.discount
            own.redeemed += order.discount

    @rule(turn=turns)
    def confirm_transfer(self, turn: int) -> None:
        order = self.pick(turn, "pending_payment", buyer="union")
        if order is not None:
            body = {"amount_fen": sum(PRICES[code] * quantity for code, quantity, _ in order.lines) - order.discount}
            answer = self.world.call(OPERATOR, "POST", f"/admin/payments/{order.transfer}/confirm", body)
            assert answer.json["order_status"] == "paid", answer.text
            self.paid(order)

    @rule(turn=turns)
    def ship(self, turn: int) -> None:
        order = self.pick(turn, "paid")
        if order is None:
            return
        merchant = "AB"[turn % 2]
        own = [index for index, (code, _, _) in enumerate(order.lines) if code[0] == merchant]
        sent = [index for index in own if order.returned.get(index, 0) < order.lines[index][1]]
        if not sent or merchant in order.shipped:
            return
        login = MERCHANT_A if merchant == "A" else MERCHANT_B
        listed = self.world.call(login, "GET", "/merchant/parcels?status=to_ship&limit=100").json["items"]
        parcel = next(one["id"] for one in listed if one["order_number"] == order.number)
        body = {"carrier": "顺丰", "tracking_no": f"SF{turn}"}
        assert self.world.call(login, "POST", f"/merchant/parcels/{parcel}/ship", body).status_code == 200
        order.shipped.add(merchant)

    @rule(turn=turns, units=st.integers(1, 3))
    def give_back(self, turn: int, units: int) -> None:
        """A buyer returns some of a line: at once what was not sent, else the merchant will say."""
        order = self.pick(turn, "paid", "refunded", buyer="member")
        if order is None:
            return
        index = turn % len(order.lines)
        code, quantity, _ = order.lines[index]
        body = {"lines": [{"line_id": str(index + 1), "quantity": units}], "reason": "不要了"}
        answer = self.world.call(order.buyer, "POST", f"/orders/{order.number}/refunds", body)
        if order.status == "refunded" or order.asked.get(index, 0) + units > quantity:
            assert answer.json["code"] in ("over_limit", "state_conflict")
            return
        assert answer.status_code == 201, answer.text
        order.asked[index] = order.asked.get(index, 0) + units
        if code[0] in order.shipped:
            assert answer.json["status"] == "requested"
            self.saw("returned after it was sent")
            self.refunds.append({"id": answer.json["id"], "order": order, "index": index, "units": units})
        else:
            back = self.returned(order, index, units)
            assert (answer.json["cash_back_fen"], answer.json["voucher_back_fen"]) == back
            self.shift({code: units}, 2, 0)
            self.saw("returned at once")

    def returned(self, order: ModelOrder, index: int, units: int) -> tuple[int, int]:
        code, quantity, share = order.lines[index]
        before = order.returned.get(index, 0)
        value = share * (before + units) // quantity - share * before // quantity
        order.returned[index] = before + units
        if value:
            own = self.vouchers[order.campaign, order.buyer]
            own.redeemed -= value
            self.give_to_voucher(order, value)
        if all(order.returned.get(at, 0) == line[1] for at, line in enumerate(order.lines)):
            order.status = "refunded"
        return PRICES[code] * units - value, value

    @precondition(lambda self: self.refunds)
    @rule(turn=turns, accepted=st.booleans())
    def answer_refund(self, turn: int, accepted: bool) -> None:
        asked = self.refunds.pop(turn % len(self.refunds))
        order, index, units = asked["order"], asked["index"], asked["units"]
        login = MERCHANT_A if order.lines[index][0][0] == "A" else MERCHANT_B
        verb, body = ("accept", None) if accepted else ("decline", {"reason": "已使用"})
        answer = self.world.call(login, "POST", f"/merchant/refunds/{asked['id']}/{verb}", body)
        assert answer.status_code == 200, answer.text
        if accepted:
            assert (answer.json["cash_back_fen"], answer.json["voucher_back_fen"]) == self.returned(order, index, units)
        else:
            order.asked[index] -= units

    @rule(member=members, slug=campaigns)
    def revoke(self, member: int, slug: str) -> None:
        login = self.logins[member - 1]
        own = self.purse(slug, login)
        if own is None:
            return
        listed = self.world.call(login, "GET", "/me/vouchers").json["items"]
        voucher = next(one["id"] for one in listed if one["campaign"] == slug)
        answer = self.world.call(OPERATOR, "POST", f"/admin/vouchers/{voucher}/revoke", {"reason": "调离"})
        assert answer.status_code == 200, answer.text
        if own.ended != "revoked":
            self.left[slug] += own.balance
            self.saw(f"revoked with {own.held} held")
            own.balance, own.ended = 0, "revoked"

    @rule(code=st.sampled_from(sorted(PRICES)), members=st.sets(members, min_size=1))
    def grant(self, code: str, members: set[int]) -> None:
        people = [{"name": f"会员{number}", "phone": self.logins[number - 1]} for number in sorted(members)]
        body = {"name": "慰问", "lines": [{"pack_id": self.world.packs[code], "quantity": 1}], "recipients": people}
        made = self.world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", body)
        if not self.is_open("spring"):
            assert made.status_code in (409, 422)
        elif self.stock[code][0] < len(people):
            assert made.json["code"] == "out_of_stock"
        else:
            assert made.status_code == 201, made.text
            self.shift({code: len(people)}, 0, 1)
            self.granted += PRICES[code] * len(people)
            self.saw("granted")
            self.grants += [{"id": made.json["id"], "code": code, "login": one["phone"]} for one in people]

    @precondition(lambda self: self.grants)
    @rule(turn=turns, taken=st.booleans())
    def answer_grant(self, turn: int, taken: bool) -> None:
        gift = self.grants.pop(turn % len(self.grants))
        verb, body = ("confirm", {"delivery": SHIP}) if taken else ("decline", None)
        own = self.world.call(gift["login"], "GET", "/me/gifts").json["items"]
        name = next(one["id"] for one in own if one["id"].startswith(gift["id"]))
        answer = self.world.call(gift["login"], "POST", f"/me/gifts/{name}/{verb}", body)
        assert answer.status_code == 200, answer.text
        self.shift({gift["code"]: 1}, 1, 2 if taken else 0)
        self.gifts.add(answer.json["order_number"])
        if not taken:
            self.granted -= PRICES[gift["code"]]

    @rule(hours=st.sampled_from([0.2, 0.2, 0.6, 0.6, 24, 80, 200]))
    def time_passes(self, hours: float) -> None:
        self.now += timedelta(hours=hours)
        self.sweep()

    def sweep(self) -> None:
        with self.app.app_context():
            placing.expire_due(now=self.now)
            while voucher_services.expire_ended(now=self.now):
                pass
            granting.lapse_due(now=self.now)
        for order in self.orders:
            if order.status == "pending_payment" and order.due <= self.now:
                self.end_order(order, "expired")
        for slug, login in self.vouchers:
            if not self.is_open(slug):
                self.end_voucher(slug, login)
        if not self.is_open("spring"):
            for gift in self.grants:
                self.shift({gift["code"]: 1}, 1, 0)
                self.granted -= PRICES[gift["code"]]
            self.grants = []

    def end_voucher(self, slug: str, login: str) -> None:
        own = self.vouchers[slug, login]
        if not own.ended:
            self.left[slug] += own.balance
            own.balance, own.ended = 0, "expired"

    # What must be so after every step.

    @invariant()
    def the_service_says_the_same(self) -> None:
        if not hasattr(self, "world"):
            return
        for login in self.logins:
            for said in self.world.call(login, "GET", "/me/vouchers").json["items"]:
                own = self.vouchers[said["campaign"], login]
                figures = (said["face_fen"], said["balance_fen"], said["held_fen"], said["redeemed_fen"])
                assert figures == (own.face, own.balance, own.held, own.redeemed), (login, said, own)
            mine = [one for one in self.orders if one.buyer == login]
            listed = self.world.call(login, "GET", "/orders?limit=100").json["items"]
            said_of = {one["number"]: one for one in listed if one["number"] not in self.gifts}
            assert said_of.keys() == {one.number for one in mine}
            for order in mine:
                status = {"fulfilling": "paid", "completed": "paid"}
                told = said_of[order.number]["status"]
                assert status.get(told, told) == order.status, order
        for code, (available, held, sold) in self.stock.items():
            assert self.world.stock(code) == (available, held, sold), code
        for slug in self.ends:
            seen = self.world.call(OPERATOR, "GET", f"/admin/campaigns/{slug}").json
            assert seen["member_budget_fen"] - seen["member_committed_fen"] == self.left[slug], slug
            if slug == "spring":
                assert seen["bulk_budget_fen"] - seen["bulk_committed_fen"] == self.bulk_left
                assert seen["grant_committed_fen"] == self.granted
        assert self.world.breaches() == []


def test_whatever_happens_in_whatever_order_the_money_is_conserved(engine_app, monkeypatch):
    real = clock.now

    class OnThisEngine(Campaign):
        app = engine_app
        seen = Counter[str]()
        now_is = staticmethod(real)

        def set_clock(self) -> None:
            monkeypatch.setattr(clock, "now", lambda: self.now)

    run_state_machine_as_test(
        OnThisEngine,
        settings=settings(
            phases=PHASES,
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert {"placed", "claimed", "late, taken again", "returned at once"} <= OnThisEngine.seen.keys()
