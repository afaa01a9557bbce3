"""A release is rolled out under load: code of the release before and of this one on one expanded database.

`tests/data/previous-release.tar.xz` is the code of the release before; `make previous-release` packs it anew.
"""

import ast
import itertools
import json
import os
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import inspect, text

from kernel.db import db
from tests.factories import MERCHANT_A, World
from web import migrating
from web.app import create_app
from web.cli import main
from web.settings import ROOT, Settings

M1, M2, M3 = "13800000001", "13800000002", "13800000003"
SECRET = "a rolled release's secret key of length"
OLD = """
    import itertools, json, sys
    from flask_migrate import upgrade
    from kernel.db import db
    from tests.factories import MERCHANT_A, World
    from web.app import create_app
    from web.settings import ROOT, Settings

    what, url, files, told = sys.argv[1:]
    app = create_app(Settings(database_url=url, secret_key="a rolled release's secret key of length", files=files))
    app.config["TESTING"] = True
    if what == "begin":
        with app.app_context():
            upgrade(directory=str(ROOT / "migrations"))
        world = World(app)
        print(json.dumps({"root": str(ROOT), "packs": world.packs}))
    else:
        told = json.loads(told)
        world = World.__new__(World)
        world.app, world.tokens, world.packs, world.keys = app, {}, told["packs"], itertools.count(9000)
        paid = world.pay("13800000001", told["number"])
        numbers = []
        for _ in range(6):
            placed = world.place("13800000002", ("A150", 1))
            assert placed.status_code == 201, placed.text
            numbers.append(placed.json["number"])
            assert world.pay("13800000002", numbers[-1]).json["order_status"] == "paid"
        body = {"carrier": "SF", "tracking_no": "SF1"}
        ship = world.call(MERCHANT_A, "POST", f"/merchant/parcels/{numbers[0]}-1/ship", body)
        ask = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "x"}
        back = world.call("13800000002", "POST", f"/orders/{numbers[1]}/refunds", ask)
        browser = world.browser("13800000002")
        print(json.dumps({
            "paid": paid.json["order_status"], "ship": ship.status_code, "back": back.status_code,
            "pages": browser.get("/api/v1/me").status_code, "numbers": numbers, "breaches": world.breaches(),
            "ready": app.test_client().get("/readyz").status_code,
        }))
"""


@pytest.fixture(scope="session")
def old_code(tmp_path_factory):
    """The folder of the release before."""
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(ROOT / "tests" / "data" / "previous-release.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    (folder / "instance").mkdir()
    return folder


def start_old(folder, *arguments):
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", textwrap.dedent(OLD), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out)


@pytest.fixture(params=["sqlite", "postgresql"])
def rolled(request, old_code, tmp_path):
    """A database that the code of before made and filled; the address, what it told, this code's application on it."""
    url = f"sqlite:///{tmp_path / 'r.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("new_postgresql_database")("huigong_rolled")
    told = said_by(start_old(old_code, "begin", url, str(tmp_path / "files"), "{}"))
    assert told["root"] == str(old_code), "the code of before, not this one"
    app = create_app(Settings(database_url=url, secret_key=SECRET, files=str(tmp_path / "files")))
    app.config["TESTING"] = True
    yield url, told, app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def huigong(url, monkeypatch, *arguments):
    monkeypatch.setenv("DATABASE_URL", url)
    return CliRunner().invoke(main, ["migrate", *arguments])


def test_old_and_new_code_work_side_by_side_on_the_expanded_database(rolled, old_code, tmp_path, monkeypatch):
    url, told, app = rolled
    assert app.test_client().get("/readyz").status_code == 503, "the new code waits for what it needs"
    done = huigong(url, monkeypatch, "expand")
    assert done.exit_code == 0, done.output
    assert app.test_client().get("/readyz").status_code == 200
    assert "nothing to do" in huigong(url, monkeypatch, "expand").output

    world = World.__new__(World)
    world.app, world.tokens, world.packs, world.keys = app, {}, told["packs"], itertools.count(1)
    number = world.place(M1, ("A150", 1)).json["number"]
    arguments = json.dumps({**told, "number": number})
    old = start_old(old_code, "go", url, str(tmp_path / "files"), arguments)
    placed = []
    while old.poll() is None or len(placed) < 3:
        if len(placed) < 30:
            one = world.place(M3, ("A150", 1))
            assert one.status_code == 201, one.text
            placed.append(one.json["number"])
            assert world.pay(M3, placed[-1]).json["order_status"] == "paid"
    said = said_by(old)
    assert said["paid"] == "paid", "the code of before pays what this one placed"
    assert (said["ship"], said["back"], said["pages"]) == (200, 201, 200)
    assert said["breaches"] == world.breaches() == []
    body = {"carrier": "SF", "tracking_no": "SF2"}
    shipped = world.call(MERCHANT_A, "POST", f"/merchant/parcels/{said['numbers'][2]}-1/ship", body)
    assert shipped.status_code == 200, "this code ships what that of before was paid for"
    sold = 1 + len(placed) + 6
    assert world.stock("A150")[2] in (sold, sold - 1), "but what went back"

    # What the code of before wrote has no station yet: it learns of it when the last of that code is gone.
    with app.app_context():
        station = db.session.scalar(text("SELECT min(id) FROM pickup_stations"))
        db.session.remove()
    there = {"kind": "pickup", "station_id": str(station), "name": "王芳", "phone": M1}
    body = world.lines(("A150", 1))
    body |= {"payable_fen": world.call(M3, "POST", "/quotes", body).json["payable_fen"], "delivery": there}
    number = world.call(M3, "POST", "/orders", body).json["number"]
    world.pay(M3, number)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE parcels SET station_id = NULL"))
    assert huigong(url, monkeypatch, "contract", "--yes").exit_code == 0
    with app.app_context(), db.engine.begin() as connection:
        found = connection.execute(text("SELECT order_id, station_id FROM parcels WHERE station_id IS NOT NULL")).all()
    assert [tuple(row) for row in found] == [(int(number), station)]


def test_what_breaks_the_code_of_before_is_seen(rolled, old_code, tmp_path, monkeypatch):
    """A column it knows nothing of and must not leave empty: the same test fails."""
    url, told, app = rolled
    if url.startswith("sqlite"):
        pytest.skip("SQLite adds no such column to a table with rows")
    world = World.__new__(World)
    world.app, world.tokens, world.packs, world.keys = app, {}, told["packs"], itertools.count(1)
    assert huigong(url, monkeypatch, "expand").exit_code == 0
    number = world.place(M1, ("A150", 1)).json["number"]
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE parcels ALTER COLUMN request_id DROP DEFAULT"))
    old = start_old(old_code, "go", url, str(tmp_path / "files"), json.dumps({**told, "number": number}))
    _, err = old.communicate(timeout=300)
    assert old.returncode != 0
    assert "IntegrityError" in err


def scripts():
    return sorted(ScriptDirectory(migrating.FOLDER).walk_revisions(), key=lambda script: script.revision)


class Numbered:
    """A migration in a list, for the order of phases alone."""

    def __init__(self, revision, phase):
        self.revision, self.module = revision, type("module", (), {"phase": phase})


@pytest.mark.parametrize(
    ("case", "left", "expand", "contract"),
    [
        ("nothing left", [], None, None),
        ("only additions", ["expand", "expand"], "2", "first"),
        ("both", ["expand", "contract", "contract"], "1", "first"),
        ("only removals", ["contract", "contract"], None, "2"),
        ("a removal that an addition follows", ["contract", "expand"], "first", "first"),
    ],
)
def test_which_migration_ends_a_phase(case, left, expand, contract):
    found = [Numbered(str(number), phase) for number, phase in enumerate(left, 1)]
    for phase, expected in (("expand", expand), ("contract", contract)):
        if expected == "first":
            with pytest.raises(migrating.OutOfOrder, match=expected):
                migrating.target_of(phase, found)
        else:
            assert migrating.target_of(phase, found) == expected, case


def test_code_works_with_what_it_needs_and_with_what_a_newer_release_added(app):
    head = scripts()[-1].revision
    assert migrating.works_with(head)
    assert migrating.works_with(f"{int(head) + 1:04d}"), "a release that is being rolled out has added to it"
    assert not migrating.works_with(None)
    assert not migrating.works_with("0001")
    assert not migrating.works_with("garbage")


TAKES_AWAY = {"drop_column", "drop_table", "rename_table"}


def taken_away(source: str) -> set[str]:
    """What an upgrade does that the code before it would not bear: seen in upgrade() and whatever it calls."""
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    todo, seen, found = ["upgrade"], set(), set()
    while todo:
        name = todo.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for call in (node for node in ast.walk(functions[name]) if isinstance(node, ast.Call)):
            called = getattr(call.func, "attr", getattr(call.func, "id", ""))
            todo.append(called)
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            tightens = called == "alter_column" and (given.get("nullable") == "False" or "new_column_name" in given)
            if called in TAKES_AWAY or tightens:
                found.add(called)
            if called == "add_column":
                for column in (one for one in ast.walk(call) if getattr(one, "func", None) is not None):
                    words = {word.arg: ast.unparse(word.value) for word in column.keywords}
                    if words.get("nullable") == "False" and "server_default" not in words:
                        found.add("add_column that is not null and has no default")
    return found


@pytest.mark.parametrize(
    ("upgrade", "found"),
    [
        ("op.add_column('t', sa.Column('c', sa.Text(), nullable=True))", set()),
        ("op.add_column('t', sa.Column('c', sa.Text(), nullable=False, server_default=''))", set()),
        (
            "op.add_column('t', sa.Column('c', sa.Text(), nullable=False))",
            {"add_column that is not null and has no default"},
        ),
        ("_more()", {"drop_column"}),
        ("op.alter_column('t', 'c', nullable=False)", {"alter_column"}),
        ("op.alter_column('t', 'c', type_=sa.Text())", set()),
    ],
)
def test_what_takes_away_is_seen(upgrade, found):
    more = "def _more():\n    op.drop_column('t', 'c')\ndef downgrade():\n    op.drop_table('t')"
    source = f"def upgrade():\n    {upgrade}\n{more}"
    assert taken_away(source) == found


def test_a_migration_that_takes_away_says_so():
    """From the first one after the release that was packed: before it there was nothing to roll out beside."""
    for script in scripts():
        if script.revision > "0018":
            assert getattr(script.module, "phase", "none said") in ("expand", "contract"), script.revision
            if migrating.phase_of(script) == "expand":
                source = Path(script.path).read_text(encoding="utf-8")
                assert taken_away(source) == set(), (
                    f"{script.revision} must say phase = 'contract', and do nothing else"
                )


def test_a_migration_gives_up_where_a_table_is_busy_and_is_tried_again(new_postgresql_database, monkeypatch):
    url = new_postgresql_database("huigong_busy")
    app = create_app(Settings(database_url=url, secret_key=SECRET))
    monkeypatch.setattr(migrating, "PAUSE", 0.1)
    monkeypatch.setattr(migrating, "TRIES", 2)
    added = migrating.target_of("expand", migrating.pending("0018"))
    with app.app_context():
        migrating.upgrade(directory=migrating.FOLDER, revision="0018")
        db.engine.dispose()
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain) as other:
        other.execute("LOCK TABLE seats IN ACCESS SHARE MODE")
        refused = huigong(url, monkeypatch, "expand")
        assert refused.exit_code == 1
        assert "1 tries left" in refused.output
        assert "nothing half done" in refused.output
    with app.app_context():
        assert migrating.current() == "0018"
        assert "station_id" not in {column["name"] for column in inspect(db.engine).get_columns("seats")}
        db.engine.dispose()
    assert f"0018 -> {added}" in huigong(url, monkeypatch, "expand").output
    assert f"{added} -> {scripts()[-1].revision}" in huigong(url, monkeypatch, "contract", "--yes").output
    assert "nothing to do" in huigong(url, monkeypatch, "contract", "--yes").output
