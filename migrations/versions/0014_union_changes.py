"""What a merchant cannot send; who is asked again until when; packages of a department, received one by one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade():
    op.create_table(
        "shortages",
        sa.Column("order_id", BIG, autoincrement=False, nullable=False),
        sa.Column("line_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("told_at", MOMENT, nullable=False),
        sa.CheckConstraint("units > 0", name=op.f("ck_shortages_units")),
        sa.ForeignKeyConstraint(
            ["order_id", "line_no"],
            ["order_lines.order_id", "order_lines.line_no"],
            name=op.f("fk_shortages_order_id_line_no_order_lines"),
        ),
        sa.PrimaryKeyConstraint("order_id", "line_no", name=op.f("pk_shortages")),
    )
    with op.batch_alter_table("union_terms") as table:
        table.add_column(sa.Column("replaced", JSON, nullable=False, server_default="[]"))
    with op.batch_alter_table("recipients") as table:
        table.add_column(sa.Column("asked_until", MOMENT, nullable=True))
    with op.batch_alter_table("parcel_faults") as table:
        table.add_column(sa.Column("answer", sa.String(200), nullable=False, server_default=""))
        table.add_column(sa.Column("answered_at", MOMENT, nullable=True))
    op.create_index(
        "ix_parcel_faults_open",
        "parcel_faults",
        ["told_at"],
        postgresql_where=sa.text("answered_at IS NULL"),
        sqlite_where=sa.text("answered_at IS NULL"),
    )
    with op.batch_alter_table("parcel_packages") as table:
        table.add_column(sa.Column("department", sa.String(80), nullable=True))
        table.add_column(sa.Column("received_at", MOMENT, nullable=True))
        table.add_column(sa.Column("received_by", BIG, nullable=True))
        table.create_foreign_key(op.f("fk_parcel_packages_received_by_people"), "people", ["received_by"], ["id"])


def downgrade():
    with op.batch_alter_table("parcel_packages") as table:
        table.drop_constraint(op.f("fk_parcel_packages_received_by_people"), type_="foreignkey")
        table.drop_column("received_by")
        table.drop_column("received_at")
        table.drop_column("department")
    op.drop_index("ix_parcel_faults_open", table_name="parcel_faults")
    with op.batch_alter_table("parcel_faults") as table:
        table.drop_column("answered_at")
        table.drop_column("answer")
    with op.batch_alter_table("recipients") as table:
        table.drop_column("asked_until")
    with op.batch_alter_table("union_terms") as table:
        table.drop_column("replaced")
    op.drop_table("shortages")
