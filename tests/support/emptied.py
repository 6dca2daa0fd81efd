"""A PostgreSQL database for all tests of a process, emptied before each test.

To truncate all of its tables takes 80 ms, because the server creates new files for them and their indexes, and most
tests write to few of them.
"""

from __future__ import annotations

from typing import Self

import psycopg
from psycopg import sql

# tables with rows of the migrations, which each test must find
SEEDED = ("rejected_drop", "counted", "alert_evaluation", "alert_rule")
# The file of a table has no bytes until something is written to it, committed or not.
WRITTEN_TO = """
    SELECT quote_ident(relname), relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
    AND relname <> 'schema_migration'"""


class Database:
    """A migrated database and a connection that empties it, as a context manager.

    Attributes:
        url: the database's URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._seeds = [statement for table in SEEDED for statement in self._restore(table)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def empty(self) -> None:
        """Restore the state after the migrations."""
        try:
            self._empty()
        except psycopg.OperationalError:  # a test closed all connections
            self._connection.close()
            self._connection = psycopg.connect(self.url, autocommit=True)
            self._empty()

    def _empty(self) -> None:
        written = [table for table, name in self._connection.execute(WRITTEN_TO).fetchall() if name not in SEEDED]
        truncate = [f"TRUNCATE {', '.join(written)} RESTART IDENTITY CASCADE"] if written else []
        self._connection.execute("; ".join(truncate + self._seeds))

    def _restore(self, table: str) -> list[str]:
        """Return the statements that restore the present rows of a table."""
        rows = self._connection.execute(f"SELECT * FROM {table}").fetchall()
        values = ", ".join(
            f"({', '.join(sql.Literal(one).as_string(self._connection) for one in row)})" for row in rows
        )
        reset = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {len(rows)})"
        return [f"DELETE FROM {table}", f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES {values}", reset]
