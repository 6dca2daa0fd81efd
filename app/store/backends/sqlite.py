"""SQLite: one file, one writer at a time, durable on commit."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from peewee import ColumnBase, Node, SqliteDatabase, fn

from app.event_columns import COLUMNS, CONTEXT_INDEX, NAMES, Context, EventRow
from app.exceptions import DatabaseUnsuitable, SettingInvalid, StoreUnavailable
from app.store.backends import payloads
from app.store.backends.availability import MOVED, PRIMARY, Availability, translated
from app.store.backends.backend import Rows, Values
from app.store.step_size import Pace, pause
from app.support.file_urls import quoted, unquoted

LOG_BYTES = 64 * 1024 * 1024  # size to which the write-ahead log shrinks when it restarts
LOG_PAGES = 1_000  # pages in the log after which a commit copies them into the file; SQLite's default
INCREMENTAL = 2  # the value of PRAGMA auto_vacuum for files whose free pages can be given back
KEPT_FREE = 20  # one page in this many stays free, because later inserts would enlarge the file again
FIRST_FREED_PAGES, MAX_FREED_PAGES = 100, 5_000  # per transaction
MIN_FREED_PAGES = 50
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

INSERT_EVENTS = f"INSERT INTO event ({NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608

EncodedRow = list[object]  # an EventRow with the context as JSON text


class SqliteBackend(Availability, SqliteDatabase):  # type: ignore[misc]  # nobody passes arguments to `begin`
    """Peewee's SQLite database with the operations that the service needs in addition."""

    clock_ms = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    serves_many_workers = False
    has_one_writer = True  # other writers wait until its transaction ends
    path: Path

    if TYPE_CHECKING:  # the stubs leave it untyped

        def connection(self) -> sqlite3.Connection: ...

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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # 0o600: only the owner; SQLite's other files get the same mode
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(self.path, WAIT_SECONDS)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything else is written
                connection.execute("PRAGMA journal_mode = wal")  # writes the header
        except FileExistsError:
            return
        except (OSError, sqlite3.OperationalError) as error:
            reason = getattr(error, "strerror", error)
            raise SettingInvalid(f"DATA_DIR: cannot make the database {self.path}: {reason}.") from error

    def _connect(self) -> sqlite3.Connection:
        """Connect as Peewee does, but with a clear message if the file does not exist."""
        try:
            connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]  # the stubs lack Peewee's hooks
            return connection
        except sqlite3.OperationalError:
            self.check_exists()
            raise

    def check_exists(self) -> None:
        """Raise DatabaseUnsuitable if the file does not exist, and PermissionError if that cannot be seen."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DatabaseUnsuitable(f"There is no database at {self.path}. Make one: tally db upgrade.") from None

    def _set_pragmas(self, conn: sqlite3.Connection) -> None:
        """Set the pragmas as Peewee does, and retry while another process switches a new file to WAL.

        SQLite does not wait for that lock itself.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                super()._set_pragmas(conn)  # type: ignore[misc]  # the stubs lack Peewee's hooks
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def migration_lock(self) -> AbstractContextManager[object]:
        return self.atomic()

    def context_value(self, value: Context) -> str:
        return orjson.dumps(value).decode()

    def encode_events(self, rows: Iterable[EventRow]) -> list[EncodedRow]:
        encoded = []
        for row in rows:
            values: EncodedRow = list(row)
            values[CONTEXT_INDEX] = orjson.dumps(row[CONTEXT_INDEX]).decode()
            encoded.append(values)
        return encoded

    def dump_payload(self, payload: list[EncodedRow]) -> bytes:
        return orjson.dumps(payload)

    def load_payload(self, data: bytes) -> list[EncodedRow]:
        if payloads.is_postgres(data):
            return payloads.from_postgres(data)
        payload: list[EncodedRow] = orjson.loads(data)
        return payload

    def insert_encoded(self, payloads: Sequence[list[EncodedRow]]) -> None:
        with translated():
            self.connection().executemany(INSERT_EVENTS, itertools.chain.from_iterable(payloads))

    def begin_group(self, *, events_only: bool = False) -> None:
        self.begin()

    def commit_group(self) -> None:
        self.commit()

    def abandon_group(self) -> None:
        if not self.is_closed() and self.connection().in_transaction:
            self.rollback()

    def was_committed(self, transaction_id: str | None, payload: object = b"") -> bool:
        return False  # because a commit that raised did not happen

    def acceptance_cut(self, patience_ms: int) -> int:
        return self.fetch_int("SELECT coalesce(max(id), 0) FROM event")  # the only writer; no lower id can follow

    settled_cut = acceptance_cut

    def inserting(self) -> tuple[int, set[str]]:
        return self.acceptance_cut(0), set()

    @contextmanager
    def without_checkpoints(self) -> Iterator[None]:
        self.execute_sql("PRAGMA wal_autocheckpoint = 0")
        try:
            yield
        finally:
            self.execute_sql(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")

    def checkpoint(self) -> bool:
        _, pages, copied = self.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(pages == copied)

    def shrink_log(self) -> None:
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size <= LOG_BYTES or not self.checkpoint():
            return
        self.execute_sql(f"PRAGMA busy_timeout = {SHRINK_MS}").fetchall()
        try:
            self.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self.execute_sql(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}").fetchall()

    def give_back_space(self) -> None:
        if self.fetch_int("PRAGMA auto_vacuum") != INCREMENTAL:
            return
        pace = Pace(FIRST_FREED_PAGES, MAX_FREED_PAGES)
        with self.without_checkpoints():
            while self._excess_pages() >= MIN_FREED_PAGES:
                began = time.monotonic()
                with self.atomic(), pace.step():
                    self.free_pages(min(pace.size, self._excess_pages()))
                self.checkpoint()  # shortens the file
                pause(began)

    def free_pages(self, number: int) -> None:
        for _ in range(number):  # one at a time, because Python's sqlite3 stops after the first page of a statement
            self.execute_sql("PRAGMA incremental_vacuum(1)")

    def _excess_pages(self) -> int:
        """Return how many free pages can be given back, without those reserved for later inserts."""
        return self.fetch_int("PRAGMA freelist_count") - self.fetch_int("PRAGMA page_count") // KEPT_FREE

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        return "id IN (SELECT value FROM json_each(?))", orjson.dumps(keys).decode()

    def context_width(self) -> str:
        return "json_array_length(context)"

    def context_item(self, index: int) -> str:
        return f"json_extract(context, '$[{index}]')"

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        return (
            f"({pairs}) AS pair CROSS JOIN event "
            f"WHERE event.customer = pair.customer AND event.product = pair.product AND {condition}"
        )

    def of_codes(self, codes: str, condition: str) -> str:
        return (
            f"({codes}) AS known CROSS JOIN hourly_count "
            f"WHERE hourly_count.customer = known.customer AND hourly_count.product = known.product "
            f"AND hourly_count.type = known.type AND {condition}"
        )

    def unless_wider(self, value: str, width: int) -> str:
        return value  # SQLite splits no columns, and `exports/csv.py` checks each row's width

    def has_item_index(self) -> bool:
        return False

    def index_items(self, max_bytes: int | None = None) -> bool:
        """Do nothing, because SQLite has no index that costs inserting as little."""
        return True

    def find_by_item(self, query: str, parameters: Values, seconds: float) -> Rows | None:
        return None

    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        # LIKE is fast, but may match JSON syntax as if it were text, so the items of each match are checked again.
        query = (
            "SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?)) AND context LIKE ? ESCAPE '~' "
            "AND EXISTS (SELECT 1 FROM json_each(context) WHERE instr(lower(value), ?))"
        )
        inside = re.sub("([%_~])", r"~\1", orjson.dumps(text).decode()[1:-1])
        found = self.execute_sql(query, (orjson.dumps(keys).decode(), f"%{inside}%", text))
        return {key for (key,) in found.fetchall()}

    def json_items(self, column: ColumnBase) -> Node:
        return fn.json_each(column)

    def led_context(self, columns: Sequence[str]) -> str:
        lead = " || ',' || ".join(f"json_quote({column})" for column in columns)
        rest = "CASE context WHEN '[]' THEN ']' ELSE ',' || substr(context, 2) END"
        return f"'[' || {lead} || {rest}" if columns else "context"

    def has_item(self) -> str:
        # `instr` takes a third of the time of `json_each`, and works because `json_quote` quotes as stored contexts do.
        return "(instr(context, json_quote(?)) AND EXISTS (SELECT 1 FROM json_each(context) WHERE value = ?))"

    def check_writable(self) -> None:
        with translated():
            connection = self.connection()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("DELETE FROM event WHERE 0")
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'move'").fetchone():
                    raise StoreUnavailable(f"{MOVED}.")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY:  # busy means that another process can write
                    raise
            finally:
                connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")

    def server(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def size(self) -> int:
        return self.fetch_int("PRAGMA page_count") * self.fetch_int("PRAGMA page_size")

    def erase_alone(self) -> None:
        """Do nothing, because SQLite has only one writer at a time."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.execute_sql("BEGIN DEFERRED")
        try:
            yield
        finally:
            self.abandon_group()

    def drop_connection(self) -> None:
        self.close()

    def close_idle(self) -> None:
        """Do nothing, because SQLite keeps no idle connections open."""

    def csv_blocks(self, query: str, parameters: Values, delimiter: str, *, picked: bool) -> None:
        """Return None, because SQLite cannot write CSV; `exports/csv.py` does."""

    def many_rows(self) -> AbstractContextManager[object]:
        return nullcontext()

    def interrupter(self) -> Callable[[], None]:
        return self.connection().interrupt

    def stream(self, query: str, parameters: Values) -> Generator[tuple[Any, ...]]:
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
