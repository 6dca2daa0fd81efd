"""Reports that are written in parts, by several workers, in several attempts."""

from peewee import SqliteDatabase


def up(migrator, db):
    """Add what a run needs to a report's row, and the tables of its parts and attempts."""
    sqlite = isinstance(db, SqliteDatabase)
    big = "INTEGER" if sqlite else "bigint"
    flag = "INTEGER NOT NULL DEFAULT 0" if sqlite else "boolean NOT NULL DEFAULT false"
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    for column in (
        f"after {big}",
        f"schedule {big}",
        f"expected {big} NOT NULL DEFAULT 0",
        f"width {big}",
        f"planned {flag}",
        f"paused {flag}",
        f"cancelled {flag}",
        f"began {big}",
        f"stalled {big} NOT NULL DEFAULT 0",
        f"not_before {big}",
        "worker TEXT",
    ):
        db.execute_sql(f"ALTER TABLE report ADD COLUMN {column}")
    db.execute_sql(
        f'CREATE TABLE report_part (id {key}, job TEXT NOT NULL, number INTEGER NOT NULL, start {big}, "end" {big}, '
        f"done {flag}, token TEXT, worker TEXT, touched {big}, rows {big} NOT NULL DEFAULT 0, "
        f"bytes {big} NOT NULL DEFAULT 0, file TEXT, UNIQUE (job, number))"
    )
    db.execute_sql(
        f"CREATE TABLE report_attempt (id {key}, job TEXT NOT NULL, number INTEGER NOT NULL, token TEXT NOT NULL, "
        f"worker TEXT NOT NULL, began {big} NOT NULL, ended {big}, outcome TEXT, reason TEXT, "
        f"rows {big} NOT NULL DEFAULT 0)"
    )
    db.execute_sql("CREATE INDEX report_attempt_job ON report_attempt (job, id)")
    db.execute_sql("CREATE INDEX report_schedule ON report (schedule, id)")
