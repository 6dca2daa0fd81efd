"""Sessions of people, kept here so that they can be ended; and passwords that are for one sign-in."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the table, and add the column."""
    sqlite = isinstance(db, SqliteDatabase)
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    big = "INTEGER" if sqlite else "bigint"
    db.execute_sql(
        f"CREATE TABLE session (id {key}, digest TEXT NOT NULL UNIQUE, account {big} NOT NULL, word TEXT NOT NULL, "
        f"created {big} NOT NULL, seen {big} NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL)"
    )
    db.execute_sql("CREATE INDEX session_account ON session (account, id)")
    db.execute_sql("CREATE INDEX session_seen ON session (seen)")
    db.execute_sql(f"ALTER TABLE account ADD COLUMN password_expires {big}")
