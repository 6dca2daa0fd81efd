"""Tables of alerts, and the rules that are there from the start."""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {"key": "INTEGER PRIMARY KEY AUTOINCREMENT", "big": "INTEGER", "bool": "INTEGER", "blob": "BLOB"}
POSTGRESQL = {
    "key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "big": "bigint",
    "bool": "boolean",
    "blob": "bytea",
}


def up(migrator: object, db: Backend) -> None:
    """Create the tables and the first rules."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types))
    for name, kind, per, parameters in RULES:
        db.execute_sql(
            "INSERT INTO alert_rule (name, kind, per, parameters, active, created_at, changed_at) "  # noqa: S608
            f"VALUES ('{name}', '{kind}', '{per}', '{parameters}', true, {db.clock_ms}, {db.clock_ms})"
        )


RULES = (
    ("Events stopped", "stopped", "product", '{"minutes":15}'),
    ("All events stopped", "stopped", "everything", '{"minutes":15}'),
    ("Volume far from normal", "volume", "product", '{"factor":5,"direction":"both"}'),
    ("Many rejected events", "rejected", "product", '{"percent":5,"minimum":50}'),
    ("Service health", "health", "everything", '{"checks":[]}'),
)

STATEMENTS = (
    """CREATE TABLE alert_rule (
        id {key}, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, per TEXT NOT NULL, customer TEXT, product TEXT,
        type TEXT, parameters TEXT NOT NULL, channels TEXT, active {bool} NOT NULL, created_at {big} NOT NULL,
        changed_at {big} NOT NULL)""",
    """CREATE TABLE alert_normal (
        id {key}, customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, learnt_at {big} NOT NULL,
        first_hour_at {big}, last_event_at {big}, rates {blob} NOT NULL, statistics TEXT NOT NULL,
        UNIQUE (customer, product, type))""",
    """CREATE TABLE alert (
        id {key}, rule {big} NOT NULL, rule_name TEXT NOT NULL, kind TEXT NOT NULL, customer TEXT NOT NULL,
        product TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL, title TEXT NOT NULL,
        seen TEXT NOT NULL, expected TEXT NOT NULL, details TEXT NOT NULL, since_at {big} NOT NULL,
        pending_at {big} NOT NULL, firing_at {big}, calm_at {big}, resolved_at {big}, checked_at {big} NOT NULL,
        notified_at {big}, resolution_notified_at {big})""",
    # A series has at most one alert of a rule that is not resolved, whatever two schedulers do at once.
    """CREATE UNIQUE INDEX alert_unresolved ON alert (rule, customer, product, type, subject)
        WHERE state <> 'resolved'""",
    "CREATE INDEX alert_resolved_at ON alert (resolved_at)",
    """CREATE TABLE alert_silence (
        id {key}, rule {big}, customer TEXT, product TEXT, type TEXT, reason TEXT NOT NULL, account {big},
        who TEXT NOT NULL, created_at {big} NOT NULL, until_at {big} NOT NULL)""",
    "CREATE INDEX alert_silence_until_at ON alert_silence (until_at)",
    """CREATE TABLE alert_message (
        id {key}, key TEXT NOT NULL UNIQUE, rule {big} NOT NULL, event TEXT NOT NULL, is_repeat {bool} NOT NULL,
        alerts TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, created_at {big} NOT NULL,
        dispatched_at {big})""",
    "CREATE INDEX alert_message_waiting ON alert_message (id) WHERE dispatched_at IS NULL",
    """CREATE TABLE alert_evaluation (
        id INTEGER NOT NULL PRIMARY KEY, claim TEXT, claimed_at {big}, evaluated_at {big},
        resumed_at {big} NOT NULL DEFAULT 0)""",
    "INSERT INTO alert_evaluation (id) VALUES (1)",
)
