"""A PostgreSQL database for all tests of a process, emptied before each test.

To truncate all of its tables takes 80 ms, because the server creates new files for them and their indexes, and most
tests write to few of them.
"""

from __future__ import annotations

from typing import Self

import psycopg

# rows of the migrations, which each test must find
SEEDS = {"rejected_drop": "number", "counted": "up_to"}
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
        written = [table for table, name in self._connection.execute(WRITTEN_TO).fetchall() if name not in SEEDS]
        truncate = [f"TRUNCATE {', '.join(written)} RESTART IDENTITY CASCADE"] if written else []
        seeds = [
            f"DELETE FROM {table}; INSERT INTO {table} (id, {column}) VALUES (1, 0)" for table, column in SEEDS.items()
        ]
        self._connection.execute("; ".join(truncate + seeds))
