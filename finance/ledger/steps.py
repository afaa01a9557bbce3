"""Posting: the verb every room above uses when money or stock has moved."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, literal, null

from finance.ledger.models import PostingRow
from finance.ledger.rules import Cause, Posting
from kernel.db import db
from kernel.statements import Rows, write

_POST = Rows(PostingRow, leaving_out=("id",))


def post(cause: Cause, postings: Sequence[Posting], *, now: datetime) -> None:
    """Write an entry by one multi-row INSERT, in the caller's transaction.

    The entry is unique for its cause: a second one is refused by the table, so nothing posts twice.
    """
    if not postings:
        return
    shared = {
        "entry": cause.entry,
        "kind": cause.kind,
        "order_id": cause.order_id,
        "actor_id": cause.actor_id,
        "reason": cause.reason,
        "at": now,
    }
    rows = [{**shared, "line": line, **posting.__dict__} for line, posting in enumerate(postings, start=1)]
    write(_POST, rows)


def post_issue(vouchers: Any, *, debit: str, credit: str, now: datetime) -> None:
    """Write one entry for each voucher a statement selects (id, campaign_id, face_fen), by one INSERT … SELECT."""
    voucher_id, campaign_id, face_fen = vouchers.selected_columns
    source = vouchers.with_only_columns(
        literal("issue:").concat(voucher_id.cast(PostingRow.entry.type)),
        literal(1),
        literal("issue"),
        literal(debit),
        literal(credit),
        face_fen,
        campaign_id,
        voucher_id,
        null(),
        literal(now, PostingRow.at.type),
    )
    columns = ["entry", "line", "kind", "debit", "credit", "amount", "campaign_id", "voucher_id", "reason", "at"]
    db.session.execute(insert(PostingRow).from_select(columns, source))
