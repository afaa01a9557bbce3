"""A page costs a fixed number of queries, however much it shows."""

import io
import re
from datetime import timedelta

import pytest
from sqlalchemy import event

from catalog import services as catalog_services
from finance.settlement import services as settlement
from kernel import clock
from kernel.db import db
from orders.services import summing
from people import message_queries
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, STATION_S1
from web import routes

M1 = "13800000001"
AT_MOST = 18  # one of them, on every page of a member, asks whether a question of theirs was answered
PAGES = {
    None: ("/", "/packs/<pack_id>", "/gifts/<token>", "/sandbox/<reference>", "/outbox", "/sign-in", "/sign-in/staff")
    + ("/choose/<choice_token>", "/choose/board/<board_token>", "/stations/", "/announcements", "/help")
    + ("/help/<article>", "/search", "/packs/<pack_id>/share.png"),
    M1: (
        *("/stations/", "/search", "/questions", "/orders/<number>/words"),
        *("/", "/packs/<pack_id>", "/cart", "/checkout", "/orders", "/orders/<number>", "/orders/<number>/refund"),
        "/orders/<number>/receipt.pdf",
        *("/vouchers", "/account/", "/account/data.json", "/my-gifts/", "/account/messages/"),
    ),
    OFFICER: ("/union/", "/union/orders/new", "/union/orders/new-choice", "/union/orders/<number>")
    + ("/union/orders/<number>/links",),
    MERCHANT_A: (
        *("/merchant/", "/merchant/packs/<pack_id>", "/merchant/parcels", "/merchant/parcels/<parcel>"),
        *("/merchant/refunds", "/merchant/invoices/", "/merchant/questions/"),
        *("/merchant/packs/new", "/merchant/packs/<pack_id>/edit"),
        *("/merchant/packs/<pack_id>/history.svg", "/merchant/stock", "/merchant/stock.xlsx", "/merchant/shipments"),
        *("/merchant/shipments.xlsx", "/merchant/parcels/<paper>.pdf", "/merchant/pickup", "/merchant/hooks/"),
        *("/merchant/statements/", "/merchant/statements/<period>", "/merchant/statements/<period>.xlsx"),
        "/merchant/statements/<period>.pdf",
    ),
    STATION_S1: ("/station/",),
    OPERATOR: (
        *("/admin/", "/admin/transfers", "/admin/refunds", "/admin/people/", "/admin/members/", "/admin/audit/"),
        *("/admin/campaigns/new", "/admin/campaigns/<slug>/settings", "/admin/campaigns/<slug>/issue"),
        *("/admin/campaigns/<slug>/grants", "/admin/campaigns/<slug>/grants/new", "/admin/grants/<grant_id>"),
        *("/admin/grants/<grant_id>/recipients.xlsx", "/admin/grant-template.xlsx", "/admin/jobs/<job_id>"),
        *("/admin/check", "/admin/mismatches", "/admin/reconcile", "/admin/faults/"),
        *("/admin/campaigns/<slug>/forecast", "/admin/campaigns/<slug>/forecast.svg"),
        *("/admin/campaigns/<slug>/preview", "/admin/campaigns/<slug>/launch"),
        *("/admin/imports/", "/admin/imports/new/<name>", "/admin/imports/template/<name>.xlsx"),
        *("/admin/imports/<import_id>", "/admin/imports/<import_id>/faults.csv"),
        *("/admin/queues", "/admin/jobs", "/admin/campaigns/<slug>/dashboard"),
        *("/admin/campaigns/<slug>/dashboard/<part>.<kind>", "/admin/campaigns/<slug>/dashboard/orders"),
        *("/admin/campaigns/<slug>/assisted", "/admin/campaigns/<slug>/assisted/<union_id>"),
        *(
            "/admin/campaigns/<slug>/assisted-<part>.<kind>",
            "/admin/campaigns/<slug>/assisted/<union_id>/report.<kind>",
        ),
        *(
            "/admin/webhooks/",
            "/admin/messages/",
            "/admin/messages/<message_id>",
            "/admin/messages/words",
            "/admin/messages/words/<event>",
        ),
        "/admin/campaigns/<slug>/remind",
        *("/admin/questions", "/admin/ratings"),
        *("/admin/announcements", "/admin/announcements/new", "/admin/announcements/<announcement_id>/edit"),
        *("/admin/stations/", "/admin/stations/new", "/admin/stations/<station_id>/edit", "/admin/stations/import"),
        "/admin/stations/stations.xlsx",
        *("/admin/packs/", "/admin/pickup/", "/admin/statements/", "/admin/statements/<statement_id>"),
    ),
}
# Steps of signing in, which show nothing from the database, and what is no page.
OTHERS = {
    *("/sign-in/factor", "/sign-in/password", "/sign-in/set-up", "/sign-in/with/<slug>", "/sign-in/from/<slug>"),
    *("/pictures/<name>", "/refund-pictures/<name>", "/pickup/"),
    *("/style.css", "/manifest.webmanifest", "/service-worker.js", "/offline", "/styleguide", "/look/<name>/<value>"),
    *("/language/<code>", "/healthz", "/readyz", "/metrics"),
    *("/static/<path:filename>", "/bootstrap/static/<path:filename>"),
}


def statements(client, engine, path):
    seen = []

    def listen(connection, cursor, statement, *rest):
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    return seen


def said(world, number):
    """Another announcement, station, question of each kind and a rating; return what names them."""
    turn = next(world.keys)
    now = clock.now()
    period = {"starts_at": now.isoformat(), "ends_at": (now + timedelta(days=1)).isoformat()}
    news = world.call(OPERATOR, "POST", "/admin/announcements", {"title": "告", "body": "知", **period}).json
    place = {"code": f"T{turn}", "name": "点", "address": "路", "lat_e6": 36_000_000 + turn, "lon_e6": 120_000_000}
    station = world.call(OPERATOR, "POST", "/admin/stations", place).json
    pack = world.packs["A150"]
    asked = world.call(M1, "POST", f"/packs/{pack}/questions", {"question": f"几月？{turn}"}).json
    world.call(OPERATOR, "POST", f"/admin/questions/{asked['id']}/answer", {"answer": "十月"})
    world.call(OPERATOR, "POST", f"/admin/questions/{asked['id']}/publish", {"published": True})
    world.call(M1, "POST", f"/packs/{pack}/questions", {"question": f"甜吗？{turn}"})
    world.call(M1, "POST", f"/orders/{number}/questions", {"question": f"在哪？{turn}"})
    world.call(M1, "POST", f"/orders/{number}/parcels/{number}-1/receive")
    world.call(M1, "PUT", f"/orders/{number}/lines/1/rating", {"stars": 5, "words": f"好{turn}"})
    return {"announcement_id": news["id"], "station_id": station["id"], "article": "saving"}


def fill(world, times):
    """More packs, orders, refunds, parcels, gifts, union orders and transfers; return what names them in an address."""
    with world.app.app_context():
        catalog_services.bring_in_packs(
            [
                {
                    "code": f"X{times}-{number}",
                    "merchant": "A",
                    "name": f"新礼包{times}-{number}",
                    "price_fen": 10000,
                    "contents": [{"name": "米", "quantity": 1, "unit": "袋"}],
                    "stock": 5,
                }
                for number in range(times * 3)
            ],
            now=clock.now(),
        )
    named = {"part": "unions", "kind": "csv", "union_id": "1", "slug": "spring", "pack_id": world.packs["A150"]}
    for _ in range(times):
        number = world.place(M1, ("A150", 1), ("B40", 2)).json["number"]
        payment = world.call(M1, "POST", f"/orders/{number}/payments", {"provider": "sandbox"}).json
        world.app.test_client().post(payment["redirect_url"], data={"outcome": "pay"})
        world.call(
            M1, "POST", f"/orders/{number}/refunds", {"lines": [{"line_id": "2", "quantity": 1}], "reason": "多"}
        )
        world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "顺丰", "tracking_no": "1"})
        world.call(
            M1, "POST", f"/orders/{number}/refunds", {"lines": [{"line_id": "1", "quantity": 1}], "reason": "坏"}
        )
        bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 1))).json["number"]
        people = [{"name": "甲", "phone": "13811112222"}]
        world.call(OFFICER, "PUT", f"/bulk/orders/{bulk}/roster", {"recipients": people})
        world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/submit")
        world.call(APPROVER, "POST", f"/bulk/orders/{bulk}/approve")
        world.call(OFFICER, "POST", f"/bulk/orders/{bulk}/payments", {"provider": "bank_transfer"})
        people = [{"name": f"会员{one}", "phone": f"138{one:08d}"} for one in range(1, 4)]
        gift = {"name": "慰问", "pack_id": world.packs["B40"], "recipients": people}
        made = world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", gift)
        assert made.status_code == 201, made.text
        issue = world.call(OPERATOR, "POST", "/admin/campaigns/spring/issue", {"audience": {"all": True}})
        people = "姓名,手机号\n" + "".join(f"人{one},{one}\n" for one in range(times * 3))
        sheet = {"file": (io.BytesIO(people.encode()), "list.csv")}
        look = world.call(OPERATOR, "POST", "/admin/members/import?dry_run=1", data=sheet)
        named |= {"name": "members", "import_id": look.json["import_id"]}
        own = world.call(OFFICER, "GET", f"/bulk/orders/{bulk}/choices").json
        named |= {"choice_token": own["items"][0]["token"], "board_token": own["board_link"].rpartition("/")[2]}
        links = world.call(OPERATOR, "GET", f"/admin/grants/{made.json['id']}/recipients").json["items"]
        named |= {"number": number, "bulk": bulk, "parcel": f"{number}-1", "grant_id": made.json["id"]}
        named |= {"token": links[0]["link"].rpartition("/")[2], "job_id": issue.json["id"]}
        named |= {"reference": payment["redirect_url"].rpartition("/")[2]}
        named |= said(world, number)
    with world.app.app_context():
        settlement.close_due(now=clock.now() + timedelta(days=32))
        summing.advance(now=clock.now(), seconds=60, patience=60)
        told = message_queries.latest(limit=1, event="order.paid").items[0]
    named |= {"message_id": str(told.id), "event": told.event}
    statement = world.call(MERCHANT_A, "GET", "/merchant/statements").json["items"][-1]
    return named | {"period": statement["period"], "statement_id": statement["id"], "paper": "labels"}


def test_every_page_is_measured(world):
    pages = {path for path, method, _, _ in routes.rows(world.app) if method == "GET" and not path.startswith("/api/")}
    assert pages - OTHERS == {path for paths in PAGES.values() for path in paths}


@pytest.mark.parametrize("login", list(PAGES))
def test_a_pages_queries_are_few_and_do_not_grow(world, login):
    client = world.browser(login) if login else world.app.test_client()
    with world.app.app_context():
        engine = db.engine
    named = fill(world, 1)
    if login == OFFICER:
        named["number"] = named["bulk"]

    def counted(path):
        with client.session_transaction() as session:
            session["cart"] = {world.packs["A150"]: 1, world.packs["B40"]: 1}
        return statements(client, engine, re.sub(r"<(\w+)>", lambda found: named[found[1]], path))

    few = {path: counted(path) for path in PAGES[login]}
    fill(world, 3)
    for path in PAGES[login]:
        many = counted(path)
        assert len(many) == len(few[path]), (path, "\n".join(many))
        # A file to take away is also counted, limited and written to the audit.
        # An order's page also says who stands on two lists, who is over the cap, what is short.
        # A campaign's dashboard, and a member's copy of their data, are drawn from every room's tables.
        longer = (".xlsx", "/union/orders/<number>", "/links", "/dashboard", "/dashboard/<part>.<kind>")
        # A member's page also shows the balance, and what the cart's next full step would save.
        most = (
            AT_MOST + 8
            if path.endswith(".json")
            else AT_MOST + 6
            if path.endswith(longer)
            else AT_MOST + 2
            if login == M1
            else AT_MOST
        )
        assert len(many) <= most, (path, "\n".join(many))
