"""Whether all events of what was seen were erased: then it is not shown, until an event comes again."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Add the column, and an index of the few rows that it is true for: whoever counts looks for them each time."""
    kind, false = ("INTEGER", "0") if isinstance(db, SqliteDatabase) else ("boolean", "false")
    db.execute_sql(f"ALTER TABLE seen ADD COLUMN gone {kind} NOT NULL DEFAULT {false}")
    db.execute_sql("CREATE INDEX seen_gone ON seen (customer) WHERE gone")
