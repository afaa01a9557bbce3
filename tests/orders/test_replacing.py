"""A pack that is short once stock is held gives way to another of its tier: same money, same approval, asked again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select

from kernel import clock
from kernel.db import db
from orders import queries
from orders.rules import Line, swap
from people import message_queries
from people.models import Message
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR
from tests.orders.test_choices import PEOPLE, choose, choosing_order, tokens

OFF = {"status": "off_sale"}


def approved(world, *wanted):
    """A union's order of packs with its roster, approved: its path."""
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(*wanted)).json["number"]
    path = f"/bulk/orders/{number}"
    assert world.call(OFFICER, "PUT", f"{path}/roster", {"recipients": PEOPLE}).json["accepted"] == 3
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    return path


def chosen(world, *codes):
    """A self-choice order for which everybody chose the first pack, approved: its path and the links' tokens."""
    number, links = choosing_order(world, *codes)
    for token in links:
        assert choose(world, token, codes[0]).status_code == 200
    path = f"/bulk/orders/{number}"
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    return path, links


def pay(world, path):
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    confirm = {"amount_fen": payment["amount_fen"]}
    done = world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", confirm)
    assert done.json["order_status"] == "paid", done.text


def take_off(world, code, login=MERCHANT_A):
    assert world.call(login, "PATCH", f"/merchant/packs/{world.packs[code]}", OFF).status_code == 200


def swap_for(world, path, old, new, **options):
    body = {"pack_id": world.packs[old], "by_pack_id": world.packs[new]}
    return world.call(OFFICER, "POST", f"{path}/replacements", body, **options)


def offer_third_pack(world):
    """Three of a pack C150, of merchant B."""
    pack = {"name": "礼包C", "price_fen": 15000, "contents": [{"name": "米", "quantity": 1, "unit": "袋"}]}
    made = world.call(MERCHANT_B, "POST", "/merchant/packs", pack).json
    world.call(OPERATOR, "POST", f"/admin/packs/{made['id']}/approve")
    world.packs["C150"] = made["id"]
    world.call(MERCHANT_B, "POST", f"/merchant/packs/{made['id']}/stock", {"count": 3, "reason": "入库"})


def texts(world):
    """Each text message waiting to be sent: (phone, text)."""
    with world.app.app_context():
        key = world.app.config["HUIGONG"].secret_key
        about = ("choice.asked", "choice.again", "pack.replaced", "shortage.told")
        ids = db.session.scalars(select(Message.id).where(Message.event.in_(about)))
        rows = [message_queries.one(message_id) for message_id in ids]
        return sorted((row.phone_now or row.phone, message_queries.whole_text(row, key)) for row in rows)


def amounts(order):
    return order["subtotal_fen"], order["discount_fen"], order["payable_fen"]


def short_of(world, path, code, count, login=MERCHANT_A, note="仓库进水"):
    order = world.call(OFFICER, "GET", path).json
    line = next(one for one in order["lines"] if one["pack_id"] == world.packs[code])
    parcel = next(one for one in order["parcels"] if any(row["id"] == line["id"] for row in one["lines"]))
    body = {"lines": [{"line_id": line["id"], "quantity": count}], "note": note}
    return world.call(login, "POST", f"/merchant/parcels/{parcel['id']}/shortage", body)


def test_units_take_their_share_of_the_discount_along():
    shared = {"pack_name": "", "pack_name_en": "", "picture": "", "merchant_name": "", "merchant_name_en": ""}
    old = Line(1, 7, merchant_id=1, quantity=3, price_fen=100, amount_fen=300, discount_fen=50, parcel_no=1, **shared)
    new = Line(2, 8, merchant_id=2, quantity=0, price_fen=100, amount_fen=0, discount_fen=0, parcel_no=2, **shared)
    kept, taken = swap([old], line_no=1, units=1, by=new)
    assert (kept.quantity, kept.amount_fen, kept.discount_fen) == (2, 200, 34)
    assert (taken.quantity, taken.amount_fen, taken.discount_fen) == (1, 100, 16)
    whole = swap([kept, taken], line_no=1, units=2, by=taken)
    assert [(line.line_no, line.quantity, line.amount_fen, line.discount_fen) for line in whole] == [(2, 3, 300, 50)]


def test_a_pack_taken_off_after_approval_is_replaced_and_the_approval_stands(world):
    path = approved(world, ("A150", 3), ("B40", 1))
    before = world.call(OFFICER, "GET", path).json
    assert world.call(OFFICER, "GET", f"{path}/replacements").json["items"] == []
    take_off(world, "A150")
    (offer,) = world.call(OFFICER, "GET", f"{path}/replacements").json["items"]
    assert (offer["reason"], offer["wanted"], offer["available"], offer["units"]) == ("off_sale", 3, 0, 3)
    assert [one["id"] for one in offer["others"]] == [world.packs["B150"]]
    assert swap_for(world, path, "A150", "A100").json["code"] == "invalid"
    done = swap_for(world, path, "A150", "B150", key="k1")
    assert (done.status_code, done.json["status"]) == (200, "approved")
    assert amounts(done.json) == amounts(before)
    assert (done.json["approval_voided_at"], done.json["expires_at"]) == (None, before["expires_at"])
    assert sorted((line["pack_id"], line["quantity"]) for line in done.json["lines"]) == sorted(
        [(world.packs["B150"], 3), (world.packs["B40"], 1)]
    )
    assert [(one["old"], one["new"], one["units"]) for one in done.json["replaced"]] == [("礼包A150", "礼包B150", 3)]
    assert (world.stock("A150"), world.stock("B150")) == ((50, 0, 0), (47, 3, 0))
    # The same request again does it once; another finds nothing short any more.
    again = swap_for(world, path, "A150", "B150", key="k1")
    assert (again.text, again.headers["Idempotent-Replayed"]) == (done.text, "true")
    assert swap_for(world, path, "B150", "A150").json["code"] == "invalid"
    assert [phone for phone, _ in texts(world)] == [APPROVER]
    assert world.breaches() == []
    pay(world, path)
    assert world.stock("B150") == (47, 0, 3)
    assert "换成同档位的“礼包B150”" in world.browser(OFFICER).get(f"/union/orders/{before['number']}").text
    assert world.breaches() == []


def test_what_is_not_short_is_a_change_and_voids_the_approval(world):
    path = approved(world, ("A150", 3))
    changed = swap_for(world, path, "A150", "B150")
    assert (changed.json["status"], changed.json["approval_voided_at"] is None) == ("draft", False)
    assert (world.stock("A150"), world.stock("B150")) == ((50, 0, 0), (50, 0, 0))
    assert world.breaches() == []


def test_once_a_payment_was_begun_only_what_is_short_is_replaced(world):
    path = approved(world, ("A150", 3))
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    assert swap_for(world, path, "A150", "B150").json["code"] == "state_conflict"
    take_off(world, "A150")
    assert swap_for(world, path, "A150", "B150").json["status"] == "pending_payment"
    done = world.call(
        OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", {"amount_fen": payment["amount_fen"]}
    )
    assert (done.json["order_status"], world.stock("A150"), world.stock("B150")) == ("paid", (50, 0, 0), (47, 0, 3))
    assert world.breaches() == []


def test_a_replacement_that_is_out_of_stock_changes_nothing(world):
    path = approved(world, ("A150", 3))
    take_off(world, "A150")
    world.call(MERCHANT_B, "POST", f"/merchant/packs/{world.packs['B150']}/stock", {"count": 2, "reason": "盘点"})
    before = world.call(OFFICER, "GET", path).json
    refused = swap_for(world, path, "A150", "B150")
    assert (refused.status_code, refused.json["code"]) == (409, "out_of_stock")
    assert world.call(OFFICER, "GET", path).json == before
    assert (world.stock("A150"), world.stock("B150")) == ((47, 3, 0), (2, 0, 0))
    assert (texts(world), world.breaches()) == ([], [])


def test_with_self_choice_everybody_concerned_is_asked_again_by_their_link(world):
    path, links = chosen(world, "A150")
    take_off(world, "A150")
    done = swap_for(world, path, "A150", "B150")
    assert (done.json["status"], done.json["choice"]["pack_ids"]) == ("approved", [world.packs["B150"]])
    told = texts(world)
    assert [phone for phone, _ in told] == [*(one["phone"] for one in PEOPLE), APPROVER]
    assert all(f"/choose/{token}" in text for token, (_, text) in zip(links, told[:3], strict=True))
    assert tokens(world, done.json["number"]) == links
    own = world.app.test_client().get(f"/api/v1/choices/{links[0]}").json
    assert (own["pack_id"], own["chosen_at"]) == (world.packs["B150"], None)
    assert "礼包B150" in world.app.test_client().get(f"/choose/{links[0]}").text
    assert choose(world, links[0], "B150").json["chosen_at"] is not None
    assert (world.stock("A150"), world.stock("B150")) == ((50, 0, 0), (47, 3, 0))
    assert world.breaches() == []


def test_who_is_asked_again_may_take_another_pack_and_stock_moves_along(world, monkeypatch):
    path, links = chosen(world, "A150", "B150")
    before = amounts(world.call(OFFICER, "GET", path).json)
    assert choose(world, links[0], "B150").json["code"] == "state_conflict"
    take_off(world, "A150")
    offer_third_pack(world)
    done = swap_for(world, path, "A150", "C150").json
    assert done["choice"]["pack_ids"] == [world.packs["C150"], world.packs["B150"]]
    assert (world.stock("A150"), world.stock("C150")) == ((50, 0, 0), (0, 3, 0))
    assert choose(world, links[0], "B150").json["pack_id"] == world.packs["B150"]
    assert choose(world, links[0], "A150").json["code"] == "invalid"
    assert (world.stock("B150"), world.stock("C150")) == ((49, 1, 0), (1, 2, 0))
    shown = world.call(OFFICER, "GET", path).json
    assert (shown["status"], amounts(shown)) == ("approved", before)
    assert choose(world, links[0], "B150").status_code == 200
    assert world.stock("B150") == (49, 1, 0)
    later = clock.now() + timedelta(days=3)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert choose(world, links[1], "B150").json["code"] == "state_conflict"
    monkeypatch.undo()
    assert world.breaches() == []


def test_a_shortage_of_a_paid_order_moves_units_to_another_merchant_with_their_money(world):
    path = approved(world, ("A150", 3), ("A100", 1))
    pay(world, path)
    number = path.rpartition("/")[2]
    before = world.call(OFFICER, "GET", path).json
    assert swap_for(world, path, "A150", "B150").json["code"] == "state_conflict"
    for count, login, code in ((4, MERCHANT_A, "invalid"), (1, MERCHANT_B, "not_found")):
        assert short_of(world, path, "A150", count, login).json["code"] == code
    assert short_of(world, path, "A150", 2).json["items"][0]["missing"] == 2
    assert short_of(world, path, "A150", 2).status_code == 200
    ((phone, text),) = texts(world)
    assert (phone, number in text, "“礼包A150” × 2" in text) == (OFFICER, True, True)
    (seen,) = world.call(OPERATOR, "GET", "/admin/faults").json["items"]
    assert (seen["kind"], seen["order_number"], seen["pack"], seen["note"]) == (
        "shortage",
        number,
        "礼包A150",
        "仓库进水",
    )
    (offer,) = world.call(OFFICER, "GET", f"{path}/replacements").json["items"]
    assert (offer["reason"], offer["units"], offer["note"]) == ("merchant", 2, "仓库进水")
    done = swap_for(world, path, "A150", "B150").json
    assert (done["status"], amounts(done)) == ("paid", amounts(before))
    assert [(line["pack_id"], line["quantity"]) for line in done["lines"]] == [
        (world.packs["A150"], 1),
        (world.packs["A100"], 1),
        (world.packs["B150"], 2),
    ]
    assert [(one["merchant"]["name"], one["status"]) for one in done["parcels"]] == [
        ("甲", "to_ship"),
        ("乙", "to_ship"),
    ]
    # What the merchant said it has not is off its shelf: nobody else is sold it.
    assert (world.stock("A150"), world.stock("B150")) == ((47, 0, 1), (48, 0, 2))
    assert world.call(OPERATOR, "GET", "/admin/faults").json["items"] == []
    assert world.breaches() == []
    owed = {login: world.call(login, "GET", "/merchant/statements").json["items"] for login in (MERCHANT_A, MERCHANT_B)}
    goods = {login: rows[0]["net_fen"] for login, rows in owed.items()}
    assert goods == {MERCHANT_A: 15000 + 10000, MERCHANT_B: 30000}
    for login, parcel in ((MERCHANT_A, 1), (MERCHANT_B, 2)):
        shipment = {"carrier": "顺丰", "tracking_no": "SF1"}
        assert world.call(login, "POST", f"/merchant/parcels/{number}-{parcel}/ship", shipment).status_code == 200
    assert short_of(world, path, "B150", 1, MERCHANT_B).json["code"] == "state_conflict"
    refund = {"lines": [{"line_id": "3", "quantity": 2}], "reason": "不要了"}
    assert world.call(OFFICER, "POST", f"{path}/refunds", refund).status_code == 201
    assert world.breaches() == []


def test_the_whole_parcel_of_a_merchant_may_go_to_another(world):
    path, links = chosen(world, "A150", "B150")
    choose(world, links[0], "A150")
    pay(world, path)
    number = path.rpartition("/")[2]
    assert short_of(world, path, "A150", 3).status_code == 200
    done = swap_for(world, path, "A150", "B150").json
    assert [(one["merchant"]["name"], one["status"]) for one in done["parcels"]] == [("乙", "to_ship")]
    assert world.call(MERCHANT_A, "GET", f"/merchant/parcels/{number}-1").status_code == 404
    assert len([phone for phone, text in texts(world) if "/choose/" in text]) == 3
    assert (world.stock("A150"), world.stock("B150")) == ((47, 0, 0), (47, 0, 3))
    assert choose(world, links[2], "B150").status_code == 200
    parcel = done["parcels"][0]["id"]
    world.call(MERCHANT_B, "POST", f"/merchant/parcels/{parcel}/ship", {"carrier": "顺丰", "tracking_no": "1"})
    received = world.call(OFFICER, "POST", f"{path}/parcels/{parcel}/receive")
    assert received.json["status"] == "completed"
    assert world.breaches() == []


def test_of_a_part_that_is_short_who_chose_last_is_asked(world):
    path, links = chosen(world, "A150")
    pay(world, path)
    short_of(world, path, "A150", 1)
    assert swap_for(world, path, "A150", "B150").status_code == 200
    asked = [phone for phone, text in texts(world) if "/choose/" in text]
    assert asked == [PEOPLE[2]["phone"]]
    states = [world.app.test_client().get(f"/api/v1/choices/{token}").json for token in links]
    assert [one["pack_id"] for one in states] == [world.packs["A150"]] * 2 + [world.packs["B150"]]
    assert choose(world, links[0], "B150").json["code"] == "state_conflict"
    assert world.breaches() == []


def test_nobody_is_given_part_of_what_the_roster_says(world):
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A150", 3))).json["number"]
    path = f"/bulk/orders/{number}"
    people = [{**PEOPLE[0], "quantity": 3, "pack_id": world.packs["A150"]}]
    assert world.call(OFFICER, "PUT", f"{path}/roster", {"recipients": people}).json["accepted"] == 1
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    pay(world, path)
    short_of(world, path, "A150", 1)
    before = world.call(OFFICER, "GET", path).json, world.stock("A150"), world.stock("B150"), texts(world)
    refused = swap_for(world, path, "A150", "B150")
    assert (refused.status_code, refused.json["code"]) == (409, "state_conflict")
    assert (world.call(OFFICER, "GET", path).json, world.stock("A150"), world.stock("B150"), texts(world)) == before
    short_of(world, path, "A150", 3)
    assert swap_for(world, path, "A150", "B150").status_code == 200, "whole persons are replaced"
    assert world.breaches() == []


def test_a_shortage_is_taken_back_and_none_is_said_of_what_has_left(world):
    path = approved(world, ("A150", 3))
    pay(world, path)
    short_of(world, path, "A150", 2)
    assert short_of(world, path, "A150", 0).json["items"] == []
    assert world.call(OFFICER, "GET", f"{path}/replacements").json["items"] == []
    short_of(world, path, "A150", 2)
    number = path.rpartition("/")[2]
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "顺丰", "tracking_no": "1"})
    assert world.call(OFFICER, "GET", f"{path}/replacements").json["items"] == []
    assert world.call(OPERATOR, "GET", "/admin/faults").json["items"] == []
    assert swap_for(world, path, "A150", "B150").json["code"] == "state_conflict"
    assert world.breaches() == []


def test_no_shortage_of_a_members_parcel(world):
    member = "13800000001"
    number = world.place(member, ("A150", 1)).json["number"]
    world.pay(member, number)
    body = {"lines": [{"line_id": "1", "quantity": 1}]}
    refused = world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/shortage", body)
    assert refused.json["code"] == "state_conflict"


def test_two_orders_after_the_last_replacement_get_it_once(world):
    paths = [approved(world, ("A150", 3)) for _ in range(2)]
    take_off(world, "A150")
    world.call(MERCHANT_B, "POST", f"/merchant/packs/{world.packs['B150']}/stock", {"count": 4, "reason": "盘点"})
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda path: swap_for(world, path, "A150", "B150"), paths))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (world.stock("A150"), world.stock("B150")) == ((47, 3, 0), (1, 3, 0))
    assert world.breaches() == []


def test_replacing_races_payment_and_nothing_is_lost(world):
    path = approved(world, ("A150", 3))
    payment = world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"}).json
    take_off(world, "A150")
    confirm = {"amount_fen": payment["amount_fen"]}
    calls = [
        lambda: swap_for(world, path, "A150", "B150").status_code,
        lambda: world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", confirm).status_code,
    ]
    with ThreadPoolExecutor(2) as pool:
        swapped, paid = pool.map(lambda call: call(), calls)
    assert (paid, swapped in (200, 409)) == (200, True)
    assert world.stock("A150" if swapped == 409 else "B150") == (47, 0, 3)
    with world.app.app_context():
        view = queries.order(int(path.rpartition("/")[2]), now=clock.now())
        assert (view.status, sum(line.quantity for line in view.lines)) == ("paid", 3)
    assert world.breaches() == []


def test_two_who_are_asked_again_after_the_last_one_get_one(world):
    path, links = chosen(world, "A150", "B150")
    offer_third_pack(world)
    world.call(MERCHANT_B, "POST", f"/merchant/packs/{world.packs['B150']}/stock", {"count": 1, "reason": "盘点"})
    take_off(world, "A150")
    assert swap_for(world, path, "A150", "C150").status_code == 200
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda token: choose(world, token, "B150"), links))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert {answer.json["code"] for answer in answers if answer.status_code == 409} == {"out_of_stock"}
    assert (world.stock("B150"), world.stock("C150")) == ((0, 1, 0), (1, 2, 0))
    assert world.breaches() == []
