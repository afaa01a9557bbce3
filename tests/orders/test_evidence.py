"""Pictures of what arrived: whom they concern sees them, and nobody else."""

import io

import pytest
from PIL import Image

from orders.services import evidence
from tests.factories import MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR, SHIP

M1, M2 = "13800000001", "13800000002"


def picture():
    target = io.BytesIO()
    Image.new("RGB", (900, 900), (200, 30, 40)).save(target, "JPEG")
    return target.getvalue()


def asked(world):
    """A shipped parcel of which one unit is asked back: (order number, refund id)."""
    number = world.place(M1, ("A150", 2), ("B150", 1)).json["number"]
    world.pay(M1, number)
    assert SHIP["name"] == "王芳"
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "顺丰", "tracking_no": "SF1"})
    ask = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "碎了"}
    return number, world.call(M1, "POST", f"/orders/{number}/refunds", ask).json["id"]


def add(world, number, refund, content, login=M1):
    return world.call(
        login,
        "POST",
        f"/orders/{number}/refunds/{refund}/pictures",
        data={"file": (io.BytesIO(content), "x.jpg")},
        content_type="multipart/form-data",
    )


def see(world, login, path):
    headers = {"Authorization": f"Bearer {world.token(login)}"}
    return world.app.test_client().get(path, headers=headers)


def test_whom_it_concerns_sees_a_picture_and_nobody_else(world):
    number, refund = asked(world)
    answer = add(world, number, refund, picture())
    assert answer.status_code == 201, answer.text
    path = answer.json["picture"]
    part = world.call(MERCHANT_A, "GET", "/merchant/refunds").json["items"][0]
    assert part["pictures"] == [path]
    for login in (M1, MERCHANT_A, OPERATOR):
        seen = see(world, login, path)
        assert (seen.status_code, seen.content_type) == (200, "image/webp")
        assert seen.headers["Cache-Control"] == "private, no-store"
    for login in (M2, MERCHANT_B, OFFICER):
        assert see(world, login, path).status_code == 404, login
    assert world.app.test_client().get(path).status_code in (302, 401)
    assert path.replace("1280", "320") in world.browser(M1).get(f"/orders/{number}").text
    assert path.replace("1280", "320") in world.browser(MERCHANT_A).get("/merchant/refunds").text
    everybodys = world.app.test_client().get(path.replace("/refund-pictures", "/pictures"))
    assert everybodys.status_code == 404, "the door for packs' pictures does not serve it"


def test_another_members_refund_takes_no_picture(world):
    number, refund = asked(world)
    assert add(world, number, refund, picture(), login=M2).status_code == 404
    assert add(world, "7", refund, picture()).status_code == 404
    assert world.call(MERCHANT_A, "GET", "/merchant/refunds").json["items"][0]["pictures"] == []


@pytest.mark.parametrize("content", [b"", b"<html>", picture()[:100]])
def test_what_is_no_picture_is_refused(world, content):
    number, refund = asked(world)
    assert add(world, number, refund, content).status_code == 422
    assert world.call(MERCHANT_A, "GET", "/merchant/refunds").json["items"][0]["pictures"] == []


def test_there_are_six_at_most(world, monkeypatch):
    monkeypatch.setattr(evidence, "MOST_PICTURES", 1)
    number, refund = asked(world)
    assert add(world, number, refund, picture()).status_code == 201
    again = add(world, number, refund, picture())
    assert (again.status_code, again.json["code"]) == (409, "over_limit")
