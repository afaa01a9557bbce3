"""Sheets are imported part by part; a member who left is marked; a campaign may need a second person to open."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade():
    op.create_table(
        "imports",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("filename", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("fields", JSON, nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("effect", JSON, nullable=False),
        sa.Column("done", JSON, nullable=False),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("changes", JSON, nullable=False),
        sa.Column("scope", JSON, nullable=False),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("asked_by", BIG, nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_kind"), "imports", ["kind"])
    owned = lambda name: sa.ForeignKeyConstraint(  # noqa: E731
        ["import_id"], ["imports.id"], name=op.f(f"fk_{name}_import_id_imports")
    )
    op.create_table(
        "import_parts",
        sa.Column("import_id", BIG, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        owned("import_parts"),
        sa.PrimaryKeyConstraint("import_id", "position", name=op.f("pk_import_parts")),
    )
    op.create_table(
        "import_keys",
        sa.Column("import_id", BIG, nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        owned("import_keys"),
        sa.PrimaryKeyConstraint("import_id", "key", name=op.f("pk_import_keys")),
    )
    op.create_table(
        "import_seen",
        sa.Column("import_id", BIG, nullable=False),
        sa.Column("thing_id", BIG, nullable=False),
        owned("import_seen"),
        sa.PrimaryKeyConstraint("import_id", "thing_id", name=op.f("pk_import_seen")),
    )
    op.create_table(
        "import_faults",
        sa.Column("import_id", BIG, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("column", sa.String(40), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.Column("figures", JSON, nullable=False),
        owned("import_faults"),
        sa.PrimaryKeyConstraint("import_id", "position", name=op.f("pk_import_faults")),
    )
    with op.batch_alter_table("members") as table:
        table.add_column(sa.Column("left_on", sa.Date(), nullable=True))
    with op.batch_alter_table("campaigns") as table:
        table.add_column(sa.Column("launch", sa.String(12), nullable=False, server_default="free"))
        table.add_column(sa.Column("launch_asked_by", BIG, nullable=True))
        table.add_column(sa.Column("launched_by", BIG, nullable=True))
        table.create_check_constraint(op.f("ck_campaigns_launch"), "launch IN ('free', 'waiting', 'asked', 'launched')")
        table.create_check_constraint(
            op.f("ck_campaigns_two_people"), "launched_by IS NULL OR launch_asked_by IS NULL OR launched_by <> launch_asked_by"
        )


def downgrade():
    with op.batch_alter_table("campaigns") as table:
        table.drop_constraint(op.f("ck_campaigns_two_people"), type_="check")
        table.drop_constraint(op.f("ck_campaigns_launch"), type_="check")
        for name in ("launched_by", "launch_asked_by", "launch"):
            table.drop_column(name)
    with op.batch_alter_table("members") as table:
        table.drop_column("left_on")
    for name in ("import_faults", "import_seen", "import_keys", "import_parts", "imports"):
        op.drop_table(name)
