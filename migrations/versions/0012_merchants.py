"""Merchants: statements, versions of packs, packages, pickup codes, pictures of what arrived, outgoing webhooks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade():
    _statements()
    _packs()
    _parcels()
    _webhooks()
    with op.batch_alter_table("api_tokens") as table:
        table.add_column(sa.Column("merchant_id", BIG, nullable=True))
        table.create_foreign_key(
            op.f("fk_api_tokens_merchant_id_merchants"), "merchants", ["merchant_id"], ["id"]
        )


def _statements():
    op.create_table(
        "statements",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("paid_fen", BIG, nullable=False),
        sa.Column("subsidy_fen", BIG, nullable=False),
        sa.Column("refund_cash_fen", BIG, nullable=False),
        sa.Column("refund_subsidy_fen", BIG, nullable=False),
        sa.Column("correction_fen", BIG, nullable=False),
        sa.Column("net_fen", BIG, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=False),
        sa.Column("answered_by", BIG, nullable=True),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.Column("dispute_reason", sa.String(200), nullable=True),
        sa.Column("reply", sa.String(200), nullable=True),
        sa.Column("replied_by", BIG, nullable=True),
        sa.Column("replied_at", MOMENT, nullable=True),
        sa.Column("bank_reference", sa.String(80), nullable=True),
        sa.Column("paid_by", BIG, nullable=True),
        sa.Column("paid_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('issued', 'disputed', 'confirmed', 'paid')", name=op.f("ck_statements_status")
        ),
        sa.CheckConstraint(
            "paid_fen >= 0 AND subsidy_fen >= 0 AND refund_cash_fen >= 0 AND refund_subsidy_fen >= 0",
            name=op.f("ck_statements_not_negative"),
        ),
        sa.CheckConstraint(
            "net_fen = paid_fen + subsidy_fen - refund_cash_fen - refund_subsidy_fen + correction_fen",
            name=op.f("ck_statements_net"),
        ),
        sa.CheckConstraint(
            "status <> 'paid' OR bank_reference IS NOT NULL OR net_fen = 0", name=op.f("ck_statements_paid")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_statements_merchant_id_merchants")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_statements_campaign_id_campaigns")),
        sa.ForeignKeyConstraint(["answered_by"], ["people.id"], name=op.f("fk_statements_answered_by_people")),
        sa.ForeignKeyConstraint(["replied_by"], ["people.id"], name=op.f("fk_statements_replied_by_people")),
        sa.ForeignKeyConstraint(["paid_by"], ["people.id"], name=op.f("fk_statements_paid_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statements")),
        sa.UniqueConstraint(
            "merchant_id", "campaign_id", "month", name=op.f("uq_statements_merchant_id_campaign_id_month")
        ),
    )
    op.create_index("ix_statements_status", "statements", ["status", "id"])
    op.create_table(
        "statement_lines",
        sa.Column("posting_id", BIG, autoincrement=False, nullable=False),
        sa.Column("statement_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["ledger_postings.id"], name=op.f("fk_statement_lines_posting_id_ledger_postings")
        ),
        sa.ForeignKeyConstraint(
            ["statement_id"], ["statements.id"], name=op.f("fk_statement_lines_statement_id_statements")
        ),
        sa.PrimaryKeyConstraint("posting_id", name=op.f("pk_statement_lines")),
    )
    op.create_index("ix_statement_lines_statement_id", "statement_lines", ["statement_id"])


def _packs():
    with op.batch_alter_table("pack_contents") as table:
        table.add_column(sa.Column("shelf_life", sa.String(40), nullable=False, server_default=""))
        table.add_column(sa.Column("origin", sa.String(40), nullable=False, server_default=""))
    with op.batch_alter_table("gift_packs") as table:
        table.add_column(sa.Column("alert_below", sa.Integer(), nullable=False, server_default="20"))
        table.add_column(sa.Column("reject_reason", sa.String(200), nullable=True))
        table.create_check_constraint(op.f("ck_gift_packs_alert_below"), "alert_below >= 0")
    op.create_table(
        "pack_changes",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("pack_id", BIG, nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("asked_by", BIG, nullable=True),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("decided_by", BIG, nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("reason", sa.String(200), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_pack_changes_status")
        ),
        sa.ForeignKeyConstraint(["pack_id"], ["gift_packs.id"], name=op.f("fk_pack_changes_pack_id_gift_packs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pack_changes")),
    )
    op.create_index("ix_pack_changes_pack_id", "pack_changes", ["pack_id", "id"])
    op.create_index(
        "uq_pack_changes_waiting",
        "pack_changes",
        ["pack_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "low_stocks",
        sa.Column("pack_id", BIG, autoincrement=False, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["gift_packs.id"], name=op.f("fk_low_stocks_pack_id_gift_packs")),
        sa.PrimaryKeyConstraint("pack_id", name=op.f("pk_low_stocks")),
    )


def _parcels():
    with op.batch_alter_table("order_lines") as table:
        table.add_column(sa.Column("shipped", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("withdrawn", sa.Integer(), nullable=False, server_default="0"))
    parcel = ["order_id", "parcel_no"]
    op.create_table(
        "parcel_packages",
        sa.Column("order_id", BIG, autoincrement=False, nullable=False),
        sa.Column("parcel_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("package_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("carrier", sa.String(40), nullable=False),
        sa.Column("tracking_no", sa.String(60), nullable=False),
        sa.Column("units", JSON, nullable=False),
        sa.Column("shipped_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            parcel,
            ["parcels.order_id", "parcels.parcel_no"],
            name=op.f("fk_parcel_packages_order_id_parcel_no_parcels"),
        ),
        sa.PrimaryKeyConstraint("order_id", "parcel_no", "package_no", name=op.f("pk_parcel_packages")),
    )
    # What left before left whole, in one package.
    gone = (
        "EXISTS (SELECT 1 FROM parcels WHERE parcels.order_id = order_lines.order_id"
        " AND parcels.parcel_no = order_lines.parcel_no AND parcels.shipped_at IS NOT NULL)"
    )
    op.execute(
        "UPDATE order_lines SET withdrawn = COALESCE((SELECT SUM(refund_lines.quantity) FROM refund_lines"
        " JOIN refund_parts ON refund_parts.refund_id = refund_lines.refund_id"
        " AND refund_parts.merchant_id = refund_lines.merchant_id"
        " JOIN order_refunds ON order_refunds.id = refund_lines.refund_id"
        " WHERE order_refunds.order_id = order_lines.order_id AND refund_lines.line_no = order_lines.line_no"
        " AND refund_parts.status = 'accepted' AND NOT refund_parts.shipped), 0)"
    )
    op.execute(f"UPDATE order_lines SET shipped = quantity - withdrawn WHERE {gone}")
    with op.batch_alter_table("order_lines") as table:
        table.create_check_constraint(
            op.f("ck_order_lines_shipped"), "shipped >= 0 AND withdrawn >= 0 AND shipped + withdrawn <= quantity"
        )
    op.execute(
        "INSERT INTO parcel_packages (order_id, parcel_no, package_no, carrier, tracking_no, units, shipped_at)"
        " SELECT order_id, parcel_no, 1, carrier, tracking_no, '{}', shipped_at FROM parcels"
        " WHERE shipped_at IS NOT NULL AND carrier IS NOT NULL AND tracking_no IS NOT NULL"
    )
    op.create_table(
        "pickups",
        sa.Column("order_id", BIG, autoincrement=False, nullable=False),
        sa.Column("parcel_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.String(8), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.Column("used_by", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            parcel, ["parcels.order_id", "parcels.parcel_no"], name=op.f("fk_pickups_order_id_parcel_no_parcels")
        ),
        sa.ForeignKeyConstraint(["used_by"], ["people.id"], name=op.f("fk_pickups_used_by_people")),
        sa.PrimaryKeyConstraint("order_id", "parcel_no", name=op.f("pk_pickups")),
    )
    op.create_index(
        "uq_pickups_code",
        "pickups",
        ["code"],
        unique=True,
        postgresql_where=sa.text("used_at IS NULL"),
        sqlite_where=sa.text("used_at IS NULL"),
    )
    op.create_table(
        "refund_pictures",
        sa.Column("refund_id", BIG, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["order_refunds.id"], name=op.f("fk_refund_pictures_refund_id_order_refunds")
        ),
        sa.PrimaryKeyConstraint("refund_id", "name", name=op.f("pk_refund_pictures")),
    )


def _webhooks():
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("url", sa.String(400), nullable=False),
        sa.Column("sealed_secret", sa.String(400), nullable=False),
        sa.Column("events", JSON, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_webhook_endpoints_merchant_id_merchants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index("ix_webhook_endpoints_merchant_id", "webhook_endpoints", ["merchant_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("endpoint_id", BIG, nullable=False),
        sa.Column("event", sa.String(30), nullable=False),
        sa.Column("thing", sa.String(80), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("answer", sa.String(200), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_deliveries_endpoint_id_webhook_endpoints")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint(
            "endpoint_id", "event", "thing", name=op.f("uq_webhook_deliveries_endpoint_id_event_thing")
        ),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_at"],
        postgresql_where=sa.text("status = 'waiting'"),
        sqlite_where=sa.text("status = 'waiting'"),
    )


def downgrade():
    with op.batch_alter_table("api_tokens") as table:
        table.drop_constraint(op.f("fk_api_tokens_merchant_id_merchants"), type_="foreignkey")
        table.drop_column("merchant_id")
    for name in ("webhook_deliveries", "webhook_endpoints", "refund_pictures", "pickups", "parcel_packages"):
        op.drop_table(name)
    with op.batch_alter_table("order_lines") as table:
        table.drop_constraint(op.f("ck_order_lines_shipped"), type_="check")
        table.drop_column("withdrawn")
        table.drop_column("shipped")
    for name in ("low_stocks", "pack_changes"):
        op.drop_table(name)
    with op.batch_alter_table("gift_packs") as table:
        table.drop_constraint(op.f("ck_gift_packs_alert_below"), type_="check")
        table.drop_column("reject_reason")
        table.drop_column("alert_below")
    with op.batch_alter_table("pack_contents") as table:
        table.drop_column("origin")
        table.drop_column("shelf_life")
    op.drop_table("statement_lines")
    op.drop_table("statements")
