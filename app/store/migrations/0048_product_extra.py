"""Add how reports handle context items without a column: they get a common column, unless the catalog drops them."""


def up(migrator, db):
    """Add the column."""
    db.execute_sql("ALTER TABLE product ADD COLUMN extra TEXT NOT NULL DEFAULT 'column'")
