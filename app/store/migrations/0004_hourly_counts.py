"""Counts by hour, kept beside the events."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the tables."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    db.execute_sql(
        f"CREATE TABLE hourly_count (customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, "
        f"hour {big} NOT NULL, number {big} NOT NULL, PRIMARY KEY (customer, product, type, hour))"
    )
    db.execute_sql("CREATE INDEX hourly_count_hour ON hourly_count (hour)")
    db.execute_sql(f"CREATE TABLE counted (id INTEGER NOT NULL PRIMARY KEY, up_to {big} NOT NULL)")
    db.execute_sql("INSERT INTO counted (id, up_to) VALUES (1, 0)")
