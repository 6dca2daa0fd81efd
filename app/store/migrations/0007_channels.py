"""Tables of alert channels."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER", "bool": "INTEGER"}
POSTGRESQL = {"key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "big": "bigint", "bool": "boolean"}


def up(migrator: object, db: Backend) -> None:
    """Create the tables."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types))


STATEMENTS = (
    """CREATE TABLE alert_channel (
        id {key}, name TEXT NOT NULL UNIQUE, addresses TEXT, url TEXT, shown TEXT NOT NULL, active {bool} NOT NULL,
        created_at {big} NOT NULL, changed_at {big} NOT NULL, sent_at {big}, failed_at {big}, problem TEXT)""",
    """CREATE TABLE alert_delivery (
        id {key}, message {big} NOT NULL, channel {big} NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL,
        next_try_at {big}, created_at {big} NOT NULL, tried_at {big}, said TEXT NOT NULL,
        UNIQUE (message, channel))""",
    "CREATE INDEX alert_delivery_next_try_at ON alert_delivery (next_try_at)",
    "CREATE INDEX alert_delivery_channel ON alert_delivery (channel, id)",
)
