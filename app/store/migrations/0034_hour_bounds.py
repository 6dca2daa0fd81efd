"""Between which times an hour's events of a type are: a rare one's are looked up there, not in the whole hour."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Add the columns; of what is counted already nothing narrower than the hour is known."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    for column in ("first", "last"):
        db.execute_sql(f"ALTER TABLE hourly_count ADD COLUMN {column} {big} NOT NULL DEFAULT 0")
    db.execute_sql("UPDATE hourly_count SET first = hour, last = hour + 3599999")
