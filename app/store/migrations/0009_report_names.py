"""Names of reports."""

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Add the column."""
    db.execute_sql("ALTER TABLE report ADD COLUMN name TEXT")
