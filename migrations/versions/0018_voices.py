"""Pickup stations on a map; announcements, questions, ratings."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade():
    with op.batch_alter_table("pickup_stations") as table:
        table.add_column(sa.Column("district", sa.String(40), nullable=False, server_default=""))
        table.add_column(sa.Column("services", sa.String(200), nullable=False, server_default=""))
        table.add_column(sa.Column("phone", sa.String(30), nullable=False, server_default=""))
        table.add_column(sa.Column("lat_e6", sa.Integer(), nullable=True))
        table.add_column(sa.Column("lon_e6", sa.Integer(), nullable=True))
        table.add_column(sa.Column("is_open", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.create_check_constraint(
            op.f("ck_pickup_stations_position"),
            "(lat_e6 IS NULL AND lon_e6 IS NULL) OR (lat_e6 BETWEEN -90000000 AND 90000000"
            " AND lon_e6 BETWEEN -180000000 AND 180000000)",
        )
    with op.batch_alter_table("gift_packs") as table:
        table.add_column(sa.Column("rating_count", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("rating_stars", sa.Integer(), nullable=False, server_default="0"))
        table.create_check_constraint(
            op.f("ck_gift_packs_rating"), "rating_stars BETWEEN rating_count AND 5 * rating_count"
        )
    _announcements()
    _questions()
    _ratings()


def _announcements():
    op.create_table(
        "announcements",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("campaign_id", BIG, nullable=True),
        sa.Column("title", sa.String(80), nullable=False),
        sa.Column("title_en", sa.String(160), nullable=False),
        sa.Column("body", sa.String(2000), nullable=False),
        sa.Column("body_en", sa.String(4000), nullable=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("is_pinned", sa.Boolean(), nullable=False),
        sa.Column("written_by", BIG, nullable=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_announcements_period")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_announcements_campaign_id_campaigns")
        ),
        sa.ForeignKeyConstraint(["written_by"], ["people.id"], name=op.f("fk_announcements_written_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
    )
    op.create_index("ix_announcements_ends_at", "announcements", ["ends_at"])


def _questions():
    op.create_table(
        "questions",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("once", sa.String(64), nullable=False),
        sa.Column("member_id", BIG, nullable=True),
        sa.Column("pack_id", BIG, nullable=True),
        sa.Column("order_id", BIG, nullable=True),
        sa.Column("merchant_id", BIG, nullable=True),
        sa.Column("words", sa.String(500), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("answer", sa.String(1000), nullable=True),
        sa.Column("answered_as", sa.String(8), nullable=True),
        sa.Column("answered_by", BIG, nullable=True),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.Column("published_at", MOMENT, nullable=True),
        sa.CheckConstraint("(pack_id IS NULL) <> (order_id IS NULL)", name=op.f("ck_questions_about_one_thing")),
        sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name=op.f("ck_questions_answered")),
        sa.CheckConstraint(
            "published_at IS NULL OR (answer IS NOT NULL AND pack_id IS NOT NULL)", name=op.f("ck_questions_published")
        ),
        sa.CheckConstraint("answered_as IN ('merchant', 'operator')", name=op.f("ck_questions_answered_as")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_questions_member_id_members")),
        sa.ForeignKeyConstraint(["pack_id"], ["gift_packs.id"], name=op.f("fk_questions_pack_id_gift_packs")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_questions_order_id_orders")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_questions_merchant_id_merchants")),
        sa.ForeignKeyConstraint(["answered_by"], ["people.id"], name=op.f("fk_questions_answered_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questions")),
        sa.UniqueConstraint("once", name=op.f("uq_questions_once")),
    )
    op.create_index("ix_questions_merchant_id", "questions", ["merchant_id", "id"])
    op.create_index("ix_questions_member_id", "questions", ["member_id", "id"])
    op.create_index("ix_questions_pack_id", "questions", ["pack_id", "published_at"])
    op.create_index("ix_questions_order_id", "questions", ["order_id"])
    op.create_index("ix_questions_answered_at", "questions", ["answered_at", "due_at"])


def _ratings():
    op.create_table(
        "ratings",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("order_id", BIG, nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("pack_id", BIG, nullable=False),
        sa.Column("member_id", BIG, nullable=True),
        sa.Column("stars", sa.Integer(), nullable=False),
        sa.Column("words", sa.String(500), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("rated_at", MOMENT, nullable=False),
        sa.Column("decided_by", BIG, nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.CheckConstraint("stars BETWEEN 1 AND 5", name=op.f("ck_ratings_stars")),
        sa.CheckConstraint("status IN ('none', 'waiting', 'shown', 'hidden')", name=op.f("ck_ratings_status")),
        sa.CheckConstraint("(status = 'none') = (words = '')", name=op.f("ck_ratings_words")),
        sa.ForeignKeyConstraint(
            ["order_id", "line_no"],
            ["order_lines.order_id", "order_lines.line_no"],
            name=op.f("fk_ratings_order_id_line_no_order_lines"),
        ),
        sa.ForeignKeyConstraint(["pack_id"], ["gift_packs.id"], name=op.f("fk_ratings_pack_id_gift_packs")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_ratings_member_id_members")),
        sa.ForeignKeyConstraint(["decided_by"], ["people.id"], name=op.f("fk_ratings_decided_by_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ratings")),
        sa.UniqueConstraint("order_id", "line_no", name=op.f("uq_ratings_order_id_line_no")),
        sa.UniqueConstraint("pack_id", "member_id", name=op.f("uq_ratings_pack_id_member_id")),
    )
    op.create_index("ix_ratings_pack_id_shown", "ratings", ["pack_id", "status", "id"])
    op.create_index("ix_ratings_member_id", "ratings", ["member_id"])
    op.create_index("ix_ratings_status", "ratings", ["status", "id"])


def downgrade():
    op.drop_table("ratings")
    op.drop_table("questions")
    op.drop_table("announcements")
    with op.batch_alter_table("gift_packs") as table:
        table.drop_constraint(op.f("ck_gift_packs_rating"), type_="check")
        table.drop_column("rating_stars")
        table.drop_column("rating_count")
    with op.batch_alter_table("pickup_stations") as table:
        table.drop_constraint(op.f("ck_pickup_stations_position"), type_="check")
        for name in ("is_open", "lon_e6", "lat_e6", "phone", "services", "district"):
            table.drop_column(name)
