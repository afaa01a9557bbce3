"""A pack's stock may be split between the channels: how many are kept for unions, and how many unions have taken."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TAKEN = """
UPDATE stocks SET bulk_taken = COALESCE((
    SELECT SUM(CASE WHEN p.debit = 'stock.available' THEN p.amount WHEN p.credit = 'stock.available' THEN -p.amount
        ELSE 0 END)
    FROM ledger_postings p JOIN orders o ON o.id = p.order_id
    WHERE o.buyer_kind = 'union' AND p.pack_id = stocks.pack_id), 0)
"""


def upgrade():
    with op.batch_alter_table("stocks") as table:
        table.add_column(sa.Column("bulk_share", BIG, nullable=True))
        table.add_column(sa.Column("bulk_taken", BIG, nullable=False, server_default="0"))
    op.execute(TAKEN)
    with op.batch_alter_table("stocks") as table:
        table.create_check_constraint(
            op.f("ck_stocks_bulk_share"), "bulk_taken >= 0 AND (bulk_share IS NULL OR bulk_taken <= bulk_share)"
        )


def downgrade():
    with op.batch_alter_table("stocks") as table:
        table.drop_constraint(op.f("ck_stocks_bulk_share"), type_="check")
        table.drop_column("bulk_taken")
        table.drop_column("bulk_share")
