"""Rosters as small unions have them: every way a sheet is odd, every fault named, nothing half kept."""

import io
import struct
import time
import zipfile
import zlib

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook

from kernel import sheets
from kernel.errors import Invalid
from orders import roster
from tests.factories import APPROVER, OFFICER, OPERATOR, OTHER_OFFICER


def workbook(*rows, merged=(), more=()):
    """An .xlsx of these rows; `merged` are ranges (first row, first column, last row, last column, value)."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True, "strings_to_formulas": False}) as book:
        for listed in (*more, rows):
            page = book.add_worksheet()
            for number, row in enumerate(listed):
                page.write_row(number, 0, row)
        for *corners, value in merged:
            page.merge_range(*corners, value)
    return file.getvalue()


def draft(world, *wanted, login=OFFICER):
    made = world.call(login, "POST", "/bulk/orders", world.lines(*(wanted or [("A150", 20)])))
    assert made.status_code == 201, made.text
    return made.json["number"]


def put(world, number, content, name="r.xlsx", login=OFFICER, query=""):
    return world.call(
        login,
        "PUT",
        f"/bulk/orders/{number}/roster{query}",
        data={"file": (io.BytesIO(content), name)},
        content_type="multipart/form-data",
    )


def people(world, number):
    """Who stands on the roster, as the sign-off sheet has it."""
    answer = world.call(OFFICER, "GET", f"/bulk/orders/{number}/sign-off.xlsx")
    rows = CalamineWorkbook.from_filelike(io.BytesIO(answer.data)).get_sheet_by_index(0).to_python()
    start = next(index for index, row in enumerate(rows) if "姓名" in row)
    found = [row for row in rows[start + 1 :] if isinstance(row[0], float)]
    return [(row[1], row[2], row[3], row[4], row[5], int(row[6])) for row in found]


CSV = "姓名,手机号\n王芳,13800000011\n李强,138 0000 0012\n"


@pytest.mark.parametrize(
    ("case", "content", "name"),
    [
        ("UTF-8", CSV.encode(), "r.csv"),
        ("UTF-8 with its mark", CSV.encode("utf-8-sig"), "r.csv"),
        ("GB18030", CSV.encode("gb18030"), "r.csv"),
        (
            "UTF-16, tabs: what a spreadsheet program calls Unicode text",
            CSV.replace(",", "\t").encode("utf-16"),
            "r.txt",
        ),
        ("semicolons", CSV.replace(",", ";").encode(), "r.csv"),
        (
            "a workbook that is called .csv",
            workbook(["姓名", "手机"], ["王芳", 13800000011], ["李强", 13800000012]),
            "r.csv",
        ),
        (
            "a title, the header further down, columns in another order, a blank row and notes at the end",
            workbook(
                ["医院工会2027年春节慰问花名册"],
                [],
                ["序号", "联系电话（必填）", " 姓 名* "],
                [1, 13800000011, "王  芳"],
                [],
                [2, "１３８－００００－００１２", "李 强"],
                ["合计", "", "2人"],
                ["注：请各部门于1月10日前核对"],
                ["制表：张三    审核：李四"],
            ),
            "r.xlsx",
        ),
        (
            "the roster on the second sheet",
            workbook(
                ["姓名", "mobile"], ["王芳", "+86 13800000011"], ["李强", "1.3800000012E+10"], more=[[["填写说明"]]]
            ),
            "r.xlsx",
        ),
    ],
)
def test_a_roster_is_read_as_it_comes(case, content, name):
    report = roster.check(roster.read_file(content, name), packs={})
    assert report.faults == ()
    assert [(entry.name, entry.phone) for entry in report.entries] == [
        ("王芳", "13800000011"),
        ("李强", "13800000012"),
    ], case


def test_a_merged_department_counts_for_everybody_it_stands_beside():
    content = workbook(
        ["姓名", "手机号", "部门", "工号"],
        ["王芳", 13800000011, "", 7],
        ["李强", 13800000012, "", "0008"],
        ["赵敏", 13800000013, "后勤"],
        merged=[(1, 2, 2, 2, "门诊")],
    )
    entries = roster.check(roster.read_file(content, "r.xlsx"), packs={}).entries
    assert [(one.department, one.employee_no) for one in entries] == [("门诊", "7"), ("门诊", "0008"), ("后勤", "")]


def test_an_old_xls_is_read():
    """A BIFF8 workbook, as Excel 97 to 2003 wrote it, its rows among the strings of the sheet."""
    rows = [["姓名", "手机号"], ["王芳", "13800000011"]]

    def record(kind, body):
        return struct.pack("<HH", kind, len(body)) + body

    def label(row, column, text):
        return record(0x0204, struct.pack("<HHHHB", row, column, 0, len(text), 1) + text.encode("utf-16-le"))

    begin = struct.pack("<HHHHLL", 0x0600, 0x0005, 0x0DBB, 0x07CC, 0, 6)
    head = record(0x0809, begin)
    name = b"Sheet1"
    place = len(head) + 4 + 8 + len(name) + 4
    book = head + record(0x0085, struct.pack("<LBBBB", place, 0, 0, len(name), 0) + name) + record(0x000A, b"")
    begin = struct.pack("<HHHHLL", 0x0600, 0x0010, 0x0DBB, 0x07CC, 0, 6)
    cells = b"".join(label(r, c, text) for r, row in enumerate(rows) for c, text in enumerate(row))
    report = roster.check(
        roster.read_file(_compound(book + record(0x0809, begin) + cells + record(0x000A, b"")), "r.xls"), packs={}
    )
    assert [(one.name, one.phone) for one in report.entries] == [("王芳", "13800000011")]


def _compound(stream):
    """An OLE2 file with one stream, 'Workbook', padded to what the format calls large."""
    stream = stream.ljust(4096, b"\0")
    sectors = len(stream) // 512
    fat = [i + 1 for i in range(sectors - 1)] + [0xFFFFFFFE, 0xFFFFFFFE, 0xFFFFFFFD]
    fat += [0xFFFFFFFF] * (128 - len(fat))

    def entry(name, kind, child, start, size):
        text = name.encode("utf-16-le") + b"\0\0"
        links = struct.pack("<BBlll", kind, 1, -1, -1, child)
        return (
            text.ljust(64, b"\0") + struct.pack("<H", len(text)) + links + b"\0" * 36 + struct.pack("<LQ", start, size)
        )

    directory = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("Workbook", 2, -1, 0, len(stream))
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + b"\0" * 10
    )
    header += struct.pack("<LLLLLLLL", 1, sectors, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<L", sectors + 1) + struct.pack("<L", 0xFFFFFFFF) * 108
    return header + stream + directory.ljust(512, b"\0") + struct.pack("<128L", *fat)


def test_every_fault_has_its_row_its_column_and_what_to_do(world):
    number = draft(world)
    content = workbook(
        ["名单"],
        ["姓名", "手机号", "工号", "礼包", "数量"],
        ["王芳", 13800000011, "1", "A150"],
        ["", "1380000", "2"],
        ["李强", "138-0000-0011", "3"],
        ["赵敏", "1.38E+10", "1"],
        ["钱进", 13800000015, "5", "不存在的礼包", "两份"],
        ["孙" * 81, 13800000016],
    )
    answer = put(world, number, content)
    assert (answer.json["accepted"], answer.json["rejected"]) == (0, 6)
    assert [(fault["row"], fault["column"], fault["message"]) for fault in answer.json["errors"]] == [
        (4, "姓名", "请填写姓名。"),
        (4, "手机号", "请填写 11 位手机号。"),
        (5, "手机号", "手机号与第 3 行（王芳）重复。"),
        (6, "手机号", "手机号被表格存成了科学计数，丢了后几位。请把这一列设成“文本”后重新填写。"),
        (6, "工号", "工号与第 3 行（王芳）重复。"),
        (7, "礼包", "这个礼包不在本订单中。"),
        (7, "数量", "请填写 1 到 1000 之间的整数。"),
        (8, "姓名", "最多 80 个字。"),
    ]
    assert people(world, number) == []
    headers = {"Authorization": f"Bearer {world.token(OFFICER)}", "Accept-Language": "en"}
    english = world.app.test_client().put(
        f"/api/v1/bulk/orders/{number}/roster", headers=headers, data={"file": (io.BytesIO(content), "r.xlsx")}
    )
    assert english.json["errors"][2] == {
        "row": 5,
        "column": "Mobile phone",
        "message": "This phone is the same as in row 3 (王芳).",
    }


def test_the_faults_are_marked_in_a_copy_of_the_file(world):
    number = draft(world)
    path = f"/bulk/orders/{number}/roster-faults.xlsx"
    assert world.call(OFFICER, "GET", path).json["code"] == "not_found"
    rows = [["花名册"], ["姓名", "手机号", "备注"], ["王芳", 13800000011, "=1+1"], ["李强", "138", "新来"]]
    put(world, number, workbook(*rows))
    marked = world.call(OFFICER, "GET", path)
    book = CalamineWorkbook.from_filelike(io.BytesIO(marked.data)).get_sheet_by_index(0).to_python()
    assert book == [
        ["花名册", "", "", ""],
        ["姓名", "手机号", "备注", "怎么改"],
        ["王芳", "13800000011", book[2][2], ""],
        ["李强", "138", "新来", "手机号: 请填写 11 位手机号。"],
    ]
    assert book[2][2] in ("", 0.0, "'=1+1")  # what a formula shows; never a formula again
    with zipfile.ZipFile(io.BytesIO(marked.data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in sheet
        assert "请填写 11 位手机号" in archive.read("xl/comments1.xml").decode()
    assert world.call(OTHER_OFFICER, "GET", path).status_code == 404
    put(world, number, workbook(["姓名", "手机号"], ["王芳", 13800000011]))
    assert world.call(OFFICER, "GET", path).status_code == 404


def test_only_the_good_rows_where_that_is_asked(world):
    number = draft(world)
    content = workbook(["姓名", "手机号", "数量"], ["王芳", 13800000011, 2], ["李强", "138", 1])
    assert put(world, number, content).json["accepted"] == 0
    assert people(world, number) == []
    answer = put(world, number, content, query="?partial=1")
    assert (answer.json["accepted"], answer.json["rejected"], len(answer.json["errors"])) == (1, 1, 1)
    assert people(world, number) == [("", "王芳", "", "138****0011", "礼包A150", 2)]


def bomb(total=400 * 1024 * 1024, *, lie=False):
    """A workbook whose sheet unpacks to far more than memory should hold; it may promise less than it has."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(["姓名", "手机号"]))) as good, zipfile.ZipFile(target, "w") as bad:
        for part in good.infolist():
            if part.filename != "xl/worksheets/sheet1.xml":
                bad.writestr(part, good.read(part))
        with bad.open(zipfile.ZipInfo("xl/worksheets/sheet1.xml"), "w", force_zip64=False) as sheet:
            sheet._compress_type = zipfile.ZIP_STORED
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(total >> 20)) + packer.flush()
    raw = bytearray(target.getvalue())
    # The stored, empty sheet becomes a deflated one: its bytes are put in, and its sizes are what we say.
    place = raw.rindex(b"PK\x03\x04", 0, raw.index(b"PK\x01\x02"))
    names = int.from_bytes(raw[place + 26 : place + 28], "little") + int.from_bytes(
        raw[place + 28 : place + 30], "little"
    )
    said = 1000 if lie else total
    raw[place + 30 + names : place + 30 + names] = packed
    central = raw.rindex(b"PK\x01\x02")
    for start, method, sizes in ((place, 8, 18), (central, 10, 20)):
        raw[start + method : start + method + 2] = struct.pack("<H", 8)
        raw[start + sizes : start + sizes + 8] = struct.pack("<LL", len(packed), said)
    end = raw.rindex(b"PK\x05\x06")
    raw[end + 16 : end + 20] = struct.pack("<L", raw.index(b"PK\x01\x02"))
    return bytes(raw)


def renamed(old, new, content=None):
    """A workbook with one of its parts under another name, and its attributes in single quotes."""
    target = io.BytesIO()
    source = io.BytesIO(content or workbook(["姓名", "手机号"], ["王芳", "1"]))
    with zipfile.ZipFile(source) as good, zipfile.ZipFile(target, "w") as bad:
        for part in good.namelist():
            text = good.read(part).replace(old.removeprefix("xl/").encode(), new.removeprefix("xl/").encode())
            bad.writestr(new if part == old else part, text.replace(b'"', b"'") if part == old else text)
    return target.getvalue()


def far_off():
    """A small workbook with a cell in the last corner a sheet can have."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, ["姓名", "手机号"])
        page.write(1_048_575, 16_383, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("case", "make", "name"),
    [
        ("no sheet", lambda: b"PK\x03\x04no", "r.xlsx"),
        ("empty", lambda: b"", "r.csv"),
        ("a picture", lambda: b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20, "r.csv"),
        ("a web page that is called .xls", lambda: "<html><table><tr><td>姓名".encode(), "r.xls"),
        ("no header", lambda: workbook(["王芳", 13800000011]), "r.xlsx"),
        ("more rows than a roster has", lambda: ("姓名,手机号\n" + "王芳,1\n" * 20_001).encode(), "r.csv"),
        ("a zip bomb", bomb, "r.xlsx"),
        ("a zip bomb that lies about its size", lambda: bomb(lie=True), "r.xlsx"),
        ("a cell in the last corner", far_off, "r.xlsx"),
        ("a binary workbook", lambda: renamed("xl/workbook.xml", "xl/workbook.bin"), "r.xlsx"),
        ("an open document", lambda: renamed("xl/workbook.xml", "content.xml"), "r.ods"),
        (
            "a far-off cell under another name and in other quotes",
            lambda: renamed("xl/worksheets/sheet1.xml", "xl/x.xml", far_off()),
            "r.xlsx",
        ),
        ("with a password", lambda: b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "r.xlsx"),
    ],
)
def test_what_is_no_roster_is_refused_clearly_and_soon(case, make, name):
    content = make()
    begun = time.monotonic()
    with pytest.raises(Invalid) as refused:
        roster.read_file(content, name)
    assert time.monotonic() - begun < 5, case
    assert refused.value.extra["errors"].keys() == {"file"}


def test_refusals_reach_the_officer_and_change_nothing(world):
    number = draft(world)
    put(world, number, workbook(["姓名", "手机号"], ["王芳", 13800000011]))
    for content in (b"", b"PK\x03\x04no", workbook(["姓名", "手机号"]), workbook(["x"])):
        refused = put(world, number, content)
        assert (refused.status_code, refused.json["code"]) == (422, "invalid")
        assert refused.json["errors"]["file"]
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="r.xlsx"\r\n\r\n' + b"x" * 50 * 1024 * 1024
    large = world.call(
        OFFICER,
        "PUT",
        f"/bulk/orders/{number}/roster",
        data=form + b"\r\n--b--\r\n",
        content_type="multipart/form-data; boundary=b",
    )
    assert (large.status_code, large.json["code"]) == (413, "too_large")
    assert len(people(world, number)) == 1


def test_who_stands_on_another_list_of_the_campaign_is_named(world):
    grant = {
        "name": "劳模慰问",
        "pack_id": world.packs["B40"],
        "recipients": [{"name": "会员2", "phone": "13800000002"}],
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", grant).status_code == 201
    first = draft(world)
    put(world, first, workbook(["姓名", "手机号"], ["王芳", 13800000011], ["李强", 13800000012]))
    other = draft(world, login=OTHER_OFFICER)
    put(world, other, workbook(["姓名", "手机号"], ["赵敏", 13800000013]), login=OTHER_OFFICER)
    number = draft(world)
    rows = [
        ["姓名", "手机号"],
        ["王芳", 13800000011],
        ["会员2", 13800000002],
        ["赵敏", 13800000013],
        ["新人", 13800000014],
    ]
    answer = put(world, number, workbook(*rows))
    assert (answer.json["accepted"], answer.json["errors"]) == (4, [])
    assert [(fault["row"], fault["message"]) for fault in answer.json["warnings"]] == [
        (2, f"这个人已在本活动的集采订单 {first} 的花名册上，请确认不要重复发放。"),
        (3, "这个人已在本活动的慰问“劳模慰问”的名单上，请确认不要重复发放。"),
        (4, "这个人已在本活动另一个基层工会的花名册上，请确认不要重复发放。"),
    ]
    submitted = world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit").json
    assert [text.split(" ")[0] for text in submitted["warnings"]] == ["王芳", "会员2", "赵敏"]
    world.call(OFFICER, "POST", f"/bulk/orders/{first}/cancel")
    again = put(world, number, workbook(*rows))
    assert [fault["row"] for fault in again.json["warnings"]] == [3, 4]


@pytest.fixture
def strict(world, monkeypatch):
    """The same world in a district that refuses people on two lists."""
    from dataclasses import replace

    settings = replace(world.app.config["HUIGONG"], on_two_rosters="refuse")
    monkeypatch.setitem(world.app.config, "HUIGONG", settings)
    return world


def test_a_strict_district_refuses_who_stands_on_another_list(strict):
    world = strict
    first, number = draft(world), draft(world)
    rows = [["姓名", "手机号"], ["王芳", 13800000011], ["李强", 13800000012]]
    # Both rosters are put before either stands there: the second submission is what is refused.
    answer = put(world, number, workbook(*rows[:2]))
    assert answer.json["accepted"] == 1
    refused = put(world, first, workbook(*rows))
    assert (refused.json["accepted"], [fault["row"] for fault in refused.json["errors"]]) == (0, [2])
    kept = put(world, first, workbook(*rows), query="?partial=1")
    assert (kept.json["accepted"], kept.json["rejected"]) == (1, 1)
    assert world.call(OFFICER, "POST", f"/bulk/orders/{first}/submit").status_code == 200


def test_a_change_after_submission_voids_it_and_says_so(world):
    number = draft(world)
    path = f"/bulk/orders/{number}"
    rows = [["姓名", "手机号"], ["王芳", 13800000011]]
    put(world, number, workbook(*rows))
    world.call(OFFICER, "POST", f"{path}/submit")
    answer = put(world, number, workbook(*rows, ["李强", 13800000012]))
    assert (answer.json["approval_voided"], answer.json["status"]) == (True, "draft")
    assert world.call(APPROVER, "POST", f"{path}/approve").json["code"] == "state_conflict"
    assert world.call(OFFICER, "POST", f"{path}/submit").json["status"] == "submitted"
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    assert world.stock("A150") == (30, 20, 0)
    changed = world.call(OFFICER, "PUT", f"{path}/lines", {"lines": world.lines(("A150", 19))["lines"]})
    assert changed.json["status"] == "draft"
    assert changed.json["approval_voided_at"]
    assert (changed.json["subtotal_fen"], changed.json["discount_fen"]) == (285000, 56000)
    assert world.stock("A150") == (50, 0, 0)
    assert world.breaches() == []
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/approve").json["status"] == "approved"
    assert world.stock("A150") == (31, 19, 0)
    world.call(OFFICER, "POST", f"{path}/payments", {"provider": "bank_transfer"})
    for refused in (
        put(world, number, workbook(*rows)),
        world.call(OFFICER, "PUT", f"{path}/lines", {"lines": world.lines(("A150", 1))["lines"]}),
    ):
        assert refused.json["code"] == "state_conflict"
    assert world.stock("A150") == (31, 19, 0)
    assert world.breaches() == []


def test_a_rejected_order_is_corrected_and_submitted_again(world):
    number = draft(world)
    path = f"/bulk/orders/{number}"
    world.call(OFFICER, "POST", f"{path}/submit")
    assert world.call(APPROVER, "POST", f"{path}/reject", {"reason": "太多"}).json["status"] == "rejected"
    assert world.call(OFFICER, "POST", f"{path}/submit").json["code"] == "state_conflict"
    changed = world.call(OFFICER, "PUT", f"{path}/lines", {"lines": world.lines(("A150", 2))["lines"]}).json
    assert (changed["status"], changed["reject_reason"], changed["approval_voided_at"]) == ("draft", None, None)
    assert world.call(OFFICER, "POST", f"{path}/submit").json["status"] == "submitted"


def test_ten_thousand_people_are_checked_and_stored(world):
    """At full size for correctness; how fast is measured by the benchmark."""
    number = draft(world, ("A150", 10_000))
    rows = [[f"人{n}", 13_800_100_000 + n, f"{n:05d}", f"部门{n % 30}"] for n in range(10_000)]
    answer = put(world, number, workbook(["姓名", "手机号", "工号", "部门"], *rows))
    assert answer.json["accepted"] == 10_000
    assert world.call(OFFICER, "GET", f"/bulk/orders/{number}").json["recipient_count"] == 10_000
    listed = people(world, number)
    assert len(listed) == 10_000
    assert listed[9_999] == ("部门9", "人9999", "09999", "138****9999", "礼包A150", 1)


def test_a_template_is_a_roster_that_can_be_read_again(world):
    answer = world.call(OFFICER, "GET", "/bulk/roster-template.xlsx")
    found = sheets.table(answer.data, "t.xlsx", roster.HEADERS, required=roster.REQUIRED)
    assert set(found.columns) == set(roster.HEADERS)


def test_exports_defuse_formulas(world):
    number = draft(world)
    put(
        world,
        number,
        workbook(["姓名", "手机号", "部门"], ["=HYPERLINK(1)", 13800000011, "+1"], ["@x", 13800000012, "-1"]),
    )
    assert [row[:2] for row in people(world, number)] == [("'+1", "'=HYPERLINK(1)"), ("'-1", "'@x")]
