"""Table of ended sessions, by which the sign-in page says why a session ended."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Create the table."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    db.execute_sql(
        f"CREATE TABLE ended_session (digest TEXT NOT NULL PRIMARY KEY, reason TEXT NOT NULL, ended_at {big} NOT NULL)"
    )
    db.execute_sql("CREATE INDEX ended_session_ended_at ON ended_session (ended_at)")
