"""What a monitor is told (Prometheus): what this process counts as it goes, and figures read from the database.

Several processes of gunicorn serve: each counts in a file of its slot, and whichever is asked adds them up
(gunicorn.conf.py gives slots and the folder). Figures are read by one bounded statement each and told again for KEPT,
so a monitor that asks often costs nothing; one that cannot be read leaves a gap and says so.
"""

import hmac
import logging
import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import Any

from flask import Flask, Request, Response, current_app, g, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from psycopg import errors as postgresql
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock, jobs
from kernel.db import db
from orders.queries import figures
from people import message_queries

log = logging.getLogger("huigong")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
KEPT = 10.0  # seconds
PATIENCE = "2s"  # for each statement, on PostgreSQL
LATELY = timedelta(days=1)

if FOLDER in os.environ:
    # A worker's file outlives it and is gone on with by the next of its slot: there are as many files as workers, not
    # as many as there ever were, and nothing that was counted is lost.
    slot = os.environ.get("WORKER_SLOT", f"pid{os.getpid()}")
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)

disable_created_metrics()
COUNTED = CollectorRegistry()
SECONDS = Histogram(
    "huigong_http_seconds",
    "Time to answer, by endpoint and class of status",
    ["endpoint", "status"],
    registry=COUNTED,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
POOL = Gauge(
    "huigong_pool_connections",
    "Connections to the database held by web processes, and those of them in use",
    ["state"],
    registry=COUNTED,
    multiprocess_mode="livesum",
)
TROUBLE = Counter(
    "huigong_database_trouble",
    "Requests the database did not answer, by why: statement_timeout, lock_timeout, conflict, pool, lost",
    ["why"],
    registry=COUNTED,
)
_children: dict[tuple[str | None, int], Any] = {}


def install(app: Flask) -> None:
    """Count every request and the pool's connections."""
    app.config.setdefault("FIGURES_SECONDS", KEPT)
    app.after_request(_count)
    with app.app_context():
        _watch(db.engine)


def _count(response: Response) -> Response:
    key = request.endpoint, response.status_code // 100
    child = _children.get(key)
    if child is None:
        child = _children[key] = SECONDS.labels(endpoint=key[0] or "(none)", status=f"{key[1]}xx")
    child.observe(perf_counter() - g.began)
    return response


def _watch(engine: Any) -> None:
    held, used = POOL.labels(state="open"), POOL.labels(state="used")
    for name, gauge, step in (
        ("connect", held, 1),
        ("close", held, -1),
        ("close_detached", held, -1),
        ("checkout", used, 1),
        ("checkin", used, -1),
    ):
        event.listen(engine, name, lambda *_, gauge=gauge, step=step: gauge.inc(step))


def trouble(error: SQLAlchemyError) -> str:
    """Count that the database did not answer, and return why: what its 503 was for."""
    cause = getattr(error, "orig", None)
    why = "lost"
    if isinstance(error, NoConnection):
        why = "pool"
    elif isinstance(cause, postgresql.QueryCanceled):
        why = "statement_timeout"
    elif isinstance(cause, postgresql.LockNotAvailable) or "database is locked" in str(cause):
        why = "lock_timeout"
    elif isinstance(cause, postgresql.SerializationFailure | postgresql.DeadlockDetected):
        why = "conflict"
    TROUBLE.labels(why=why).inc()
    return why


def may_see(asked: Request, token: str) -> bool:
    """Return whether a request may see the metrics: with the token or, where none is set, from this machine itself.

    What a proxy passes on is from elsewhere, however near the proxy is.
    """
    if token:
        return hmac.compare_digest(asked.headers.get("Authorization", "").encode(), f"Bearer {token}".encode())
    forwarded = "X-Forwarded-For" in asked.headers or "Forwarded" in asked.headers
    return not forwarded and (asked.remote_addr or "").startswith(("127.", "::1"))


def exposition() -> bytes:
    """Return everything, in Prometheus's text."""
    registry = COUNTED
    if FOLDER in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return generate_latest(registry) + _figures()


def _figures() -> bytes:
    kept = current_app.extensions.get("huigong_figures")
    if kept is None or monotonic() - kept[0] >= current_app.config["FIGURES_SECONDS"]:
        registry = CollectorRegistry()
        registry.register(_Figures())  # type: ignore[arg-type]
        kept = current_app.extensions["huigong_figures"] = (monotonic(), generate_latest(registry))
    return kept[1]


class _Figures:
    """What the database says, one family after another; what cannot be read is left out and counted."""

    def collect(self) -> Iterable[Metric]:
        """Read all of them."""
        now = clock.now()
        unread = 0
        readers = (_orders, _summaries, _holds, _payments, _webhooks, _jobs, _messages, _proofs, _money, _connections)
        for read in readers:
            try:
                if db.engine.dialect.name == "postgresql":
                    db.session.execute(text("SELECT set_config('statement_timeout', :most, true)"), {"most": PATIENCE})
                found = list(read(now))
            except SQLAlchemyError:
                log.warning("a figure could not be read", extra={"figure": read.__name__[1:]}, exc_info=True)
                unread += 1
                found = []
            finally:
                _let_go()
            yield from found
        yield _gauge("figures_unread", "Groups of figures that could not be read from the database just now", unread)
        up = "1 where the database answered at least one question, else 0"
        yield _gauge("database_up", up, int(unread < len(readers)))


def _let_go() -> None:
    try:
        db.session.rollback()
    except SQLAlchemyError:
        db.session.remove()


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"huigong_{name}", help, value=value)


def _by(name: str, help: str, label: str, found: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"huigong_{name}", help, labels=[label])
    for key, value in found.items():
        family.add_metric([key], value)
    return family


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0


def _orders(now: datetime) -> Iterator[Metric]:
    by_status = figures.open_orders(now=now)
    counts: dict[str, float] = {status: count for status, (count, _, _) in by_status.items()}
    yield _by("orders_open", "Orders that hold packs and discount and are not paid", "status", counts)
    held_fen = sum(fen for _, fen, _ in by_status.values())
    yield _gauge("discount_held_fen", "Discount held by orders that are not paid, in fen", held_fen)
    due = [first for _, _, first in by_status.values() if first is not None]
    lag = _age(min(due), now) if due else 0.0
    yield _gauge("sweep_lag_seconds", "How long the first order that should have expired has been due", lag)


def _summaries(now: datetime) -> Iterator[Metric]:
    as_of, sums = figures.summarized()
    orders = CounterMetricFamily("huigong_orders", "Orders placed, paid and refunded in all", labels=["what"])
    for what in ("placed", "paid", "refunded"):
        orders.add_metric([what], sums[what])
    yield orders
    yield CounterMetricFamily("huigong_sales_fen", "Sold in all, at full price, in fen", value=sums["sales_fen"])
    yield CounterMetricFamily("huigong_discount_fen", "Discount on what was sold, in fen", value=sums["discount_fen"])
    states = ("issued", "held", "redeemed", "expired", "revoked")
    vouchers: dict[str, float] = {state: sums[f"{state}_fen"] for state in states}
    yield _by("voucher_fen", "Vouchers' money by what became of it, in fen", "state", vouchers)
    yield _gauge("summaries_age_seconds", "How old the dashboard's figures and these totals are", _age(as_of, now))


def _holds(now: datetime) -> Iterator[Metric]:
    yield _gauge("packs_held", "Packs held for orders that are not paid", catalog_queries.held_packs())


def _payments(now: datetime) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "huigong_payments", "Payments begun within the last day, by provider and state", labels=["provider", "status"]
    )
    for (provider, status), count in gateway_queries.lately(since=now - LATELY).items():
        family.add_metric([provider, status], count)
    yield family
    oldest = _age(gateway_queries.oldest_event(), now)
    yield _gauge("payment_event_age_seconds", "How long the oldest event waits that was not acted on", oldest)


def _webhooks(now: datetime) -> Iterator[Metric]:
    count, oldest = figures.webhooks_waiting()
    yield _gauge("webhooks_waiting", "Webhooks that are still to be delivered to merchants' systems", count)
    yield _gauge("webhook_age_seconds", "How long the oldest of them waits", _age(oldest, now))


def _jobs(now: datetime) -> Iterator[Metric]:
    found = jobs.figures()
    depth: dict[str, float] = {status: count for status, (count, _) in found.items()}
    yield _by("jobs", "Jobs that are queued, running, and failed (which wait for a person)", "status", depth)
    age = {status: _age(oldest, now) for status, (_, oldest) in found.items()}
    yield _by("job_age_seconds", "How long ago the oldest of them was asked for", "status", age)


def _messages(now: datetime) -> Iterator[Metric]:
    count, oldest = message_queries.overdue(now=now)
    yield _gauge("messages_waiting", "Messages that could go by now and have not", count)
    yield _gauge("message_age_seconds", "How long the oldest one-time code waits that has not gone", _age(oldest, now))
    unsure, _ = message_queries.unsure_since()
    yield _gauge("messages_unsure", "Messages of which nobody knows whether they arrived, waiting for a person", unsure)


def _proofs(now: datetime) -> Iterator[Metric]:
    found = figures.proofs()
    breaches: dict[str, float] = {kind: count for kind, (count, _) in found.items()}
    yield _by("proof_breaches", "What the last run of each proof found: 0 is well", "kind", breaches)
    age = {kind: _age(ended, now) for kind, (_, ended) in found.items()}
    yield _by("proof_age_seconds", "How long ago each proof ran", "kind", age)


MEANINGS = {
    "reconcile_differences": "Differences the last reconciliation found",
    "reconcile_ran": "When the last reconciliation ran (POSIX seconds, 0 for never)",
    "payment_mismatches_open": "Payments and refunds that do not match and wait for a person",
    "payment_events_waiting": "Events of payment providers that were not acted on yet",
    "refunds_failed": "Refunds a provider could not send, waiting for a person",
    "bank_lines_open": "Lines of bank statements waiting for a person",
}


def _money(now: datetime) -> Iterator[Metric]:
    for name, value in gateway_queries.figures().items():
        yield _gauge(name, MEANINGS[name], value)


def _connections(now: datetime) -> Iterator[Metric]:
    states: dict[str, float] = {"active": 0, "idle": 0, "idle in transaction": 0}
    most, longest = 0.0, 0.0
    if db.engine.dialect.name == "postgresql":
        rows = db.session.execute(
            text(
                "SELECT state, count(*), coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0),"
                " current_setting('max_connections')::int FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY state"
            )
        ).all()
        for state, count, oldest, limit in rows:
            most, longest = float(limit), max(longest, float(oldest))
            if state in states:
                states[state] += count
    else:
        db.session.execute(text("SELECT 1"))
    yield _by("database_connections", "Connections to the database from everywhere, by state", "state", states)
    yield _gauge("database_connections_most", "How many PostgreSQL takes (0: unknown, or SQLite)", most)
    yield _gauge("database_transaction_seconds", "How long the longest transaction under way has been so", longest)
