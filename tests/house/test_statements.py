"""Statements sent together: in the order they were given, each answer checked, nothing left behind."""

import pytest
from sqlalchemy import bindparam, event, select, update
from sqlalchemy.exc import IntegrityError

from kernel.db import db, transaction
from kernel.errors import StateConflict
from kernel.statements import Rows, Statement, change, fetch, together, write
from people.models import Person, PickupStation

RENAME = Statement(lambda _: update(Person).where(Person.name == bindparam("was")).values(name=bindparam("becomes")))
NAMES = Statement(lambda _: select(Person.id, Person.name).where(Person.phone == bindparam("phone")))
STATIONS = Rows(PickupStation)
PHONE = "13800000001"
# A statement of this kind fills in no default of the model.
MORE = {
    "name_en": "",
    "address_en": "",
    "district": "",
    "services": "",
    "phone": "",
    "lat_e6": None,
    "lon_e6": None,
    "is_open": True,
}


def rename_together(*names, and_then=lambda: None):
    """Rename people one after the other, all sent together; each must have been there."""
    with transaction(), together():
        for was, becomes in names:
            missing = StateConflict(f"没有{was}")
            change(RENAME, {"was": was, "becomes": becomes}, rows=1, otherwise=lambda missing=missing: missing)
        and_then()


def name_now():
    db.session.rollback()
    return db.session.scalar(select(Person.name).where(Person.phone == PHONE))


def test_what_waits_is_sent_before_whatever_reads_and_at_the_end(world):
    with world.app.app_context():
        with transaction(), together():
            change(RENAME, {"was": "会员1", "becomes": "甲"}, rows=1, otherwise=StateConflict)
            assert [row.name for row in fetch(NAMES, {"phone": PHONE})] == ["甲"]
            change(RENAME, {"was": "甲", "becomes": "乙"}, rows=1, otherwise=StateConflict)
            assert db.session.scalar(select(Person.name).where(Person.phone == PHONE)) == "乙", "SQLAlchemy's own too"
            change(RENAME, {"was": "乙", "becomes": "丙"}, rows=1, otherwise=StateConflict)
        assert name_now() == "丙"


def test_an_answer_that_is_not_as_asked_undoes_everything(world):
    with world.app.app_context():
        with pytest.raises(StateConflict, match="没有无名"):
            rename_together(("会员1", "甲"), ("无名", "x"), ("甲", "乙"))
        assert name_now() == "会员1"


def test_a_constraint_speaks_as_sqlalchemy_does_and_the_connection_lives_on(world):
    rows = [
        {"id": key, "code": code, "name": "站", "address": "某路", "hours": "", **MORE}
        for key, code in ((101, "T1"), (102, "T2"), (103, "T1"))
    ]
    with world.app.app_context():
        with pytest.raises(IntegrityError):
            rename_together(("会员1", "甲"), and_then=lambda: write(STATIONS, rows))
        assert name_now() == "会员1"
        with transaction():
            write(STATIONS, rows[:2])
        assert db.session.scalars(select(PickupStation.code).order_by(PickupStation.id)).all() == ["S1", "T1", "T2"]


def test_on_postgresql_several_go_in_one_trip(world):
    with world.app.app_context():
        heard = []

        def listen(connection, cursor, statement, parameters, context, executemany):
            heard.append(statement.split()[0])

        event.listen(db.engine, "before_cursor_execute", listen)
        try:
            with transaction(), together():
                change(RENAME, {"was": "会员1", "becomes": "甲"}, rows=1, otherwise=StateConflict)
                waiting = [word for word in heard if word == "UPDATE"]
                change(RENAME, {"was": "会员2", "becomes": "乙"}, rows=1, otherwise=StateConflict)
        finally:
            event.remove(db.engine, "before_cursor_execute", listen)
        assert [word for word in heard if word != "BEGIN"] == ["UPDATE", "UPDATE"]
        assert len(waiting) == (0 if db.engine.dialect.name == "postgresql" else 1)


def test_commit_goes_in_the_same_trip_and_what_is_refused_is_told_with_what_is_there_now(world):
    def rename(*names, looks=lambda: None):
        with transaction(), together(as_one=True, commits=True):
            for was, becomes in names:

                def missing(was=was):
                    return StateConflict(
                        f"没有{was}，还有{db.session.scalar(select(Person.name).filter_by(phone=PHONE))}"
                    )

                change(RENAME, {"was": was, "becomes": becomes}, rows=1, otherwise=missing)
            looks()

    with world.app.app_context():
        rename(("会员1", "甲"), ("会员2", "乙"))
        with db.engine.connect() as another:
            assert another.scalar(select(Person.name).filter_by(phone=PHONE)) == "甲"
        # What PostgreSQL refused is undone before it is told; SQLite tells it within.
        there = "甲" if db.engine.dialect.name == "postgresql" else "x"
        with pytest.raises(StateConflict, match=f"没有无名，还有{there}"):
            rename(("甲", "x"), ("无名", "y"))
        assert name_now() == "甲", "the first part was undone with the second"
        rename(("甲", "会员1"), ("乙", "会员2"))
        assert name_now() == "会员1", "the connection lives on"


def test_what_commits_in_the_trip_is_kept_or_refused_as_a_whole(world):
    rows = [{"id": key, "code": "T1", "name": "站", "address": "某路", "hours": "", **MORE} for key in (101, 102)]

    def rename_and_build():
        with transaction(), together(as_one=True, commits=True):
            change(RENAME, {"was": "会员1", "becomes": "甲"}, rows=1, otherwise=StateConflict)
            write(STATIONS, rows)

    with world.app.app_context():
        with pytest.raises(IntegrityError):
            rename_and_build()
        assert name_now() == "会员1"
        assert db.session.scalars(select(PickupStation.code)).all() == ["S1"]


def test_rows_are_sent_in_the_order_their_statement_has(app):
    """A part's values go into the one statement by their place, not by their name."""
    with app.app_context():
        dialect = db.engine.dialect
        if dialect.name != "postgresql":
            return
        rows = [
            {"id": str(row), "code": f"c{row}", "name": f"n{row}", "address": "a", "hours": "h", **MORE}
            for row in (1, 2)
        ]
        text = STATIONS.text(2, dialect)
        assert STATIONS.cells(rows, dialect) == text.cells(
            {f"{name}_{index}": value for index, row in enumerate(rows) for name, value in row.items()}
        )
        found = [cell for cell in STATIONS.cells(rows, dialect) if str(cell).endswith(("1", "2"))]
        assert found == ["1", "c1", "n1", "2", "c2", "n2"]
