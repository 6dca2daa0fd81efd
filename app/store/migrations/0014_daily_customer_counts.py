"""Table of daily counts by customer, and which events it has.

The scheduler fills it (`daily_customer_counts`), because nothing may wait for it.
"""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Create the table and the columns. It is complete at once if no event was ever counted."""
    is_sqlite = isinstance(db, SqliteDatabase)
    big, in_key_order = ("INTEGER", "WITHOUT ROWID") if is_sqlite else ("bigint", "WITH (fillfactor = 70)")
    hours = ", ".join(f"hour_{number} {big} NOT NULL" for number in range(24))
    db.execute_sql(
        f"CREATE TABLE daily_customer_count (day {big} NOT NULL, customer TEXT NOT NULL, product TEXT NOT NULL, "
        f"number {big} NOT NULL, {hours}, PRIMARY KEY (day, customer, product)) {in_key_order}"
    )
    for column in ("daily_customer_total", "daily_customer_erased"):
        db.execute_sql(f"ALTER TABLE counted ADD COLUMN {column} {big} DEFAULT 0")
