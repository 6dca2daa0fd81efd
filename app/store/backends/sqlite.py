"""SQLite: one file, one writer at a time, durable on commit."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import orjson
from peewee import SqliteDatabase

from app.exceptions import DatabaseUnsuitable, SettingInvalid
from app.store.backends.availability import PRIMARY, Availability, translated
from app.store.backends.row import Block, Row
from app.support.file_urls import quoted, unquoted

LOG_BYTES = 64 * 1024 * 1024  # size to which the write-ahead log shrinks when it restarts
LOG_PAGES = 1_000  # pages in the log after which a commit copies them into the file; SQLite's default
SHRINK_MS = 50  # time limit for the write lock and for readers to end, because others wait

# WAL and synchronous=FULL: a commit is on disk when it returns, and readers never wait for the writer.
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "cache_size": -32_000,
    "journal_size_limit": LOG_BYTES,
}
USUAL_CACHE = f"PRAGMA cache_size = {PRAGMAS['cache_size']}"
SMALL_CACHE = "PRAGMA cache_size = -2000"  # an ordered scan reads each page once; small fits the CPU cache
WAIT_SECONDS = 5  # for the write lock

INSERT_EVENTS = (
    "INSERT INTO event (customer, product, type, version, timestamp, context, sequence, batch, received) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class SqliteBackend(Availability, SqliteDatabase):
    """Peewee's SQLite database with the operations that the service needs in addition."""

    clock_ms = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    serves_many_workers = False
    has_one_writer = True  # other writers wait until its transaction ends
    path: Path

    @classmethod
    def from_url(cls, url: str) -> SqliteBackend:
        """Return the database for `sqlite:///relative` or `sqlite:////absolute`; it is opened at the first query."""
        path = unquoted(url.removeprefix("sqlite:").removeprefix("//").removeprefix("/"))
        # IMMEDIATE, because a transaction that reads first and writes later must not fail due to another writer.
        # mode=rw, because only `create` creates the file, so that a command in another folder leaves no empty database.
        uri = f"file:{quoted(path)}?mode=rw"
        found = cls(uri, uri=True, pragmas=PRAGMAS, timeout=WAIT_SECONDS, lock_type="IMMEDIATE")
        found.path = path
        return found

    def create(self) -> None:
        """Create the file and its folder if they do not exist.

        Raises:
            SettingInvalid: they cannot be created.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # 0o600: only the owner; SQLite's other files get the same mode
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise SettingInvalid(f"DATA_DIR: cannot make the database {self.path}: {error.strerror}.") from error

    def _connect(self) -> sqlite3.Connection:
        """Connect as Peewee does, but with a clear message if the file does not exist."""
        try:
            return super()._connect()
        except sqlite3.OperationalError:
            if self.path.exists():
                raise
            raise DatabaseUnsuitable(
                f"There is no database at {self.path}. Make one: flask --app wsgi db upgrade."
            ) from None

    def _set_pragmas(self, conn: sqlite3.Connection) -> None:
        """Set the pragmas as Peewee does, and retry while another process switches a new file to WAL.

        SQLite does not wait for that lock itself.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return super()._set_pragmas(conn)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def migration_lock(self) -> AbstractContextManager:
        """Return a context that lets one process migrate at a time; the others wait and then find nothing to do."""
        return self.atomic()

    def context_value(self, value: Sequence[str | None]) -> str:
        """Return a context as the column stores it."""
        return orjson.dumps(value).decode()

    def encode_events(self, rows: Iterable[Row]) -> list[tuple]:
        """Return events in the form that `insert_encoded` accepts."""
        dumps = orjson.dumps
        return [(c, p, t, v, at, dumps(context).decode(), s, b, r) for c, p, t, v, at, context, s, b, r in rows]

    def dump_payload(self, payload: list[tuple]) -> bytes:
        """Return encoded events as bytes."""
        return orjson.dumps(payload)

    def load_payload(self, data: bytes) -> list[tuple]:
        """Return the encoded events that `dump_payload` serialized."""
        return orjson.loads(data)

    def insert_encoded(self, payloads: Sequence[list[tuple]]) -> None:
        """Insert the events of several requests in order. Call it inside a transaction."""
        with translated():
            self.connection().executemany(INSERT_EVENTS, itertools.chain.from_iterable(payloads))

    def begin_group(self, *, events_only: bool = False) -> None:
        """Begin a write transaction, and return None, because the outcome of a commit on SQLite is never in doubt."""
        self.begin()

    def commit_group(self) -> None:
        """Commit the transaction; it is on disk when this returns."""
        self.commit()

    def abandon_group(self) -> None:
        """Roll back a failed transaction if it is still open."""
        if not self.is_closed() and self.connection().in_transaction:
            self.rollback()

    def was_committed(self, ticket: None, payload: object = None) -> bool:
        """Return False, because a commit that raised did not happen."""
        return False

    def acceptance_cut(self, patience_ms: int) -> int:
        """Return the id of the last accepted event. Call it inside a transaction.

        There is only one writer, so no id below it can appear later.
        """
        return self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]

    def settled_cut(self, patience_ms: int) -> int:
        """Return the same as `acceptance_cut`, which needs no transaction and no wait on SQLite."""
        return self.acceptance_cut(patience_ms)

    @contextmanager
    def without_checkpoints(self) -> Iterator[None]:
        """Disable automatic checkpoints in this thread's commits within the context. Call `checkpoint` instead."""
        self.execute_sql("PRAGMA wal_autocheckpoint = 0")
        try:
            yield
        finally:
            self.execute_sql(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")

    def checkpoint(self) -> bool:
        """Copy the log into the file without blocking others, and return whether all of it was copied."""
        _, pages, copied = self.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return pages == copied

    def shrink_log(self) -> None:
        """Shrink the log that grew during a long read, once the read has ended."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size <= LOG_BYTES or not self.checkpoint():
            return
        self.execute_sql(f"PRAGMA busy_timeout = {SHRINK_MS}").fetchall()
        try:
            self.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self.execute_sql(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}").fetchall()

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        """Return a SQL condition for events with one of these ids, and its parameter."""
        return "id IN (SELECT value FROM json_each(?))", orjson.dumps(keys).decode()

    def context_width(self) -> str:
        """Return SQL for the number of items in a context."""
        return "json_array_length(context)"

    def context_item(self, index: int) -> str:
        """Return SQL for one item of a context, counted from 0."""
        return f"json_extract(context, '$[{index}]')"

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        """Return SQL for `FROM` that selects, by index, the matching events of many pairs of customer and product.

        Args:
            pairs: a query for the pairs.
            condition: a condition on the columns timestamp, id and type of `event`.
            ends: the ORDER BY … LIMIT … of the whole query, if it can also limit the events of each pair.
        """
        return (
            f"({pairs}) AS pair CROSS JOIN event "
            f"WHERE event.customer = pair.customer AND event.product = pair.product AND {condition}"
        )

    def unless_wider(self, value: str, width: int) -> str:
        """Return the value unchanged, because SQLite splits no columns and `exports/csv.py` checks each row's width."""
        return value

    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        """Return the ids of the events whose context contains a text, ignoring the case of ASCII letters.

        Args:
            text: text without control characters, with its ASCII letters in lower case.
        """
        # LIKE is fast, but may match JSON syntax as if it were text, so the items of each match are checked again.
        query = (
            "SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?)) AND context LIKE ? ESCAPE '~' "
            "AND EXISTS (SELECT 1 FROM json_each(context) WHERE instr(lower(value), ?))"
        )
        inside = re.sub("([%_~])", r"~\1", orjson.dumps(text).decode()[1:-1])
        found = self.execute_sql(query, (orjson.dumps(keys).decode(), f"%{inside}%", text))
        return {key for (key,) in found.fetchall()}

    def has_item(self) -> str:
        """Return a SQL condition that a text, its parameter, equals one of the context's items."""
        return "EXISTS (SELECT 1 FROM json_each(context) WHERE value = ?)"

    def check_writable(self) -> None:
        """Raise StoreUnavailable if events cannot be written, because the file or its disk is read-only."""
        with translated():
            connection = self.connection()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("DELETE FROM event WHERE 0")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY:  # busy means that another process can write
                    raise
            finally:
                connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")

    def server(self) -> str:
        """Return the name and version of the database."""
        return f"SQLite {sqlite3.sqlite_version}"

    def size(self) -> int:
        """Return the size of the database in bytes, without the write-ahead log."""
        pages = self.execute_sql("PRAGMA page_count").fetchone()[0]
        return pages * self.execute_sql("PRAGMA page_size").fetchone()[0]

    def erase_alone(self) -> None:
        """Do nothing, because SQLite has only one writer at a time."""

    def drop_connection(self) -> None:
        """Close this thread's connection for good."""
        self.close()

    def close_idle(self) -> None:
        """Do nothing, because SQLite keeps no idle connections open."""

    def csv_blocks(
        self, query: str, parameters: Sequence[object], delimiter: str, *, picked: bool
    ) -> Generator[Block] | None:
        """Return None, because SQLite cannot write CSV; `exports/csv.py` does."""
        return None

    def many_rows(self) -> AbstractContextManager:
        """Return a context that does nothing, because SQLite needs no settings for reading many rows."""
        return nullcontext()

    def interrupter(self) -> Callable[[], None]:
        """Return a function that another thread can call to interrupt this thread's current statement."""
        return self.connection().interrupt

    def stream(self, query: str, parameters: Sequence[object]) -> Generator[tuple]:
        """Yield the rows of a query without loading all of them into memory."""
        connection = self.connection()
        connection.execute(SMALL_CACHE)
        try:
            cursor = connection.cursor()
            cursor.arraysize = 256
            cursor.execute(query, parameters)
            while rows := cursor.fetchmany():
                yield from rows
            cursor.close()
        finally:
            connection.execute(USUAL_CACHE)
