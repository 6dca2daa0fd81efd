"""Idempotency keys, with the answer first given under each."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the table."""
    sqlite = isinstance(db, SqliteDatabase)
    binary, big = ("BLOB", "INTEGER") if sqlite else ("bytea", "bigint")
    db.execute_sql(
        f"CREATE TABLE idempotency_key (key TEXT NOT NULL PRIMARY KEY, digest {binary} NOT NULL, "
        f"answer {binary} NOT NULL, created {big} NOT NULL)"
    )
    db.execute_sql("CREATE INDEX idempotency_key_created ON idempotency_key (created)")
