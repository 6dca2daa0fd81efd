"""Ingest keys."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the table. A name is free again once its key is revoked."""
    sqlite = isinstance(db, SqliteDatabase)
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    big = "INTEGER" if sqlite else "bigint"
    db.execute_sql(
        f"CREATE TABLE ingest_key (id {key}, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, "
        f"customers TEXT, products TEXT, created {big} NOT NULL, used {big}, revoked {big})"
    )
    db.execute_sql("CREATE UNIQUE INDEX ingest_key_name ON ingest_key (name) WHERE revoked IS NULL")
