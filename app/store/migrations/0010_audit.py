"""Who did what when."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the table; it is read newest first, by person, by action, by what was acted on."""
    sqlite = isinstance(db, SqliteDatabase)
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    big = "INTEGER" if sqlite else "bigint"
    db.execute_sql(
        f"CREATE TABLE audit (id {key}, moment {big} NOT NULL, account {big}, who TEXT NOT NULL, action TEXT NOT NULL, "
        "object TEXT NOT NULL, customer TEXT NOT NULL, address TEXT NOT NULL, details TEXT NOT NULL)"
    )
    db.execute_sql("CREATE INDEX audit_moment ON audit (moment)")
    db.execute_sql("CREATE INDEX audit_who ON audit (who, id)")
    db.execute_sql("CREATE INDEX audit_action ON audit (action, id)")
