"""When who asked has seen the answer."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade():
    with op.batch_alter_table("questions") as table:
        table.add_column(sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
        table.create_check_constraint(op.f("ck_questions_seen"), "seen_at IS NULL OR answered_at IS NOT NULL")
    # Who was answered before now was told then: it is no news.
    op.execute("UPDATE questions SET seen_at = answered_at WHERE answered_at IS NOT NULL")


def downgrade():
    with op.batch_alter_table("questions") as table:
        table.drop_constraint(op.f("ck_questions_seen"), type_="check")
        table.drop_column("seen_at")
