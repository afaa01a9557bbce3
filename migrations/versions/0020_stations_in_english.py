"""Pickup stations have an English name and address, where the union gives them."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade():
    with op.batch_alter_table("pickup_stations") as table:
        table.add_column(sa.Column("name_en", sa.String(160), nullable=False, server_default=""))
        table.add_column(sa.Column("address_en", sa.String(300), nullable=False, server_default=""))


def downgrade():
    with op.batch_alter_table("pickup_stations") as table:
        table.drop_column("address_en")
        table.drop_column("name_en")
