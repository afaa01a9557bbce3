"""A job remembers where it is, so that its next step need not look for it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("jobs") as table:
        table.add_column(
            sa.Column("cursor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, server_default="0")
        )


def downgrade():
    with op.batch_alter_table("jobs") as table:
        table.drop_column("cursor")
