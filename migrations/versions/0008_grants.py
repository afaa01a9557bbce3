"""Grants: packs and vouchers given free to a named list, each confirmed by its recipient."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

MONEY = (
    "district.funds",
    "budget.member",
    "budget.bulk",
    "voucher.balance",
    "voucher.held",
    "voucher.redeemed",
    "bulk.held",
    "bulk.redeemed",
    "grant.held",
    "grant.redeemed",
    "grant.promised",
    "cash",
    "subsidy",
    "refund.due",
    "merchant.owed",
)
STOCK = ("stock.source", "stock.available", "stock.held", "stock.sold")
BUYER = "(buyer_kind = 'member' AND member_id IS NOT NULL) OR (buyer_kind = 'union' AND union_id IS NOT NULL)"


def _one_unit(money):
    def listed(column, kinds):
        return f"{column} IN ({', '.join(repr(kind) for kind in kinds)})"

    return " OR ".join(f"({listed('debit', kinds)} AND {listed('credit', kinds)})" for kinds in (money, STOCK))


def _replace(table_name, constraint, condition):
    with op.batch_alter_table(table_name) as table:
        table.drop_constraint(op.f(constraint), type_="check")
        table.create_check_constraint(op.f(constraint), condition)


def _guard_ledger():
    # SQLite makes a table anew to change a constraint, and its triggers go with the old one.
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ledger_postings_no_{verb.lower()} BEFORE {verb} ON ledger_postings "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def upgrade():
    _replace("ledger_postings", "ck_ledger_postings_one_unit", _one_unit(MONEY))
    _guard_ledger()
    _replace("orders", "ck_orders_buyer", f"{BUYER} OR (buyer_kind = 'grant' AND payable_fen = 0)")
    with op.batch_alter_table("campaigns") as table:
        table.add_column(sa.Column("grant_budget_fen", BIG, nullable=True))
        table.add_column(sa.Column("grant_committed_fen", BIG, nullable=False, server_default="0"))
        table.create_check_constraint(op.f("ck_campaigns_grant_not_negative"), "grant_committed_fen >= 0")
        table.create_check_constraint(
            op.f("ck_campaigns_grant_budget"), "grant_budget_fen IS NULL OR grant_committed_fen <= grant_budget_fen"
        )
    op.create_table(
        "grants",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("campaign_id", BIG, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("name_en", sa.String(200), nullable=False),
        sa.Column("lines", JSON, nullable=False),
        sa.Column("cost_fen", BIG, nullable=False),
        sa.Column("voucher_campaign_id", BIG, nullable=True),
        sa.Column("deadline", MOMENT, nullable=False),
        sa.Column("made_by", BIG, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint("cost_fen >= 0", name=op.f("ck_grants_cost")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_grants_campaign_id_campaigns")),
        sa.ForeignKeyConstraint(
            ["voucher_campaign_id"], ["campaigns.id"], name=op.f("fk_grants_voucher_campaign_id_campaigns")
        ),
        sa.ForeignKeyConstraint(["made_by"], ["people.id"], name=op.f("fk_grants_made_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index("ix_grants_campaign_id", "grants", ["campaign_id", "id"])
    op.create_table(
        "grant_recipients",
        sa.Column("grant_id", BIG, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("phone", sa.String(20), nullable=False),
        sa.Column("member_no", sa.String(40), nullable=False),
        sa.Column("member_id", BIG, nullable=True),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.Column("answered_by", BIG, nullable=True),
        sa.Column("order_id", BIG, nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'confirmed', 'declined', 'lapsed')", name=op.f("ck_grant_recipients_status")
        ),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name=op.f("fk_grant_recipients_grant_id_grants")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_grant_recipients_member_id_members")),
        sa.ForeignKeyConstraint(["answered_by"], ["people.id"], name=op.f("fk_grant_recipients_answered_by_people")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_grant_recipients_order_id_orders")),
        sa.PrimaryKeyConstraint("grant_id", "position", name=op.f("pk_grant_recipients")),
        sa.UniqueConstraint("grant_id", "phone", name=op.f("uq_grant_recipients_grant_id_phone")),
    )
    op.create_index("ix_grant_recipients_member_id", "grant_recipients", ["member_id", "status"])
    op.create_index("ix_grant_recipients_waiting", "grant_recipients", ["grant_id", "status", "position"])


def downgrade():
    op.drop_table("grant_recipients")
    op.drop_table("grants")
    with op.batch_alter_table("campaigns") as table:
        table.drop_constraint(op.f("ck_campaigns_grant_budget"), type_="check")
        table.drop_constraint(op.f("ck_campaigns_grant_not_negative"), type_="check")
        table.drop_column("grant_committed_fen")
        table.drop_column("grant_budget_fen")
    _replace("orders", "ck_orders_buyer", BUYER)
    _replace("ledger_postings", "ck_ledger_postings_one_unit", _one_unit(tuple(kind for kind in MONEY if not kind.startswith("grant."))))
    _guard_ledger()
