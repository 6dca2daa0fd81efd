"""Second factors: what a user's codes are derived from, the last code used, and the recovery codes."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER"}
POSTGRESQL = {"key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "big": "bigint"}
STATEMENTS = (
    "ALTER TABLE account ADD COLUMN totp_salt TEXT",
    "ALTER TABLE account ADD COLUMN totp_step {big}",
    "CREATE TABLE recovery_code (id {key}, account {big} NOT NULL, digest TEXT NOT NULL UNIQUE)",
    "CREATE INDEX recovery_code_account ON recovery_code (account)",
)


def up(migrator: object, db: Backend) -> None:
    """Add the columns and the table."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types))
