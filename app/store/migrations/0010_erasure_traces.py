"""Table of the ids of erased events, by which a follower of events learns what it can no longer read."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Create the table."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    db.execute_sql(
        f"CREATE TABLE erasure_trace (customer TEXT NOT NULL, product TEXT NOT NULL, erased {big} NOT NULL, "
        f"max_id {big} NOT NULL, PRIMARY KEY (customer, product, erased))"
    )
