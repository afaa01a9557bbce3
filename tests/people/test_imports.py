"""Sheets of members and the rest: what they change, what they do not, and an import that is killed and goes on."""

import io
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from kernel import clock, imports, jobs
from kernel.db import db
from people.models import GrassrootsUnion, Honour, Member, Merchant, Person
from tests.factories import OPERATOR, World, csrf_of
from web import importing
from web.cli import HANDLERS

HEAD = "会员编号,姓名,手机号,工会编号,部门,入会日期\n"


def send(world: World, text: str | bytes, name: str = "members", query: str = "", filename: str = "list.csv"):
    content = text.encode() if isinstance(text, str) else text
    # Written here: the test client would keep a long one in a file that it never closes.
    head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return world.app.test_client().post(
        f"/api/v1/admin/{name}/import{query}",
        data=head.encode() + content + b"\r\n--cut--\r\n",
        headers={"Authorization": f"Bearer {world.token(OPERATOR)}"},
        content_type="multipart/form-data; boundary=cut",
    )


def member(world: World, number: str):
    with world.app.app_context():
        query = (
            select(Person.name, Person.phone, GrassrootsUnion.code, Member.department, Member.joined_on, Member.left_on)
            .join(Member, Member.person_id == Person.id)
            .join(GrassrootsUnion, GrassrootsUnion.id == Member.union_id)
            .where(Member.member_no == number)
        )
        row = db.session.execute(query).one_or_none()
        db.session.remove()
        return None if row is None else tuple(str(value or "") for value in row)


def count(world: World, model=Member) -> int:
    with world.app.app_context():
        found = db.session.scalar(select(func.count()).select_from(model))
        db.session.remove()
        return found


def figures(answer) -> tuple[int, ...]:
    names = ("accepted", "rejected", "created", "updated", "moved", "left", "unchanged")
    return tuple(answer.json[name] for name in names)


def test_a_list_enters_updates_and_moves_and_sent_twice_changes_nothing(world):
    text = (
        HEAD
        + "M100,王 芳,138-1111-0001,U1,外科,2020/4/7\n"
        + "M1,会员1,13800000001,U2,内科,\n"
        + "M2,会员二,13800000002,U1,,\n"
        + "M3,会员3,13800000003,医院工会,,\n"
    )
    first = send(world, text)
    assert first.status_code == 200, first.text
    assert figures(first) == (4, 0, 1, 1, 1, 0, 1)
    assert (first.json["status"], first.json["errors"]) == ("applied", [])
    assert member(world, "M100") == ("王芳", "13811110001", "U1", "外科", "2020-04-07", "")
    assert member(world, "M1") == ("会员1", "13800000001", "U2", "内科", "", "")
    assert member(world, "M2")[0] == "会员二"
    again = send(world, text)
    assert figures(again) == (4, 0, 0, 0, 0, 0, 4)
    assert count(world) == 7
    # Whoever was entered signs in; the voucher of one who moved is still the same one.
    assert world.call("13811110001", "GET", "/me").json["union"]["name"] == "医院工会"
    assert world.voucher("13800000001")["balance_fen"] == 20000
    assert world.breaches() == []


def test_english_columns_and_a_workbook_do_as_well(world):
    from kernel import sheets

    rows = [["Name", "Phone", "Member No", "Union Code"], ["Anna Li", 13811110002, "M101", "U2"]]
    answer = send(world, sheets.write(rows), filename="list.xlsx")
    assert figures(answer) == (1, 0, 1, 0, 0, 0, 0), answer.text
    assert member(world, "M101")[:3] == ("Anna Li", "13811110002", "U2")
    gb = "姓名,手机,会员编号,所属工会\n李雷,13811110003,M102,学校工会\n".encode("gb18030")
    assert figures(send(world, gb)) == (1, 0, 1, 0, 0, 0, 0)


FAULTY = (
    HEAD
    + "M200,张三,13811120001,U1,,\n"
    + "M201,,13811120002,U1,,\n"
    + "M202,李四,12345,U1,,\n"
    + "M203,王五,13811120003,U9,,\n"
    + "M200,赵六,13811120004,U1,,\n"
    + "M204,钱七,13811120001,U1,,\n"
    + "M205,孙八,13800000001,U1,,\n"
    + "M206,周九,13811120005,U1,,2020-13-01\n"
)
FAULTS = [
    (3, "姓名", "请填写姓名。"),
    (4, "手机号", "请填写 11 位手机号。"),
    (5, "工会编号", "没有这个基层工会。"),
    (6, "会员编号", "与第 2 行重复。"),
    (7, "手机号", "与第 2 行重复。"),
    (8, "手机号", "这个手机号是别人的（M1）。"),
    (9, "入会日期", "请填写日期，如 2026-01-31。"),
]


def test_a_faulty_row_stops_the_list_unless_the_good_ones_were_asked_for(world):
    whole = send(world, FAULTY)
    assert whole.status_code == 200
    assert figures(whole) == (0, 8, 0, 0, 0, 0, 0)
    assert [(it["row"], it["column"], it["message"]) for it in whole.json["errors"]] == FAULTS
    assert whole.json["errors_total"] == 7
    assert (member(world, "M200"), count(world)) == (None, 6)
    part = send(world, FAULTY, query="?partial=1")
    assert figures(part) == (1, 7, 1, 0, 0, 0, 0)
    assert (len(part.json["errors"]), part.json["errors_total"]) == (7, 7)
    sheet = world.call(OPERATOR, "GET", f"/admin/imports/{part.json['import_id']}/faults.csv").text
    assert sheet.splitlines()[1:3] == ["3,姓名,请填写姓名。", "4,手机号,请填写 11 位手机号。"]
    assert member(world, "M200")[0] == "张三"
    assert count(world) == 7


def test_a_list_without_one_good_row_is_told_of_every_row(world):
    answer = send(world, "姓名,手机号\n张三,1\n李四,2\n王五,13811190001\n", query="?partial=1")
    assert figures(answer) == (0, 3, 0, 0, 0, 0, 0)
    assert [(it["row"], it["column"]) for it in answer.json["errors"]] == [
        (2, "手机号"),
        (2, "工会编号"),
        (3, "手机号"),
        (3, "工会编号"),
        (4, "工会编号"),
    ]


def test_a_dry_run_shows_the_effect_and_changes_nothing_until_it_is_applied(world):
    text = HEAD + "M300,张三,13811130001,U1,,\nM1,会员1,13800000001,U2,,\n"
    looked = send(world, text, query="?dry_run=1")
    assert looked.json["dry_run"] is True
    assert figures(looked) == (2, 0, 1, 0, 1, 0, 0)
    assert looked.json["changes"][1]["changes"] == {"工会编号": ["U1", "U2"]}
    assert (count(world), member(world, "M1")[2]) == (6, "U1")
    path = f"/admin/imports/{looked.json['import_id']}/apply"
    assert figures(world.call(OPERATOR, "POST", path)) == (2, 0, 1, 0, 1, 0, 0)
    assert (count(world), member(world, "M1")[2]) == (7, "U2")
    assert world.call(OPERATOR, "POST", path).json["code"] == "state_conflict"
    assert count(world) == 7


def test_who_left_is_marked_and_is_given_and_may_do_nothing_more(world):
    left = send(world, "姓名,手机号,会员编号,状态\n会员1,13800000001,M1,离会\n")
    assert figures(left) == (1, 0, 0, 0, 0, 1, 0)
    assert (count(world), member(world, "M1")[5]) == (6, clock.local(clock.now()).date().isoformat())
    assert world.call("13800000001", "GET", "/me/vouchers").status_code == 403
    assert world.call("13800000001", "GET", "/me").json["roles"] == []
    body = {
        **{"slug": "next", "name": "下次", "starts_at": "2026-01-01T00:00:00+08:00", "member_budget_fen": 10**7},
        **{"ends_at": "2999-01-01T00:00:00+08:00", "tiers_fen": [10000]},
        "rule": {"step_fen": 10000, "save_fen": 2000, "face_fen": 20000},
    }
    assert world.call(OPERATOR, "POST", "/admin/campaigns", body).status_code == 201
    issued = world.call(OPERATOR, "POST", "/admin/campaigns/next/issue", {"audience": {"all": True}})
    assert issued.json["total"] == 5
    back = send(world, HEAD + "M1,会员1,13800000001,,,\n")
    assert (back.json["returned"], member(world, "M1")[5]) == (1, "")
    assert world.voucher("13800000001")["balance_fen"] == 20000


def test_a_complete_list_marks_who_is_not_on_it_in_its_unions_only(world):
    text = HEAD + "M1,会员1,13800000001,U1,,\nM2,会员2,13800000002,U1,,\nM400,新人,13811140001,U1,,\n"
    looked = send(world, text, query="?complete=1&dry_run=1")
    assert figures(looked) == (3, 0, 1, 0, 0, 1, 2)
    assert member(world, "M3")[5] == ""
    assert figures(send(world, text, query="?complete=1")) == (3, 0, 1, 0, 0, 1, 2)
    assert [member(world, number)[5] != "" for number in ("M1", "M2", "M3", "M4", "M400")] == [
        *(False, False, True, False, False)
    ]
    # A list with a fault says nothing of who is missing, even where good rows were asked for.
    bad = send(world, HEAD + "M1,会员1,13800000001,U1,,\nM2,,13800000002,U1,,\n", query="?complete=1&partial=1")
    assert (bad.json["status"], bad.json["left"], member(world, "M400")[5]) == ("refused", 0, "")


def long_list(rows: int) -> str:
    return HEAD + "".join(f"L{n},职工{n},134{n:08d},U{1 + n % 2},,\n" for n in range(rows))


def test_a_long_list_is_done_by_a_job_that_is_killed_and_goes_on(world, monkeypatch):
    monkeypatch.setattr(imports, "AT_ONCE", 100)
    monkeypatch.setattr(imports, "PART", 50)
    started = send(world, long_list(230))
    assert (started.status_code, started.json["status"], started.json["total"]) == (202, "queued", 460)
    with world.app.app_context():
        job_id, _kind, arguments, _request = jobs.take(now=clock.now())
        step = HANDLERS["import"]
        for _ in range(7):  # all parts looked at, the verdict, one part applied; then the worker dies
            assert step(job_id, arguments, clock.now()) is False
        db.session.remove()
    assert count(world) == 56
    real, broken = imports._note, []

    def dies(*args, **options):
        real(*args, **options)
        if not broken:
            broken.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(imports, "_note", dies)
    with world.app.app_context():
        with pytest.raises(KeyboardInterrupt):
            step(job_id, arguments, clock.now())
        db.session.remove()
        assert count(world) == 56
        while not step(job_id, arguments, clock.now()):
            pass
        db.session.remove()
    assert count(world) == 236
    told = world.call(OPERATOR, "GET", f"/admin/imports/{started.json['import_id']}").json
    assert (told["status"], told["accepted"], told["created"], told["rejected"]) == ("applied", 230, 230, 0)


def test_a_job_that_failed_is_gone_on_with_where_it_stopped(world, monkeypatch):
    monkeypatch.setattr(imports, "AT_ONCE", 100)
    monkeypatch.setattr(imports, "PART", 50)
    started = send(world, long_list(230))
    real, calls = imports._note, []

    def fails(*args, **options):
        calls.append(options["apply"])
        if calls.count(True) == 3:
            raise RuntimeError("the disk is full")
        real(*args, **options)

    monkeypatch.setattr(imports, "_note", fails)
    with world.app.app_context():
        jobs.run_next(HANDLERS, clock=clock.now)
        db.session.remove()
    path = f"/admin/imports/{started.json['import_id']}"
    told = world.call(OPERATOR, "GET", path).json
    assert (told["status"], told["job"]["status"], count(world)) == ("applying", "failed", 106)
    assert "接着做" in world.browser(OPERATOR).get(path).text
    again = world.call(OPERATOR, "POST", f"{path}/apply")
    assert (again.status_code, again.json["total"]) == (202, 130)
    assert world.call(OPERATOR, "POST", f"{path}/apply").json["code"] == "state_conflict"
    with world.app.app_context():
        jobs.run_next(HANDLERS, clock=clock.now)
        db.session.remove()
    told = world.call(OPERATOR, "GET", path).json
    assert (told["status"], told["created"], count(world)) == ("applied", 230, 236)


def test_two_who_send_the_same_list_at_once_enter_it_once(world):
    token = world.token(OPERATOR)
    start, answers = threading.Barrier(3), []

    def sends():
        start.wait()
        answers.append(send(world, long_list(300)))

    assert token
    threads = [threading.Thread(target=sends) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    created = [it.json["created"] for it in answers if it.status_code == 200]
    assert sorted(created)[-1] == 300
    assert sum(created) == 300
    assert {it.status_code for it in answers} <= {200, 409}
    assert (count(world), count(world, Person)) == (306, 306 + 7)
    assert figures(send(world, long_list(300))) == (300, 0, 0, 0, 0, 0, 300)


def test_a_row_that_repeats_one_of_another_part_is_a_fault(world, monkeypatch):
    monkeypatch.setattr(imports, "PART", 2)
    text = long_list(5) + "L0,职工0,13500009999,U1,,\n"
    answer = send(world, text, query="?partial=1")
    assert figures(answer) == (5, 1, 5, 0, 0, 0, 0)
    assert [(it["row"], it["message"]) for it in answer.json["errors"]] == [(7, "与第 2 行重复。")]
    assert member(world, "L0")[1] == "13400000000"


def test_twenty_thousand_rows_by_the_worker(world):
    started = send(world, long_list(20_000))
    assert started.status_code == 202
    with world.app.app_context():
        assert jobs.run_next(HANDLERS, clock=clock.now) is True
        job = jobs.find(int(started.json["job_id"]))
        assert (job.status, job.done, job.total, job.error) == ("done", 40_000, 40_000, None)
        db.session.remove()
    assert count(world) == 20_006
    # Nothing of the list itself is kept.
    assert (count(world, imports.ImportPart), count(world, imports.ImportKey)) == (0, 0)


def test_what_nobody_applies_is_forgotten_after_a_day_and_the_report_after_a_month(world):
    looked = send(world, long_list(30), query="?dry_run=1").json
    later = clock.now() + timedelta(days=2)
    with world.app.app_context():
        imports.forget_old(now=clock.now())
        db.session.remove()
    assert count(world, imports.ImportPart) == 1
    with world.app.app_context():
        imports.forget_old(now=later)
        db.session.remove()
    assert (count(world, imports.ImportPart), count(world, imports.ImportKey)) == (0, 0)
    path = f"/admin/imports/{looked['import_id']}"
    assert world.call(OPERATOR, "GET", path).json["status"] == "refused"
    assert world.call(OPERATOR, "POST", f"{path}/apply").json["code"] == "state_conflict"
    with world.app.app_context():
        imports.forget_old(now=later + timedelta(days=31))
        db.session.remove()
    assert world.call(OPERATOR, "GET", path).status_code == 404
    assert count(world) == 6


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (b"", "x.csv"),
        (b"a,b\n1,2\n", "x.csv"),
        (b"PK\x03\x04nonsense", "x.xlsx"),
        (b"<html>", "x.csv"),
        (b"\xff\xff\xff\x00", "x.csv"),
        ("姓名,手机号\n".encode(), "x.csv"),
        (("姓名,手机号\n" + '"' + "x" * 200_000 + '",1\n').encode(), "x.csv"),
    ],
)
def test_what_is_no_list_is_refused_and_leaves_nothing(world, content, filename):
    answer = send(world, content, filename=filename)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid"), answer.text
    assert (count(world), count(world, imports.Import), count(world, imports.ImportPart)) == (6, 0, 0)


def test_unions_merchants_model_workers_and_packs_by_the_same_engine(world):
    unions = "工会编号,工会名称,地址\nU1,医院工会,新址\nU3,机关工会,\n"
    assert figures(send(world, unions, "unions")) == (2, 0, 1, 1, 0, 0, 0)
    assert figures(send(world, unions, "unions")) == (2, 0, 0, 0, 0, 0, 2)
    merchants = "商户编号,商户名称,产地,对口支援\nC,甘肃丙,甘肃定西,是\nA,青岛甲,山东青岛,maybe\n"
    assert figures(send(world, merchants, "merchants", "?partial=1")) == (1, 1, 1, 0, 0, 0, 0)
    with world.app.app_context():
        made = db.session.scalar(select(Merchant).where(Merchant.code == "C"))
        assert (made.name, made.short_name, made.assisted_region) == ("甘肃丙", "甘肃丙", True)
        db.session.remove()
    honours = "姓名,手机号,荣誉,获评年份\n会员1,13800000001,省劳模,2018\n王二,13811150001,市劳模,2020\n"
    assert figures(send(world, honours, "honours")) == (2, 0, 1, 1, 0, 0, 0)
    assert figures(send(world, honours, "honours")) == (2, 0, 0, 0, 0, 0, 2)
    assert count(world, Honour) == 2
    packs = (
        "礼包编号,商户编号,礼包名称,价格,内容,库存\n"
        + "C100,C,定西礼包,100,土豆粉×2袋；百合×1盒,30\n"
        + "A150,A,礼包A150新,150,米×1袋,999\n"
        + "B150,A,礼包B150,150,米×1袋,\n"
    )
    answer = send(world, packs, "packs", "?partial=1")
    assert figures(answer) == (2, 1, 1, 1, 0, 0, 0)
    assert answer.json["errors"][0]["message"] == "这个礼包是另一家商户的。"
    assert figures(send(world, packs, "packs", "?partial=1")) == (2, 1, 0, 0, 0, 0, 2)
    listing = world.call(OPERATOR, "GET", "/packs?limit=50").json["items"]
    shown = {pack["name"]: pack["available"] for pack in listing}
    assert (shown["定西礼包"], shown["礼包A150新"]) == (30, 50)
    assert world.breaches() == []


def test_the_pages_show_the_effect_first(world):
    browser = world.browser(OPERATOR)
    assert "下载模板" in browser.get("/admin/imports/").text
    for name in importing.KINDS:
        assert browser.get(f"/admin/imports/template/{name}.xlsx").data[:2] == b"PK"
    page = browser.get("/admin/imports/new/members")
    form = {
        "csrf_token": csrf_of(page.text),
        "file": (io.BytesIO((HEAD + "M1,会员1,13800000001,U2,,\n").encode()), "a.csv"),
    }
    sent = browser.post("/admin/imports/new/members", data=form)
    shown = browser.get(sent.location).text
    assert "确认导入" in shown
    assert member(world, "M1")[2] == "U1"
    done = browser.post(sent.location + "/apply", data={"csrf_token": csrf_of(shown)}, follow_redirects=True)
    assert "导入完成" in done.text
    assert member(world, "M1")[2] == "U2"
    bad = {**form, "file": (io.BytesIO(FAULTY.encode()), "b.csv")}
    shown = browser.post("/admin/imports/new/members", data=bad, follow_redirects=True).text
    assert "确认导入" not in shown
    assert "没有这个基层工会。" in shown
