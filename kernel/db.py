"""The database: one metadata, one transaction helper, the column types both engines agree on."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import psycopg
from flask import current_app
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Executable,
    Integer,
    MetaData,
    SQLColumnExpression,
    String,
    any_,
    case,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from kernel import origin
from kernel.trips import PREPARED, Prepared


class Base(DeclarativeBase):
    """What every table inherits: constraint names that migrations (and SQLite's batch mode) can find again."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


REPLICA = "replica"  # the name of the engine that reads a copy of the database, where there is one


class _Session(Session):
    """Flask-SQLAlchemy's session, put away without an error where its connection is gone: what it had is gone too.

    Otherwise a request whose work is done, and committed, would be answered with a 500 for the tidying up after it.
    It reads the replica where `read_the_replica` said so, until a use-case begins.
    """

    def get_bind(self, *arguments: Any, **named: Any) -> Engine | Connection:
        if self.info.get(REPLICA):
            return db.engines[REPLICA]
        return super().get_bind(*arguments, **named)

    def close(self) -> None:
        try:
            super().close()
        except DBAPIError as lost:
            if not lost.connection_invalidated:
                raise
            super().close()


db = SQLAlchemy(model_class=Base, session_options={"class_": _Session, "autoflush": True, "expire_on_commit": False})

# SQLite numbers rows by itself only for a column of type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
Json = JSON().with_variant(JSONB(), "postgresql")
NullableJson = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC moment; SQLite, which has no zones, stores the UTC wall clock."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive datetime reached the database"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def caused_by(*, last: bool = False) -> Mapped[str]:
    """Return a column with the id of the request that made a row (kernel.origin); with `last`, that changed it last."""
    changed = origin.request_id if last else None
    return mapped_column(String(origin.LONGEST_ID), default=origin.request_id, onupdate=changed, server_default="")


def unindexed(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a condition as no index knows it: for rows that are found by another one, their id before all.

    PostgreSQL chooses by how many rows it has counted. Before a rush it counted no order that waits for its payment, so
    "this order, if it waits" looked alike by the order's id and by all that wait.
    """
    return case((condition, 1), else_=0) == 1


@contextmanager
def snapshot() -> Iterator[None]:
    """Read the database as it is at one moment: what is written meanwhile is not seen, and nothing waits for it."""
    session = db.session()
    assert not session.info.get("in_use_case"), "a snapshot begins before anything is written"
    session.rollback()
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    try:
        yield
    finally:
        session.rollback()


_T = TypeVar("_T")
_AFTER_COMMIT = "huigong_after_commit"
_UNIT_SEPARATOR = "\x1f"  # in no text of ours: control characters are refused at the doors


@contextmanager
def transaction() -> Iterator[None]:
    """Run a use-case: commit at its end, roll back on any error, then do what was left for after the commit."""
    session = db.session()
    assert not session.info.get("in_use_case"), "a use-case was called inside another"
    if session.info.pop(REPLICA, False):
        session.rollback()  # what changes something begins and ends on the primary
    _begin_anew(session)
    session.info["in_use_case"] = True
    session.info[_AFTER_COMMIT] = []
    # A transaction that reads first and writes later is refused at once by SQLite if somebody else wrote in
    # between. Taking the write lock first makes it wait its turn instead.
    session.info["begin"] = "BEGIN IMMEDIATE"
    try:
        yield
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info["in_use_case"] = False
        session.info["begin"] = None
        todo = session.info.pop(_AFTER_COMMIT)
    for call in todo:
        call()


def _begin_anew(session: Any) -> None:
    """A read made before (who is signed in) must not fix a use-case's view of the world.

    PostgreSQL's READ COMMITTED looks at the world anew for each statement: there the transaction that read goes on,
    which saves two trips, and only what the session remembers is forgotten.
    """
    if session.get_bind().dialect.name == "postgresql" and session.in_transaction():
        connection = session.connection()
        # Whoever read may have gone on though the read failed: of a connection that is gone nothing more is asked.
        gone = connection.invalidated
        if not gone and connection.connection.driver_connection.info.transaction_status == TransactionStatus.INTRANS:
            session.expire_all()
            return
    session.rollback()


_BEHIND = text(
    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END"
)
MOST_BEHIND_SECONDS, LOOK_AGAIN_SECONDS = 10, 2
_KNOWN = "huigong_replica"


def read_the_replica() -> None:
    """Let this request read the replica, where there is one that answers and is at most MOST_BEHIND_SECONDS behind.

    For who has written nothing: a stranger's look at what is for sale. A person's own things are read on the primary,
    where what they have just done is to be seen. Whether the replica is well is looked at every LOOK_AGAIN_SECONDS.
    """
    if REPLICA not in db.engines:
        return
    extensions = current_app.extensions
    known_until, well = extensions.get(_KNOWN, (0.0, False))
    if time.monotonic() >= known_until:
        well = _replica_is_well()
        extensions[_KNOWN] = (time.monotonic() + LOOK_AGAIN_SECONDS, well)
    if well:
        session = db.session()
        assert not session.info.get("in_use_case"), "a use-case reads the primary"
        session.info[REPLICA] = True


def _replica_is_well() -> bool:
    try:
        with db.engines[REPLICA].connect() as connection:
            behind = connection.execute(_BEHIND).scalar_one()
    except SQLAlchemyError:
        db.engines[REPLICA].dispose()
        return False
    return behind is not None and behind <= MOST_BEHIND_SECONDS


def read_again(read: Callable[[], _T]) -> _T:
    """Return what `read` reads; where the connection it began on is gone, read once more on another.

    For the first read of a request alone: nothing has been written yet, so nothing can be done twice. A connection
    that waited in the pool while the database was restarted is then no request's error.
    """
    try:
        return read()
    except DBAPIError as lost:
        if not lost.connection_invalidated or db.session().info.get("in_use_case"):
            raise
        db.session.rollback()
        return read()


def after_commit(function: Callable[..., Any], **ids: Any) -> None:
    """Call `function` once the running use-case has committed, never while its rows are locked."""
    db.session().info[_AFTER_COMMIT].append(lambda: function(**ids))


def rows_changed(statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> int:
    """Execute an INSERT, UPDATE or DELETE and return how many rows it changed: 0 says its condition did not hold."""
    options = {"synchronize_session": False, "preserve_rowcount": True}
    result = db.session.execute(statement, values, execution_options=options)
    return int(cast("CursorResult[Any]", result).rowcount)


def insert_many(table: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write many rows at once, in the caller's transaction: COPY on PostgreSQL, one prepared INSERT on SQLite.

    Values are the database's own: numbers, text, booleans and None. Constraints hold as for any INSERT.
    """
    names = ", ".join(columns)
    connection = db.session.connection()
    if connection.dialect.name == "postgresql":
        driver = cast("Any", connection.connection.driver_connection)
        copying = f"COPY {table.__tablename__} ({names}) FROM STDIN"
        try:
            with driver.cursor() as cursor, cursor.copy(copying) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise as_ours(connection, driver, error) from error
    else:
        marks = ", ".join("?" for _ in columns)
        statement = f"INSERT INTO {table.__tablename__} ({names}) VALUES ({marks})"  # noqa: S608 a table's and its columns' own names
        if values := [tuple(row) for row in rows]:
            connection.exec_driver_sql(statement, values)


def as_ours(connection: Connection, driver: Any, error: psycopg.Error) -> BaseException:
    """Return a driver's error as SQLAlchemy raises it, and leave a connection that is gone as it would have left it.

    For what is said to the driver past SQLAlchemy: it would otherwise find out only when the session is put away, where
    nobody can answer for it.
    """
    lost = _of_no_use(driver)
    raised = DBAPIError.instance(
        None, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
    )
    if lost:
        connection.invalidate(error)
    return raised


def _of_no_use(driver: Any) -> bool:
    """Return whether a connection is gone, or stuck in a pipeline: cut in its middle, it may not know that yet."""
    return bool(driver.closed) or driver.pgconn.pipeline_status != PipelineStatus.OFF


def among(column: SQLColumnExpression[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a text column has one of many values, sent as one parameter however many they are."""
    if db.session.get_bind().dialect.name == "postgresql":
        # One text taken apart by the server: an array would be quoted here value by value.
        return column == any_(func.string_to_array(_UNIT_SEPARATOR.join(values), _UNIT_SEPARATOR))
    each = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(each.c.value))


def prepare_engine(
    engine: Engine,
    *,
    statement_seconds: int = 0,
    lock_seconds: int = 20,
    idle_transaction_seconds: int = 0,
    pooled: bool = False,
) -> None:
    """Set an engine's connections up: WAL and foreign keys on SQLite; time-outs on PostgreSQL, 0 for none.

    A statement that takes longer, waits longer for a lock, or a transaction that nobody goes on with: the request is
    answered `unavailable`, and nothing of it is done.

    `pooled`: a pooler gives each transaction any of its connections. What is SET on one would reach whoever gets it
    next, and not reach us: there the database role has these settings. What was prepared on one is unknown on another,
    so nothing is.
    """
    if engine.dialect.name == "postgresql":

        @event.listens_for(engine, "handle_error")
        def _is_gone(context: ExceptionContext) -> None:
            """Let SQLAlchemy give a connection up that is of no use, whatever it was asked for last."""
            if context.connection is not None and not context.connection.invalidated:
                context.is_disconnect |= _of_no_use(context.connection.connection.driver_connection)

    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA busy_timeout=30000")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(db.session().info.get("begin") or "BEGIN")
    elif not pooled:

        @event.listens_for(engine, "connect")
        def _connect_postgresql(connection: Any, record: Any) -> None:
            record.info[PREPARED] = Prepared()
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SET timezone = 'UTC'; SET lock_timeout = '{lock_seconds:d}s';"
                    f" SET statement_timeout = '{statement_seconds:d}s';"
                    f" SET idle_in_transaction_session_timeout = '{idle_transaction_seconds:d}s'"
                )
            connection.commit()
