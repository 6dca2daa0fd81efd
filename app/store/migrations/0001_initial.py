"""Events, the catalog, users and reports.

Frozen: it says what the first version had, independently of `models`. Raw SQL where the two databases want different
types: `context` is text[] on PostgreSQL and JSON text on SQLite, `batch` is uuid and text.
"""

from peewee import SqliteDatabase


def up(migrator, db):
    """Make the tables."""
    sqlite = isinstance(db, SqliteDatabase)
    kinds = {
        "key": "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "big": "INTEGER" if sqlite else "bigint",
        "context": "TEXT" if sqlite else "text[]",
        "uuid": "TEXT" if sqlite else "uuid",
        "bool": "INTEGER" if sqlite else "boolean",
        "false": "0" if sqlite else "false",
    }
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**kinds))


STATEMENTS = (
    """CREATE TABLE event (
        id {key}, customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, version TEXT,
        timestamp {big} NOT NULL, context {context} NOT NULL, sequence INTEGER NOT NULL, batch {uuid} NOT NULL,
        received {big} NOT NULL)""",
    "CREATE INDEX event_customer_product_timestamp ON event (customer, product, timestamp)",
    """CREATE TABLE seen (
        id {key}, customer TEXT NOT NULL, product TEXT NOT NULL, type TEXT NOT NULL, since {big} NOT NULL,
        UNIQUE (customer, product, type))""",
    "CREATE INDEX seen_product ON seen (product)",
    "CREATE TABLE customer (code TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL)",
    "CREATE TABLE product (code TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL, columns TEXT NOT NULL)",
    """CREATE TABLE event_type (
        id {key}, code TEXT NOT NULL, product TEXT NOT NULL, description TEXT NOT NULL, context TEXT NOT NULL,
        UNIQUE (code, product))""",
    """CREATE TABLE account (
        id {key}, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, customers TEXT, password TEXT NOT NULL,
        session TEXT NOT NULL, created {big} NOT NULL)""",
    """CREATE TABLE report (
        id {key}, job TEXT NOT NULL UNIQUE, account {big}, account_name TEXT NOT NULL, customer TEXT NOT NULL,
        product TEXT NOT NULL, types TEXT, start {big}, "end" {big}, output TEXT, layout TEXT NOT NULL,
        cut {big} NOT NULL, status TEXT NOT NULL, started {big} NOT NULL, ended {big}, reason TEXT,
        attempt INTEGER NOT NULL, token TEXT, touched {big}, claimed {big}, rows {big}, total {big},
        extra_rows {big}, file TEXT, bytes {big}, sha256 TEXT, expires {big},
        removed {bool} NOT NULL DEFAULT {false})""",
    "CREATE INDEX report_account ON report (account, id)",
    "CREATE INDEX report_status ON report (status, id)",
)
