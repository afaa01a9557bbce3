"""Refunds by line and quantity, in parts; money goes back in as many refunds as a payment has room for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade():
    with op.batch_alter_table("order_lines") as table:
        table.add_column(sa.Column("refund_asked", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("refunded", sa.Integer(), nullable=False, server_default="0"))
        table.create_check_constraint(
            op.f("ck_order_lines_refunded"), "0 <= refunded AND refunded <= refund_asked AND refund_asked <= quantity"
        )
    with op.batch_alter_table("parcels") as table:
        table.drop_constraint(op.f("ck_parcels_status"), type_="check")
        table.create_check_constraint(
            op.f("ck_parcels_status"), "status IN ('to_ship', 'shipped', 'delivered', 'cancelled')"
        )
    with op.batch_alter_table("payments") as table:
        table.add_column(sa.Column("refunded_fen", BIG, nullable=False, server_default="0"))
        table.create_check_constraint(op.f("ck_payments_refunded"), "refunded_fen BETWEEN 0 AND amount_fen")
    op.create_table(
        "payment_refunds",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("payment_id", BIG, nullable=False),
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(80), nullable=False),
        sa.Column("amount_fen", BIG, nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("reference", sa.String(100), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("settled_at", MOMENT, nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_payment_refunds_amount")),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name=op.f("ck_payment_refunds_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_refunds")),
        sa.UniqueConstraint("cause", name=op.f("uq_payment_refunds_cause")),
    )
    op.create_index(op.f("ix_payment_refunds_payment_id"), "payment_refunds", ["payment_id"])
    op.create_index(op.f("ix_payment_refunds_order_id"), "payment_refunds", ["order_id"])
    op.execute(
        "INSERT INTO payment_refunds (id, payment_id, order_id, provider, cause, amount_fen, reason, status,"
        " created_at, settled_at) SELECT refunds.payment_id, refunds.payment_id, refunds.order_id, payments.provider,"
        " 'late:' || refunds.payment_id, refunds.amount_fen, refunds.reason, refunds.status, refunds.created_at,"
        " refunds.settled_at FROM refunds JOIN payments ON payments.id = refunds.payment_id"
    )
    op.execute(
        "UPDATE payments SET refunded_fen = amount_fen WHERE id IN (SELECT payment_id FROM payment_refunds)"
    )
    op.drop_index(op.f("ix_refunds_order_id"), "refunds")
    op.drop_table("refunds")
    op.create_table(
        "order_refunds",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("asked_by", BIG, nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_refunds_order_id_orders")),
        sa.ForeignKeyConstraint(["asked_by"], ["people.id"], name=op.f("fk_order_refunds_asked_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_refunds")),
    )
    op.create_index("ix_order_refunds_order_id", "order_refunds", ["order_id", "id"])
    op.create_table(
        "refund_parts",
        sa.Column("refund_id", BIG, nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("parcel_no", sa.Integer(), nullable=False),
        sa.Column("shipped", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("cash_fen", BIG, nullable=False),
        sa.Column("voucher_fen", BIG, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("decided_by", BIG, nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("decline_reason", sa.String(200), nullable=True),
        sa.Column("appealed_at", MOMENT, nullable=True),
        sa.Column("appeal_reason", sa.String(200), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.CheckConstraint("status IN ('requested', 'declined', 'accepted')", name=op.f("ck_refund_parts_status")),
        sa.CheckConstraint("cash_fen >= 0 AND voucher_fen >= 0", name=op.f("ck_refund_parts_not_negative")),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["order_refunds.id"], name=op.f("fk_refund_parts_refund_id_order_refunds")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_refund_parts_merchant_id_merchants")),
        sa.ForeignKeyConstraint(["decided_by"], ["people.id"], name=op.f("fk_refund_parts_decided_by_people")),
        sa.PrimaryKeyConstraint("refund_id", "merchant_id", name=op.f("pk_refund_parts")),
    )
    op.create_index("ix_refund_parts_merchant", "refund_parts", ["merchant_id", "status", "refund_id"])
    op.create_table(
        "refund_lines",
        sa.Column("refund_id", BIG, nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_refund_lines_quantity")),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["order_refunds.id"], name=op.f("fk_refund_lines_refund_id_order_refunds")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_refund_lines_merchant_id_merchants")),
        sa.PrimaryKeyConstraint("refund_id", "line_no", name=op.f("pk_refund_lines")),
    )


def downgrade():
    for table in ("refund_lines", "refund_parts", "order_refunds"):
        op.drop_table(table)
    op.create_table(
        "refunds",
        sa.Column("payment_id", BIG, autoincrement=False, nullable=False),
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("amount_fen", BIG, nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("settled_at", MOMENT, nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_refunds_amount")),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name=op.f("ck_refunds_status")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_refunds")),
    )
    op.create_index(op.f("ix_refunds_order_id"), "refunds", ["order_id"])
    op.execute(
        "INSERT INTO refunds (payment_id, order_id, amount_fen, reason, status, created_at, settled_at)"
        " SELECT payment_id, order_id, amount_fen, reason, status, created_at, settled_at FROM payment_refunds"
        " WHERE cause = 'late:' || payment_id"
    )
    op.drop_table("payment_refunds")
    with op.batch_alter_table("payments") as table:
        table.drop_constraint(op.f("ck_payments_refunded"), type_="check")
        table.drop_column("refunded_fen")
    with op.batch_alter_table("parcels") as table:
        table.drop_constraint(op.f("ck_parcels_status"), type_="check")
        table.create_check_constraint(op.f("ck_parcels_status"), "status IN ('to_ship', 'shipped', 'delivered')")
    with op.batch_alter_table("order_lines") as table:
        table.drop_constraint(op.f("ck_order_lines_refunded"), type_="check")
        table.drop_column("refunded")
        table.drop_column("refund_asked")
