"""Every upload door with every broken file: a clear refusal, nothing changed, in bounded time and memory."""

import io
import random
import resource
import time

import pytest
from sqlalchemy import text

from catalog import sheet as stock_sheet
from kernel.db import db
from kernel.errors import Invalid
from orders import roster, shipments
from tests.factories import MERCHANT_A, OFFICER, OPERATOR
from tests.finance.test_bank import HEAD, TODAY
from tests.house.broken_files import Form, mutated, pictures, sheets, xlsx
from tests.orders.test_crash_points import COUNTED

MOST_SECONDS = 6  # on a machine that does other things too
MOST_KIB = 700 * 1024
ROSTER = Form(("姓名", "手机号"), lambda value: ("王芳", value), 13800000011)
SHIPMENTS = Form(("包裹号", "快递公司", "运单号"), lambda value: (value, "顺丰", "SF1"), "1-1")
STATEMENT = Form(HEAD, lambda value: (TODAY, "S1", value, "", "x", "y"), 100)


def stock(world) -> Form:
    return Form(("礼包编号", "增减", "原因"), lambda value: (world.packs["A100"], value, "到货"), 5)


def state(app):
    """What there is, but answers and the last faulty roster, which is kept for its marked copy."""
    with app.app_context(), db.engine.connect() as connection:
        return {
            name: sorted(map(str, connection.execute(text(sql)))) for name, sql in COUNTED.items() if name != "answers"
        }


def doors(world):
    """Each door: its form, who sends, how, where to."""
    number = world.call(OFFICER, "POST", "/bulk/orders", world.lines(("A100", 2))).json["number"]
    return {
        "roster": (ROSTER, OFFICER, "PUT", f"/bulk/orders/{number}/roster"),
        "stock": (stock(world), MERCHANT_A, "PUT", "/merchant/stock"),
        "shipments": (SHIPMENTS, MERCHANT_A, "PUT", "/merchant/shipments"),
        "statement": (STATEMENT, OPERATOR, "POST", "/admin/bank-statements"),
    }


def send(world, door, content, name):
    """Send a file; the answer and how long it took."""
    _, login, method, path = door
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    data = head.encode() + content + b"\r\n--b--\r\n"
    begun = time.monotonic()
    answer = world.call(login, method, path, data=data, content_type="multipart/form-data; boundary=b")
    return answer, time.monotonic() - begun


def peak() -> int:
    """The most memory this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("door", ["roster", "stock", "shipments", "statement"])
def test_no_broken_sheet_is_taken_and_each_is_refused_clearly_and_soon(world, door):
    entered = doors(world)[door]
    before, memory = state(world.app), peak()
    cases = sheets(entered[0])
    assert len(cases) >= 40
    for case, (content, name) in cases.items():
        if door == "statement" and case.endswith("half"):
            continue  # ¥1.50 is an amount
        answer, seconds = send(world, entered, content, name)
        assert seconds < MOST_SECONDS, case
        assert answer.status_code in (200, 422), (case, answer.status_code, answer.text[:200])
        if answer.status_code == 422:
            assert answer.json["code"] == "invalid", case
            assert answer.json.get("errors") or answer.json.get("rows"), (case, answer.text[:300])
        else:
            assert answer.json.get("errors"), (case, answer.text[:300])
            assert answer.json["accepted"] == 0, (case, answer.text[:300])
        assert state(world.app) == before, case
    assert peak() - memory < MOST_KIB
    assert world.breaches() == []


@pytest.mark.parametrize(
    ("name", "form", "read"),
    [
        ("roster", ROSTER, lambda content, name: roster.check(roster.read_file(content, name), packs={"A": 1})),
        ("stock", Form(("礼包编号", "增减", "原因"), lambda value: ("A", value, "x"), 5), None),
        ("shipments", SHIPMENTS, lambda content, name: shipments.check(shipments.read_file(content, name))),
    ],
)
def test_a_mutating_fuzzer_finds_nothing_but_sheets_and_refusals(name, form, read):
    if read is None:

        def read(content, name):
            return stock_sheet.check(stock_sheet.read_file(content, name), packs={"A": 1})

    row = form.row(form.good)
    good = {
        "a.xlsx": xlsx(form.header, *([row] * 5)),
        "a.csv": "\n".join(",".join(map(str, one)) for one in (form.header, *([row] * 5))).encode(),
        "b.csv": "\n".join(",".join(map(str, one)) for one in (form.header, *([row] * 5))).encode("gb18030"),
        "c.csv": "\n".join(",".join(map(str, one)) for one in (form.header, *([row] * 5))).encode("utf-16"),
    }
    dice, memory = random.Random(f"fuzz {name}"), peak()
    refused = read_well = 0
    for turn in range(600):
        file_name = dice.choice(("a.xlsx", "a.xlsx", "a.csv", "b.csv", "c.csv"))
        content = mutated(good[file_name], dice)
        begun = time.monotonic()
        try:
            read(content, file_name)
            read_well += 1
        except Invalid as clear:
            refused += bool(clear.extra["errors"]["file"])
        assert time.monotonic() - begun < MOST_SECONDS, turn
    assert refused + read_well == 600
    assert min(refused, read_well) > 50
    assert peak() - memory < MOST_KIB


def test_mutated_sheets_through_the_doors_change_something_or_are_refused(world):
    """What a fuzzer makes of a good sheet may be a good sheet; the books hold whatever it was."""
    dice = random.Random("doors")
    for door in doors(world).values():
        form = door[0]
        good = xlsx(form.header, form.row(form.good))
        for _ in range(25):
            answer, seconds = send(world, door, mutated(good, dice), "a.xlsx")
            assert answer.status_code in (200, 422), answer.text[:300]
            assert seconds < MOST_SECONDS
    assert world.breaches() == []


def test_no_picture_that_is_none_or_a_bomb_is_kept(world):
    memory = peak()
    before = world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs['A100']}").json
    kept = set(world.app.config["FOLDER"].rglob("*.webp"))
    for case, content in pictures().items():
        begun = time.monotonic()
        answer = world.call(
            MERCHANT_A,
            "PUT",
            f"/merchant/packs/{world.packs['A100']}/picture",
            data={"file": (io.BytesIO(content), "a.png")},
            content_type="multipart/form-data",
        )
        assert time.monotonic() - begun < MOST_SECONDS, case
        assert (answer.status_code, answer.json["code"]) == (422, "invalid"), (case, answer.text[:200])
        assert answer.json["errors"]["file"], case
    assert world.call(MERCHANT_A, "GET", f"/merchant/packs/{world.packs['A100']}").json == before
    assert set(world.app.config["FOLDER"].rglob("*.webp")) == kept
    assert peak() - memory < MOST_KIB
