"""What reports do with context items that have no column: one of their own for them, unless the catalog drops them."""


def up(migrator, db):
    """Add the choice."""
    db.execute_sql("ALTER TABLE product ADD COLUMN extra TEXT NOT NULL DEFAULT 'column'")
