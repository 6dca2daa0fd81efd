"""How far each file of events is imported."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the table."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    db.execute_sql(
        "CREATE TABLE event_import (identity TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, "
        f'"offset" {big} NOT NULL, line {big} NOT NULL, events {big} NOT NULL, rejected {big} NOT NULL, '
        f"started {big} NOT NULL, finished {big})"
    )
