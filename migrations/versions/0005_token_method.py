"""A token opens what its maker's sign-in opened, and the audit's head is there before the first entry."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("api_tokens") as table:
        table.add_column(sa.Column("method", sa.String(16), nullable=False, server_default="totp"))
    op.execute(
        "INSERT INTO audit_heads (id, last_id, hash) "
        f"SELECT 1, 0, '{'0' * 64}' WHERE NOT EXISTS (SELECT 1 FROM audit_heads)"
    )


def downgrade():
    with op.batch_alter_table("api_tokens") as table:
        table.drop_column("method")
