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
from app.file_urls import quoted, unquoted
from app.store.backends.availability import PRIMARY, Availability, translated
from app.store.backends.row import Block, Row

LOG_BYTES = 64 * 1024 * 1024  # of the write-ahead log, to which it shrinks when it begins anew
LOG_PAGES = 1_000  # after so many a commit copies them into the file; SQLite's own number
SHRINK_MS = 50  # for the write lock, and for readers to end, while others wait

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
        # IMMEDIATE: a transaction that reads first and writes later must not lose its place to another writer.
        # mode=rw: only `create` makes the file, so that a command in another folder leaves no empty database there.
        uri = f"file:{quoted(path)}?mode=rw"
        found = cls(uri, uri=True, pragmas=PRAGMAS, timeout=WAIT_SECONDS, lock_type="IMMEDIATE")
        found.path = path
        return found

    def create(self) -> None:
        """Make the file and its folder, if they are not there.

        Raises:
            SettingInvalid: they cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # a new one is its owner's alone; SQLite's own files beside it follow it
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise SettingInvalid(f"DATA_DIR: cannot make the database {self.path}: {error.strerror}.") from error

    def _connect(self) -> sqlite3.Connection:
        """As Peewee does, with a sentence about a file that is not there."""
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
        """This thread's commits copy nothing from the log into the file meanwhile; `checkpoint` does."""
        self.execute_sql("PRAGMA wal_autocheckpoint = 0")
        try:
            yield
        finally:
            self.execute_sql(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")

    def checkpoint(self) -> bool:
        """Copy what is in the log into the file, nobody waiting for it; whether all is, as no reader needs the log."""
        _, pages, copied = self.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return pages == copied

    def shrink_log(self) -> None:
        """Make the log small again that grew while somebody read for long, once they have ended."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size <= LOG_BYTES or not self.checkpoint():
            return
        self.execute_sql(f"PRAGMA busy_timeout = {SHRINK_MS}").fetchall()
        try:
            self.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self.execute_sql(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}").fetchall()

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        """SQL for events with one of these ids, and its parameter."""
        return "id IN (SELECT value FROM json_each(?))", orjson.dumps(keys).decode()

    def context_width(self) -> str:
        """SQL for the number of a context's items."""
        return "json_array_length(context)"

    def context_item(self, index: int) -> str:
        """SQL for one item of a context, from 0."""
        return f"json_extract(context, '$[{index}]')"

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        """SQL for `FROM`: of each of many pairs of customer and product the events under a condition, by the index.

        Args:
            pairs: a query for them.
            condition: on `event`, with the columns timestamp, id and type alone.
            ends: what of each pair's events is enough, if the whole query asks for the same: ORDER BY … LIMIT ….
        """
        return (
            f"({pairs}) AS pair CROSS JOIN event "
            f"WHERE event.customer = pair.customer AND event.product = pair.product AND {condition}"
        )

    def unless_wider(self, value: str, width: int) -> str:
        """SQLite cuts no columns; `exports/csv.py` looks how wide each row is."""
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
        """Raise StoreUnavailable where no event can be written: the file or its disk is read-only."""
        with translated():
            connection = self.connection()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("DELETE FROM event WHERE 0")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY:  # somebody writes, so it can be written to
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
