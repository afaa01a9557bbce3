"""Messages by text message or e-mail, each thing told once; operators' words; how people want to be told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
phase = "expand"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
PARTIAL = {
    "ix_messages_waiting": (["kind", "send_at"], "status = 'waiting'"),
    "ix_messages_open": (["status", "claimed_at"], "status IN ('sending', 'unsure')"),
    "ix_messages_failed": (["id"], "status = 'failed'"),
}


def upgrade():
    op.drop_index("ix_messages_waiting", "messages")
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("person_id", BIG, nullable=True))
        table.add_column(sa.Column("recipient", sa.String(40), nullable=True))
        table.add_column(sa.Column("event", sa.String(30), nullable=False, server_default=""))
        table.add_column(sa.Column("thing", sa.String(80), nullable=False, server_default=""))
        table.add_column(sa.Column("channel", sa.String(8), nullable=False, server_default="sms"))
        table.add_column(sa.Column("details", JSON, nullable=False, server_default=sa.text("'{}'")))
        table.add_column(sa.Column("said", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("claimed_at", MOMENT, nullable=True))
        table.add_column(sa.Column("sent_at", MOMENT, nullable=True))
        table.add_column(sa.Column("decided_by", BIG, nullable=True))
        table.add_column(sa.Column("decided_at", MOMENT, nullable=True))
        table.create_foreign_key(op.f("fk_messages_person_id_people"), "people", ["person_id"], ["id"])
        table.create_foreign_key(op.f("fk_messages_decided_by_people"), "people", ["decided_by"], ["id"])
        table.create_unique_constraint(
            op.f("uq_messages_recipient_event_thing_channel"), ["recipient", "event", "thing", "channel"]
        )
        table.create_check_constraint(
            op.f("ck_messages_status"), "status IN ('waiting', 'sending', 'sent', 'failed', 'unsure', 'unknown')"
        )
        table.create_check_constraint(op.f("ck_messages_channel"), "channel IN ('sms', 'email')")
    # Whoever was sending these is gone, and nobody knows how far they came: an operator will be shown them.
    op.execute("UPDATE messages SET claimed_at = send_at WHERE status = 'sending'")
    op.execute("UPDATE messages SET event = 'code' WHERE kind = 'code'")
    for name, (columns, where) in PARTIAL.items():
        op.create_index(
            name, "messages", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where)
        )
    op.create_index("ix_messages_event", "messages", ["event", "id"])
    op.create_index("ix_messages_made_at", "messages", ["made_at"])
    op.create_index(op.f("ix_messages_person_id"), "messages", ["person_id"])
    op.create_table(
        "message_templates",
        sa.Column("event", sa.String(30), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("words", sa.String(500), nullable=False),
        sa.Column("changed_by", BIG, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["changed_by"], ["people.id"], name=op.f("fk_message_templates_changed_by_people")),
        sa.PrimaryKeyConstraint("event", "language", name=op.f("pk_message_templates")),
    )
    op.create_table(
        "contacts",
        sa.Column("person_id", BIG, autoincrement=False, nullable=False),
        sa.Column("channel", sa.String(8), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("news", sa.Boolean(), nullable=False),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("new_email", sa.String(254), nullable=True),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("code_until", MOMENT, nullable=True),
        sa.Column("tries_left", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "channel = 'sms' OR (channel = 'email' AND email IS NOT NULL)", name=op.f("ck_contacts_channel")
        ),
        sa.CheckConstraint("language IN ('zh', 'en')", name=op.f("ck_contacts_language")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_contacts_person_id_people")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_contacts")),
    )


def downgrade():
    op.drop_table("contacts")
    op.drop_table("message_templates")
    # Only what the code before this knew: whole texts, sealed, to a phone, and no state it could not read.
    op.execute("DELETE FROM messages WHERE event NOT IN ('', 'code') OR status = 'unsure' OR channel <> 'sms'")
    for name in ("ix_messages_person_id", "ix_messages_made_at", "ix_messages_event", *PARTIAL):
        op.drop_index(name, "messages")
    with op.batch_alter_table("messages") as table:
        table.drop_constraint(op.f("ck_messages_channel"), type_="check")
        table.drop_constraint(op.f("ck_messages_status"), type_="check")
        table.drop_constraint(op.f("uq_messages_recipient_event_thing_channel"), type_="unique")
        table.drop_constraint(op.f("fk_messages_decided_by_people"), type_="foreignkey")
        table.drop_constraint(op.f("fk_messages_person_id_people"), type_="foreignkey")
        for name in (
            "person_id", "recipient", "event", "thing", "channel", "details", "said", "claimed_at", "sent_at",
            "decided_by", "decided_at",
        ):
            table.drop_column(name)
    op.create_index("ix_messages_waiting", "messages", ["status", "send_at"])
