"""A voucher remembers when it expired: what comes back to it later goes on to the campaign's budget."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("vouchers") as table:
        table.add_column(sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True))
    live = sa.text("expired_at IS NULL AND revoked_at IS NULL")
    op.create_index("ix_vouchers_live", "vouchers", ["campaign_id", "id"], postgresql_where=live, sqlite_where=live)


def downgrade():
    op.drop_index("ix_vouchers_live", "vouchers")
    with op.batch_alter_table("vouchers") as table:
        table.drop_column("expired_at")
