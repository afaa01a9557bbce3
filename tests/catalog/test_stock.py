"""库存: signed changes and counts, one pack or a sheet of them; never an overwrite, never below zero."""

import io
import threading

import pytest

from kernel import sheets
from tests.factories import MERCHANT_A, MERCHANT_B

M1 = "13800000001"


def put(world, rows, *, name="stock.xlsx", query="", login=MERCHANT_A, **options):
    content = sheets.write(rows) if name.endswith("xlsx") else rows.encode("gb18030")
    return world.call(
        login,
        "PUT",
        f"/merchant/stock{query}",
        data={"file": (io.BytesIO(content), name)},
        content_type="multipart/form-data",
        **options,
    )


def movements(world, code):
    return world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs[code]}/movements").json["items"]


def test_a_sheet_changes_and_counts_many_packs(world):
    world.place(M1, ("A150", 3))
    answer = put(
        world,
        [
            ["甲公司库存", None, None, None],
            ["礼包编号", "增减", "盘点数", "原因"],
            ["A150", "+20", None, "到货"],
            [None, None, None, None],
            [world.packs["A100"], None, 41, None],
        ],
    )
    assert answer.status_code == 200, answer.text
    assert answer.json == {
        "accepted": 2,
        "rejected": 0,
        "errors": [],
        "rows": [
            {
                "row": 3,
                "pack_id": world.packs["A150"],
                "available": 67,
                "held": 3,
                "sold": 0,
                "on_hand": 70,
                "to_ship": 0,
            },
            {
                "row": 5,
                "pack_id": world.packs["A100"],
                "available": 41,
                "held": 0,
                "sold": 0,
                "on_hand": 41,
                "to_ship": 0,
            },
        ],
    }
    assert (world.stock("A150"), world.stock("A100")) == ((67, 3, 0), (41, 0, 0))
    assert [(one["kind"], one["quantity"], one["reason"]) for one in movements(world, "A150")[:1]] == [
        ("adjust", 20, "到货")
    ]
    assert [(one["available_change"], one["reason"]) for one in movements(world, "A100")[:1]] == [(-9, "按表格更新")]
    assert world.breaches() == []


BAD = [
    ["pack_id", "delta", "count", "reason"],
    ["A150", 5, None, "good"],
    ["B150", 5, None, "another's"],
    ["A100", -51, None, "too many"],
    ["礼包A100", 1, 1, "both"],
    ["A150", 1, None, "twice"],
]


def test_a_sheet_with_faults_changes_nothing_and_names_each_row(world):
    answer = put(world, BAD).json
    assert (answer["accepted"], answer["rejected"], answer["rows"]) == (0, 5, [])
    assert [(one["row"], one["column"], one["message"]) for one in answer["errors"]] == [
        (3, "礼包编号", "您没有这个礼包。"),
        (4, "增减", "可售只有 50 份，不能再减少这么多。"),
        (5, "礼包编号", "这个礼包与第 4 行重复。"),
        (5, "增减", "请填写增减或盘点数其中一个。"),
        (6, "礼包编号", "这个礼包与第 2 行重复。"),
    ]
    assert (world.stock("A150"), world.stock("A100"), world.stock("B150")) == ((50, 0, 0),) * 3
    assert len(movements(world, "A150")) == 1


def test_the_good_rows_alone_where_asked(world):
    answer = put(world, BAD, query="?partial=1").json
    assert (answer["accepted"], answer["rejected"], len(answer["errors"])) == (1, 4, 5)
    assert (world.stock("A150"), world.stock("A100")) == ((55, 0, 0), (50, 0, 0))
    assert world.breaches() == []


def test_a_sheet_sent_twice_under_one_key_counts_once(world):
    rows = "礼包编号,增减,原因\r\nA150,+20,到货\r\n"
    first, again = (put(world, rows, name="库存.csv", key="same") for _ in range(2))
    assert (first.data, again.headers["Idempotent-Replayed"]) == (again.data, "true")
    assert world.stock("A150") == (70, 0, 0)
    other = put(world, rows + "A100,+1,x\r\n", name="库存.csv", key="same")
    assert other.json["code"] == "idempotency_conflict"
    assert world.stock("A100") == (50, 0, 0)


@pytest.mark.parametrize(
    ("case", "rows", "name"),
    [
        ("no pack", [["增减"], [1]], "a.xlsx"),
        ("nothing to change by", [["礼包编号", "原因"], ["A150", "x"]], "a.xlsx"),
        ("no sheet", "\x00\x01\x02", "a.xlsx.csv"),
    ],
)
def test_what_is_no_stock_sheet_is_refused(world, case, rows, name):
    answer = put(world, rows, name=name)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert "file" in answer.json["errors"]
    assert world.stock("A150") == (50, 0, 0)


def test_without_a_file_it_is_refused(world):
    answer = world.call(MERCHANT_A, "PUT", "/merchant/stock")
    assert (answer.status_code, answer.json["errors"]) == (422, {"file": ["请选择文件。"]})


@pytest.mark.parametrize("number", ["1.5", "1e3", "一百", "99999999999", "--1", "=1+1"])
def test_a_number_that_is_none_is_a_fault(world, number):
    answer = put(world, [["礼包编号", "增减"], ["A150", number]]).json
    assert [(one["row"], one["column"]) for one in answer["errors"]] == [(2, "增减")]
    assert world.stock("A150") == (50, 0, 0)


def test_another_merchants_packs_are_not_there(world):
    answer = put(world, [["礼包编号", "盘点数"], [world.packs["A150"], 0]], login=MERCHANT_B).json
    assert [one["message"] for one in answer["errors"]] == ["您没有这个礼包。"]
    assert world.stock("A150") == (50, 0, 0)


def test_below_zero_is_out_of_stock(world):
    world.place(M1, ("A150", 3))
    for change in ({"delta": -48}, {"count": 2}):
        answer = world.call(
            MERCHANT_A, "POST", f"/merchant/packs/{world.packs['A150']}/stock", {**change, "reason": "x"}
        )
        assert (answer.status_code, answer.json["code"], answer.json["available"]) == (409, "out_of_stock", 47)
    assert world.stock("A150") == (47, 3, 0)


def test_a_count_loses_no_sale_made_while_it_is_uploaded(world):
    """Sheets that count and sheets that add, at once with orders: every movement is on the ledger."""
    problems = []

    def upload(rows):
        answer = put(world, rows)
        if answer.status_code != 200 or answer.json["errors"]:
            problems.append(answer.text)

    def order(login):
        if world.place(login, ("A150", 1), ("A100", 1)).status_code != 201:
            problems.append(login)

    for login in (MERCHANT_A, *[f"1380000000{number}" for number in range(1, 5)]):
        world.token(login)
    work = [
        threading.Thread(target=upload, args=([["pack_id", "count"], ["A150", 60], ["A100", 60]],)),
        threading.Thread(target=upload, args=([["pack_id", "delta"], ["A100", 5], ["A150", 5]],)),
        *[threading.Thread(target=order, args=(f"1380000000{number}",)) for number in range(1, 5)],
    ]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert problems == []
    for code in ("A150", "A100"):
        available, held, sold = world.stock(code)
        assert held + sold == 4
        assert available + 4 in (60, 65), "counted before or after the delivery; sales never change what is on hand"
    assert world.breaches() == []


def test_a_pack_is_not_sent_twice_to_who_has_it(world):
    headers = {"Authorization": f"Bearer {world.token(MERCHANT_A)}"}
    client = world.app.test_client()
    for path in ("/api/v1/merchant/packs", f"/api/v1/merchant/packs/{world.packs['A150']}"):
        tag = client.get(path, headers=headers).headers["ETag"]
        assert client.get(path, headers={**headers, "If-None-Match": tag}).status_code == 304
    world.place(M1, ("A150", 1))
    assert client.get(path, headers={**headers, "If-None-Match": tag}).status_code == 200
