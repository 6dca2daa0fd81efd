"""Mail about recurring reports: addresses of users, the recipients of a schedule, and their deliveries."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Add the columns and the table."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    for statement in STATEMENTS:
        db.execute_sql(statement.format(big=big))


STATEMENTS = (
    "ALTER TABLE account ADD COLUMN mail TEXT",
    """CREATE TABLE schedule_recipient (
        schedule {big} NOT NULL, account {big} NOT NULL, name TEXT NOT NULL, added_at {big} NOT NULL,
        removed_at {big}, reason TEXT, PRIMARY KEY (schedule, account))""",
    "ALTER TABLE delivery ADD COLUMN recipient {big}",
    "CREATE UNIQUE INDEX delivery_report_recipient ON delivery (report, ended_at, recipient)",
)
