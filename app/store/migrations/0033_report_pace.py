"""Since when an attempt at a report writes rows, and how many there were then: from that follows how fast it is."""


def up(migrator, db):
    """Add the columns."""
    for column in ("writing", "kept"):
        db.execute_sql(f"ALTER TABLE report ADD COLUMN {column} bigint")
