"""A small world to test in, made by the rooms' own use-cases."""

import itertools
import re
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from catalog import services as catalog_services
from kernel import clock
from kernel.db import db
from orders import queries as order_queries
from people.services import arrivals, tokens
from voucher import services as voucher_services

MEMBERS, OFFICER, APPROVER = 6, "13900000001", "13900000002"
STATION_S1 = "13500000001"
OTHER_OFFICER, MERCHANT_A, MERCHANT_B, OPERATOR = "13900000003", "13700000001", "13700000002", "13600000001"
SHIP = {"kind": "ship", "name": "王芳", "phone": "13800000001", "region": "青岛", "address": "海尔路 1 号"}


def csrf_of(page: str) -> str:
    """The token a page's forms carry."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token, page
    return token[1]


class World:
    """Two unions, two merchants, packs A150, A100, B150, B40 (a tier of its own), six members with a voucher."""

    def __init__(self, app: Flask, *, members: int = MEMBERS, stock: int = 50) -> None:
        self.app = app
        self.keys = itertools.count()
        now = clock.now()
        with app.app_context():
            arrivals.bring_in(
                unions=[{"code": "U1", "name": "医院工会"}, {"code": "U2", "name": "学校工会"}],
                merchants=[
                    {"code": "A", "name": "青岛甲", "short_name": "甲", "region": "山东青岛", "assisted_region": False},
                    {"code": "B", "name": "贵州乙", "short_name": "乙", "region": "贵州安顺", "assisted_region": True},
                ],
                members=[
                    {
                        "name": f"会员{number}",
                        "phone": f"138{number:08d}",
                        "member_no": f"M{number}",
                        "union_code": "U1" if number < 4 else "U2",
                    }
                    for number in range(1, members + 1)
                ],
                honours=[{"kind": "model_worker", "name": "会员1", "phone": "13800000001", "member_no": "M1"}],
                stations=[{"code": "S1", "name": "一号点", "address": "某路"}],
                staff=[
                    {"name": "经办", "phone": OFFICER, "role": "union_officer", "union_code": "U1"},
                    {"name": "审批", "phone": APPROVER, "role": "union_approver", "union_code": "U1"},
                    {"name": "外人", "phone": OTHER_OFFICER, "role": "union_officer", "union_code": "U2"},
                    {"name": "甲员", "phone": MERCHANT_A, "role": "merchant", "merchant_code": "A"},
                    {"name": "乙员", "phone": MERCHANT_B, "role": "merchant", "merchant_code": "B"},
                    {"name": "站员", "phone": STATION_S1, "role": "station", "station_code": "S1"},
                    {"name": "运营", "phone": OPERATOR, "role": "operator"},
                ],
            )
            packs = [("A150", "A", 15000), ("A100", "A", 10000), ("B150", "B", 15000), ("B40", "B", 4000)]
            catalog_services.bring_in_packs(
                [
                    {
                        "code": code,
                        "merchant": merchant,
                        "name": f"礼包{code}",
                        "price_fen": price,
                        "contents": [{"name": "米", "quantity": 1, "unit": "袋"}],
                        "stock": stock,
                    }
                    for code, merchant, price in packs
                ],
                now=now,
            )
            voucher_services.create_campaign(
                details={
                    "slug": "spring",
                    "name": "春节",
                    "starts_at": now - timedelta(days=1),
                    "ends_at": now + timedelta(days=20),
                    "step_fen": 10000,
                    "save_fen": 2000,
                    "face_fen": 20000,
                    "tiers_fen": [4000, 10000, 15000],
                    "member_budget_fen": members * 20000 + 20000,
                    "bulk_budget_fen": 400000,
                    "issue_mode": "push",
                },
                actor_id=None,
                now=now,
            )
            everyone = voucher_services.Audience(everyone=True)
            voucher_services.issue_now(slug="spring", audience=everyone, now=now)
            listing = catalog_services.queries.packs(catalog_services.queries.Filter(), limit=20)
            self.packs = {pack.code: str(pack.id) for pack in listing.items}
            db.session.remove()
        self.tokens: dict[str, str] = {}

    def token(self, login: str) -> str:
        """A bearer token of a person."""
        if login not in self.tokens:
            with self.app.app_context():
                self.tokens[login] = tokens.make_for_login(login=login, name="test", now=clock.now())
        return self.tokens[login]

    def browser(self, login: str) -> FlaskClient:
        """A client signed in as a person through the sign-in pages."""
        client = self.app.test_client()
        form = {"phone": login, "csrf_token": csrf_of(client.get("/sign-in").text)}
        shown = client.post("/sign-in", data=form).text
        code = re.search(r'id="code-shown"[^>]*>(\d{6})<', shown)
        assert code, shown
        client.post("/sign-in", data={**form, "code": code[1]})
        return client

    def call(
        self, login: str, method: str, path: str, body: Any = None, *, key: str | None = "new", **options: Any
    ) -> TestResponse:
        """Call the API as a person; a new idempotency key each time unless told otherwise."""
        headers = {"Authorization": f"Bearer {self.token(login)}"}
        if key is not None:
            headers["Idempotency-Key"] = f"key-{next(self.keys)}" if key == "new" else key
        if body is not None:
            options["json"] = body
        return self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **options)

    def lines(self, *wanted: tuple[str, int]) -> dict[str, Any]:
        """A request's campaign and lines."""
        return {
            "campaign": "spring",
            "lines": [{"pack_id": self.packs[code], "quantity": quantity} for code, quantity in wanted],
        }

    def place(self, login: str, *wanted: tuple[str, int], payable_fen: int | None = None, **options: Any):
        """Quote and place an order."""
        body = self.lines(*wanted)
        if payable_fen is None:
            payable_fen = self.call(login, "POST", "/quotes", body).json["payable_fen"]
        return self.call(login, "POST", "/orders", {**body, "payable_fen": payable_fen, "delivery": SHIP}, **options)

    def pay(self, login: str, number: str, outcome: str = "pay") -> TestResponse:
        """Pay an order at the sandbox cashier."""
        payment = self.call(login, "POST", f"/orders/{number}/payments", {"provider": "sandbox"})
        assert payment.status_code == 201, payment.text
        return self.app.test_client().post(
            payment.json["redirect_url"], data={"outcome": outcome}, headers={"Accept": "application/json"}
        )

    def voucher(self, login: str) -> dict[str, Any]:
        """A member's voucher."""
        return self.call(login, "GET", "/me/vouchers").json["items"][0]

    def stock(self, code: str) -> tuple[int, int, int]:
        """A pack's (available, held, sold)."""
        with self.app.app_context():
            pack = catalog_services.queries.packs_by_id([int(self.packs[code])])[int(self.packs[code])]
            return pack.available, pack.held, pack.sold

    def breaches(self) -> list[str]:
        """What the conservation rules find."""
        with self.app.app_context():
            return order_queries.all_breaches()
