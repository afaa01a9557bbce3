"""Union orders: self-choice, receipts, faults of parcels, invoices, and rosters with faults kept for their marked copy."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
NEW_COLUMNS = (
    ("quantity", sa.Integer(), "1"),
    ("link_code", BIG, "0"),
    ("value_fen", BIG, None),
    ("chosen_at", MOMENT, None),
    ("delivery", JSON, None),
    ("reminded_at", MOMENT, None),
    ("received_at", MOMENT, None),
    ("received_how", sa.String(8), None),
)


def _to(table_name, column, target):
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table_name}_{column}_{target}"))


def upgrade():
    with op.batch_alter_table("recipients") as table:
        for name, kind, default in NEW_COLUMNS:
            table.add_column(sa.Column(name, kind, nullable=default is None, server_default=default))
        table.create_check_constraint(op.f("ck_recipients_quantity"), "quantity > 0")
        table.create_check_constraint(op.f("ck_recipients_received_how"), "received_how IN ('link', 'officer')")
    op.create_index("ix_recipients_phone", "recipients", ["phone"])
    op.create_index("ix_recipients_pack_id", "recipients", ["pack_id", "order_id"])
    op.create_table(
        "union_terms",
        sa.Column("order_id", BIG, autoincrement=False, nullable=False),
        sa.Column("tier_fen", BIG, nullable=True),
        sa.Column("pack_ids", JSON, nullable=False, server_default="[]"),
        sa.Column("default_pack_id", BIG, nullable=True),
        sa.Column("deadline", MOMENT, nullable=True),
        sa.Column("voided_at", MOMENT, nullable=True),
        sa.Column("voided_was", sa.String(16), nullable=True),
        sa.Column("cap_override", sa.String(200), nullable=True),
        sa.Column("overridden_by", BIG, nullable=True),
        sa.Column("copied_from", BIG, nullable=True),
        sa.Column("warned_at", MOMENT, nullable=True),
        sa.Column("slip_key", sa.String(200), nullable=True),
        sa.CheckConstraint(
            "tier_fen IS NULL OR (default_pack_id IS NOT NULL AND deadline IS NOT NULL)",
            name=op.f("ck_union_terms_choice_is_whole"),
        ),
        _to("union_terms", "order_id", "orders"),
        _to("union_terms", "default_pack_id", "gift_packs"),
        _to("union_terms", "overridden_by", "people"),
        _to("union_terms", "copied_from", "orders"),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_union_terms")),
    )
    op.execute("INSERT INTO union_terms (order_id, pack_ids) SELECT id, '[]' FROM orders WHERE buyer_kind = 'union'")
    op.create_table(
        "roster_uploads",
        sa.Column("order_id", BIG, autoincrement=False, nullable=False),
        sa.Column("filename", sa.String(200), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("faults", JSON, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        _to("roster_uploads", "order_id", "orders"),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_roster_uploads")),
    )
    op.create_index("ix_roster_uploads_made_at", "roster_uploads", ["made_at"])
    op.create_table(
        "parcel_faults",
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("parcel_no", sa.Integer(), nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("broken", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("told_at", MOMENT, nullable=False),
        sa.CheckConstraint("missing >= 0 AND broken >= 0 AND missing + broken > 0", name=op.f("ck_parcel_faults_counts")),
        _to("parcel_faults", "order_id", "orders"),
        _to("parcel_faults", "merchant_id", "merchants"),
        sa.PrimaryKeyConstraint("order_id", "line_no", name=op.f("pk_parcel_faults")),
    )
    op.create_index("ix_parcel_faults_merchant_id", "parcel_faults", ["merchant_id", "order_id"])
    op.create_table(
        "invoices",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("merchant_id", BIG, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(100), nullable=False),
        sa.Column("tax_no", sa.String(18), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("amount_fen", BIG, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("number", sa.String(40), nullable=False),
        sa.Column("file_key", sa.String(200), nullable=True),
        sa.Column("file_name", sa.String(200), nullable=False),
        sa.Column("asked_by", BIG, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("issued_at", MOMENT, nullable=True),
        sa.CheckConstraint("kind IN ('normal', 'special')", name=op.f("ck_invoices_kind")),
        sa.CheckConstraint("status IN ('requested', 'issued')", name=op.f("ck_invoices_status")),
        sa.CheckConstraint("amount_fen <> 0", name=op.f("ck_invoices_amount")),
        _to("invoices", "order_id", "orders"),
        _to("invoices", "merchant_id", "merchants"),
        _to("invoices", "asked_by", "people"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("order_id", "merchant_id", "part", name=op.f("uq_invoices_order_id_merchant_id_part")),
    )
    op.create_index("ix_invoices_merchant_id", "invoices", ["merchant_id", "status", "id"])


def downgrade():
    for table_name in ("invoices", "parcel_faults", "roster_uploads", "union_terms"):
        op.drop_table(table_name)
    op.drop_index("ix_recipients_pack_id", "recipients")
    op.drop_index("ix_recipients_phone", "recipients")
    with op.batch_alter_table("recipients") as table:
        table.drop_constraint(op.f("ck_recipients_received_how"), type_="check")
        table.drop_constraint(op.f("ck_recipients_quantity"), type_="check")
        for name, _, _ in reversed(NEW_COLUMNS):
            table.drop_column(name)
