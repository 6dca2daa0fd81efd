"""Recurring reports, and the webhooks by which others learn that one has ended."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the tables. The index on reports finds those that ended lately."""
    sqlite = isinstance(db, SqliteDatabase)
    kinds = {
        "key": "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "big": "INTEGER" if sqlite else "bigint",
        "bool": "INTEGER" if sqlite else "boolean",
    }
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**kinds))


STATEMENTS = (
    """CREATE TABLE schedule (
        id {key}, name TEXT NOT NULL, owner {big} NOT NULL, owner_name TEXT NOT NULL, customer TEXT NOT NULL,
        product TEXT NOT NULL, types TEXT, output TEXT, rhythm TEXT NOT NULL, hour INTEGER NOT NULL,
        mode TEXT NOT NULL, webhook TEXT, webhook_since {big}, webhook_salt TEXT, active {bool} NOT NULL,
        reason TEXT, next_run {big}, last_run {big}, last_report TEXT, last_cut {big}, claim TEXT, claimed {big},
        claimed_next {big}, created {big} NOT NULL, UNIQUE (owner, name))""",
    """CREATE TABLE delivery (
        id {key}, key TEXT NOT NULL UNIQUE, schedule {big} NOT NULL, report TEXT NOT NULL, ended {big} NOT NULL,
        status TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, next_try {big}, created {big} NOT NULL,
        UNIQUE (report, ended))""",
    "CREATE INDEX delivery_next_try ON delivery (next_try)",
    "CREATE INDEX delivery_schedule ON delivery (schedule, id)",
    """CREATE TABLE delivery_try (
        id {key}, delivery {big} NOT NULL, moment {big} NOT NULL, took INTEGER NOT NULL, code INTEGER,
        said TEXT NOT NULL)""",
    "CREATE INDEX delivery_try_delivery ON delivery_try (delivery, id)",
    "CREATE INDEX report_schedule_ended ON report (schedule, ended)",
)
