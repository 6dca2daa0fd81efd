"""Alert channels, and their deliveries."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER", "bool": "INTEGER"}
POSTGRESQL = {"key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "big": "bigint", "bool": "boolean"}


def up(migrator: object, db: Backend) -> None:
    """Create the table and the column."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types))


STATEMENTS = (
    """CREATE TABLE alert_channel (
        id {key}, name TEXT NOT NULL UNIQUE, addresses TEXT, url TEXT, shown TEXT NOT NULL, active {bool} NOT NULL,
        created_at {big} NOT NULL, changed_at {big} NOT NULL, sent_at {big}, failed_at {big}, problem TEXT)""",
    "ALTER TABLE delivery ADD COLUMN channel {big}",
    "CREATE INDEX delivery_channel ON delivery (channel, id)",
)
