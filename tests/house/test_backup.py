"""A backup taken while people buy, restored into an empty database: the books are whole there, too."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import DBAPIError

from kernel.db import db
from tests.factories import OPERATOR
from web import backup
from web.app import create_app
from web.cli import main
from web.settings import ROOT, Settings

M1, M2 = "13800000001", "13800000002"


def huigong(url, *arguments):
    """Run a command on a database; its exit code and what it said."""
    environ = {"DATABASE_URL": url, "SECRET_KEY": "a backup's secret key, of some length"}
    done = CliRunner().invoke(main, arguments, env=environ)
    return done.exit_code, done.output


@pytest.fixture
def elsewhere(world, tmp_path, request):
    """The address of an empty database of the same engine."""
    if world.app.config["ENGINE"] == "sqlite":
        return f"sqlite:///{tmp_path / 'other.db'}"
    return request.getfixturevalue("new_postgresql_database")("huigong_restored")


def address(world):
    return world.app.config["SQLALCHEMY_DATABASE_URI"]


def sold(world):
    number = world.place(M1, ("A150", 2)).json["number"]
    world.pay(M1, number)
    return number


def test_a_database_without_tables_is_no_breach_and_no_traceback(elsewhere):
    for command in (("check",), ("reconcile",), ("audit", "verify"), ("sweep",), ("token", M1), ("summaries",)):
        code, said = huigong(elsewhere, *command)
        assert (code, said.strip()) == (
            2,
            "huigong: the database has no tables yet: run 'huigong migrate expand'",
        ), command


def test_what_was_backed_up_is_restored_and_proven(world, elsewhere, tmp_path):
    number = sold(world)
    file = tmp_path / "huigong.backup"
    code, said = huigong(address(world), "backup", str(file))
    assert (code, said.startswith(f"{file}: ")) == (0, True), said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if "unfinished" in one.name] == []
    world.place(M2, ("A150", 1))  # afterwards: not in it
    code, said = huigong(elsewhere, "restore", str(file))
    assert (code, said.strip()) == (
        0,
        "restored: all five conservation rules hold, and the audit's chain is whole",
    ), said
    environ = {**os.environ, "DATABASE_URL": elsewhere}
    checked = subprocess.run([sys.executable, "-m", "web.cli", "check"], cwd=ROOT, env=environ, check=False)
    assert checked.returncode == 0
    other = create_app(Settings(database_url=elsewhere, secret_key=world.app.config["SECRET_KEY"]))
    client = other.test_client()
    headers = {"Authorization": f"Bearer {world.token(M1)}"}
    assert client.get(f"/api/v1/orders/{number}", headers=headers).json["status"] == "paid"
    assert client.get("/readyz").status_code == 200
    with other.app_context():
        count = db.session.execute(db.text("SELECT count(*) FROM orders")).scalar_one()
        db.session.remove()
        # What guards the ledger came along.
        with pytest.raises(DBAPIError, match="append-only"):
            db.session.execute(db.text("DELETE FROM ledger_postings"))
        db.session.remove()
        db.engine.dispose()
    assert count == 1


def test_nothing_is_restored_over_what_is_there(world, tmp_path):
    number = sold(world)
    file = tmp_path / "b"
    assert huigong(address(world), "backup", str(file))[0] == 0
    code, said = huigong(address(world), "restore", str(file))
    assert (code, "is not empty" in said) == (1, True), said
    assert world.call(M1, "GET", f"/orders/{number}").json["status"] == "paid"
    code, said = huigong(address(world), "backup", str(file))
    assert (code, "is there already" in said) == (1, True), said


def test_what_is_no_backup_is_refused_and_leaves_the_database_empty(world, elsewhere, tmp_path):
    sold(world)
    whole = tmp_path / "whole"
    assert huigong(address(world), "backup", str(whole))[0] == 0
    other_kind = b"PGDMP" if elsewhere.startswith("sqlite") else b"SQLite format 3\x00"
    for name, content in {
        "nothing": b"",
        "noise": bytes(range(256)),
        "another kind": other_kind + bytes(4000),
        "half": whole.read_bytes()[: whole.stat().st_size // 2],
    }.items():
        file = tmp_path / name
        file.write_bytes(content)
        code, said = huigong(elsewhere, "restore", str(file))
        assert (code, said.startswith("huigong: ")) == (1, True), (name, said)
    assert huigong(elsewhere, "restore", str(tmp_path / "is not there"))[0] == 1
    assert huigong(elsewhere, "restore", str(whole))[0] == 0, "after all that it was still empty"


def test_a_backup_is_of_one_moment_while_people_go_on_buying(world, elsewhere, tmp_path):
    stop = threading.Event()
    placed = []

    def buy():
        while not stop.is_set():
            answer = world.place(M2, ("B40", 1))
            if answer.status_code == 201:
                placed.append(answer.json["number"])
                world.call(M2, "POST", f"/orders/{answer.json['number']}/cancel")

    buyer = threading.Thread(target=buy)
    buyer.start()
    try:
        with world.app.app_context():
            for turn in range(3):
                backup.backup(tmp_path / f"b{turn}")
            db.session.remove()
    finally:
        stop.set()
        buyer.join()
    assert placed, "they bought meanwhile"
    assert huigong(elsewhere, "restore", str(tmp_path / "b2"))[0] == 0


def test_a_restored_database_with_a_breach_says_so(world, elsewhere, tmp_path):
    if world.app.config["ENGINE"] == "sqlite":
        file = tmp_path / "b"
        assert huigong(address(world), "backup", str(file))[0] == 0
        with sqlite3.connect(file) as broken:
            broken.execute("UPDATE stocks SET taken_in = taken_in + 1")
        broken.close()
    else:
        with world.app.app_context():
            db.session.execute(db.text("UPDATE stocks SET taken_in = taken_in + 1"))
            db.session.commit()
            backup.backup(tmp_path / "b")
            db.session.remove()
    code, said = huigong(elsewhere, "restore", str(tmp_path / "b"))
    assert (code, "breaches" in said) == (1, True), said
    assert OPERATOR not in said
