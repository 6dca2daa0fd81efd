"""Codes that a process took for noted although they were not: the hourly counts have every one that was counted."""

from peewee import SqliteDatabase

MOST = 100  # items: how wide their contexts are, nobody wrote down


def up(migrator, db):
    """Note them, and index types: whether one is known is asked before it is accepted."""
    ignore = "OR IGNORE " if isinstance(db, SqliteDatabase) else ""
    otherwise = "" if isinstance(db, SqliteDatabase) else " ON CONFLICT DO NOTHING"
    db.execute_sql(
        f"INSERT {ignore}INTO seen (customer, product, type, since, width) "
        f"SELECT customer, product, type, min(hour), {MOST} FROM hourly_count GROUP BY 1, 2, 3{otherwise}"
    )
    db.execute_sql("CREATE INDEX seen_type ON seen (type)")
