"""Hourly counts in the order of their key alone: each index more than that cost every counted hour a page of its own.

What asks for hours of all customers finds them by the codes in `seen` (`app.store.hours.of_known`), where
whatever is counted has a row. A slice of events that is counted in several transactions keeps its place in `counted`.
"""

from peewee import SqliteDatabase

COLUMNS = "customer, product, type, hour, number, first, last"


def up(migrator, db):
    """Drop the second index, and add the place in a slice."""
    sqlite = isinstance(db, SqliteDatabase)
    big = "INTEGER" if sqlite else "bigint"
    db.execute_sql("DROP INDEX hourly_count_hour")
    if sqlite:
        db.execute_sql(
            "CREATE TABLE hourly_count_new (customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, "
            "hour INTEGER NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0, "
            "last INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (customer, product, type, hour)) WITHOUT ROWID"
        )
        db.execute_sql(
            f"INSERT INTO hourly_count_new ({COLUMNS}) SELECT {COLUMNS} FROM hourly_count ORDER BY 1, 2, 3, 4"
        )
        db.execute_sql("DROP TABLE hourly_count")
        db.execute_sql("ALTER TABLE hourly_count_new RENAME TO hourly_count")
    else:
        db.execute_sql("ALTER TABLE hourly_count SET (fillfactor = 70)")  # a count goes up in its place
    db.execute_sql(f"ALTER TABLE counted ADD COLUMN slice_end {big}")
    db.execute_sql(f"ALTER TABLE counted ADD COLUMN slice_groups {big} NOT NULL DEFAULT 0")
