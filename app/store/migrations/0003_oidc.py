"""Users of an identity provider, deactivated users, and values of single sign-on that may be used once."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend


def up(migrator: object, db: Backend) -> None:
    """Add columns to users and sessions, and the table of used values."""
    big = "INTEGER" if isinstance(db, SqliteDatabase) else "bigint"
    for statement in STATEMENTS:
        db.execute_sql(statement.format(big=big))


STATEMENTS = (
    "ALTER TABLE account ADD COLUMN oidc_issuer TEXT",
    "ALTER TABLE account ADD COLUMN oidc_subject TEXT",
    "ALTER TABLE account ADD COLUMN deactivated_at {big}",
    """CREATE UNIQUE INDEX account_oidc_subject ON account (oidc_issuer, oidc_subject)
        WHERE oidc_subject IS NOT NULL""",
    "ALTER TABLE session ADD COLUMN oidc_sid TEXT",
    "ALTER TABLE session ADD COLUMN id_token TEXT",
    "CREATE INDEX session_oidc_sid ON session (oidc_sid) WHERE oidc_sid IS NOT NULL",
    "CREATE TABLE oidc_once (digest TEXT NOT NULL PRIMARY KEY, expires_at {big} NOT NULL)",
    "CREATE INDEX oidc_once_expires_at ON oidc_once (expires_at)",
)
