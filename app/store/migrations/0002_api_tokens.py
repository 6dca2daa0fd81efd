"""API tokens, with which a user's programs call the API."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Create the table and its indexes. Code of version 1.0.0 does not use them, so it can run beside this."""
    key, big = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "bigint"
    if isinstance(db, SqliteDatabase):
        key, big = "INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER"
    db.execute_sql(
        f"""CREATE TABLE api_token (
            id {key}, account {big} NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL,
            scopes TEXT NOT NULL, customers TEXT, created_at {big} NOT NULL, expires_at {big} NOT NULL, used_at {big},
            revoked_at {big})"""
    )
    db.execute_sql("CREATE UNIQUE INDEX api_token_account_name ON api_token (account, name) WHERE revoked_at IS NULL")
