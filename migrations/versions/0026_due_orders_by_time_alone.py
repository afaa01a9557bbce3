"""The index of orders that may expire serves who asks for a time, and cannot be taken for another question."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
phase = "contract"

NAME, TABLE, COLUMNS = "ix_orders_due", "orders", ["expires_at"]
BEFORE = "status IN ('pending_payment', 'approved')"
AFTER = f"{BEFORE} AND expires_at IS NOT NULL"


def upgrade():
    _only(AFTER)


def downgrade():
    _only(BEFORE)


def _only(rows):
    op.drop_index(NAME, table_name=TABLE)
    op.create_index(NAME, TABLE, COLUMNS, postgresql_where=sa.text(rows), sqlite_where=sa.text(rows))
