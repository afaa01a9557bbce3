"""A pack's picture to send on, a member's receipt, and an address that need not be typed again."""

import io
import re

import pytest
from PIL import Image
from pypdf import PdfReader

from tests.factories import SHIP
from tests.forms import form_of, submit
from tests.kernel.test_files import picture
from tests.orders.test_merchant_forms import MERCHANT_A, OPERATOR, stock_page
from tests.orders.test_parcels import M1, M2, bought, collected

ORDER_FIELDS = {"name": "王芳", "phone": M1, "region": "青岛", "address": "海尔路 1 号"}


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_packs_share_picture_is_drawn_and_named_by_its_page(world, uploaded):
    number = world.packs["A150"]
    if uploaded:
        submit(world.browser(MERCHANT_A), stock_page(world), "/picture", file=(io.BytesIO(picture()), "米.jpg"))
        submit(world.browser(OPERATOR), "/admin/packs/", f"/{number}/approve")
    client = world.app.test_client()
    page = client.get(f"/packs/{number}").text
    [address] = re.findall(r'<meta property="og:image" content="([^"]+)"', page)
    assert address == f"http://localhost/packs/{number}/share.png"
    answer = client.get(address)
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    with Image.open(io.BytesIO(answer.data)) as drawn:
        assert drawn.size == (1080, 1440)
        middle = drawn.convert("RGB").crop((0, 140, 1080, 776)).getcolors(2**20)
    most = max(middle)[1]
    assert (most == (251, 238, 214)) is not uploaded, "the pack's own picture, or its contents on plain ground"
    assert len(answer.data) < 400_000
    again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    english = client.get(address, headers={"Accept-Language": "en"})
    assert english.data != answer.data
    assert client.get("/packs/999999/share.png").status_code == 404


def test_a_receipt_says_what_was_bought_paid_and_given_back(world):
    unpaid = world.place(M1, ("A150", 1)).json["number"]
    client = world.browser(M1)
    assert client.get(f"/orders/{unpaid}/receipt.pdf").status_code == 409
    assert "receipt.pdf" not in client.get(f"/orders/{unpaid}").text
    number = bought(world, ("A150", 1), ("A100", 1))  # ¥250: ¥40 off
    back = {"lines": [{"line_id": "2", "quantity": 1}], "reason": "x"}
    assert world.call(M1, "POST", f"/orders/{number}/refunds", back).status_code == 201
    assert f"/orders/{number}/receipt.pdf" in client.get(f"/orders/{number}").text
    answer = client.get(f"/orders/{number}/receipt.pdf")
    words = PdfReader(io.BytesIO(answer.data)).pages[0].extract_text().replace("\n", "")
    for one in (number, "礼包A150", "甲", "¥250", "-¥40", "¥210", "¥84", "王芳", "海尔路 1 号"):
        assert one in words, one
    assert world.browser(M2).get(f"/orders/{number}/receipt.pdf").status_code == 404
    assert world.app.test_client().get(f"/orders/{number}/receipt.pdf").status_code == 302


def test_where_the_last_order_went_stands_in_the_next_ones_form(world):
    client = world.browser(M1)

    def checkout(address="/checkout"):
        submit(client, f"/packs/{world.packs['A150']}", "/cart", quantity="1")
        return form_of(client, address).carried

    first = checkout()
    assert (first["kind"], first["address"]) == (["ship"], "")
    world.place(M1, ("A100", 1))
    second = checkout()
    assert {name: second[name] for name in ORDER_FIELDS} == {name: SHIP[name] for name in ORDER_FIELDS}
    collected(world, ("A150", 1))
    third = checkout()
    assert (third["kind"], third["station_id"] != "", third["address"]) == (["pickup"], True, "")
    other = world.browser(M2)
    submit(other, f"/packs/{world.packs['A150']}", "/cart", quantity="1")
    assert form_of(other, "/checkout").carried["address"] == ""
