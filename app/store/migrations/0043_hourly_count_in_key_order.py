"""Index hourly counts only by their key, because another index costs each counted hour a separate page.

Queries for hours of all customers select them by the codes in `seen` (`hourly_counts.of_known`), which has a
row for every counted code. `counted` records the progress of a slice that is counted in several transactions.
"""

from peewee import SqliteDatabase

COLUMNS = "customer, product, type, hour, number, first, last"


def up(migrator, db):
    """Drop the second index, and add the columns for the progress in a slice."""
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
        db.execute_sql("ALTER TABLE hourly_count SET (fillfactor = 70)")  # leaves space to update counts in place
    db.execute_sql(f"ALTER TABLE counted ADD COLUMN slice_end {big}")
    db.execute_sql(f"ALTER TABLE counted ADD COLUMN slice_groups {big} NOT NULL DEFAULT 0")
