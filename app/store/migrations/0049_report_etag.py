"""Which object under its key a report's file is: whoever owns a bucket, or another report, may write there, too."""


def up(migrator, db):
    """Add the column; of files that were delivered before nobody can tell."""
    db.execute_sql("ALTER TABLE report ADD COLUMN etag TEXT")
