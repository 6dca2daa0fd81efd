"""Record codes that a process mistakenly considered recorded, from the hourly counts, which have every counted code."""

from peewee import SqliteDatabase

MOST = 100  # items; the actual widths of their contexts are unknown


def up(migrator, db):
    """Record the codes, and index types, because each type is looked up before it is accepted."""
    ignore = "OR IGNORE " if isinstance(db, SqliteDatabase) else ""
    otherwise = "" if isinstance(db, SqliteDatabase) else " ON CONFLICT DO NOTHING"
    db.execute_sql(
        f"INSERT {ignore}INTO seen (customer, product, type, since, width) "
        f"SELECT customer, product, type, min(hour), {MOST} FROM hourly_count GROUP BY 1, 2, 3{otherwise}"
    )
    db.execute_sql("CREATE INDEX seen_type ON seen (type)")
