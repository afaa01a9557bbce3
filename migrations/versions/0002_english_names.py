"""Copy a line's English names too: an order reads the same in both languages whatever happens to the pack."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("order_lines") as table:
        table.add_column(sa.Column("pack_name_en", sa.String(160), nullable=False, server_default=""))
        table.add_column(sa.Column("merchant_name_en", sa.String(200), nullable=False, server_default=""))


def downgrade():
    with op.batch_alter_table("order_lines") as table:
        table.drop_column("merchant_name_en")
        table.drop_column("pack_name_en")
