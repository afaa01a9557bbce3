"""What nobody names any more of what was uploaded for everybody: pictures of packs that were replaced or refused."""

from datetime import datetime, timedelta

from sqlalchemy import select

from catalog import queries as catalog_queries
from kernel import files, pictures
from kernel.clock import local
from kernel.db import db
from kernel.files import Store
from orders.models import Grant, OrderLine

NIGHTLY_HOUR = 3  # in Asia/Shanghai
SPARED = timedelta(days=1)
"""A picture is kept before the row that names it is written: what is as new as this is left alone."""


def collect_nightly(store: Store, *, now: datetime) -> int:
    """Collect in the hour it is time for; return how many pictures went."""
    return collect(store, now=now) if local(now).hour == NIGHTLY_HOUR else 0


def collect(store: Store, *, now: datetime) -> int:
    """Drop the pictures no pack, change, order or grant names; return how many. Raises StoreUnavailable.

    A name once given up is never taken up again: each upload has a new one. So nothing is locked.
    """
    kept = {pictures.name_of(file) for file in store.names(public=True, before=now - SPARED)}
    loose = kept - catalog_queries.pictures_named()
    if not loose:
        return 0
    bought = select(OrderLine.picture).where(OrderLine.picture.startswith(files.PUBLIC)).distinct()
    loose -= set(db.session.scalars(bought))
    loose -= {line["picture"] for lines in db.session.scalars(select(Grant.lines)) for line in lines}
    db.session.rollback()  # no transaction stays open while files are dropped
    for name in sorted(loose):
        pictures.drop(store, name)
    return len(loose)
