"""Summaries of sales and vouchers folded from the ledger, a campaign's target, and the results of proofs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MEASURES = ("packs", "sales_fen", "subsidy_fen", "back_packs", "back_fen", "back_subsidy_fen")
VOUCHERS = ("issued", "issued_fen", "held_fen", "redeemed_fen", "released_fen", "expired_fen", "revoked_fen")


def _key(name, kind=BIG):
    return sa.Column(name, kind, autoincrement=False, nullable=False)


def _figures(*names):
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _cells(table, keys, figures, *checks):
    op.create_table(
        table,
        _key("book_id"),
        *keys,
        *_figures(*figures),
        *[sa.CheckConstraint(text, name=op.f(f"ck_{table}_{name}")) for name, text in checks],
        sa.ForeignKeyConstraint(["book_id"], ["summary_books.id"], name=op.f(f"fk_{table}_book_id_summary_books")),
        sa.PrimaryKeyConstraint("book_id", *[key.name for key in keys], name=op.f(f"pk_{table}")),
    )


def upgrade():
    op.create_table(
        "summary_books",
        _key("id"),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("cursor", BIG, nullable=False),
        sa.Column("as_of", MOMENT, nullable=True),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_summary_books")),
    )
    op.create_index(
        "uq_summary_books_current",
        "summary_books",
        ["is_current"],
        unique=True,
        postgresql_where=sa.text("is_current"),
        sqlite_where=sa.text("is_current"),
    )
    sold = ("sold", "packs >= 0 AND sales_fen >= 0 AND subsidy_fen >= 0")
    _cells(
        "sales_days",
        [
            _key("campaign_id"),
            _key("day", sa.Date()),
            _key("merchant_id"),
            _key("pack_id"),
            _key("tier_fen"),
            _key("channel", sa.String(8)),
        ],
        MEASURES,
        sold,
        ("back", "back_packs >= 0 AND back_fen >= 0 AND back_subsidy_fen >= 0"),
    )
    _cells(
        "order_days",
        [
            _key("campaign_id"),
            _key("day", sa.Date()),
            _key("channel", sa.String(8)),
            _key("part", sa.String(8)),
            _key("key", sa.String(40)),
        ],
        ("placed", "paid", "refunds"),
        ("not_negative", "placed >= 0 AND paid >= 0 AND refunds >= 0"),
    )
    _cells(
        "union_sales",
        [_key("campaign_id"), _key("union_id"), _key("merchant_id"), _key("channel", sa.String(8))],
        ("orders", *MEASURES),
        ("sold", f"orders >= 0 AND {sold[1]}"),
    )
    _cells("voucher_sums", [_key("campaign_id"), _key("union_id")], VOUCHERS)
    op.create_table(
        "campaign_targets",
        _key("campaign_id"),
        sa.Column("assisted_percent", sa.Integer(), nullable=False),
        sa.CheckConstraint("assisted_percent BETWEEN 1 AND 100", name=op.f("ck_campaign_targets_percent")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_campaign_targets_campaign_id_campaigns")
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaign_targets")),
    )
    op.create_table(
        "proof_runs",
        _key("id"),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("asked_by", BIG, nullable=True),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("found", JSON, nullable=False),
        sa.Column("said", JSON, nullable=False),
        sa.CheckConstraint("kind IN ('check', 'reconcile', 'verify')", name=op.f("ck_proof_runs_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof_runs")),
    )
    op.create_index("ix_proof_runs_kind", "proof_runs", ["kind", "id"])


def downgrade():
    op.drop_table("proof_runs")
    op.drop_table("campaign_targets")
    for table in ("voucher_sums", "union_sales", "order_days", "sales_days"):
        op.drop_table(table)
    op.drop_table("summary_books")
