"""Numbers that never go down: events accepted, erased, and rejected by what was wrong."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Add them; what was accepted before is what is stored now, what was rejected before is what is kept."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    for column in ("total", "erased"):
        db.execute_sql(f"ALTER TABLE counted ADD COLUMN {column} {big} NOT NULL DEFAULT 0")
    db.execute_sql("UPDATE counted SET total = (SELECT coalesce(sum(number), 0) FROM hourly_count)")
    db.execute_sql(
        f"CREATE TABLE rejected_count (field TEXT NOT NULL, fault TEXT NOT NULL, number {big} NOT NULL, "
        "PRIMARY KEY (field, fault))"
    )
    db.execute_sql(
        "INSERT INTO rejected_count (field, fault, number) "
        "SELECT field, fault, count(*) FROM rejected_event GROUP BY field, fault"
    )
