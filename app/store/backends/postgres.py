"""PostgreSQL: concurrent writers, COPY for bulk transfers, and report snapshots that no late commit can change."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import SQL, ColumnBase, Node, NodeList, Psycopg3Adapter, fn
from playhouse.pool import PooledPostgresqlDatabase
from psycopg import ClientCursor, Connection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DivisionByZero, QueryCanceled

from app.event_columns import COLUMNS, NAMES, Context, EventRow
from app.exceptions import DatabaseUnsuitable, RowTooWide, SettingInvalid, StatementFailed, StoreUnavailable
from app.store.backends import copying, payloads
from app.store.backends.availability import FORBIDDEN, READ_ONLY, Availability, translated
from app.store.backends.backend import Block, Rows, Values

OLDEST = 15  # the first version of PostgreSQL with MERGE, which the hourly counts use
CONNECTIONS = 20  # per process; a thread waits if none is free
WAIT_SECONDS = 10  # for a free connection
CONNECT_SECONDS = 5

# Advisory locks, because nothing else waits for them. Each number is Tally's own; advisory locks share one key space.
ACCEPTANCE = 7_201_001  # shared by transactions that insert events, exclusive while a report's snapshot is fixed
MIGRATION = 7_201_002
ERASURE = 7_201_003
ITEM_INDEX = 7_201_004
BACKUP = 7_201_005

# The current holders of the shared lock.
INSERTING = f"""
    SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND objid = {ACCEPTANCE} AND objsubid = 1
        AND mode = 'ShareLock' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# The ids are of the statement's snapshot, and the locks of a later moment, so each lower id that is missing is held.
NEWEST_AND_INSERTING = f"SELECT (SELECT coalesce(max(id), 0) FROM event), ARRAY({INSERTING})"
LOOK_SECONDS = 0.01

# One round trip. The shared lock is held until the commit; see `acceptance_cut`.
BEGIN_GROUP = f"BEGIN; SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared({ACCEPTANCE})"
# COPY for groups of any size: INSERT is about 6 % faster up to 5 rows, but slower from 100 rows; see docs/decisions.md.
COPY_EVENTS = f"COPY event ({NAMES}) FROM STDIN"
WHOLE_GROUP = f"{BEGIN_GROUP}; {COPY_EVENTS}; COMMIT".encode()

# Session settings that Tally requires regardless of the role, the database and the server: a commit is on disk when it
# returns, a statement sees everything committed before it, string literals are interpreted literally, and a null in a
# context does not become the text "NULL".
SESSION = {
    "default_transaction_isolation": ("read committed",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),  # the first one, unless another is set
    "standard_conforming_strings": ("on",),
    "array_nulls": ("on",),
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

# Index of the first items of contexts, see docs/decisions.md. For each 16 pages it has a Bloom filter of each item.
# Autovacuum adds new pages, so it costs inserting almost nothing; until then all of their events are read.
INDEXED_ITEMS = 4
BLOOM = "text_bloom_ops (n_distinct_per_range = -0.16, false_positive_rate = 0.01)"
CREATE_ITEM_INDEX = f"""
    CREATE INDEX CONCURRENTLY event_item ON event USING brin (timestamp, cardinality(context),
        {", ".join(f"(context[{number}]) {BLOOM}" for number in range(1, INDEXED_ITEMS + 1))})
    WITH (pages_per_range = 16)"""
HAS_ITEM_INDEX = """
    SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('event_item') AND indisvalid AND indisready)"""
# Settings of a transaction that finds events by it. The planner cannot know how few pages the index leaves to be read,
# and would otherwise read all events in order of time.
BY_ITEM = """
    SELECT set_config('statement_timeout', %s, true), set_config('enable_seqscan', 'off', true),
        set_config('enable_indexscan', 'off', true), set_config('jit', 'off', true)"""


# Positions of different servers, or of a server and a standby that was promoted, cannot be compared. A standby reports
# a new timeline late, at its next checkpoint.
LOG_POSITION = """
    SELECT system_identifier::text, ('x' || left(pg_walfile_name(lsn), 8))::bit(32)::int, lsn::text
    FROM pg_control_system(), pg_current_wal_insert_lsn() AS lsn"""
HAS_REPLAYED = """
    SELECT pg_is_in_recovery() AND system_identifier::text = %s AND timeline_id = %s
        AND pg_last_wal_replay_lsn() >= %s::pg_lsn
    FROM pg_control_system(), pg_control_checkpoint()"""


# A machine that loses its power ends no connection. These settings end it on both sides within half a minute; the
# systems' defaults are hours, during which a transaction of that machine would hold the lock for a report's snapshot.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
SERVER_KEEPALIVES = """
    SELECT count(set_config(name, value, false)) FROM pg_settings JOIN (VALUES ('tcp_keepalives_idle', '10'),
        ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '25000')
    ) AS wanted (name, value) USING (name) WHERE source = 'default'"""


class LogPosition(NamedTuple):
    """Position in the write-ahead log of a server and timeline."""

    server: str
    timeline: int
    lsn: str


class Adapter(Psycopg3Adapter):
    """Psycopg adapter that validates and configures every new connection before use."""

    def connect(self, db: PooledPostgresqlDatabase, **params: object) -> Connection:
        """Open a connection.

        Raises:
            DatabaseUnsuitable: the database, or a pooler in front of it, lacks a property that Tally needs.
        """
        connection: Connection = super().connect(db, **params)  # type: ignore[no-untyped-call]  # as in the stubs
        try:
            connection.autocommit = True
            set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class PostgresBackend(Availability, PooledPostgresqlDatabase):  # type: ignore[misc]  # nobody passes arguments to `begin`
    """Peewee's pooled PostgreSQL database with the operations that the service needs in addition."""

    clock_ms = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    has_one_writer = False
    serves_many_workers = True  # several workers may write one report concurrently
    psycopg3_adapter = Adapter
    _adapter: Adapter

    if TYPE_CHECKING:  # the stubs leave it untyped

        def connection(self) -> Connection: ...

    @classmethod
    def from_url(cls, url: str, setting: str = "DATABASE_URL") -> PostgresBackend:
        """Initialize the database from a libpq URL. Connections are opened when threads first need them.

        Raises:
            SettingInvalid: libpq cannot parse the URL. Its message is omitted, because it may contain a password.
        """
        url = url.replace("postgres://", "postgresql://", 1)
        try:
            given = conninfo_to_dict(url)
        except ProgrammingError:
            raise SettingInvalid(
                f"{setting}: libpq cannot read it. Write postgresql://user:password@host:5432/name, "
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
            **{name: value for name, value in KEEPALIVES.items() if name not in given},
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

    def context_value(self, value: Context) -> list[str | None]:
        return list(value)

    def encode_events(self, rows: Iterable[EventRow]) -> bytes:
        return copying.encode(rows)

    def dump_payload(self, payload: bytes) -> bytes:
        return payload

    def load_payload(self, data: bytes) -> bytes:
        return data if payloads.is_postgres(data) else self.encode_events(payloads.rows_from_sqlite(data))

    def insert_encoded(self, payloads: Sequence[bytes]) -> None:
        data = b"".join(payloads)
        with translated():
            connection = self.connection()
            if copying.is_under_way(connection.pgconn):
                copying.send(connection.pgconn, data)
            else:
                with connection.cursor() as cursor, cursor.copy(COPY_EVENTS) as copy:
                    copy.write(data)

    def begin_group(self, *, events_only: bool = False) -> str:
        with translated():
            if events_only:
                return copying.begin(self.connection().pgconn, WHOLE_GROUP).decode()
            with self.connection().cursor() as cursor:
                cursor.execute(BEGIN_GROUP)
                cursor.nextset()
                [(transaction_id, _)] = cursor.fetchall()
                return str(transaction_id)

    def commit_group(self) -> None:
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

    def was_committed(self, transaction_id: str | None, payload: bytes = b"") -> bool:
        # The server raises an error for an id that it has not assigned yet, as after a restore from a backup.
        # (The end of a snapshot does not answer this, because transactions beyond it may be in progress.)
        query = "SELECT CASE WHEN %s::xid8 < pg_current_xact_id() THEN pg_xact_status(%s::xid8) END"
        status: str | None = self.execute_sql(query, (transaction_id, transaction_id)).fetchone()[0]
        if status == "in progress":
            raise StoreUnavailable("The database is still busy with the events.")
        return status == "committed" and (not payload or self._has_first_event(payload))

    def _has_first_event(self, payload: bytes) -> bool:
        """Return whether the first event is stored, because either all are or none."""
        values = dict(zip(COLUMNS, payload.partition(b"\n")[0].decode().split("\t"), strict=True))
        codes = [values[name].replace("\\\\", "\\") for name in ("customer", "product")]  # codes have no other escapes
        query = "SELECT 1 FROM event WHERE customer = %s AND product = %s AND timestamp = %s AND batch = %s LIMIT 1"
        return self.execute_sql(query, (*codes, int(values["timestamp"]), values["batch"])).fetchone() is not None

    def acceptance_cut(self, patience_ms: int) -> int:
        # Ids become visible out of order, because a transaction with a low id may commit after one with a higher id.
        # Therefore this waits until every inserting transaction has ended, and blocks new ones until the report's row
        # is committed. After that no id up to the returned one can appear, and every later event has a higher id.
        self.execute_sql(f"SET LOCAL lock_timeout = {int(patience_ms)}")
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ACCEPTANCE,))
        return self.fetch_int("SELECT coalesce(max(id), 0) FROM event")

    def settled_cut(self, patience_ms: int) -> int:
        # Each insert holds the shared lock from before its first id is assigned until its commit is visible. So this
        # waits for the holders of the lock at the time the newest id is read.
        deadline = time.monotonic() + patience_ms / 1000
        newest, waited_for = self.inserting()
        while waited_for:
            if time.monotonic() > deadline:
                raise StoreUnavailable("A transaction that inserts events takes longer than may be waited for.")
            time.sleep(LOOK_SECONDS)
            waited_for &= self.inserting()[1]
        return newest

    def inserting(self) -> tuple[int, set[str]]:
        newest, names = self.execute_sql(NEWEST_AND_INSERTING).fetchone()
        return newest, set(names)

    def without_checkpoints(self) -> AbstractContextManager[object]:
        return nullcontext()

    def checkpoint(self) -> bool:
        return True

    def shrink_log(self) -> None:
        """Do nothing, because PostgreSQL manages its own log."""

    def give_back_space(self) -> None:
        """Do nothing, because autovacuum lets later inserts use the space."""

    def keyed(self, keys: Sequence[int]) -> tuple[str, object]:
        return "id = ANY(%s)", list(keys)

    def context_width(self) -> str:
        return "cardinality(context)"

    def context_item(self, index: int) -> str:
        return f"context[{index + 1}]"

    def of_pairs(self, pairs: str, condition: str, ends: str = "OFFSET 0") -> str:
        return (
            f"({pairs}) AS pair CROSS JOIN LATERAL (SELECT * FROM event "
            f"WHERE event.customer = pair.customer AND event.product = pair.product AND {condition} {ends}) AS event"
        )

    def of_codes(self, codes: str, condition: str) -> str:
        return (  # OFFSET 0 keeps the planner from scanning the counts of all times
            f"({codes}) AS known CROSS JOIN LATERAL (SELECT * FROM hourly_count "
            f"WHERE hourly_count.customer = known.customer AND hourly_count.product = known.product "
            f"AND hourly_count.type = known.type AND {condition} OFFSET 0) AS hourly_count"
        )

    def unless_wider(self, value: str, width: int) -> str:
        return f"{value} / ({self.context_width()} <= {int(width)})::int"

    def keys_with_text(self, keys: Sequence[int], text: str) -> set[int]:
        # A character that cannot occur in `text` separates items. Collation "C" folds only ASCII letters, as on SQLite.
        query = (
            "SELECT id FROM event WHERE id = ANY(%s) "
            """AND strpos(lower(array_to_string(context, E'\\x1f') COLLATE "C"), %s) > 0"""
        )
        return {key for (key,) in self.execute_sql(query, (list(keys), text)).fetchall()}

    def json_items(self, column: ColumnBase) -> Node:
        return NodeList((fn.jsonb_array_elements_text(column.cast("jsonb")), SQL("AS item(value)")))

    def led_context(self, columns: Sequence[str]) -> str:
        return f"ARRAY[{', '.join(columns)}]::text[] || context" if columns else "context"

    def has_item(self) -> str:
        # In terms of the index, which has the first items of each context, and the number of its items.
        first = " OR ".join(f"context[{number}] = %s" for number in range(1, INDEXED_ITEMS + 1))
        return f"({first} OR (cardinality(context) > {INDEXED_ITEMS} AND %s = ANY(context)))"

    def has_item_index(self) -> bool:
        return bool(self.execute_sql(HAS_ITEM_INDEX).fetchone()[0])

    def index_items(self, max_bytes: int | None = None) -> bool:
        if self.has_item_index():
            return True
        if max_bytes is not None and self.fetch_int("SELECT pg_table_size('event')") > max_bytes:
            return False
        # Another connection holds the lock, because an index that is created concurrently is in no transaction.
        with translated(), self._adapter.connect(self, **self.connect_params) as lock, lock.transaction():
            lock.execute(f"SELECT {LIFTED.format(is_local='true')}")
            # Without parameters, because a portal would keep its snapshot, for whose end the index waits.
            cursor = lock.execute(f"SELECT pg_try_advisory_xact_lock({ITEM_INDEX})")
            if cursor.fetchone() != (True,) or self.has_item_index():
                return True
            self.execute_sql(f"SELECT {LIFTED.format(is_local='false')}")
            try:
                self.execute_sql("DROP INDEX CONCURRENTLY IF EXISTS event_item")  # an interrupted one is invalid
                self.execute_sql(CREATE_ITEM_INDEX)
            finally:
                self.drop_connection()
        return True

    def find_by_item(self, query: str, parameters: Values, seconds: float) -> Rows | None:
        try:
            with self.atomic():
                self.execute_sql(BY_ITEM, (f"{max(1, round(seconds * 1000))}ms",))
                return self.execute_sql(query, parameters).fetchall()
        except StatementFailed as error:
            cause = error.__cause__
            if isinstance(getattr(cause, "orig", cause), QueryCanceled):
                return None
            raise

    def check_writable(self) -> None:
        query = "SELECT current_setting('transaction_read_only'), has_table_privilege('event', 'INSERT')"
        read_only, may_insert = self.execute_sql(query).fetchone()
        if read_only == "on":
            raise StoreUnavailable(f"{READ_ONLY}.")
        if not may_insert:
            raise StoreUnavailable(f"{FORBIDDEN}: it may not INSERT INTO event.")

    def log_position(self) -> LogPosition:
        """Return the end of the write-ahead log, before which is every commit so far."""
        return LogPosition(*self.execute_sql(LOG_POSITION).fetchone())

    def has_replayed(self, position: LogPosition) -> bool:
        """Return whether this is a standby of the same server that has replayed its log up to a position."""
        return bool(self.execute_sql(HAS_REPLAYED, position).fetchone()[0])

    def server(self) -> str:
        return f"PostgreSQL {self.execute_sql('SHOW server_version').fetchone()[0].split()[0]}"

    def size(self) -> int:
        return self.fetch_int("SELECT pg_database_size(current_database())")

    def erase_alone(self) -> None:
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ERASURE,))

    def drop_connection(self) -> None:
        self.manual_close()

    def csv_blocks(self, query: str, parameters: Values, delimiter: str, *, picked: bool) -> Generator[Block] | None:
        if not delimiter.isascii():
            return None
        return self._copy(query, parameters, delimiter, PICKED_ROWS if picked else MANY_ROWS)

    @contextmanager
    def many_rows(self) -> Iterator[None]:
        with self.atomic():
            self.execute_sql(MANY_ROWS)
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.execute_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            self.execute_sql(PICKED_ROWS)
            yield
        finally:
            with suppress(StoreUnavailable):  # the error that ended the transaction is the one to raise
                self.execute_sql("ROLLBACK")

    def interrupter(self) -> Callable[[], None]:
        connection = self.connection()
        return lambda: connection.cancel_safe(timeout=CONNECT_SECONDS)

    def stream(self, query: str, parameters: Values) -> Generator[tuple[Any, ...]]:
        with translated(), self.many_rows(), self.connection().cursor(name="tally_stream") as cursor:
            cursor.itersize = 5000
            cursor.execute(query, parameters)
            yield from cursor

    def _copy(self, query: str, parameters: Values, delimiter: str, before: str) -> Generator[Block]:
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
    pid, encoding, *values = connection.execute(FOUND).fetchone() or ()
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
    if not is_pooled and connection.info.hostaddr:  # TCP
        connection.execute(SERVER_KEEPALIVES)
