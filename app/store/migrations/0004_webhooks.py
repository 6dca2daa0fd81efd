"""Webhooks with a row of their own: several for a schedule, event types that they want, and secrets that overlap.

The webhook of each schedule is carried over with its secret and its deliveries. The columns of a schedule's webhook
stay, and `delivery` accepts rows without a type, because processes of version 1.0 may run until they are replaced. They
send the rows that have a `next_try_at`, so what waits has a `due_at` instead.
"""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER"}
POSTGRESQL = {"key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "big": "bigint"}


def up(migrator: object, db: Backend) -> None:
    """Create the tables, extend `delivery`, and carry over what schedules have."""
    is_sqlite = isinstance(db, SqliteDatabase)
    types = SQLITE if is_sqlite else POSTGRESQL
    for statement in (*TABLES, *(REBUILD if is_sqlite else EXTEND), *INDEXES, *CARRY_OVER):
        db.execute_sql(statement.format(**types))


TABLES = (
    """CREATE TABLE webhook (
        id {key}, owner {big} NOT NULL, owner_name TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL,
        types TEXT NOT NULL, created_at {big} NOT NULL, enabled_at {big} NOT NULL, subscribed_at {big} NOT NULL,
        disabled_at {big}, reason TEXT, UNIQUE (owner, name))""",
    """CREATE TABLE webhook_secret (
        id {key}, webhook {big} NOT NULL, prefix TEXT NOT NULL, salt TEXT NOT NULL, created_at {big} NOT NULL,
        expires_at {big})""",
    "CREATE INDEX webhook_secret_webhook ON webhook_secret (webhook, id)",
    """CREATE TABLE schedule_webhook (
        schedule {big} NOT NULL, webhook {big} NOT NULL, added_at {big} NOT NULL, PRIMARY KEY (schedule, webhook))""",
    "CREATE INDEX schedule_webhook_webhook ON schedule_webhook (webhook)",
    "CREATE INDEX report_ended_at ON report (ended_at)",
)
# SQLite can neither remove a UNIQUE nor a NOT NULL from a table. The columns are in the order of PostgreSQL's.
REBUILD = (
    """CREATE TABLE new_delivery (
        id {key}, key TEXT NOT NULL UNIQUE, schedule {big}, report TEXT, ended_at {big}, status TEXT,
        state TEXT NOT NULL, tries INTEGER NOT NULL, next_try_at {big}, created_at {big} NOT NULL, type TEXT,
        webhook {big}, customer TEXT, data TEXT, due_at {big})""",
    """INSERT INTO new_delivery (
        id, key, schedule, report, ended_at, status, state, tries, next_try_at, created_at)
        SELECT id, key, schedule, report, ended_at, status, state, tries, next_try_at, created_at FROM delivery""",
    "DROP TABLE delivery",
    "ALTER TABLE new_delivery RENAME TO delivery",
    "CREATE INDEX delivery_schedule ON delivery (schedule, id)",
)
EXTEND = (
    """ALTER TABLE delivery
        DROP CONSTRAINT delivery_report_ended_at_key, ALTER schedule DROP NOT NULL, ALTER report DROP NOT NULL,
        ALTER ended_at DROP NOT NULL, ALTER status DROP NOT NULL, ADD type TEXT, ADD webhook bigint, ADD customer TEXT,
        ADD data TEXT, ADD due_at bigint""",
    "DROP INDEX delivery_next_try_at",
)
INDEXES = (
    "CREATE INDEX delivery_next_try_at ON delivery (next_try_at) WHERE next_try_at IS NOT NULL",
    "CREATE INDEX delivery_due_at ON delivery (due_at)",
    "CREATE INDEX delivery_webhook ON delivery (webhook, id)",
    "CREATE UNIQUE INDEX delivery_report_webhook ON delivery (report, ended_at, webhook)",
    "CREATE UNIQUE INDEX delivery_without_type ON delivery (report, ended_at) WHERE type IS NULL",
)
CARRY_OVER = (
    """INSERT INTO webhook (owner, owner_name, name, url, types, created_at, enabled_at, subscribed_at)
        SELECT owner, owner_name, name, webhook, '[]', coalesce(webhook_set_at, created_at),
        coalesce(webhook_set_at, created_at), created_at FROM schedule WHERE webhook IS NOT NULL ORDER BY id""",
    """INSERT INTO schedule_webhook (schedule, webhook, added_at)
        SELECT schedule.id, webhook.id, webhook.created_at FROM schedule
        JOIN webhook ON webhook.owner = schedule.owner AND webhook.name = schedule.name
        WHERE schedule.webhook IS NOT NULL""",
    """INSERT INTO webhook_secret (webhook, prefix, salt, created_at)
        SELECT link.webhook, 'tally_hook_', coalesce(schedule.webhook_salt, ''), link.added_at
        FROM schedule JOIN schedule_webhook AS link ON link.schedule = schedule.id ORDER BY link.webhook""",
    """UPDATE delivery SET type = CASE status WHEN 'COMPLETE' THEN 'report.completed' ELSE 'report.failed' END,
        webhook = (SELECT link.webhook FROM schedule_webhook AS link WHERE link.schedule = delivery.schedule),
        due_at = next_try_at, next_try_at = NULL""",
    "UPDATE delivery SET state = 'given_up', due_at = NULL WHERE state = 'waiting' AND webhook IS NULL",
)
