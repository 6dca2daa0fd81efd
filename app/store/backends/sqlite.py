"""SQLite: one file, one writer at a time, durable on commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote

import orjson
from peewee import SqliteDatabase

from app.store.backends.availability import Availability, translated

# WAL and synchronous=FULL: a commit is on disk when it returns, and readers never wait for the writer.
PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1, "cache_size": -32_000}
WAIT_SECONDS = 10  # for the write lock

INSERT_EVENTS = (
    "INSERT INTO event (customer, product, type, version, timestamp, context, sequence, batch, received) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class SqliteBackend(Availability, SqliteDatabase):
    """Peewee's SQLite with what the service needs beyond it."""

    @classmethod
    def from_url(cls, url: str) -> SqliteBackend:
        """Open the file of `sqlite:///relative` or `sqlite:////absolute`; its folder is made."""
        path = Path(unquote(url.removeprefix("sqlite:").removeprefix("//").removeprefix("/")))
        path.parent.mkdir(parents=True, exist_ok=True)
        # IMMEDIATE: a transaction that reads first and writes later must not lose its place to another writer.
        return cls(str(path), pragmas=PRAGMAS, timeout=WAIT_SECONDS, lock_type="IMMEDIATE")

    def migration_lock(self) -> AbstractContextManager:
        """One migrates at a time; the others wait, then find nothing to do."""
        return self.atomic()

    def context_value(self, value: Sequence[str | None]) -> str:
        """A context as the column keeps it."""
        return orjson.dumps(value).decode()

    def insert_events(self, rows: Sequence[tuple]) -> None:
        """Insert rows (customer, product, type, version, timestamp, context, sequence, batch, received)."""
        dumps = orjson.dumps
        flat = [(c, p, t, v, at, dumps(context).decode(), s, b, r) for c, p, t, v, at, context, s, b, r in rows]
        self._executemany(INSERT_EVENTS, flat)

    def acceptance_cut(self) -> int:
        """The id of the last event accepted; inside a transaction, as only one writes, no id below it can appear."""
        return self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]

    def context_width(self) -> str:
        """SQL for the number of a context's items."""
        return "json_array_length(context)"

    def context_item(self, index: int) -> str:
        """SQL for one item of a context, from 0."""
        return f"json_extract(context, '$[{index}]')"

    def csv_lines(self, query: str, parameters: Sequence[object], delimiter: str) -> Iterator[bytes] | None:
        """SQLite cannot write CSV itself."""
        return None

    def stream(self, query: str, parameters: Sequence[object]) -> Iterator[tuple]:
        """Rows as they come, never all in memory."""
        cursor = self.connection().cursor()
        cursor.arraysize = 1000
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany():
            yield from rows
        cursor.close()

    def _executemany(self, statement: str, rows: Sequence[tuple]) -> None:
        with translated():
            self.connection().executemany(statement, rows)
