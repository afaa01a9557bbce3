"""How migrations run: online only, on the application's own engine; batch mode on SQLite."""

from alembic import context

from kernel.db import db


def run_migrations_online() -> None:
    """Run them in one transaction where the engine can."""
    with db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=True,
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run_migrations_online()
