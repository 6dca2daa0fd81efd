"""Reports about several customers or products."""

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Add the columns."""
    for column in ("customers", "products"):
        db.execute_sql(f"ALTER TABLE report ADD COLUMN {column} TEXT")
