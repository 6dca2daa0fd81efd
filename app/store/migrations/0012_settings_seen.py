"""The settings of the last start, so that the next one can tell what changed."""


def up(migrator, db):
    """Make the table; secrets are starred before they come here."""
    db.execute_sql("CREATE TABLE setting_seen (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
