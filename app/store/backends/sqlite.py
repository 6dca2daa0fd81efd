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
SMALL_CACHE = "PRAGMA cache_size = -2000"  # of rows in order each page is read once; what fits the processor is faster
WAIT_SECONDS = 5  # for the write lock

INSERT_EVENTS = (
    "INSERT INTO event (customer, product, type, version, timestamp, context, sequence, batch, received) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class SqliteBackend(Availability, SqliteDatabase):
    """Peewee's SQLite with what the service needs beyond it."""

    clock_ms = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    serves_many_workers = False
    has_one_writer = True  # others wait until its transaction ends
    path: Path

    @classmethod
    def from_url(cls, url: str) -> SqliteBackend:
        """Open the file of `sqlite:///relative` or `sqlite:////absolute`."""
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
            with suppress(FileExistsError):  # a new one is its owner's alone; SQLite's own files beside it follow it
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
        """As Peewee does, and again: a new file's switch to WAL does not wait for another process that is at it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return super()._set_pragmas(conn)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def migration_lock(self) -> AbstractContextManager:
        """One migrates at a time; the others wait, then find nothing to do."""
        return self.atomic()

    def context_value(self, value: Sequence[str | None]) -> str:
        """A context as the column keeps it."""
        return orjson.dumps(value).decode()

    def encode_events(self, rows: Iterable[Row]) -> list[tuple]:
        """Events as `insert_encoded` takes them."""
        dumps = orjson.dumps
        return [(c, p, t, v, at, dumps(context).decode(), s, b, r) for c, p, t, v, at, context, s, b, r in rows]

    def dump_payload(self, payload: list[tuple]) -> bytes:
        """Encoded events as bytes."""
        return orjson.dumps(payload)

    def load_payload(self, data: bytes) -> list[tuple]:
        """What `dump_payload` was given."""
        return orjson.loads(data)

    def insert_encoded(self, payloads: Sequence[list[tuple]]) -> None:
        """Insert several requests' events, in order; inside a transaction."""
        with translated():
            self.connection().executemany(INSERT_EVENTS, itertools.chain.from_iterable(payloads))

    def begin_group(self, *, events_only: bool = False) -> None:
        """Begin a transaction that writes; on SQLite there is never a doubt whether a commit came through."""
        self.begin()

    def commit_group(self) -> None:
        """Commit it: on disk when this returns."""
        self.commit()

    def abandon_group(self) -> None:
        """Undo what is left of a transaction that failed."""
        if not self.is_closed() and self.connection().in_transaction:
            self.rollback()

    def was_committed(self, ticket: None, payload: object = None) -> bool:
        """A commit that raised did not happen."""
        return False

    def acceptance_cut(self, patience_ms: int) -> int:
        """The id of the last event accepted; inside a transaction, as only one writes, no id below it can appear."""
        return self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]

    def settled_cut(self, patience_ms: int) -> int:
        """The same, which needs no transaction here, nor anybody to wait."""
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
        """SQL for the number of a context's items."""
        return "json_array_length(context)"

    def context_item(self, index: int) -> str:
        """SQL for one item of a context, from 0."""
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
        """Which of these events have a text in their context; small letters stand for capitals, too.

        Args:
            text: without control characters, its ASCII letters small.
        """
        # LIKE is quick, and may mistake JSON's own characters for text; what it lets pass is looked at item by item.
        query = (
            "SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?)) AND context LIKE ? ESCAPE '~' "
            "AND EXISTS (SELECT 1 FROM json_each(context) WHERE instr(lower(value), ?))"
        )
        inside = re.sub("([%_~])", r"~\1", orjson.dumps(text).decode()[1:-1])
        found = self.execute_sql(query, (orjson.dumps(keys).decode(), f"%{inside}%", text))
        return {key for (key,) in found.fetchall()}

    def has_item(self) -> str:
        """SQL for whether a text, the parameter, is one of a context's items."""
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
        """What the database is, and its version."""
        return f"SQLite {sqlite3.sqlite_version}"

    def size(self) -> int:
        """How many bytes the database takes, the log of what was written last left out."""
        pages = self.execute_sql("PRAGMA page_count").fetchone()[0]
        return pages * self.execute_sql("PRAGMA page_size").fetchone()[0]

    def erase_alone(self) -> None:
        """One writes at a time anyway."""

    def drop_connection(self) -> None:
        """Close this thread's connection for good."""
        self.close()

    def close_idle(self) -> None:
        """None is kept open that no thread uses."""

    def csv_blocks(
        self, query: str, parameters: Sequence[object], delimiter: str, *, picked: bool
    ) -> Generator[Block] | None:
        """SQLite cannot write CSV itself; `exports/csv.py` does."""
        return None

    def many_rows(self) -> AbstractContextManager:
        """Nothing is to be said for that."""
        return nullcontext()

    def interrupter(self) -> Callable[[], None]:
        """A function for another thread: it ends the statement that this thread is at."""
        return self.connection().interrupt

    def stream(self, query: str, parameters: Sequence[object]) -> Generator[tuple]:
        """Rows as they come, never all in memory."""
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
