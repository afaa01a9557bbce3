"""Statements that are built once and sent together: what the hottest paths are made of.

A `Statement` is SQLAlchemy's, built once for each number of rows it is for; on PostgreSQL its text is kept too and goes
to the driver as it is, so that neither building nor compiling is paid again. Inside `together()` statements that only
change something wait, and go in one trip with the next one that reads, or at the block's end; each answer is then
checked in the order the statements were given. On SQLite, which is no trip away, each is executed at once.
"""

import re
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg.errors import InvalidTextRepresentation
from sqlalchemy import Connection, Dialect, Executable, Table, bindparam, event, insert
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from kernel import trips
from kernel.db import Base, as_ours, db, rows_changed
from kernel.errors import DomainError

_OUR_OWN = 1  # listener: _what_waits_goes_first
Values = Mapping[str, Any]


_NAMED = re.compile(r"%\((\w+)\)s|%%")


class _Text:
    """A statement's text for PostgreSQL, how its values are put, and how its rows are read.

    `sql` has its values by name (`%(name)s`), as SQLAlchemy writes it. What is sent has PostgreSQL's own `$1`: psycopg
    would look for the names anew in every long text.
    """

    def __init__(
        self,
        sql: str,
        *,
        put: Mapping[str, Callable[[Any], Any]] | None = None,
        row: Callable[[Sequence[Any]], Any] | None = None,
        read: Sequence[tuple[int, Callable[[Any], Any]]] = (),
    ) -> None:
        self.sql, self.row = sql, row
        self._put, self._read = put or {}, read
        places: dict[str, int] = {}

        def placed(found: re.Match[str]) -> str:
            return "%" if found[1] is None else f"${places.setdefault(found[1], len(places) + 1)}"

        self.sent = _NAMED.sub(placed, sql).encode()
        self._names = tuple(places)

    def cells(self, given: Values) -> list[Any]:
        """Return values in the order of their `$1`, `$2`, as the driver takes them."""
        if self._put:
            given = {**given, **{name: process(given[name]) for name, process in self._put.items()}}
        return [given[name] for name in self._names]

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """Return what was found as rows whose columns are attributes."""
        assert self.row is not None
        if not self._read:
            return [self.row(one) for one in found]
        rows = []
        for one in found:
            cells = list(one)
            for at, process in self._read:
                cells[at] = process(cells[at])
            rows.append(self.row(cells))
        return rows


class Statement:
    """A statement with bound parameters, `build(count)` giving it for `count` rows or things."""

    def __init__(self, build: Callable[[int], Executable]) -> None:
        self._build = build
        self._built: dict[int, Executable] = {}
        self._texts: dict[int, _Text] = {}

    def built(self, count: int) -> Executable:
        """Return SQLAlchemy's statement."""
        if count not in self._built:
            self._built[count] = self._build(count)
        return self._built[count]

    def text(self, count: int, dialect: Dialect) -> _Text:
        """Return what is sent to PostgreSQL."""
        if count not in self._texts:
            self._texts[count] = _text_of(self.built(count), dialect)
        return self._texts[count]


def _text_of(statement: Executable, dialect: Dialect) -> _Text:
    compiled = cast(SQLCompiler, cast(ClauseElement, statement).compile(dialect=dialect))
    put: dict[str, Callable[[Any], Any]] = {}
    for name, bound in compiled.binds.items():
        process = _process(bound.type, dialect)
        if process is not None and bound.required:
            put[name] = process
    columns = compiled._result_columns
    row, read = None, []
    if columns:
        row_type: Any = namedtuple("Row", [column.keyname for column in columns], rename=True)  # type: ignore[misc]
        row = row_type._make
        for at, column in enumerate(columns):
            process = column.type.dialect_impl(dialect).result_processor(dialect, None)
            if process is not None:
                read.append((at, process))
    return _Text(_with_constants(compiled, dialect), put=put, row=row, read=read)


def _with_constants(compiled: SQLCompiler, dialect: Dialect) -> str:
    """Return a statement's text with what is the same each time written out.

    PostgreSQL keeps one plan for all values of its `$1`. It can use an index of some rows only (`WHERE status = …`) in
    that plan where the value is in the text; else it may plan the statement anew each time, which takes longer than it.
    """
    text = compiled.string
    for name, bound in compiled.binds.items():
        if not bound.required:
            written = bound.type.dialect_impl(dialect).literal_processor(dialect)
            assert written is not None, f"{name} cannot be written out"
            text = text.replace(f"%({name})s", written(bound.effective_value))
    return text


class Rows(Statement):
    """The INSERT of as many rows as are given, with every column of a table but those left out.

    A row's values are all given: no default of the model is filled in.
    """

    def __init__(self, model: type[Base], *, leaving_out: Sequence[str] = ()) -> None:
        table = cast(Table, model.__table__)
        self._columns = [column for column in table.columns if column.key not in leaving_out]
        self._keys = tuple(column.key for column in self._columns)
        self._put: dict[str, Callable[[Any], Any]] | None = None

        def build(count: int) -> Executable:
            return insert(table).values(
                [
                    {column.key: bindparam(f"{column.key}_{index}", type_=column.type) for column in self._columns}
                    for index in range(count)
                ]
            )

        super().__init__(build)

    def cells(self, rows: Sequence[Values], dialect: Dialect) -> list[Any]:
        """Return the rows' values in the order of the text's `$1`, `$2`: row by row, as the columns stand."""
        if self._put is None:
            processes = {column.key: _process(column.type, dialect) for column in self._columns}
            self._put = {key: process for key, process in processes.items() if process is not None}
        put = self._put.items()
        ready = [{**row, **{key: process(row[key]) for key, process in put}} for row in rows]
        return [row[key] for row in ready for key in self._keys]


def numbered(rows: Sequence[Values]) -> dict[str, Any]:
    """Return the values of several rows by the names they have in the text of a `Rows`."""
    return {f"{name}_{index}": value for index, row in enumerate(rows) for name, value in row.items()}


def _process(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return how a type's values are made the driver's; None where they are that already."""
    process: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return process


@dataclass
class _Sent:
    """One statement on its way, and what is asked of its answer."""

    text: _Text
    cells: list[Any]
    rows: int | None = None
    otherwise: Callable[[], DomainError] | None = None

    def check(self, changed: int) -> None:
        if self.rows is not None and changed != self.rows:
            assert self.otherwise is not None, f"{changed} rows changed, not {self.rows}"
            raise self.otherwise()


@dataclass
class _Block:
    """A `together` under way: its connection, and what waits to be sent."""

    connection: Connection
    waiting: list[_Sent]


_block: ContextVar[_Block | None] = ContextVar("huigong_together", default=None)


def _postgresql() -> Connection | None:
    """Return the session's connection where that is one to PostgreSQL."""
    if (block := _block.get()) is not None:  # asking SQLAlchemy anew each time has its price
        return block.connection
    connection = db.session.connection()
    return connection if connection.dialect.name == "postgresql" else None


@contextmanager
def together(*, as_one: bool = False, commits: bool = False) -> Iterator[None]:
    """Let the statements of this block that only change something be sent with the next that reads, or at its end.

    Anything else that is sent within the block goes after what waits, so the order in the code is the order in the
    database. With `as_one` those that wait at the block's end become one statement (a CTE each): they must not touch
    the same row, since none of them sees what another did. PostgreSQL promises no order among them: it runs them as the
    outer SELECT asks for their counts, which is the order given.

    With `commits` too, COMMIT goes in the same trip: a row that everybody wants is free again as soon as it can be.
    There is no later moment to refuse then, so PostgreSQL itself refuses where a count is not what was asked. Use it as
    the innermost context of a `transaction()`; what `otherwise` reads is read after the transaction was undone.
    """
    assert as_one or not commits
    connection = _postgresql()
    if connection is None:
        yield
        return
    waiting: list[_Sent] = []
    before = _block.set(_Block(connection, waiting))
    try:
        yield
        if as_one and len(waiting) > 1:
            _send_as_one(connection, waiting, commits=commits)
        else:
            _send(connection, waiting)
    finally:
        _block.reset(before)


def change(
    statement: Statement,
    values: Values,
    *,
    count: int = 1,
    rows: int | None = None,
    otherwise: Callable[[], DomainError] | None = None,
) -> None:
    """Execute a statement that changes rows; where it changes other than `rows`, raise what `otherwise` makes.

    `otherwise` may read: it is called once the answer is there.
    """
    connection = _postgresql()
    if connection is None:
        if rows is None:
            db.session.execute(statement.built(count), values)
        elif rows_changed(statement.built(count), values) != rows:
            assert otherwise is not None
            raise otherwise()
        return
    text = statement.text(count, connection.dialect)
    _send_or_wait(connection, _Sent(text, text.cells(values), rows, otherwise))


def write(statement: Rows, rows: Sequence[Values]) -> None:
    """Insert rows by one statement."""
    connection = _postgresql()
    if connection is None:
        db.session.execute(statement.built(len(rows)), numbered(rows))
    else:
        text = statement.text(len(rows), connection.dialect)
        _send_or_wait(connection, _Sent(text, statement.cells(rows, connection.dialect)))


def _send_or_wait(connection: Connection, sent: _Sent) -> None:
    if (block := _block.get()) is None:
        _send(connection, [sent])
    else:
        block.waiting.append(sent)


def fetch(statement: Statement, values: Values, *, count: int = 1) -> Sequence[Any]:
    """Execute a statement that reads, after whatever waits, and return its rows: their columns are attributes."""
    connection = _postgresql()
    if connection is None:
        return db.session.execute(statement.built(count), values).all()
    waiting = block.waiting if (block := _block.get()) is not None else []
    text = statement.text(count, connection.dialect)
    waiting.append(_Sent(text, text.cells(values)))
    return text.rows(_send(connection, waiting))


def _send(connection: Connection, waiting: list[_Sent]) -> Sequence[Sequence[Any]]:
    """Send what waits in one trip, check each answer in order, and return the last one's rows."""
    if not waiting:
        return []
    sent, waiting[:] = list(waiting), []
    answers = _ask(connection, sent)
    for one, answer in zip(sent, answers, strict=True):
        one.check(answer.changed)
    return answers[-1].rows() if sent[-1].text.row is not None else []


def _ask(connection: Connection, sent: Sequence[_Sent], *, commits: bool = False) -> list[trips.Answer]:
    """Send statements in one trip, raising what goes wrong as SQLAlchemy would."""
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    listening = connection.dispatch.before_cursor_execute
    try:
        # Whoever listens to what is executed hears of these, too; they have no context of SQLAlchemy's.
        for one in sent if len(listening) > _OUR_OWN else ():
            for heard in listening:
                heard(connection, driver.cursor(), one.text.sql, {}, None, False)
        questions = [(one.text.sent, one.cells) for one in sent]
        return trips.ask(driver, questions, prepared=connection.info.get(trips.PREPARED), commits=commits)
    except psycopg.Error as error:
        raise as_ours(connection, driver, error) from error


_combined: dict[tuple[Any, ...], _Text] = {}
_REFUSED = re.compile(r"refused (\d+): (\d+)")


def _send_as_one(connection: Connection, waiting: list[_Sent], *, commits: bool) -> None:
    """Send what waits as one statement and check what each part of it changed."""
    sent, waiting[:] = list(waiting), []
    # The texts are kept for good, so their ids are theirs.
    key = (*(id(one.text) for one in sent), *(one.rows for one in sent if commits))
    if key not in _combined:
        _combined[key] = _one_of(sent, refuses=commits)
    # The parts stand in the one text in their order, and so do their values.
    cells = [cell for one in sent for cell in one.cells]
    try:
        [answer] = _ask(connection, [_Sent(_combined[key], cells)], commits=commits)
    except DBAPIError as error:
        refused = _REFUSED.search(str(error.orig)) if isinstance(error.orig, InvalidTextRepresentation) else None
        if refused is None:
            raise
        # Undone, so that the refusal can be told with what is there now; SQLAlchemy's own rollback follows.
        _block.set(None)
        if error.connection_invalidated:  # the server went away with its answer given: what is there now, another tells
            db.session.rollback()
        else:
            cast("psycopg.Connection[Any]", connection.connection.driver_connection).rollback()
        sent[int(refused[1])].check(int(refused[2]))
        raise
    [changed] = answer.rows()
    for one, count in zip(sent, changed, strict=True):
        one.check(count)


def _one_of(sent: Sequence[_Sent], *, refuses: bool) -> _Text:
    """Return statements as one that answers how many rows each changed, or fails where that is not what was asked."""
    parts = [
        f"w{place} AS ({one.text.sql.replace('%(', f'%(w{place}_')} RETURNING 1)" for place, one in enumerate(sent)
    ]
    counts = []
    for place, one in enumerate(sent):
        count = f"(SELECT count(*) FROM w{place})"
        if refuses and one.rows is not None:
            # A text that is no number, made of the count so that it is not looked at before: the error carries it out.
            failing = f"CAST('refused {place}: ' || changed AS bigint)"
            count = (
                f"(SELECT CASE WHEN changed = {one.rows} THEN changed ELSE {failing} END FROM {count} AS c (changed))"
            )
        counts.append(count)
    return _Text(f"WITH {', '.join(parts)} SELECT {', '.join(counts)}", row=tuple)


@event.listens_for(Engine, "before_cursor_execute")
def _what_waits_goes_first(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if context is not None and (block := _block.get()) is not None and block.connection is connection:
        _send(connection, block.waiting)
