"""What the two databases do differently, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from app.event_columns import Context, EventRow

# Events as a backend encodes them. Only the backend that encoded them knows the type, so it is opaque to the others.
Payload = Any
Values = Sequence[object]  # the parameters of a statement
Rows = list[tuple[Any, ...]]
Block = tuple[bytes, int]  # lines of a report, and the number of rows in them
BLOCK_BYTES = 256 * 1024


class Cursor(Protocol):
    """The parts of a driver's cursor that are used."""

    @property
    def rowcount(self) -> int:
        """The number of rows that a statement changed."""

    def fetchone(self) -> Any:  # noqa: ANN401 - a tuple, and never None for the queries that use it
        """Return the next row."""

    def fetchall(self) -> Rows:
        """Return all remaining rows."""


class Backend(Protocol):
    """Peewee's database with the operations that the service needs in addition.

    Methods that return SQL return an expression on the columns of `event`.

    Attributes:
        param: the placeholder of a parameter in SQL.
        clock_ms: the SQL of the database's time in milliseconds.
        has_one_writer: whether other writers wait until a transaction ends.
        serves_many_workers: whether several workers may write one report concurrently.
    """

    param: str
    clock_ms: str
    has_one_writer: bool
    serves_many_workers: bool

    # Statements and connections, as in Peewee
    def execute_sql(self, sql: str, params: Values | None = None) -> Cursor:
        """Execute one statement."""

    def fetch_int(self, sql: str, params: Values | None = None) -> int:
        """Return the whole number that a query for one value returns."""

    def atomic(self) -> AbstractContextManager[object]:
        """Return a transaction, or a savepoint inside a transaction."""

    def is_closed(self) -> bool:
        """Return whether this thread has no connection."""

    def close(self) -> bool:
        """Return this thread's connection to the pool, or close it if there is no pool."""

    def dispose(self) -> None:
        """Forget all connections without notifying the server."""

    # Connections
    def create(self) -> None:
        """Create the database if this is up to the service.

        Raises:
            SettingInvalid: it cannot be created.
        """

    def migration_lock(self) -> AbstractContextManager[object]:
        """Return a context that one process at a time can hold. The others wait, and then find nothing to do."""

    def drop_connection(self) -> None:
        """Close this thread's connection for good instead of returning it to the pool."""

    def close_idle(self) -> None:
        """Close the idle connections."""

    def interrupter(self) -> Callable[[], None]:
        """Return a function that another thread can call to cancel this thread's current statement."""

    def check_writable(self) -> None:
        """Raise StoreUnavailable if events cannot be written: read-only, or without the privilege."""

    def server(self) -> str:
        """Return the name and version of the database."""

    def size(self) -> int:
        """Return the size of the database in bytes, without the write-ahead log."""

    # Writing events
    def encode_events(self, rows: Iterable[EventRow]) -> Payload:
        """Return events in the form that `insert_encoded` accepts."""

    def dump_payload(self, payload: Payload) -> bytes:
        """Return encoded events as bytes."""

    def load_payload(self, data: bytes) -> Payload:
        """Return the encoded events that `dump_payload` serialized."""

    def insert_encoded(self, payloads: Sequence[Payload]) -> None:
        """Insert the events of several requests in order. Call it inside a transaction."""

    def begin_group(self, *, events_only: bool = False) -> str | None:
        """Begin a transaction that inserts events, and return its id for `was_committed`.

        Args:
            events_only: whether only one `insert_encoded` and the commit follow.

        Returns:
            None if the outcome of a commit is never in doubt.
        """

    def commit_group(self) -> None:
        """Commit the transaction; it is on disk when this returns."""

    def abandon_group(self) -> None:
        """Roll back a failed transaction, if it is still open."""

    def was_committed(self, transaction_id: str | None, payload: Payload = b"") -> bool:
        """Return whether the server has committed a transaction, even if the server has crashed since.

        Args:
            payload: events that the transaction inserted. After a crash or failover, the server may reuse the id of a
                lost transaction, so the presence of the events decides.

        Raises:
            StoreUnavailable: the server is unavailable, or the transaction is still in progress.
        """

    # Event ids
    def acceptance_cut(self, patience_ms: int) -> int:
        """Return the id of the last accepted event, below which no id can appear later. Call it inside a transaction.

        Args:
            patience_ms: how long to wait for inserting transactions. New inserts wait behind this call.

        Raises:
            StoreUnavailable: the inserting transactions took longer.
        """

    def settled_cut(self, patience_ms: int) -> int:
        """Return an event id below which no new id can appear, without blocking inserts.

        Call it outside a transaction.

        Raises:
            StoreUnavailable: the inserting transactions took longer than `patience_ms`.
        """

    def erase_alone(self) -> None:
        """Allow one erasing transaction at a time until this one ends, because two could deadlock."""

    # The write-ahead log of SQLite
    def without_checkpoints(self) -> AbstractContextManager[object]:
        """Disable automatic checkpoints in this thread's commits within the context. Call `checkpoint` instead."""

    def checkpoint(self) -> bool:
        """Copy the log into the file without blocking others, and return whether all of it was copied."""

    def shrink_log(self) -> None:
        """Shrink the log that grew during a long read, once the read has ended."""

    # SQL
    def context_value(self, value: Context) -> object:
        """Return a context as the column stores it."""

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        """Return a condition for events with one of these ids, and its parameter."""

    def context_width(self) -> str:
        """Return the number of items in a context."""

    def context_item(self, index: int) -> str:
        """Return one item of a context, counted from 0."""

    def has_item(self) -> str:
        """Return the condition that a text, its parameter, equals one of the context's items."""

    def unless_wider(self, value: str, width: int) -> str:
        """Return a whole number whose evaluation raises RowTooWide if the context has more than `width` items.

        Only `csv_blocks` needs that.
        """

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        """Return the `FROM` that selects, by index, the matching events of many pairs of customer and product.

        Args:
            pairs: a query for the pairs.
            condition: a condition on the columns timestamp, id and type of `event`.
            ends: the ORDER BY … LIMIT … of the whole query, if it can also limit the events of each pair.
        """

    # Reading events
    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        """Return the ids of the events whose context contains a text, ignoring the case of ASCII letters.

        Args:
            text: text without control characters, with its ASCII letters in lower case.
        """

    def many_rows(self) -> AbstractContextManager[object]:
        """Return a context for reading many events."""

    def stream(self, query: str, parameters: Values) -> Generator[tuple[Any, ...]]:
        """Yield the rows of a query without loading all of them into memory."""

    def csv_blocks(self, query: str, parameters: Values, delimiter: str, *, picked: bool) -> Generator[Block] | None:
        """Return a query's rows as CSV lines that the server quotes, or None if the database cannot do so.

        Args:
            picked: whether the rows are a small part of the table and adjacent in the index.

        Raises:
            RowTooWide: see `unless_wider`. It is raised during iteration.
        """
