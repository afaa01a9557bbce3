"""One trip to PostgreSQL: statements sent together in libpq's pipeline, prepared once for each connection.

psycopg's own pipeline does the same by cursors, which take seven times the processor time of a short statement; its
documented wrapper of libpq (`psycopg.pq`) and its adaptation of values (`psycopg.adapt`) are used here without them.
"""

import select
import time
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection, abc, errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

PREPARED = "huigong_prepared"  # the name of a connection's `Prepared`, in SQLAlchemy's notes on it
MOST_PREPARED = 100  # on a connection; what comes after them is parsed anew each time
PLAN_ANEW_SECONDS = 10
BEGIN, COMMIT, PLAN_ANEW = b"BEGIN", b"COMMIT", b"DISCARD PLANS"
Question = tuple[bytes, Sequence[Any]]


class Prepared(dict[bytes, bytes]):
    """The names of what is prepared on a connection, by text.

    PostgreSQL keeps the plan of a prepared statement until it has counted the table's rows again, a minute later or
    more. In a rush a table is no longer then what it was: one that was empty is read from end to end by the plan made
    for it. So plans are made anew every PLAN_ANEW_SECONDS, from how large the tables are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._anew_at = time.monotonic() + PLAN_ANEW_SECONDS

    def planning(self) -> list[Question]:
        """Return what lets the plans be made anew, where it is time to."""
        now = time.monotonic()
        if now < self._anew_at:
            return []
        self._anew_at = now + PLAN_ANEW_SECONDS
        return [(PLAN_ANEW, ())]


class Answer:
    """What became of one statement."""

    def __init__(self, result: PGresult, adapt: abc.Transformer) -> None:
        self._result, self._adapt = result, adapt

    @property
    def changed(self) -> int:
        """How many rows were changed, or found."""
        return self._result.command_tuples or 0

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows that were found."""
        self._adapt.set_pgresult(self._result)
        return self._adapt.load_rows(0, self._result.ntuples, tuple)


def ask(
    driver: Connection[Any], questions: Sequence[Question], *, prepared: Prepared | None, commits: bool
) -> list[Answer]:
    """Send statements (text with `$1`, its values) in one trip, begin a transaction where there is none, and commit.

    `prepared` is what is prepared on this very connection, and is added to; None where nothing may be. Raises psycopg's
    errors: where PostgreSQL refused a statement, those behind it were not executed and the transaction is to be rolled
    back. A connection on which anything else went wrong is closed: nobody could say what it would answer next.
    """
    adapt = Transformer(driver)
    planning = [] if prepared is None else prepared.planning()
    sent = [*_beginning(driver), *planning, *questions, *([(COMMIT, ())] if commits else [])]
    try:
        results = list(_results(driver, sent, adapt, prepared))
    except BaseException:
        driver.close()
        raise
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise errors.error_from_result(result, encoding=driver.info.encoding)
    first = len(sent) - len(questions) - commits
    return [Answer(result, adapt) for result in results[first : first + len(questions)]]


def _beginning(driver: Connection[Any]) -> list[Question]:
    """Return what begins a transaction where none is under way."""
    if driver.autocommit or driver.pgconn.transaction_status != TransactionStatus.IDLE:
        return []
    if (driver.isolation_level, driver.read_only, driver.deferrable) != (None, None, None):
        driver.execute("")  # psycopg knows how to begin that
        return []
    return [(BEGIN, ())]


def _results(
    driver: Connection[Any], sent: Sequence[Question], adapt: abc.Transformer, prepared: Prepared | None
) -> Iterator[PGresult]:
    """Return the result of each statement, those of its being prepared left out: unless that failed."""
    pgconn = driver.pgconn
    known = Prepared() if prepared is None else prepared
    parsed: list[bytes | None] = []
    names: dict[bytes, bytes] = {}
    pgconn.enter_pipeline_mode()
    for text, values in sent:
        cells = adapt.dump_sequence(values, [PyFormat.TEXT] * len(values))
        name = known.get(text) or names.get(text)
        if name is None and prepared is not None and len(known) + len(names) < MOST_PREPARED:
            name = names[text] = b"huigong_%d" % (len(known) + len(names))
            pgconn.send_prepare(name, text)
            parsed.append(text)
        if name is None:
            pgconn.send_query_params(text, cells)
        else:
            pgconn.send_query_prepared(name, cells)
        parsed.append(None)
    pgconn.pipeline_sync()
    for text_parsed, result in zip(parsed, _received(pgconn), strict=True):
        if text_parsed is None:
            yield result
        elif result.status == ExecStatus.COMMAND_OK:
            known[text_parsed] = names[text_parsed]
        elif result.status == ExecStatus.FATAL_ERROR:
            yield result
    pgconn.exit_pipeline_mode()


def _received(pgconn: PGconn) -> Iterator[PGresult]:
    """Wait for the results up to the pipeline's end, without holding other threads up."""
    waiting = select.poll()
    while True:
        unsent = pgconn.flush()
        waiting.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        waiting.poll()
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # between two statements
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return
            yield result
