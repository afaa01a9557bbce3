"""Pickup stations: kept by operators and by spreadsheets, found by members, drawn on a map."""

import io
import re

import pytest

from kernel import sheets
from people.places import HEIGHT, NAMED, WIDTH, Position, Spot, drawn
from tests.factories import MERCHANT_A, OPERATOR, SHIP, csrf_of

M1 = "13800000001"
HEADER = ["编号", "名称", "街道", "地址", "营业时间", "服务", "电话", "纬度", "经度", "开放"]
NORTH = ["S2", "北站", "北宅街道", "北路 1 号", "每天", "冷藏", "0532-1", "36.20", "120.50", "是"]
SOUTH = ["S3", "南站", "沙子口街道", "南路 1 号", "每天", "", "", "36.10", "120.50", "是"]


def send(world, rows, *, partial=False):
    file = (io.BytesIO(sheets.write([HEADER, *rows])), "stations.xlsx")
    path = "/admin/stations/import" + ("?partial=1" if partial else "")
    return world.call(OPERATOR, "POST", path, data={"file": file})


def listed(world, near=""):
    found = world.app.test_client().get("/api/v1/stations", query_string={"near": near}).json["items"]
    return [(one["name"], one["distance_m"]) for one in found]


def test_a_sheet_makes_and_changes_stations_and_twice_changes_nothing(world):
    first = send(world, [NORTH, SOUTH]).json
    assert (first["accepted"], first["added"], first["errors"]) == (2, 2, [])
    acts = len(world.call(OPERATOR, "GET", "/admin/audit?object=station").json["items"])
    assert acts == 2
    again = send(world, [NORTH, SOUTH]).json
    assert (again["accepted"], again["added"], again["changed"], again["unchanged"]) == (2, 0, 0, 2)
    assert len(world.call(OPERATOR, "GET", "/admin/audit?object=station").json["items"]) == acts
    moved = send(world, [[*NORTH[:7], "36.30", *NORTH[8:]], SOUTH]).json
    assert (moved["changed"], moved["unchanged"]) == (1, 1)
    kept = {one["code"]: one for one in world.call(OPERATOR, "GET", "/admin/stations").json["items"]}
    assert (kept["S2"]["lat_e6"], kept["S2"]["lon_e6"], kept["S2"]["services"]) == (36300000, 120500000, "冷藏")
    assert kept["S1"]["name"] == "一号点"


def test_a_sheet_with_faults_changes_nothing_unless_asked(world):
    rows = [
        NORTH,
        ["S4", "", "", "路", "", "", "", "", "", ""],
        ["S5", "反了", "", "路", "", "", "", "120.5", "36.1", ""],
        ["S2", "又来", "", "路", "", "", "", "", "", ""],
        ["S6", "半个", "", "路", "", "", "", "36", "", "也许"],
    ]
    report = send(world, rows).json
    assert (report["accepted"], report["rejected"]) == (0, 5)
    assert {(one["row"], one["column"]) for one in report["errors"]} == {
        (3, "名称"),
        (4, "纬度"),
        (5, "编号"),
        (6, "经度"),
        (6, "开放"),
    }
    assert listed(world) == [("一号点", None)]
    partly = send(world, rows, partial=True).json
    assert (partly["accepted"], partly["rejected"]) == (1, 4)
    assert len(listed(world)) == 2


def test_the_list_that_is_downloaded_can_be_sent_again(world):
    send(world, [NORTH, SOUTH])
    client = world.browser(OPERATOR)
    content = client.get("/admin/stations/stations.xlsx").data
    form = {"csrf_token": csrf_of(client.get("/admin/stations/import").text)}
    page = client.post("/admin/stations/import", data={**form, "file": (io.BytesIO(content), "stations.xlsx")})
    assert page.status_code == 200
    assert "新增 0 个，修改 0 个，没有变化 3 个" in page.text


def test_the_nearest_come_first_and_a_station_without_a_position_last(world):
    send(world, [NORTH, SOUTH])
    assert [name for name, _ in listed(world, "沙子口")] == ["南站", "北站", "一号点"]
    assert listed(world, "北宅") == [("北站", 0), ("南站", 11120), ("一号点", None)]
    assert {distance for _, distance in listed(world, "没有这里")} == {None}


def test_a_closed_station_is_offered_to_nobody_and_takes_no_order(world):
    send(world, [NORTH])
    client = world.browser(OPERATOR)
    kept = {one["code"]: one for one in world.call(OPERATOR, "GET", "/admin/stations").json["items"]}
    form = {"csrf_token": csrf_of(client.get("/admin/stations/").text), "open": "0"}
    assert client.post(f"/admin/stations/{kept['S2']['id']}/open", data=form).status_code == 303
    assert listed(world) == [("一号点", None)]
    delivery = {"kind": "pickup", "name": "王芳", "phone": M1, "station_id": kept["S2"]["id"]}
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": delivery}
    refused = world.call(M1, "POST", "/orders", body)
    assert (refused.status_code, list(refused.json["errors"])) == (422, ["delivery.station_id"])
    assert world.stock("A150") == (50, 0, 0)
    again = world.call(OPERATOR, "PATCH", f"/admin/stations/{kept['S2']['id']}", {"is_open": True})
    assert (again.json["is_open"], again.json["lat_e6"]) == (True, 36200000)
    assert world.call(M1, "POST", "/orders", body).status_code == 201


def test_parcels_wait_at_their_station_until_they_are_collected(world):
    station = world.call(OPERATOR, "GET", "/admin/stations").json["items"][0]["id"]

    def waiting():
        return world.call(OPERATOR, "GET", "/admin/stations").json["items"][0]["parcels_waiting"]

    delivery = {"kind": "pickup", "name": "王芳", "phone": M1, "station_id": station}
    body = {**world.lines(("A150", 1)), "payable_fen": 13000, "delivery": delivery}
    placed = world.call(M1, "POST", "/orders", body).json
    number = placed["number"]
    assert placed["delivery"]["station_id"] == station, "an id is opaque text"
    assert world.call(M1, "GET", f"/orders/{number}").json["delivery"] == placed["delivery"]
    assert waiting() == 0
    world.pay(M1, number)
    home = world.call(M1, "POST", "/orders", {**body, "payable_fen": 13000, "delivery": SHIP}).json["number"]
    world.pay(M1, home)
    assert waiting() == 1
    world.call(MERCHANT_A, "POST", f"/merchant/parcels/{number}-1/ship", {"carrier": "顺丰", "tracking_no": "1"})
    assert waiting() == 1
    world.call(M1, "POST", f"/orders/{number}/parcels/{number}-1/receive")
    assert waiting() == 0


def test_an_operator_keeps_stations_on_a_page_with_faults_beside_the_field(world):
    client = world.browser(OPERATOR)
    form = {
        "csrf_token": csrf_of(client.get("/admin/stations/new").text),
        "code": "S9",
        "name": "九号",
        "address": "路",
    }
    wrong = client.post("/admin/stations/new", data={**form, "latitude": "120", "longitude": "36"})
    assert wrong.status_code == 422
    assert "填反" in wrong.text
    assert len(listed(world)) == 1
    taken = client.post("/admin/stations/new", data={**form, "code": "S1"})
    assert (taken.status_code, "这个编号已经有了" in taken.text) == (409, True)
    assert client.post("/admin/stations/new", data=form).status_code == 303
    assert len(listed(world)) == 2


def test_a_browsers_position_orders_the_page_and_is_kept_nowhere(world):
    send(world, [NORTH, SOUTH])
    client = world.browser(M1)
    form = {"csrf_token": csrf_of(client.get("/stations").text), "latitude": "36.11", "longitude": "120.50"}
    page = client.post("/stations/", data=form).text
    names = re.findall(r"<strong>(.站|一号点)</strong>", page)
    assert names == ["南站", "北站", "一号点"]
    assert "36.11" not in page
    with client.session_transaction() as session:
        assert "36.11" not in str(dict(session))


def test_the_checkout_finds_a_station_and_places_nothing(world):
    send(world, [NORTH, SOUTH])
    client = world.browser(M1)
    with client.session_transaction() as session:
        session["cart"] = {world.packs["A150"]: 1}
    page = client.get("/checkout").text
    form = {"csrf_token": csrf_of(page), "kind": "pickup", "name": "王小芳", "near": "沙子口", "find": "1"}
    found = client.post("/checkout", data=form)
    assert found.status_code == 200
    assert "王小芳" in found.text
    options = re.findall(r"(\d)\. (.站|一号点) ·", found.text)
    assert options == [("1", "南站"), ("2", "北站"), ("3", "一号点")]
    assert world.call(M1, "GET", "/orders").json["items"] == []


def at_checkout(world):
    """A member's browser with a pack in the cart, and the form of its checkout."""
    client = world.browser(M1)
    with client.session_transaction() as session:
        session["cart"] = {world.packs["A150"]: 1}
    page = client.get("/checkout").text
    payable = re.search(r'name="payable_fen" value="(\d+)"', page)
    assert payable
    form = {"csrf_token": csrf_of(page), "payable_fen": payable[1], "idempotency_key": "k1", "kind": "pickup"}
    return client, {**form, "name": "王小芳", "phone": M1}


def chosen(page):
    """The stations a page's list has as chosen, by their text."""
    return re.findall(r"<option value=\"\d+\" selected>\s*\d\. (.站|一号点) ·", page)


def test_the_checkout_offers_the_nearest_to_a_browsers_position_and_keeps_it_nowhere(world):
    send(world, [NORTH, SOUTH])
    client, form = at_checkout(world)
    page = client.post("/checkout", data={**form, "find": "here", "latitude": "36.11", "longitude": "120.50"})
    assert page.status_code == 200
    assert re.findall(r"(\d)\. (.站|一号点) ·", page.text) == [("1", "南站"), ("2", "北站"), ("3", "一号点")]
    assert chosen(page.text) == ["南站"]
    assert "王小芳" in page.text
    assert "36.11" not in page.text
    with client.session_transaction() as session:
        assert "36.11" not in str(dict(session))
    # What the member chose themselves is not changed by where they are.
    north = {one["code"]: one["id"] for one in world.call(OPERATOR, "GET", "/admin/stations").json["items"]}["S2"]
    stays = client.post("/checkout", data={**form, "station_id": north, "find": "here", "latitude": "36.11"})
    assert chosen(stays.text) == ["北站"]
    # A position that is none is as if nobody had said where they are.
    for latitude, longitude in (("91", "120"), ("nan", "120"), ("", "120"), ("36.11", "9" * 400)):
        nowhere = client.post("/checkout", data={**form, "find": "here", "latitude": latitude, "longitude": longitude})
        assert (nowhere.status_code, chosen(nowhere.text)) == (200, [])
    assert world.call(M1, "GET", "/orders").json["items"] == []


def test_a_stations_own_button_picks_it_and_places_nothing(world):
    send(world, [NORTH, SOUTH])
    client, form = at_checkout(world)
    south = {one["code"]: one["id"] for one in world.call(OPERATOR, "GET", "/admin/stations").json["items"]}["S3"]
    page = client.post("/checkout", data={**form, "pick": south})
    assert (page.status_code, chosen(page.text)) == (200, ["南站"])
    assert world.call(M1, "GET", "/orders").json["items"] == []
    placed = client.post("/checkout", data={**form, "station_id": south})
    assert placed.status_code == 303
    (order,) = world.call(M1, "GET", "/orders").json["items"]
    assert order["delivery"]["station_name"] == "南站"


def test_english_pages_name_stations_in_english_where_the_union_gives_it(world):
    header = [*HEADER[:2], "英文名称", *HEADER[2:4], "英文地址", *HEADER[4:]]
    rows = [
        [*NORTH[:2], "North Station", *NORTH[2:4], "1 North Road", *NORTH[4:]],
        [*SOUTH[:2], "", *SOUTH[2:4], "", *SOUTH[4:]],
    ]
    file = (io.BytesIO(sheets.write([header, *rows])), "stations.xlsx")
    assert world.call(OPERATOR, "POST", "/admin/stations/import", data={"file": file}).json["added"] == 2
    # A sheet without the English columns leaves them as they are.
    assert send(world, [NORTH, SOUTH]).json["unchanged"] == 2
    english = {"Accept-Language": "en"}
    client = world.app.test_client()
    page = client.get("/stations/", headers=english).text
    assert re.findall(r"<strong>([^<]+)</strong>", page) == ["一号点", "North Station", "南站"]
    assert "1 North Road" in page
    assert "南路 1 号" in page
    assert "North Station" not in client.get("/stations/", headers={"Accept-Language": "zh"}).text
    assert "North Station" in re.findall(r'class="map-name"[^>]*>([^<]+)<', page)
    listing = client.get("/api/v1/stations?near=north").json["items"]
    assert (listing[0]["name"], listing[0]["name_en"], listing[0]["address_en"]) == (
        "北站",
        "North Station",
        "1 North Road",
    )
    body = {**world.lines(("A150", 1)), "payable_fen": 13000}
    delivery = {"kind": "pickup", "name": "王芳", "phone": M1, "station_id": listing[0]["id"]}
    number = world.call(M1, "POST", "/orders", {**body, "delivery": delivery}).json["number"]
    told = world.browser(M1)
    own = told.get(f"/orders/{number}", headers=english).text
    assert "North Station" in own
    assert "1 North Road" in own
    assert "北路 1 号" in told.get(f"/orders/{number}", headers={"Accept-Language": "zh"}).text


def test_the_map_of_341_stations_stays_readable():
    spots = [
        Spot(
            Position(36_000_000 + index % 19 * 9_000, 120_300_000 + index // 19 * 11_000),
            index + 1 if index < 12 else None,
            f"第{index}自提点",
        )
        for index in range(341)
    ]
    whole = drawn([Spot(spot.position, None, spot.name) for spot in spots])
    assert whole is not None
    assert sum(pin.count for pin in whole.pins) == 341
    assert len(whole.pins) <= 170
    near = drawn(spots, here=Position(36_010_000, 120_310_000))
    assert near is not None
    numbers = sorted(number for pin in near.pins for number in pin.numbers)
    assert numbers == list(range(1, 13))
    assert near.here is not None
    assert all(0 <= pin.x <= WIDTH and 0 <= pin.y <= HEIGHT for pin in near.pins)
    assert sum(bool(pin.label) for pin in near.pins) <= NAMED


@pytest.mark.parametrize("here", [None, Position(90_000_000, 180_000_000), Position(-90_000_000, -180_000_000)])
def test_a_map_of_the_poles_is_still_a_map(here):
    assert drawn([Spot(Position(90_000_000, 0), 1, "极")], here=here) is not None
