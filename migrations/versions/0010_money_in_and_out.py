"""What providers call payments, events tried again, refunds retried, what does not match, bank statements, reconciling."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
OLD_STATES = "status IN ('pending', 'declined', 'succeeded', 'refunded')"
NEW_STATES = "status IN ('pending', 'declined', 'expired', 'succeeded', 'unmatched', 'refunded')"
LINE_STATES = (
    "status IN ('new', 'matched', 'second', 'short', 'over', 'again', 'unknown', 'ignored', 'sent_back', 'out')"
)


def upgrade():
    with op.batch_alter_table("payments") as table:
        table.alter_column("order_id", existing_type=BIG, nullable=True)
        table.add_column(sa.Column("start_key", sa.String(64), nullable=True))
        table.add_column(sa.Column("session", sa.String(255), nullable=True))
        table.add_column(sa.Column("intent", sa.String(255), nullable=True))
        table.add_column(sa.Column("url", sa.Text(), nullable=True))
        table.add_column(sa.Column("closes_at", MOMENT, nullable=True))
        table.add_column(sa.Column("ask_at", MOMENT, nullable=True))
        table.add_column(sa.Column("asks", sa.Integer(), nullable=False, server_default="0"))
        table.drop_constraint(op.f("ck_payments_status"), type_="check")
        table.create_check_constraint(op.f("ck_payments_status"), NEW_STATES)
        table.create_check_constraint(
            op.f("ck_payments_order"), "order_id IS NOT NULL OR status IN ('unmatched', 'refunded')"
        )
        table.create_unique_constraint(op.f("uq_payments_start_key"), ["start_key"])
    op.execute(
        "UPDATE payments SET session = reference, intent = 'pi_sandbox_' || reference WHERE provider = 'sandbox'"
    )
    op.create_index("ix_payments_intent", "payments", ["intent"])
    op.create_index("ix_payments_session", "payments", ["session"])
    op.create_index("ix_payments_settled_at", "payments", ["settled_at"])
    _partial_index("ix_payments_ask_at", "payments", "ask_at", "ask_at IS NOT NULL")
    with op.batch_alter_table("payment_events") as table:
        table.add_column(sa.Column("kind", sa.String(80), nullable=False, server_default=""))
        table.add_column(sa.Column("subject", sa.String(255), nullable=False, server_default=""))
        table.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("try_at", MOMENT, nullable=True))
        table.add_column(sa.Column("error", sa.String(300), nullable=True))
    op.create_index("ix_payment_events_subject", "payment_events", ["provider", "subject"])
    _partial_index("ix_payment_events_waiting", "payment_events", "try_at", "acted_at IS NULL")
    with op.batch_alter_table("payment_refunds") as table:
        table.alter_column("order_id", existing_type=BIG, nullable=True)
        table.add_column(sa.Column("attempt", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("try_at", MOMENT, nullable=True))
        table.add_column(sa.Column("error", sa.String(300), nullable=True))
    op.execute("UPDATE payment_refunds SET try_at = created_at WHERE status = 'pending'")
    op.create_index("ix_payment_refunds_reference", "payment_refunds", ["reference"])
    _partial_index("ix_payment_refunds_waiting", "payment_refunds", "try_at", "status = 'pending'")
    op.create_table(
        "payment_mismatches",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("cause", sa.String(300), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("payment_id", BIG, nullable=True),
        sa.Column("order_id", BIG, nullable=True),
        sa.Column("refund_id", BIG, nullable=True),
        sa.Column("amount", BIG, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("expected_fen", BIG, nullable=True),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("detail", sa.String(300), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("closed_by", BIG, nullable=True),
        sa.Column("note", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_mismatches")),
        sa.UniqueConstraint("cause", name=op.f("uq_payment_mismatches_cause")),
    )
    op.create_index(op.f("ix_payment_mismatches_reference"), "payment_mismatches", ["reference"])
    _partial_index("ix_payment_mismatches_open", "payment_mismatches", "id", "closed_at IS NULL")
    op.create_table(
        "bank_lines",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("serial", sa.String(80), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("amount_fen", BIG, nullable=False),
        sa.Column("counterparty", sa.String(120), nullable=False),
        sa.Column("text", sa.String(300), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("payment_id", BIG, nullable=True),
        sa.Column("note", sa.String(200), nullable=False, server_default=""),
        sa.Column("imported_by", BIG, nullable=True),
        sa.Column("imported_at", MOMENT, nullable=False),
        sa.Column("first_decided_by", BIG, nullable=True),
        sa.CheckConstraint("amount_fen <> 0", name=op.f("ck_bank_lines_amount")),
        sa.CheckConstraint(LINE_STATES, name=op.f("ck_bank_lines_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_lines")),
        sa.UniqueConstraint("serial", name=op.f("uq_bank_lines_serial")),
    )
    op.create_index("ix_bank_lines_status", "bank_lines", ["status", "id"])
    op.create_index("ix_bank_lines_payment_id", "bank_lines", ["payment_id"])
    op.create_index("ix_bank_lines_booked_on", "bank_lines", ["booked_on"])
    op.create_table(
        "reconciliations",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("ran_at", MOMENT, nullable=False),
        sa.Column("compared", sa.Integer(), nullable=False),
        sa.Column("unchecked", sa.Integer(), nullable=False),
        sa.Column("differences", JSON, nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_reconciliations")),
    )


def _partial_index(name, table, column, where):
    op.create_index(name, table, [column], postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def downgrade():
    op.drop_table("reconciliations")
    op.drop_table("bank_lines")
    op.drop_table("payment_mismatches")
    op.drop_index("ix_payment_refunds_waiting", "payment_refunds")
    op.drop_index("ix_payment_refunds_reference", "payment_refunds")
    # What the older tables cannot say: money without an order goes, an ended session is a declined payment, and
    # unmatched money counts as received.
    op.execute("DELETE FROM payment_refunds WHERE order_id IS NULL")
    with op.batch_alter_table("payment_refunds") as table:
        for column in ("error", "try_at", "tries", "attempt"):
            table.drop_column(column)
        table.alter_column("order_id", existing_type=BIG, nullable=False)
    op.drop_index("ix_payment_events_waiting", "payment_events")
    op.drop_index("ix_payment_events_subject", "payment_events")
    with op.batch_alter_table("payment_events") as table:
        for column in ("error", "try_at", "tries", "subject", "kind"):
            table.drop_column(column)
    op.execute("DELETE FROM payments WHERE order_id IS NULL")
    op.execute("UPDATE payments SET status = 'declined' WHERE status = 'expired'")
    op.execute("UPDATE payments SET status = 'succeeded' WHERE status = 'unmatched'")
    for index in ("ix_payments_ask_at", "ix_payments_settled_at", "ix_payments_session", "ix_payments_intent"):
        op.drop_index(index, "payments")
    with op.batch_alter_table("payments") as table:
        table.drop_constraint(op.f("uq_payments_start_key"), type_="unique")
        table.drop_constraint(op.f("ck_payments_order"), type_="check")
        table.drop_constraint(op.f("ck_payments_status"), type_="check")
        table.create_check_constraint(op.f("ck_payments_status"), OLD_STATES)
        for column in ("asks", "ask_at", "closes_at", "url", "intent", "session", "start_key"):
            table.drop_column(column)
        table.alter_column("order_id", existing_type=BIG, nullable=False)
