"""What a request caused keeps the request's id."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
phase = "expand"

TABLES = ("jobs", "messages", "parcels", "parcel_faults", "order_refunds", "webhook_deliveries")


def upgrade():
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("request_id", sa.String(64), nullable=False, server_default=""))


def downgrade():
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            table.drop_column("request_id")
