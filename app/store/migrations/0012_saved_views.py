"""Saved views, and the times of receipt of stored events, by which a batch is found.

Events that exist already have batch ids without a time, so the table begins after them.
"""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER", "bool": "INTEGER", "false": "0"}
POSTGRESQL = {
    "key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "big": "bigint",
    "bool": "boolean",
    "false": "false",
}

STATEMENTS = (
    """CREATE TABLE saved_view (
        id {key}, account {big} NOT NULL, name TEXT NOT NULL, page TEXT NOT NULL, query TEXT NOT NULL,
        is_shared {bool} NOT NULL DEFAULT {false}, created_at {big} NOT NULL, UNIQUE (account, page, name))""",
    "CREATE INDEX saved_view_shared ON saved_view (page) WHERE is_shared",
    "CREATE TABLE received_range (span {big} NOT NULL PRIMARY KEY, first_at {big} NOT NULL, last_at {big} NOT NULL)",
    """INSERT INTO received_range (span, first_at, last_at)
        SELECT newest / 10000 - 1, 1, 0 FROM (SELECT max(id) AS newest FROM event) AS events WHERE newest >= 10000""",
)


def up(migrator: object, db: Backend) -> None:
    """Create the tables."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types))
