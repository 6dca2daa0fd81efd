"""How wide the contexts are that were seen: a report need not look at every row to know its columns."""

MOST = 100  # items: of what was seen before, the width is not known


def up(migrator, db):
    """Add the column."""
    db.execute_sql(f"ALTER TABLE seen ADD COLUMN width integer NOT NULL DEFAULT {MOST}")
