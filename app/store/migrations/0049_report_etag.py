"""Record which object is a report's file, because a bucket's owner or another report may write under the same key."""


def up(migrator, db):
    """Add the column, which stays empty for files that were delivered before."""
    db.execute_sql("ALTER TABLE report ADD COLUMN etag TEXT")
