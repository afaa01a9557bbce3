"""A text message may be long: it names every pack a merchant cannot send."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("messages") as table:
        table.alter_column("sealed", existing_type=sa.String(500), type_=sa.Text(), existing_nullable=False)


def downgrade():
    # What is longer cannot be kept in 500 characters, and a message is of no use when it is old.
    op.execute("DELETE FROM messages WHERE length(sealed) > 500")
    with op.batch_alter_table("messages") as table:
        table.alter_column("sealed", existing_type=sa.Text(), type_=sa.String(500), existing_nullable=False)
