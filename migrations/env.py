"""How migrations run: online only, on the application's own engine; batch mode on SQLite."""

from alembic import context

from kernel.db import db


def run_migrations_online() -> None:
    """Run each in one transaction where the engine can.

    SQLite makes a table anew to change it: foreign keys rest meanwhile, and are checked before anything else happens.
    """
    with db.engine.connect() as connection:
        driver = connection.connection.driver_connection
        if db.engine.dialect.name == "sqlite":
            driver.execute("PRAGMA foreign_keys=OFF")  # no effect inside a transaction, so before one
        else:
            # A migration may take its time over what it has, and none to get it: while it waits for a table, everybody
            # who comes after it waits too. Who is refused tries again in a quieter moment (`huigong migrate`).
            with driver.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0; SET lock_timeout = '5s'")
            driver.commit()
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
        connection.detach()  # its time-outs are not a request's
        if db.engine.dialect.name == "sqlite":
            broken = driver.execute("PRAGMA foreign_key_check").fetchall()
            driver.execute("PRAGMA foreign_keys=ON")
            if broken:
                raise RuntimeError(f"foreign keys point nowhere: {broken[:5]}")


run_migrations_online()
