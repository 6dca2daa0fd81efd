"""PostgreSQL: concurrent writers, COPY for bulk transfers, and report snapshots that no late commit can change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import islice

from peewee import Psycopg3Adapter
from playhouse.pool import PooledPostgresqlDatabase
from psycopg import ClientCursor, Connection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DivisionByZero

from app.exceptions import DatabaseUnsuitable, RowTooWide, SettingInvalid, StoreUnavailable
from app.store.backends import copying
from app.store.backends.availability import FORBIDDEN, READ_ONLY, Availability, translated
from app.store.backends.row import Block, Context, Row

OLDEST = 15  # the first version of PostgreSQL with MERGE, which the hourly counts use
CONNECTIONS = 20  # per process; a thread waits if none is free
WAIT_SECONDS = 10  # for a free connection
CONNECT_SECONDS = 5

# Advisory locks, because nothing else waits for them. Each number is Tally's own; advisory locks share one key space.
ACCEPTANCE = 7_201_001  # shared by transactions that insert events, exclusive while a report's snapshot is fixed
MIGRATION = 7_201_002
ERASURE = 7_201_003

# The current holders of the shared lock.
INSERTING = f"""
    SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND objid = {ACCEPTANCE} AND objsubid = 1
        AND mode = 'ShareLock' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
LOOK_SECONDS = 0.01

# One round trip. The shared lock is held until the commit; see `acceptance_cut`.
BEGIN_GROUP = f"BEGIN; SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared({ACCEPTANCE})"
# COPY for groups of any size: INSERT is about 6 % faster up to 5 rows, but slower from 100 rows; see docs/decisions.md.
COPY_EVENTS = "COPY event (customer, product, type, version, timestamp, context, sequence, batch, received) FROM STDIN"
WHOLE_GROUP = f"{BEGIN_GROUP}; {COPY_EVENTS}; COMMIT".encode()
NULL = "\\N"
ENCODED_ROWS = 1_000  # per step, because strings use more memory than encoded lines

# Session settings that Tally requires regardless of the role, the database and the server: a commit is on disk when it
# returns, a statement sees everything committed before it, and string literals are interpreted literally.
SESSION = {
    "default_transaction_isolation": ("read committed",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),  # the first one, unless another is set
    "standard_conforming_strings": ("on",),
    "DateStyle": ("ISO, YMD", "ISO, MDY", "ISO, DMY"),
}
KEPT_BY_POOLERS = ("standard_conforming_strings", "DateStyle")  # pgbouncer restores these for each transaction
FOUND = f"""
    SELECT pg_backend_pid(), current_setting('server_encoding'),
        {", ".join(f"current_setting('{name}')" for name in SESSION)}"""

# Limits that an operator may set globally, and that must not abort a long read or a migration.
TIMEOUTS = "'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout'"
# A server before version 17 has no transaction_timeout.
LIFTED = f"""
    (SELECT count(set_config(name, '0', {{is_local}})) FROM pg_settings
    WHERE name IN ({TIMEOUTS}) AND setting <> '0')"""

# Settings of a transaction that reads many events; higher values that an operator has set remain. Sorts and groups get
# more memory, because the planner overestimates the number of groups. JIT compilation takes longer than it saves.
FOR_MANY_ROWS = f"""
    SELECT {LIFTED.format(is_local="true")},
        set_config('jit', 'off', true), set_config('hash_mem_multiplier', '100', true),
        set_config('work_mem', greatest(memory, pg_size_bytes('64MB')) / 1024 || 'kB', true),
        set_config('random_page_cost', CASE WHEN {{picked}} AND cost = '4' THEN '1.1' ELSE cost END, true)
    FROM (SELECT pg_size_bytes(current_setting('work_mem')) AS memory, current_setting('random_page_cost') AS cost)"""
MANY_ROWS = FOR_MANY_ROWS.format(picked="false")
# For a part of the events, random pages cost little more than sequential ones, as on today's disks. Otherwise the
# planner would scan the whole table for each part of a long report.
PICKED_ROWS = FOR_MANY_ROWS.format(picked="true")

# Characters with a special meaning in COPY's text format, or in an array literal inside it.
SPECIAL = re.compile(r'["\\\t\n\r]')
IN_TEXT = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# Escaped twice: for the array literal, and for COPY.
IN_ARRAY = str.maketrans({"\\": "\\\\\\\\", '"': '\\\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Adapter(Psycopg3Adapter):
    """Psycopg adapter that validates and configures every new connection before use."""

    def connect(self, *args: object, **kwargs: object) -> Connection:
        """Open a connection.

        Raises:
            DatabaseUnsuitable: the database, or a pooler in front of it, lacks a property that Tally needs.
        """
        connection = super().connect(*args, **kwargs)
        try:
            connection.autocommit = True
            set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class PostgresBackend(Availability, PooledPostgresqlDatabase):
    """Peewee's pooled PostgreSQL database with the operations that the service needs in addition."""

    clock_ms = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    has_one_writer = False
    serves_many_workers = True  # several workers may write one report concurrently
    psycopg3_adapter = Adapter

    @classmethod
    def from_url(cls, url: str) -> PostgresBackend:
        """Initialize the database from a libpq URL. Connections are opened when threads first need them.

        Raises:
            SettingInvalid: libpq cannot parse the URL. Its message is omitted, because it may contain a password.
        """
        url = url.replace("postgres://", "postgresql://", 1)
        try:
            conninfo_to_dict(url)
        except ProgrammingError:
            raise SettingInvalid(
                "DATABASE_URL: libpq cannot read it. Write postgresql://user:password@host:5432/name, "
                "and other parameters as ?name=value&name=value with libpq's names."
            ) from None
        return cls(
            url,
            prefer_psycopg3=True,
            max_connections=CONNECTIONS,
            timeout=WAIT_SECONDS,
            connect_timeout=CONNECT_SECONDS,
            application_name="tally",
            client_encoding="UTF8",
            prepare_threshold=None,  # pgbouncer may switch connections, which lose prepared statements
        )

    def create(self) -> None:
        """Do nothing, because the operator creates the database."""

    @contextmanager
    def migration_lock(self) -> Iterator[None]:
        """Hold the migration lock, so that concurrent processes wait and then find nothing to do.

        A transaction on a separate connection holds the lock, because pgbouncer in transaction mode retains nothing
        longer, and migrations begin and end their own transactions.
        """
        with translated(), self._adapter.connect(self, **self.connect_params) as lock, lock.transaction():
            lock.execute(f"SELECT {LIFTED.format(is_local='true')}")
            lock.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION,))
            self.execute_sql(f"SELECT {LIFTED.format(is_local='false')}")
            try:
                yield
            finally:
                self.drop_connection()

    def context_value(self, value: Sequence[str | None]) -> list[str | None]:
        """Return a context as the column stores it."""
        return list(value)

    def encode_events(self, rows: Iterable[Row]) -> bytes:
        """Return events in the form that `insert_encoded` accepts: lines of COPY's text format."""
        left, lines = iter(rows), BytesIO()
        while some := list(islice(left, ENCODED_ROWS)):
            line = _plain_line if _are_plain(some) else _careful_line
            lines.write("".join([line(*row) for row in some]).encode())
        return lines.getvalue()

    def dump_payload(self, payload: bytes) -> bytes:
        """Return encoded events as bytes."""
        return payload

    def load_payload(self, data: bytes) -> bytes:
        """Return the encoded events that `dump_payload` serialized."""
        return data

    def insert_encoded(self, payloads: Sequence[bytes]) -> None:
        """Insert the events of several requests in order. Call it inside a transaction."""
        data = b"".join(payloads)
        with translated():
            connection = self.connection()
            if copying.is_under_way(connection.pgconn):
                copying.send(connection.pgconn, data)
            else:
                with connection.cursor() as cursor, cursor.copy(COPY_EVENTS) as copy:
                    copy.write(data)

    def begin_group(self, *, events_only: bool = False) -> str:
        """Begin a transaction that inserts events, and return its id for `was_committed`.

        Args:
            events_only: whether only one `insert_encoded` and the commit follow.
        """
        with translated():
            if events_only:
                return copying.begin(self.connection().pgconn, WHOLE_GROUP).decode()
            with self.connection().cursor() as cursor:
                cursor.execute(BEGIN_GROUP)
                cursor.nextset()
                return cursor.fetchone()[0]

    def commit_group(self) -> None:
        """Commit the transaction; it is on disk when this returns."""
        with translated():
            connection = self.connection()
            if copying.is_under_way(connection.pgconn):
                copying.end(connection.pgconn)
            else:
                with connection.cursor() as cursor:
                    cursor.execute("COMMIT")

    def abandon_group(self) -> None:
        """Roll back a failed transaction by closing its connection, which may be broken."""
        if not self.is_closed():
            self.manual_close()

    def was_committed(self, ticket: str, payload: bytes = b"") -> bool:
        """Return whether the server has committed a transaction, even if the server has crashed since.

        Args:
            payload: events that the transaction inserted. After a crash or failover, the server may reuse the id of a
                lost transaction, so the presence of the events decides.

        Raises:
            StoreUnavailable: the server is unavailable, or the transaction is still in progress.
        """
        # The server raises an error for an id that it has not assigned yet, as after a restore from a backup.
        # (The end of a snapshot does not answer this, because transactions beyond it may be in progress.)
        query = "SELECT CASE WHEN %s::xid8 < pg_current_xact_id() THEN pg_xact_status(%s::xid8) END"
        status = self.execute_sql(query, (ticket, ticket)).fetchone()[0]
        if status == "in progress":
            raise StoreUnavailable("The database is still busy with the events.")
        return status == "committed" and (not payload or self._has_first_event(payload))

    def _has_first_event(self, payload: bytes) -> bool:
        """Return whether the first event of an `encode_events` result is stored, because either all are or none."""
        customer, product, _, _, timestamp, _, _, batch, _ = payload.partition(b"\n")[0].decode().split("\t")
        codes = [code.replace("\\\\", "\\") for code in (customer, product)]  # codes have no other escapes
        query = (
            "SELECT EXISTS (SELECT FROM event WHERE customer = %s AND product = %s AND timestamp = %s AND batch = %s)"
        )
        return self.execute_sql(query, (*codes, int(timestamp), batch)).fetchone()[0]

    def acceptance_cut(self, patience_ms: int) -> int:
        """Return the id of the last accepted event. Call it inside a transaction.

        Ids become visible out of order, because a transaction with a low id may commit after one with a higher id.
        Therefore this waits until every inserting transaction has ended, and blocks new ones until the report's row is
        committed. After that no id up to the returned one can appear, and every later event has a higher id.

        Args:
            patience_ms: how long to wait for inserting transactions. New inserts wait behind this call.

        Raises:
            StoreUnavailable: the inserting transactions took longer.
        """
        self.execute_sql(f"SET LOCAL lock_timeout = {int(patience_ms)}")
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ACCEPTANCE,))
        return self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]

    def settled_cut(self, patience_ms: int) -> int:
        """Return an event id below which no new id can appear. Call it outside a transaction.

        Unlike `acceptance_cut`, it does not block inserts. Each insert holds the shared lock from before its first id
        is assigned until its commit is visible. So this waits for the holders of the lock at the time the newest id is
        read.

        Raises:
            StoreUnavailable: the holders took longer than `patience_ms`.
        """
        newest = self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        deadline = time.monotonic() + patience_ms / 1000
        waited_for = self._inserting()
        while waited_for:
            if time.monotonic() > deadline:
                raise StoreUnavailable("A transaction that inserts events takes longer than may be waited for.")
            time.sleep(LOOK_SECONDS)
            waited_for &= self._inserting()
        return newest

    def _inserting(self) -> set[str]:
        """Return the transactions that hold the shared lock."""
        return {name for (name,) in self.execute_sql(INSERTING).fetchall()}

    def shrink_log(self) -> None:
        """Do nothing, because PostgreSQL manages its own log."""

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        """Return a SQL condition for events with one of these ids, and its parameter."""
        return "id = ANY(%s)", list(keys)

    def context_width(self) -> str:
        """Return SQL for the number of items in a context."""
        return "cardinality(context)"

    def context_item(self, index: int) -> str:
        """Return SQL for one item of a context, counted from 0."""
        return f"context[{index + 1}]"

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        """Return SQL for `FROM` that selects, by index, the matching events of many pairs of customer and product.

        Args:
            pairs: a query for the pairs.
            condition: a condition on the columns timestamp, id and type of `event`.
            ends: the ORDER BY … LIMIT … of the whole query, if it can also limit the events of each pair.
        """
        return (
            f"({pairs}) AS pair CROSS JOIN LATERAL (SELECT * FROM event "
            f"WHERE event.customer = pair.customer AND event.product = pair.product AND {condition} {ends}) AS event"
        )

    def unless_wider(self, value: str, width: int) -> str:
        """Return SQL for a whole number that raises RowTooWide in a row whose context has more than `width` items."""
        return f"{value} / ({self.context_width()} <= {int(width)})::int"

    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        """Return the ids of the events whose context contains a text, ignoring the case of ASCII letters.

        Args:
            text: text without control characters, with its ASCII letters in lower case.
        """
        # A character that cannot occur in `text` separates items. Collation "C" folds only ASCII letters, as on SQLite.
        query = (
            "SELECT id FROM event WHERE id = ANY(%s) "
            """AND strpos(lower(array_to_string(context, E'\\x1f') COLLATE "C"), %s) > 0"""
        )
        return {key for (key,) in self.execute_sql(query, (list(keys), text)).fetchall()}

    def has_item(self) -> str:
        """Return a SQL condition that a text, its parameter, equals one of the context's items."""
        return "%s = ANY(context)"

    def check_writable(self) -> None:
        """Raise StoreUnavailable if events cannot be written: on a standby, with a read-only role or no privilege."""
        query = "SELECT current_setting('transaction_read_only'), has_table_privilege('event', 'INSERT')"
        read_only, may_insert = self.execute_sql(query).fetchone()
        if read_only == "on":
            raise StoreUnavailable(f"{READ_ONLY}.")
        if not may_insert:
            raise StoreUnavailable(f"{FORBIDDEN}: it may not INSERT INTO event.")

    def server(self) -> str:
        """Return the name and version of the database."""
        return f"PostgreSQL {self.execute_sql('SHOW server_version').fetchone()[0].split()[0]}"

    def size(self) -> int:
        """Return the size of the database in bytes."""
        return self.execute_sql("SELECT pg_database_size(current_database())").fetchone()[0]

    def erase_alone(self) -> None:
        """Allow one erasing transaction at a time until this one ends, because two could deadlock."""
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ERASURE,))

    def drop_connection(self) -> None:
        """Close this thread's connection instead of returning it to the pool."""
        self.manual_close()

    def csv_blocks(
        self, query: str, parameters: Sequence[object], delimiter: str, *, picked: bool
    ) -> Generator[Block] | None:
        """Return a query's rows as CSV lines quoted by the server, or None if COPY does not support the delimiter.

        Args:
            picked: whether the rows are a small part of the table and adjacent in the index.

        Raises:
            RowTooWide: see `unless_wider`. It is raised during iteration.
        """
        if not delimiter.isascii():
            return None
        return self._copy(query, parameters, delimiter, PICKED_ROWS if picked else MANY_ROWS)

    @contextmanager
    def many_rows(self) -> Iterator[None]:
        """Return a transaction with settings for reading many events."""
        with self.atomic():
            self.execute_sql(MANY_ROWS)
            yield

    def interrupter(self) -> Callable[[], None]:
        """Return a function that another thread can call to cancel this thread's current statement."""
        connection = self.connection()
        return lambda: connection.cancel_safe(timeout=CONNECT_SECONDS)

    def stream(self, query: str, parameters: Sequence[object]) -> Generator[tuple]:
        """Yield the rows of a query without loading all of them into memory."""
        with translated(), self.many_rows(), self.connection().cursor(name="tally_stream") as cursor:
            cursor.itersize = 5000
            cursor.execute(query, parameters)
            yield from cursor

    def _copy(self, query: str, parameters: Sequence[object], delimiter: str, before: str) -> Generator[Block]:
        statement = f"COPY ({query}) TO STDOUT (FORMAT csv, DELIMITER %s, ENCODING 'UTF8')"
        with translated():
            connection = self.connection()
            bound = ClientCursor(connection).mogrify(statement, (*parameters, delimiter))
            try:
                yield from copying.receive(connection.pgconn, before.encode(), bound.encode())
            except DivisionByZero:
                self.manual_close()  # closes the failed transaction, too
                raise RowTooWide from None
            finally:
                if copying.is_busy(connection.pgconn) and not connection.closed:  # the remaining rows are not needed
                    self.manual_close()


def set_up(connection: Connection) -> None:
    """Reject a server that is too old or cannot store all text, and apply the settings in `SESSION`."""
    if connection.info.server_version < OLDEST * 10_000:
        found = connection.info.server_version // 10_000
        raise DatabaseUnsuitable(
            f"DATABASE_URL: the server is PostgreSQL {found}, and Tally needs {OLDEST} or newer. Upgrade it."
        )
    pid, encoding, *values = connection.execute(FOUND).fetchone()
    if encoding != "UTF8":
        raise DatabaseUnsuitable(
            f"DATABASE_URL: the database's encoding is {encoding}, and Tally needs UTF8. Create another one: "
            "CREATE DATABASE tally TEMPLATE template0 ENCODING 'UTF8'."
        )
    other = {
        name: allowed[0] for (name, allowed), value in zip(SESSION.items(), values, strict=True) if value not in allowed
    }
    is_pooled = pid != connection.pgconn.backend_pid  # a pooler assigns its own process ids to clients
    for name in other:
        if is_pooled and name not in KEPT_BY_POOLERS:
            raise DatabaseUnsuitable(
                f"DATABASE_URL leads through a connection pooler, and the server's {name} is not {other[name]}. "
                f"Set it: ALTER ROLE \"{connection.info.user}\" SET {name} = '{other[name]}'."
            )
    for name, value in other.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def _are_plain(rows: Sequence[Row]) -> bool:
    """Return whether no text needs escaping. One search over all rows is cheaper than one per row."""
    try:
        items = "\0".join([item for row in rows for item in row[5]])
    except TypeError:  # a null among them
        return False
    texts = {text for row in rows for text in row[:4] if text is not None}
    return not SPECIAL.search(items) and not SPECIAL.search("\0".join(texts))


def _plain_line(c: str, p: str, t: str, v: str | None, at: int, context: Context, s: int, b: str, r: int) -> str:
    items = '{"' + '","'.join(context) + '"}' if context else "{}"
    return f"{c}\t{p}\t{t}\t{NULL if v is None else v}\t{at}\t{items}\t{s}\t{b}\t{r}\n"


def _careful_line(c: str, p: str, t: str, v: str | None, at: int, context: Context, s: int, b: str, r: int) -> str:
    codes = "\t".join([code.translate(IN_TEXT) for code in (c, p, t)])
    version = NULL if v is None else v.translate(IN_TEXT)
    items = ",".join(["NULL" if item is None else f'"{item.translate(IN_ARRAY)}"' for item in context])
    return f"{codes}\t{version}\t{at}\t{{{items}}}\t{s}\t{b}\t{r}\n"
