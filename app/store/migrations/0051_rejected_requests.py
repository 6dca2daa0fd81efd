"""Store requests that were refused because of an invalid event, and the size of rejected events, to limit it.

The index gives the stored bytes, and the event from which on they exceed the limit, without reading the events.
"""

from peewee import SqliteDatabase


def up(migrator, db):
    """Create the table and add the columns."""
    sqlite = isinstance(db, SqliteDatabase)
    kinds = {
        "key": "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "big": "INTEGER" if sqlite else "bigint",
        "bool": "INTEGER" if sqlite else "boolean",
        "blob": "BLOB" if sqlite else "bytea",
        "size": "length(CAST(event AS BLOB))" if sqlite else "octet_length(event)",
    }
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**kinds))


STATEMENTS = (
    """CREATE TABLE rejected_request (
        id {key}, uuid TEXT NOT NULL UNIQUE, received {big} NOT NULL, address TEXT NOT NULL, request_id TEXT NOT NULL,
        idempotency_key TEXT, body {blob} NOT NULL, bytes {big} NOT NULL, is_lines {bool} NOT NULL,
        events INTEGER NOT NULL, invalid INTEGER NOT NULL, customer TEXT NOT NULL, excluded_places TEXT NOT NULL,
        forbidden_places TEXT NOT NULL)""",
    "CREATE INDEX rejected_request_received ON rejected_request (received)",
    "CREATE INDEX rejected_request_bytes ON rejected_request (id, bytes)",
    "ALTER TABLE rejected_event ADD COLUMN request TEXT",
    "ALTER TABLE rejected_event ADD COLUMN bytes {big} NOT NULL DEFAULT 0",
    "UPDATE rejected_event SET bytes = {size}",
    "CREATE INDEX rejected_event_request ON rejected_event (request)",
    "CREATE INDEX rejected_event_bytes ON rejected_event (id, bytes)",
)
