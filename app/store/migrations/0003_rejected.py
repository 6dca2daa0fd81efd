"""Rejected events."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the tables."""
    sqlite = isinstance(db, SqliteDatabase)
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    big = "INTEGER" if sqlite else "bigint"
    db.execute_sql(
        f"CREATE TABLE rejected_event (id {key}, received {big} NOT NULL, address TEXT NOT NULL, "
        "request_id TEXT NOT NULL, place INTEGER NOT NULL, event TEXT NOT NULL, field TEXT NOT NULL, "
        "reasons TEXT NOT NULL)"
    )
    db.execute_sql("CREATE INDEX rejected_event_received ON rejected_event (received)")
    db.execute_sql(f"CREATE TABLE rejected_drop (id INTEGER NOT NULL PRIMARY KEY, number {big} NOT NULL)")
    db.execute_sql("INSERT INTO rejected_drop (id, number) VALUES (1, 0)")
