"""What the two databases do differently, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from peewee import ColumnBase, Node

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
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...  # noqa: ANN401 - a tuple, and never None for the queries that use it
    def fetchall(self) -> Rows: ...


class Backend(Protocol):
    """Peewee's database with the operations that the service needs in addition.

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

    # Statements and connections, as in Peewee. `drop_connection` closes this thread's connection instead of returning
    # it to the pool.
    def execute_sql(self, sql: str, params: Values | None = None) -> Cursor: ...
    def fetch_int(self, sql: str, params: Values | None = None) -> int: ...
    def atomic(self) -> AbstractContextManager[object]: ...
    def is_closed(self) -> bool: ...
    def close(self) -> bool: ...
    def close_idle(self) -> None: ...
    def dispose(self) -> None: ...
    def snapshot(
        self,
    ) -> AbstractContextManager[object]: ...  # what is read inside is of one moment; nothing is written
    def drop_connection(self) -> None: ...
    def interrupter(self) -> Callable[[], None]: ...  # cancels this thread's current statement, from another thread

    # The database as a whole. `create` raises SettingInvalid if it cannot create SQLite's file, and `check_writable`
    # raises StoreUnavailable if events cannot be written.
    def create(self) -> None: ...
    def migration_lock(self) -> AbstractContextManager[object]: ...
    def check_writable(self) -> None: ...
    def server(self) -> str: ...  # name and version
    def size(self) -> int: ...  # bytes, without the write-ahead log

    # The write-ahead log of SQLite. `checkpoint` copies it into the file without blocking others, and returns whether
    # all of it was copied. `without_checkpoints` disables automatic checkpoints in this thread's commits.
    def without_checkpoints(self) -> AbstractContextManager[object]: ...
    def checkpoint(self) -> bool: ...
    def shrink_log(self) -> None: ...

    # Returns most of the space of erased rows to the file system, in short transactions.
    def give_back_space(self) -> None: ...

    # Inserting events, which are encoded outside the transaction.
    def encode_events(self, rows: Iterable[EventRow]) -> Payload: ...
    def dump_payload(self, payload: Payload) -> bytes: ...
    def load_payload(self, data: bytes) -> Payload: ...
    def insert_encoded(self, payloads: Sequence[Payload]) -> None: ...

    def begin_group(self, *, events_only: bool = False) -> str | None:
        """Begin a transaction that inserts events, and return its id, or None if a commit is never in doubt.

        Args:
            events_only: whether only one `insert_encoded` and the commit follow.
        """

    def commit_group(self) -> None: ...  # the transaction is on disk when this returns
    def abandon_group(self) -> None: ...  # rolls it back, if it is still open

    def was_committed(self, transaction_id: str | None, payload: Payload = b"") -> bool:
        """Return whether the server has committed a transaction, even if the server has crashed since.

        Args:
            payload: events that the transaction inserted. After a crash or failover, the server may reuse the id of a
                lost transaction, so the presence of the events decides.

        Raises:
            StoreUnavailable: the server is unavailable, or the transaction is still in progress.
        """

    # Ids of events. Both methods return an id below which no new id can appear, and raise StoreUnavailable if inserting
    # transactions take longer than `patience_ms`.
    def acceptance_cut(self, patience_ms: int) -> int: ...  # inside a transaction; inserts wait until it ends
    def settled_cut(self, patience_ms: int) -> int: ...  # outside a transaction; without blocking inserts
    def inserting(self) -> tuple[int, set[str]]: ...  # the newest id, and transactions that may still add a lower one
    def erase_alone(self) -> None: ...  # other erasing transactions wait until this one ends; two could deadlock

    # SQL on the columns of `event`.
    def context_value(self, value: Context) -> object: ...  # a context as the column stores it
    def keyed(self, keys: Sequence[int]) -> tuple[str, object]: ...  # whether the id is one of these, and a parameter
    def context_width(self) -> str: ...
    def context_item(self, index: int) -> str: ...  # counted from 0
    def json_items(self, column: ColumnBase) -> Node: ...  # rows with the `value` of each item of a JSON array
    def led_context(self, columns: Sequence[str]) -> str: ...  # a context with column values before it
    def has_item(self) -> str: ...  # whether a text, each of its parameters, equals one of the context's items
    def unless_wider(self, value: str, width: int) -> str: ...  # a whole number, or RowTooWide in `csv_blocks`

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        """Return the `FROM` that selects, by index, the matching events of many pairs of customer and product.

        Args:
            pairs: a query for the pairs.
            condition: a condition on the columns timestamp, id and type of `event`.
            ends: the ORDER BY … LIMIT … of the whole query, if it can also limit the events of each pair.
        """

    def of_codes(self, codes: str, condition: str) -> str:
        """Return the `FROM` that selects, by index, the matching hourly counts of many customers, products and types.

        Args:
            codes: a query for customers, products and types, whose rows are called `known`.
            condition: a condition on the other columns of `hourly_count`.
        """

    # The index of the first items of contexts. It may be missing until `index_items` has created it, which takes long
    # if there are many events, but blocks nothing.
    def has_item_index(self) -> bool: ...
    def index_items(self, max_bytes: int | None = None) -> bool: ...  # False if the table is larger

    def find_by_item(self, query: str, parameters: Values, seconds: float) -> Rows | None:
        """Return the rows of a query for events with an item, or None if it takes longer or there is no index."""

    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        """Return the ids of the events whose context contains a text, ignoring the case of ASCII letters.

        Args:
            text: text without control characters, with its ASCII letters in lower case.
        """

    # Reading many events.
    def many_rows(self) -> AbstractContextManager[object]: ...
    def stream(self, query: str, parameters: Values) -> Generator[tuple[Any, ...]]: ...  # not all in memory at once

    def csv_blocks(self, query: str, parameters: Values, delimiter: str, *, picked: bool) -> Generator[Block] | None:
        """Return a query's rows as CSV lines that the server quotes, or None if the database cannot do so.

        Args:
            picked: whether the rows are a small part of the table and adjacent in the index.

        Raises:
            RowTooWide: see `unless_wider`. It is raised during iteration.
        """
