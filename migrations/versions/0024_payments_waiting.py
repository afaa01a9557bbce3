"""Payments that wait are found by their provider and status, not by looking through all that were ever made."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
phase = "expand"


def upgrade():
    op.create_index("ix_payments_provider_status", "payments", ["provider", "status"])


def downgrade():
    op.drop_index("ix_payments_provider_status", table_name="payments")
