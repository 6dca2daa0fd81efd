"""Schema of version 1.0.0.

Frozen: it does not follow `models`. SQL rather than Peewee, because the databases differ in types: `context` is text[]
on PostgreSQL and JSON text on SQLite, `batch` is uuid and text. Times are milliseconds since 1970 unless stated
otherwise.
"""

from peewee import SqliteDatabase

from app.store.backends.backend import Backend

SQLITE = {
    "key": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "big": "INTEGER",
    "bool": "INTEGER",
    "false": "0",
    "blob": "BLOB",
    "context": "TEXT",
    "uuid": "TEXT",
    "in_key_order": "WITHOUT ROWID",
}
POSTGRESQL = {
    "key": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "big": "bigint",
    "bool": "boolean",
    "false": "false",
    "blob": "bytea",
    "context": "text[]",
    "uuid": "uuid",
    "in_key_order": "WITH (fillfactor = 70)",  # leaves space to update counts in place
}


def up(migrator: object, db: Backend) -> None:
    """Create the tables, their indexes, and the rows that must exist."""
    types = SQLITE if isinstance(db, SqliteDatabase) else POSTGRESQL
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**types, hours=HOURS.format(**types)))
    if types is POSTGRESQL:  # erased events may occupy a twentieth of the table instead of a fifth
        db.execute_sql("ALTER TABLE event SET (autovacuum_vacuum_scale_factor = 0.05)")


HOURS = ", ".join(f"hour_{number} {{big}} NOT NULL" for number in range(24))
STATEMENTS = (
    # Events
    """CREATE TABLE event (
        id {key}, customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, version TEXT,
        timestamp {big} NOT NULL, context {context} NOT NULL, sequence INTEGER NOT NULL, batch {uuid} NOT NULL,
        received {big} NOT NULL)""",
    "CREATE INDEX event_customer_product_timestamp ON event (customer, product, timestamp)",
    """CREATE TABLE observed_code (
        id {key}, customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, first_observed_at {big} NOT NULL,
        width INTEGER NOT NULL, is_erased {bool} NOT NULL DEFAULT {false}, UNIQUE (customer, product, type))""",
    "CREATE INDEX observed_code_product ON observed_code (product)",
    "CREATE INDEX observed_code_type ON observed_code (type)",
    "CREATE INDEX observed_code_erased ON observed_code (customer) WHERE is_erased",
    # Counts per hour are found by their key only, because a second index costs each counted hour another page.
    """CREATE TABLE hourly_count (
        customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, hour {big} NOT NULL, number {big} NOT NULL,
        first_at {big} NOT NULL DEFAULT 0, last_at {big} NOT NULL DEFAULT 0,
        PRIMARY KEY (customer, product, type, hour)) {in_key_order}""",
    # The sums of hourly counts over all customers, with the numbers of a day's 24 hours.
    """CREATE TABLE daily_count (
        day {big} NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, number {big} NOT NULL, {hours},
        PRIMARY KEY (day, product, type)) {in_key_order}""",
    """CREATE TABLE counted (
        id INTEGER NOT NULL PRIMARY KEY, up_to {big} NOT NULL, total {big} NOT NULL DEFAULT 0,
        erased {big} NOT NULL DEFAULT 0, slice_end {big}, slice_groups {big} NOT NULL DEFAULT 0)""",
    "INSERT INTO counted (id, up_to) VALUES (1, 0)",
    """CREATE TABLE idempotency_key (
        key TEXT NOT NULL PRIMARY KEY, digest {blob} NOT NULL, answer {blob} NOT NULL, created_at {big} NOT NULL)""",
    "CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at)",
    """CREATE TABLE event_import (
        identity TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, "offset" {big} NOT NULL, line {big} NOT NULL,
        events {big} NOT NULL, rejected {big} NOT NULL, started_at {big} NOT NULL, finished_at {big})""",
    # Rejected events. The indexes on bytes give the stored size without reading the events.
    """CREATE TABLE rejected_event (
        id {key}, received_at {big} NOT NULL, address TEXT NOT NULL, request_id TEXT NOT NULL, place INTEGER NOT NULL,
        event TEXT NOT NULL, field TEXT NOT NULL, reasons TEXT NOT NULL, customer TEXT NOT NULL, product TEXT NOT NULL,
        type TEXT NOT NULL, fault TEXT NOT NULL, request TEXT, bytes {big} NOT NULL)""",
    "CREATE INDEX rejected_event_received_at ON rejected_event (received_at)",
    "CREATE INDEX rejected_event_customer_field ON rejected_event (customer, field)",
    "CREATE INDEX rejected_event_groups ON rejected_event (field, fault, product, type, received_at, customer)",
    "CREATE INDEX rejected_event_request ON rejected_event (request)",
    "CREATE INDEX rejected_event_bytes ON rejected_event (id, bytes)",
    """CREATE TABLE rejected_request (
        id {key}, uuid TEXT NOT NULL UNIQUE, received_at {big} NOT NULL, address TEXT NOT NULL,
        request_id TEXT NOT NULL, idempotency_key TEXT, body {blob} NOT NULL, bytes {big} NOT NULL,
        is_lines {bool} NOT NULL, events INTEGER NOT NULL, invalid INTEGER NOT NULL, customer TEXT NOT NULL,
        excluded_places TEXT NOT NULL, forbidden_places TEXT NOT NULL)""",
    "CREATE INDEX rejected_request_received_at ON rejected_request (received_at)",
    "CREATE INDEX rejected_request_bytes ON rejected_request (id, bytes)",
    "CREATE TABLE rejected_drop (id INTEGER NOT NULL PRIMARY KEY, number {big} NOT NULL)",
    "INSERT INTO rejected_drop (id, number) VALUES (1, 0)",
    """CREATE TABLE rejected_count (
        field TEXT NOT NULL, fault TEXT NOT NULL, number {big} NOT NULL, PRIMARY KEY (field, fault))""",
    # Catalog
    "CREATE TABLE customer (code TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL)",
    """CREATE TABLE product (
        code TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL, columns TEXT NOT NULL,
        extra TEXT NOT NULL DEFAULT 'column')""",
    """CREATE TABLE event_type (
        id {key}, code TEXT NOT NULL, product TEXT NOT NULL, description TEXT NOT NULL, context TEXT NOT NULL,
        UNIQUE (code, product))""",
    # Access and people
    """CREATE TABLE ingest_key (
        id {key}, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, customers TEXT, products TEXT,
        created_at {big} NOT NULL, used_at {big}, revoked_at {big})""",
    "CREATE UNIQUE INDEX ingest_key_name ON ingest_key (name) WHERE revoked_at IS NULL",
    """CREATE TABLE account (
        id {key}, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, customers TEXT, password TEXT NOT NULL,
        password_expires_at {big}, password_version TEXT NOT NULL, created_at {big} NOT NULL)""",
    """CREATE TABLE api_token (
        id {key}, account {big} NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL,
        scopes TEXT NOT NULL, customers TEXT, created_at {big} NOT NULL, expires_at {big} NOT NULL, used_at {big},
        revoked_at {big})""",
    "CREATE INDEX api_token_account ON api_token (account)",
    "CREATE UNIQUE INDEX api_token_account_name ON api_token (account, name) WHERE revoked_at IS NULL",
    """CREATE TABLE session (
        id {key}, digest TEXT NOT NULL UNIQUE, account {big} NOT NULL, password_version TEXT NOT NULL,
        created_at {big} NOT NULL, seen_at {big} NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL)""",
    "CREATE INDEX session_account ON session (account, id)",
    "CREATE INDEX session_seen_at ON session (seen_at)",
    """CREATE TABLE audit (
        id {key}, recorded_at {big} NOT NULL, account {big}, who TEXT NOT NULL, action TEXT NOT NULL,
        object TEXT NOT NULL, customer TEXT NOT NULL, address TEXT NOT NULL, details TEXT NOT NULL)""",
    "CREATE INDEX audit_recorded_at ON audit (recorded_at)",
    "CREATE INDEX audit_who ON audit (who, id)",
    "CREATE INDEX audit_action ON audit (action, id)",
    # Reports
    """CREATE TABLE report (
        id {key}, job TEXT NOT NULL UNIQUE, account {big}, account_name TEXT NOT NULL, schedule {big},
        customer TEXT NOT NULL, product TEXT NOT NULL, types TEXT, start {big}, "end" {big}, output TEXT,
        layout TEXT NOT NULL, snapshot_min_id {big}, snapshot_max_id {big} NOT NULL, estimated_rows {big} NOT NULL,
        status TEXT NOT NULL, cancelled {bool} NOT NULL, started_at {big} NOT NULL, ended_at {big}, reason TEXT,
        attempt INTEGER NOT NULL, stalled_attempts INTEGER NOT NULL, next_attempt_at {big}, token TEXT, worker TEXT,
        paused {bool} NOT NULL, heartbeat_at {big}, claimed_at {big}, began_at {big}, planned {bool} NOT NULL,
        writing_began_at {big}, resumed_rows {big}, rows {big}, total {big}, width {big}, extra_rows {big}, file TEXT,
        etag TEXT, bytes {big}, sha256 TEXT, expires_at {big}, removed {bool} NOT NULL)""",
    "CREATE INDEX report_account ON report (account, id)",
    "CREATE INDEX report_status ON report (status, id)",
    "CREATE INDEX report_schedule ON report (schedule, id)",
    "CREATE INDEX report_schedule_ended_at ON report (schedule, ended_at)",
    """CREATE TABLE report_part (
        id {key}, job TEXT NOT NULL, number INTEGER NOT NULL, start {big}, "end" {big}, done {bool} NOT NULL,
        token TEXT, worker TEXT, heartbeat_at {big}, rows {big} NOT NULL, bytes {big} NOT NULL, file TEXT,
        UNIQUE (job, number))""",
    """CREATE TABLE report_attempt (
        id {key}, job TEXT NOT NULL, number INTEGER NOT NULL, token TEXT NOT NULL, worker TEXT NOT NULL,
        began_at {big} NOT NULL, ended_at {big}, outcome TEXT, reason TEXT, rows {big} NOT NULL)""",
    "CREATE INDEX report_attempt_job ON report_attempt (job, id)",
    # Recurring reports
    """CREATE TABLE schedule (
        id {key}, name TEXT NOT NULL, owner {big} NOT NULL, owner_name TEXT NOT NULL, customer TEXT NOT NULL,
        product TEXT NOT NULL, types TEXT, output TEXT, recurrence TEXT NOT NULL, hour INTEGER NOT NULL,
        mode TEXT NOT NULL, webhook TEXT, webhook_set_at {big}, webhook_salt TEXT, active {bool} NOT NULL, reason TEXT,
        next_run_at {big}, last_run_at {big}, last_report TEXT, last_snapshot_max_id {big}, claim TEXT,
        claimed_at {big}, claimed_next_run_at {big}, created_at {big} NOT NULL, UNIQUE (owner, name))""",
    """CREATE TABLE delivery (
        id {key}, key TEXT NOT NULL UNIQUE, schedule {big} NOT NULL, report TEXT NOT NULL, ended_at {big} NOT NULL,
        status TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, next_try_at {big}, created_at {big} NOT NULL,
        UNIQUE (report, ended_at))""",
    "CREATE INDEX delivery_next_try_at ON delivery (next_try_at)",
    "CREATE INDEX delivery_schedule ON delivery (schedule, id)",
    """CREATE TABLE delivery_try (
        id {key}, delivery {big} NOT NULL, began_at {big} NOT NULL, took_ms INTEGER NOT NULL, code INTEGER,
        said TEXT NOT NULL)""",
    "CREATE INDEX delivery_try_delivery ON delivery_try (delivery, id)",
    # Operations
    "CREATE TABLE setting_seen (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
)
