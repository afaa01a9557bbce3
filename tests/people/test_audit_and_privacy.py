"""The audit's chain, and a person's own data: what is told, what is kept, what is erased."""

import contextlib
import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from kernel import audit, clock
from kernel.db import db, transaction
from kernel.errors import StateConflict
from orders.services import privacy
from people import queries
from people.models import Person
from tests.factories import APPROVER, MERCHANT_A, OFFICER, OPERATOR, SHIP, csrf_of
from web import cli

M1, M2 = "13800000001", "13800000002"


def busy(world):
    """Acts of officers, approvers, merchants and operators."""
    pack = world.packs["A150"]
    world.call(MERCHANT_A, "POST", f"/merchant/packs/{pack}/stock", {"delta": 5, "reason": "到货"})
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
    world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve")
    pay = world.call(OFFICER, "POST", f"/bulk/orders/{number}/payments", {"provider": "bank_transfer"}).json
    world.call(OPERATOR, "POST", f"/admin/payments/{pay['id']}/confirm", {"amount_fen": pay["amount_fen"]})
    world.call(OPERATOR, "PATCH", "/admin/campaigns/spring", {"name": "新春"})
    ship = {"carrier": "顺丰", "tracking_no": "SF1"}
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", ship)
    return number


def break_chain(world, statement):
    with world.app.app_context():
        if db.engine.dialect.name == "postgresql":
            db.session.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER ALL"))
            db.session.execute(text(statement))
            db.session.execute(text("ALTER TABLE audit_entries ENABLE TRIGGER ALL"))
        else:
            triggers = db.session.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'")
            ).all()
            for name, _ in triggers:
                db.session.execute(text(f"DROP TRIGGER {name}"))
            db.session.execute(text(statement))
            for _, sql in triggers:
                db.session.execute(text(sql))
        db.session.commit()


def test_who_did_what_before_and_after_from_where(world):
    number = busy(world)
    answer = world.call(OPERATOR, "GET", "/admin/audit?limit=100").json["items"]
    said = {(entry["action"], entry["object"]): entry for entry in answer}
    for action, thing in (
        ("stock.adjust", f"pack:{world.packs['A150']}"),
        ("order.submit", f"order:{number}"),
        ("order.approve", f"order:{number}"),
        ("campaign.change", "campaign:spring"),
        ("parcel.ship", f"parcel:{number}-1"),
    ):
        assert (action, thing) in said
    changed = said["campaign.change", "campaign:spring"]
    assert (changed["before"], changed["after"]) == ({"name": "春节"}, {"name": "新春"})
    assert changed["actor"]["name"] == "运营"
    assert changed["address"] == "127.0.0.1"
    assert said["stock.adjust", f"pack:{world.packs['A150']}"]["after"] == {"on_hand": 55, "reason": "到货"}


def test_the_audit_is_filtered_and_paged(world):
    number = busy(world)
    with world.app.app_context():
        operator = queries.by_phone(OPERATOR).person_id

    def actions(query):
        return [entry["action"] for entry in world.call(OPERATOR, "GET", f"/admin/audit?{query}").json["items"]]

    assert actions(f"object=order:{number}") == ["order.approve", "order.submit"]
    assert set(actions("object=campaign")) == {"campaign.change", "campaign.create"}
    assert actions(f"actor={operator}") == ["campaign.change", "transfer.confirm"]
    assert actions("since=2999-01-01T00:00:00%2B08:00") == []
    first = world.call(OPERATOR, "GET", "/admin/audit?limit=2").json
    second = world.call(OPERATOR, "GET", f"/admin/audit?limit=2&cursor={first['next_cursor']}").json
    ids = [int(entry["id"]) for entry in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4
    for wrong in ("since=yesterday", "cursor=%00", "actor=x"):
        assert world.call(OPERATOR, "GET", f"/admin/audit?{wrong}").status_code == 422
    page = world.browser(OPERATOR).get(f"/admin/audit/?object=order:{number}").text
    assert "order.approve" in page


def test_the_database_refuses_to_rewrite_the_audit(world):
    for statement in ("UPDATE audit_entries SET action = 'x'", "DELETE FROM audit_entries"):
        with world.app.app_context():
            with pytest.raises(Exception, match="append-only"):
                db.session.execute(text(statement))
            db.session.rollback()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit_entries SET after = '{}' WHERE id = 3", "entry 3 is not what was written"),
        ("UPDATE audit_entries SET actor_id = 1 WHERE id = 2", "entry 2 is not what was written"),
        ("DELETE FROM audit_entries WHERE id = 4", "entry 4 is missing"),
        ("DELETE FROM audit_entries WHERE id > 5", "entry 6 is missing"),
        ("DELETE FROM audit_entries", "entry 1 is missing"),
    ],
)
def test_a_tampered_chain_is_named_at_its_first_broken_link(world, monkeypatch, statement, told):
    busy(world)
    monkeypatch.setattr(cli, "_app", lambda: world.app)
    whole = CliRunner().invoke(cli.main, ["audit", "verify"])
    assert (whole.exit_code, "the chain is whole" in whole.output) == (0, True)
    break_chain(world, statement)
    broken = CliRunner().invoke(cli.main, ["audit", "verify"])
    assert broken.exit_code == 1
    assert broken.output.startswith(told)


def test_an_act_that_fails_leaves_no_entry(world):
    with world.app.app_context():
        before = audit.verify()
        with contextlib.suppress(ZeroDivisionError), transaction():
            audit.record("x", "thing:1", now=clock.now())
            raise ZeroDivisionError
        assert audit.verify() == before


def test_a_member_takes_their_data_away(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.place(M2, ("A100", 1))
    client = world.browser(M1)
    answer = client.get("/account/data.json")
    assert "attachment" in answer.headers["Content-Disposition"]
    copy = json.loads(answer.data)
    assert copy["person"]["phone"] == M1
    assert [order["number"] for order in copy["orders"]] == [number]
    assert copy["orders"][0]["delivery"]["address"] == SHIP["address"]
    assert copy["vouchers"][0]["face_fen"] == 20000
    assert (M2 not in answer.text, copy["rosters"]) == (True, [])
    with world.app.app_context():
        assert audit.entries(limit=1)[0].action == "data.download"


def test_the_copy_has_the_members_own_messages_without_their_codes(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, number)
    world.pay(M2, world.place(M2, ("A150", 1)).json["number"])
    for phone in (M2, M1):  # each signs in with a code
        answer = world.browser(phone).get("/account/data.json")
    copy = json.loads(answer.data)
    assert copy["contact"] == {"channel": "sms", "language": "zh", "news": True, "email": None, "new_email": None}
    assert [(one["event"], one["status"]) for one in copy["messages"]] == [
        ("order.paid", "waiting"),
        ("code", "waiting"),
    ]
    assert copy["messages"][0]["text"] == f"订单 {number} 已付款 ¥130，商户会尽快发货。"
    assert (copy["messages"][1]["text"], "sealed" in answer.text) == ("", False)


def test_the_copy_has_the_members_own_rows_of_rosters_only(world):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    people = [
        {"name": "王芳", "phone": M1, "employee_no": "7", "department": "门诊", "pack_id": "A150", "address": "海尔路"},
        {"name": "李强", "phone": "13800000077", "employee_no": "8", "department": "后勤"},
    ]
    assert world.call(OFFICER, "PUT", f"/bulk/orders/{number}/roster", {"recipients": people}).json["accepted"] == 2
    answer = world.browser(M1).get("/account/data.json")
    (row,) = json.loads(answer.data)["rosters"]
    assert (row["order_number"], row["union"], row["pack"], row["name"]) == (number, "医院工会", "礼包A150", "王芳")
    assert (row["employee_no"], row["department"], row["address"], row["quantity"]) == ("7", "门诊", "海尔路", 1)
    assert ("13800000077" in answer.text, "李强" in answer.text) == (False, False)
    assert json.loads(world.browser(M2).get("/account/data.json").data)["rosters"] == []


def test_exports_of_a_person_are_limited(world):
    settings = world.app.config["HUIGONG"]
    world.app.config["HUIGONG"] = settings.__class__(**{**settings.__dict__, "exports_per_person": 1})
    try:
        client = world.browser(M1)
        statuses = {client.get("/account/data.json").status_code for _ in range(3)}
        assert statuses == {200, 429}
        assert int(client.get("/account/data.json", headers={"Accept": "text/html"}).headers["Retry-After"]) > 0
    finally:
        world.app.config["HUIGONG"] = settings


def everything(world):
    """All that the database holds, as text; the engine's own tables left out."""
    with world.app.app_context():
        return {table.name: str(db.session.execute(select(table)).all()) for table in db.metadata.sorted_tables}


def test_an_erased_member_is_in_no_table_and_the_books_stay_whole(world):
    number = world.place(M1, ("A150", 1)).json["number"]
    world.pay(M1, number)
    for parcel in (f"{number}-1",):
        world.call(MERCHANT_A, "POST", f"/merchant/parcels/{parcel}/ship", {"carrier": "顺丰", "tracking_no": "SF1"})
        world.call(M1, "POST", f"/orders/{number}/parcels/{parcel}/receive")
    bulk = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 2))).json["number"]
    roster = {"recipients": [{"name": "会员1", "phone": M1, "address": "海尔路 1 号"}]}
    assert world.call(OFFICER, "PUT", f"/bulk/orders/{bulk}/roster", roster).json["accepted"] == 1
    signed_in = world.browser(M1)
    operator = world.browser(OPERATOR)
    form = {"csrf_token": csrf_of(operator.get("/admin/members/").text), "q": M1}
    page = operator.post("/admin/members/", data=form).text
    assert M1 not in page.replace(f'value="{M1}"', "")
    with world.app.app_context():
        member_id = queries.by_phone(M1).member_id
    form = {"csrf_token": csrf_of(page), "reason": "本人申请"}
    assert operator.post(f"/admin/members/{member_id}/erase", data=form).status_code == 303
    left = everything(world)
    for secret in (M1, "王芳", "海尔路", "会员1'"):
        assert [name for name, rows in left.items() if secret in rows] == [], secret
    assert signed_in.get("/orders").status_code == 302
    assert world.breaches() == []
    with world.app.app_context():
        assert audit.verify()[1] is None
        with pytest.raises(StateConflict):
            privacy.erase(member_id=member_id, reason="again", actor_id=1, now=clock.now())
    report = world.call(OPERATOR, "GET", "/admin/campaigns/spring/report").json
    assert report["sales_fen"] == 15000


def test_an_open_order_or_a_seat_stands_before_erasing(world):
    world.place(M1, ("A150", 1))
    with world.app.app_context():
        member_id = queries.by_phone(M1).member_id
        with pytest.raises(StateConflict):
            privacy.erase(member_id=member_id, reason="x", actor_id=1, now=clock.now())
        assert db.session.scalar(select(Person.phone).where(Person.phone == M1)) == M1


def test_phones_are_masked_where_the_job_does_not_need_them(world):
    assert world.call(M1, "GET", "/me").json["phone"] == "138****0001"
    operator = world.browser(OPERATOR)
    assert OFFICER not in operator.get("/admin/people/").text
    assert M1 not in world.browser(M1).get("/account/").text


def test_time_is_kept_in_the_hash(world):
    with world.app.app_context():
        entry = audit.entries(limit=1)[0]
        moved = {name: getattr(entry, name) for name in audit.AuditEntry.__table__.columns.keys()}  # noqa: SIM118 columns iterate as columns
        moved["at"] += timedelta(microseconds=1)
        assert audit.hash_of("x", moved) != audit.hash_of("x", {**moved, "at": entry.at})
