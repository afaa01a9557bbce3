"""对账: compare a day and keep what was found; each night the day before."""

from datetime import date, datetime, timedelta

from finance.gateway import queries as gateway_queries
from finance.gateway import steps as gateway_steps
from kernel.clock import local
from kernel.db import transaction
from orders.queries import money
from orders.queries.money import Compared

NIGHTLY_HOUR = 2  # in Asia/Shanghai: the day's last events have come


def reconcile(day: date, *, now: datetime) -> Compared:
    """Compare a day, with no row held, then keep what was found; a later run of the same day replaces it."""
    found = money.compare_day(day, now=now)
    with transaction():
        gateway_steps.keep_reconciliation(
            day=day, compared=found.compared, unchecked=found.unchecked, differences=found.listed(), now=now
        )
    return found


def reconcile_nightly(*, now: datetime) -> Compared | None:
    """Reconcile yesterday where it is time and nobody has; None where there was nothing to do."""
    here = local(now)
    yesterday = here.date() - timedelta(days=1)
    if here.hour < NIGHTLY_HOUR or gateway_queries.reconciliation(yesterday) is not None:
        return None
    return reconcile(yesterday, now=now)
