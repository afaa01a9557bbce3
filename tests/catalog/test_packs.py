"""礼包: offered, approved, changed while the old version sells on, with pictures; orders keep what was bought."""

import io
import threading

import pytest
from PIL import Image

from tests.factories import MERCHANT_A, MERCHANT_B, OPERATOR

M1, M2 = "13800000001", "13800000002"
RICE = {"name": "五常大米", "quantity": 2, "unit": "袋", "shelf_life": "12个月", "origin": "黑龙江"}
NEW = {"name": "新礼包", "tier_fen": 15000, "contents": [RICE]}


def path(world, code="A150"):
    return f"/merchant/packs/{world.packs[code]}"


def change(world, body, code="A150", login=MERCHANT_A):
    return world.call(login, "PATCH", path(world, code), body)


def shown(world, code="A150"):
    return world.app.test_client().get(f"/api/v1/packs/{world.packs[code]}").json


def decide(world, verdict, code="A150", **body):
    return world.call(OPERATOR, "POST", f"/admin/packs/{world.packs[code]}/{verdict}", body)


def picture(kind="PNG", size=(800, 600)):
    target = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(target, kind)
    return target.getvalue()


def put_picture(world, content, code="A150", login=MERCHANT_A):
    return world.call(
        login,
        "PUT",
        f"{path(world, code)}/picture",
        data={"file": (io.BytesIO(content), "../../etc/x.png")},
        content_type="multipart/form-data",
    )


def test_a_new_pack_waits_and_says_what_is_in_it(world):
    made = world.call(MERCHANT_A, "POST", "/merchant/packs", NEW)
    assert (made.status_code, made.json["status"], made.json["contents"]) == (201, "pending", [RICE])
    pack = made.json["id"]
    client = world.app.test_client()
    assert client.get(f"/api/v1/packs/{pack}").status_code == 404
    waiting = world.call(OPERATOR, "GET", "/admin/packs").json["items"]
    assert [(one["id"], one["change"]) for one in waiting] == [(pack, None)]
    changed = world.call(MERCHANT_A, "PATCH", f"/merchant/packs/{pack}", {"name": "更好的礼包"}).json
    assert (changed["name"], changed["status"], changed["last_change"]) == ("更好的礼包", "pending", None)
    assert world.call(OPERATOR, "POST", f"/admin/packs/{pack}/approve").status_code == 200
    assert client.get(f"/api/v1/packs/{pack}").json["contents"] == [RICE]
    assert [one["id"] for one in client.get("/api/v1/packs?q=五常").json["items"]] == [pack]
    again = world.call(OPERATOR, "POST", f"/admin/packs/{pack}/approve")
    assert (again.status_code, again.json["code"]) == (409, "state_conflict")


def test_a_pack_sent_back_is_mended_and_waits_again(world):
    pack = world.call(MERCHANT_A, "POST", "/merchant/packs", NEW).json["id"]
    back = world.call(OPERATOR, "POST", f"/admin/packs/{pack}/reject", {"reason": "缺产地"}).json
    assert (back["status"], back["reject_reason"]) == ("rejected", "缺产地")
    mended = world.call(MERCHANT_A, "PATCH", f"/merchant/packs/{pack}", {"description": "好米"}).json
    assert (mended["status"], mended["reject_reason"]) == ("pending", None)


def test_the_old_version_sells_on_while_a_change_waits(world):
    answer = change(world, {"price_fen": 10000, "contents": [RICE]})
    assert answer.status_code == 200, answer.text
    assert (answer.json["price_fen"], answer.json["last_change"]["status"]) == (15000, "pending")
    assert answer.json["last_change"]["details"] == {"price_fen": 10000, "contents": [RICE]}
    before = shown(world)
    assert (before["price_fen"], before["contents"][0]["name"]) == (15000, "米")
    first = world.place(M1, ("A150", 1)).json
    assert first["subtotal_fen"] == 15000
    body = world.lines(("A150", 1))
    quoted = world.call(M2, "POST", "/quotes", body).json["payable_fen"]
    assert decide(world, "approve").status_code == 200
    after = shown(world)
    assert (after["price_fen"], after["contents"]) == (10000, [RICE])
    assert change(world, {"alert_below": 5}).json["last_change"]["status"] == "approved"
    stale = world.call(
        M2,
        "POST",
        "/orders",
        {**body, "payable_fen": quoted, "delivery": {"kind": "ship", "name": "x", "phone": M2, "address": "y"}},
    )
    assert (stale.status_code, stale.json["code"]) == (409, "price_changed")
    kept = world.call(M1, "GET", f"/orders/{first['number']}").json["lines"][0]
    assert (kept["price_fen"], kept["name"]) == (15000, "礼包A150"), "an order keeps what was bought"
    assert world.breaches() == []


def test_a_rejected_change_leaves_the_pack_as_it_is(world):
    change(world, {"price_fen": 10000})
    assert decide(world, "reject", reason="不是档位").status_code == 200
    last = world.call(MERCHANT_A, "GET", path(world)).json["last_change"]
    assert (last["status"], last["reason"]) == ("rejected", "不是档位")
    assert shown(world)["price_fen"] == 15000
    assert decide(world, "approve").json["code"] == "state_conflict"


def test_a_later_change_joins_the_one_that_waits_and_voids_what_the_operator_saw(world):
    seen = change(world, {"price_fen": 10000}).json["last_change"]["id"]
    change(world, {"name": "改名"})
    stale = decide(world, "approve", change_id=seen)
    assert (stale.status_code, stale.json["code"]) == (409, "state_conflict")
    assert shown(world)["price_fen"] == 15000
    assert decide(world, "approve").status_code == 200
    assert (shown(world)["price_fen"], shown(world)["name"]) == (10000, "改名")


def test_what_is_the_same_is_no_change(world):
    same = {"price_fen": 15000, "name": "礼包A150", "contents": [{"name": "米", "quantity": 1, "unit": "袋"}]}
    assert change(world, same).json["last_change"] is None
    assert world.call(OPERATOR, "GET", "/admin/packs").json["items"] == []


def test_off_sale_and_on_again_at_once(world):
    assert change(world, {"status": "off_sale"}).json["status"] == "off_sale"
    assert world.app.test_client().get(f"/api/v1/packs/{world.packs['A150']}").status_code == 404
    assert world.place(M1, ("A150", 1), payable_fen=13000).status_code >= 400
    assert change(world, {"status": "on_sale"}).json["status"] == "on_sale"
    assert world.place(M1, ("A150", 1)).status_code == 201


@pytest.mark.parametrize(
    ("case", "body", "field"),
    [
        ("price is no tier's", {"price_fen": 100, "tier_fen": 200}, "price_fen"),
        ("nothing in it", {"contents": []}, "contents"),
        ("no unit", {"contents": [{"name": "米", "quantity": 1}]}, "contents.0.unit"),
        ("too long a shelf life", {"contents": [RICE | {"shelf_life": "x" * 41}]}, "contents.0.shelf_life"),
        ("an unknown state", {"status": "pending"}, "status"),
        ("below zero", {"alert_below": -1}, "alert_below"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(world, case, body, field):
    answer = change(world, body)
    assert (answer.status_code, list(answer.json["errors"])) == (422, [field])
    assert world.call(MERCHANT_A, "GET", path(world)).json["last_change"] is None


def test_anothers_pack_is_not_there(world):
    assert change(world, {"price_fen": 100}, login=MERCHANT_B).status_code == 404
    assert put_picture(world, picture(), login=MERCHANT_B).status_code == 404
    assert world.call(MERCHANT_A, "GET", path(world)).json["last_change"] is None


def test_a_picture_waits_for_approval_and_is_then_shown_in_three_widths(world):
    answer = put_picture(world, picture())
    assert answer.status_code == 200, answer.text
    assert shown(world)["picture_url"] is None
    decide(world, "approve")
    address = shown(world)["picture_url"]
    client = world.app.test_client()
    for width in (320, 640, 1280):
        got = client.get(address.replace("-640", f"-{width}"))
        assert (got.status_code, got.content_type) == (200, "image/webp")
        assert Image.open(io.BytesIO(got.data)).width == min(width, 800)
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "immutable" in got.headers["Cache-Control"]
    assert address in client.get("/").text


@pytest.mark.parametrize(
    "content", [b"", b"<svg onload='alert(1)'/>", b"GIF89a", b"\xff\xd8\xffbroken", picture()[:99]]
)
def test_what_is_no_picture_is_refused(world, content):
    answer = put_picture(world, content)
    assert (answer.status_code, list(answer.json["errors"])) == (422, ["file"])
    assert world.call(MERCHANT_A, "GET", path(world)).json["last_change"] is None


@pytest.mark.parametrize("name", ["x", "..%2f..%2fetc%2fpasswd", "0" * 32 + "-640.webp", "0" * 32 + ".pdf"])
def test_a_picture_that_is_not_there_is_not_found(world, name):
    assert world.app.test_client().get(f"/pictures/{name}").status_code == 404


def test_two_changes_at_once_end_as_one_that_waits(world):
    world.token(MERCHANT_A)
    answers = []

    def work(body):
        answers.append(change(world, body).status_code)

    bodies = [{"name": "一"}, {"description": "二"}, {"price_fen": 10000}, {"name_en": "four"}]
    threads = [threading.Thread(target=work, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    details = world.call(MERCHANT_A, "GET", path(world)).json["last_change"]["details"]
    assert details == {"name": "一", "description": "二", "price_fen": 10000, "name_en": "four"}
