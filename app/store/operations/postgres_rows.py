"""Rows of a PostgreSQL database: reading them all in one snapshot by COPY, and writing them into a schema of their own.

These connections bypass Peewee's pool, because their transactions may take hours. Those that write need a server
without a pooler such as pgbouncer in between, because the search path belongs to the session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import orjson
import psycopg
from playhouse.migrations import Runner
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.copy import QueuedLibpqWriter
from psycopg.sql import Literal

from app.exceptions import BackupFailed, BackupRunning, DatabaseUnsuitable
from app.store.backends.availability import translated
from app.store.backends.postgres import BACKUP, CONNECT_SECONDS, LIFTED, PostgresBackend, set_up
from app.store.database import MIGRATIONS
from app.store.operations.table_rows import (
    BYTES,
    FLAG,
    HISTORY,
    LIST,
    NUMBER,
    TEXT,
    Column,
    Lines,
    Table,
    between,
    driver_errors,
    quoted,
    quoted_names,
    with_arrays,
)

_translated = partial(driver_errors, psycopg.Error, "PostgreSQL")
INCOMING = "tally_incoming"  # the schema of tables that are not complete yet
BLOCK_BYTES = 512 * 1024
SWITCH_SECONDS = 20  # how long the tables' locks may take when they are replaced
CLOSING_SECONDS = 3.0  # how long the server may take to notice that a process closed its connection or was killed

KINDS = {"bytea": BYTES, "_text": LIST, "bool": FLAG, "int2": NUMBER, "int4": NUMBER, "int8": NUMBER}
TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname"""
COLUMNS = """
    SELECT column_name, udt_name, is_nullable = 'YES' FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = %s ORDER BY ordinal_position"""
SEQUENCES = """
    SELECT c.relname, pg_get_serial_sequence(quote_ident(c.relname), a.attname) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> '' AND NOT a.attisdropped
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition"""
# The indexes of a partitioned table include those of its partitions, and constraints have their own.
INDEXES = """
    SELECT i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = 'event'::regclass AND NOT x.indisprimary
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid) ORDER BY 1"""
OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'tally' AND pid <> pg_backend_pid()"""
RELATIONS = """
    SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')
    ORDER BY relispartition"""


class _Client:
    """Connection of its own to one database or schema."""

    _connection: Connection[tuple[Any, ...]]

    def fetch(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.execute(_sql(query), parameters).fetchall()

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: str) -> None:
        with _translated():
            self._connection.execute(_sql(statement))

    def _table(self, name: str) -> Table:
        found = self.fetch(COLUMNS, (name,))
        return Table(name, tuple(Column(column, KINDS.get(kind, TEXT), null) for column, kind, null in found))


class PostgresSource(_Client):
    """Reader of one database or schema in a single snapshot; see `app.store.operations.transfer.Source`.

    Args:
        locks: whether to exclude other backups.
    """

    def __init__(self, url: str, schema: str | None = None, *, locks: bool = False) -> None:
        self._connection = connect_directly(url, schema) if schema else connect(url)
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._run(f"SELECT {LIFTED.format(is_local='true')}")
        if locks and not _soon(lambda: self.fetch("SELECT pg_try_advisory_xact_lock(%s)", (BACKUP,))[0][0]):
            self.close()
            raise BackupRunning
        self.server = f"PostgreSQL {self.fetch('SHOW server_version')[0][0].split()[0]}"

    def tables(self) -> list[Table]:
        return [self._table(name) for (name,) in self.fetch(TABLES) if name != HISTORY]

    def migrations(self) -> list[str]:
        if (HISTORY,) not in self.fetch(TABLES):
            return []
        return [name for (name,) in self.fetch(f"SELECT name FROM {HISTORY} ORDER BY name")]  # noqa: S608

    def count(self, table: str) -> int:
        number: int = self.fetch(f"SELECT count(*) FROM {quoted(table)}")[0][0]  # noqa: S608
        return number

    def sequences(self) -> dict[str, int]:
        found = {}
        for table, name in self.fetch(SEQUENCES):
            number, is_used = self.fetch(f"SELECT last_value, is_called FROM {name}")[0]  # noqa: S608
            found[table] = number if is_used else 0
        return found

    def lines(self, table: Table, after: int | None = None, until: int | None = None) -> Iterator[Lines]:
        forms = {FLAG: "{}::int", LIST: "array_to_json({})::text"}
        columns = ", ".join(forms.get(column.kind, "{}").format(quoted(column.name)) for column in table.columns)
        query = f"SELECT {columns} FROM {quoted(table.name)} {between(after, until)}"  # noqa: S608
        with _translated(), self._connection.cursor() as cursor:
            data, rows = bytearray(), 0
            with cursor.copy(_sql(f"COPY ({query}) TO STDOUT (ENCODING 'UTF8')")) as copy:
                for row in copy:
                    data += row
                    rows += 1
                    if len(data) >= BLOCK_BYTES:
                        yield bytes(data), rows
                        data, rows = bytearray(), 0
            if rows:
                yield bytes(data), rows


class PostgresTarget(_Client):
    """Writer of tables into a schema of their own, which then replace those of the database.

    See `app.store.operations.transfer.Target`.

    Raises:
        BackupFailed: other processes of Tally use the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._indexes: list[tuple[Any, ...]] = []  # names and statements
        self._connection = connect_directly(url)
        try:
            self._refuse_others()
            self._current: str = self.fetch("SELECT current_schema()")[0][0]
            self._run("SET synchronous_commit TO off")  # `replace` waits until everything before it is on disk
        except BaseException:
            self.close()
            raise

    def prepare(self, migrations: Sequence[str]) -> None:
        """Create the tables without the indexes of events."""
        self._run("SET search_path TO DEFAULT")
        self._run(f"DROP SCHEMA IF EXISTS {INCOMING} CASCADE")
        self._run(f"CREATE SCHEMA {INCOMING}")
        backend = PostgresBackend.from_url(self._url)
        try:
            with translated():
                backend.execute_sql(f"SET search_path TO {INCOMING}")
                Runner(backend, str(MIGRATIONS), schema=INCOMING).up(migrations[-1])
        finally:
            backend.close_all()
        self._run(f"SET search_path TO {INCOMING}")
        self._indexes = self.fetch(INDEXES)
        for name, _ in self._indexes:
            self._run(f"DROP INDEX {quoted(name)}")

    def origin(self) -> str | None:
        """Return the note that `mark` left with tables that a move has put in their place, or None."""
        with closing(PostgresSource(self._url)) as source:
            found: str | None = source.fetch("SELECT obj_description(to_regclass('event'), 'pg_class')")[0][0]
            return found

    def resume(self) -> str | None:
        """Return the note that `mark` left with the tables of an interrupted move, or None if there are none."""
        found = self.fetch("SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", (INCOMING,))[0][0]
        if found is None:
            return None
        note, self._indexes = orjson.loads(found)
        self._run(f"SET search_path TO {INCOMING}")
        return str(note)

    def mark(self, note: str) -> None:
        """Leave a note with the tables, which says whose they are and lets an interrupted move resume."""
        text = Literal(orjson.dumps([note, self._indexes]).decode()).as_string(self._connection)
        self._run(f"COMMENT ON TABLE event IS {Literal(note).as_string(self._connection)}")
        self._run(f"COMMENT ON SCHEMA {INCOMING} IS {text}")

    def write(self, table: Table, blocks: Iterable[Lines]) -> None:
        with _translated(), self._connection.transaction():
            self._connection.execute(_sql(f"TRUNCATE {quoted(table.name)}"))
            self._copy(table, blocks)

    def add(self, table: Table, blocks: Iterable[Lines]) -> None:
        """Add rows to a table in one transaction."""
        with _translated(), self._connection.transaction():
            self._copy(table, blocks)

    def last_id(self, table: str) -> int:
        """Return the highest id of the rows that are written."""
        found: int = self.fetch(f"SELECT coalesce(max(id), 0) FROM {quoted(table)}")[0][0]  # noqa: S608
        return found

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Create the indexes, and set the sequences."""
        self._run("SET maintenance_work_mem TO '256MB'")
        existing = {name for name, _ in self.fetch(INDEXES)}
        for name, statement in self._indexes:
            if name not in existing:
                self._run(statement)
        for table, sequence in self.fetch(SEQUENCES):
            if number := sequences.get(table):
                self.fetch("SELECT setval(%s, %s)", (sequence, number))
        for (table,) in self.fetch(TABLES):
            self._run(f"ANALYZE {quoted(table)}")

    @contextmanager
    def reading(self) -> Iterator[PostgresSource]:
        with closing(PostgresSource(self._url, INCOMING)) as source:
            yield source

    def replace(self) -> None:
        """Put the tables in the place of the database's own, which are dropped, in one transaction."""
        self._refuse_others()
        with _translated(), self._connection.transaction():
            self._connection.execute(_sql(f"SET LOCAL lock_timeout = '{SWITCH_SECONDS}s'"))
            self._connection.execute(b"SET LOCAL synchronous_commit TO on")
            incoming = [name for (name,) in self.fetch(RELATIONS, (INCOMING,))]
            current = {name for (name,) in self.fetch(RELATIONS, (self._current,))}
            schema = quoted(self._current)
            for name in [name for name in incoming if name in current]:
                self._connection.execute(_sql(f"DROP TABLE IF EXISTS {schema}.{quoted(name)} CASCADE"))
            for name in incoming:
                self._connection.execute(_sql(f"ALTER TABLE {INCOMING}.{quoted(name)} SET SCHEMA {schema}"))
            self._connection.execute(_sql(f"DROP SCHEMA {INCOMING} CASCADE"))

    def discard(self) -> None:
        self._run(f"DROP SCHEMA IF EXISTS {INCOMING} CASCADE")

    def _copy(self, table: Table, blocks: Iterable[Lines]) -> None:
        kinds = {column.name: column.kind for column in self._table(table.name).columns}
        lists = [place for place, name in enumerate(table.names) if kinds.get(name) == LIST]
        with self._connection.cursor() as cursor:
            statement = f"COPY {quoted(table.name)} ({quoted_names(table.names)}) FROM STDIN (ENCODING 'UTF8')"
            # The writer's thread sends while this one prepares the next rows.
            with cursor.copy(_sql(statement), writer=QueuedLibpqWriter(cursor)) as copy:
                for data, _ in blocks:
                    text = data
                    for place in lists:
                        text = with_arrays(text, place)
                    copy.write(text)

    def _refuse_others(self) -> None:
        if not _soon(lambda: self.fetch(OTHERS)[0][0] == 0):
            number = self.fetch(OTHERS)[0][0]
            raise BackupFailed(
                f"Other processes of Tally have {number} connections to the database. Stop Tally on every machine."
            )


def connect(url: str) -> Connection[tuple[Any, ...]]:
    """Open a connection of its own for a single transaction.

    Raises:
        DatabaseUnsuitable: the server is too old, or its encoding is not UTF-8.
    """
    with _translated():
        conninfo = make_conninfo(url, connect_timeout=CONNECT_SECONDS, application_name="tally operations")
        connection = psycopg.connect(conninfo, autocommit=True, client_encoding="UTF8", prepare_threshold=None)
    try:
        with _translated():
            set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_directly(url: str, schema: str | None = None) -> Connection[tuple[Any, ...]]:
    """Open a connection to the server itself, without the time limits that an operator may have set.

    Args:
        schema: the only one in which tables are searched. None means the user's search path.

    Raises:
        DatabaseUnsuitable: see `connect`; or a pooler is in between.
    """
    connection = connect(url)
    try:
        with _translated():
            pid = connection.execute("SELECT pg_backend_pid()").fetchone()
            if pid is None or pid[0] != connection.pgconn.backend_pid:
                raise DatabaseUnsuitable(
                    "The database's URL leads through a connection pooler. Restores and moves need a direct "
                    "connection: name the server itself for this command."
                )
            connection.execute(_sql(f"SELECT {LIFTED.format(is_local='false')}"))
            if schema:
                connection.execute(_sql(f"SET search_path TO {schema}"))
    except BaseException:
        connection.close()
        raise
    return connection


def _soon(condition: Callable[[], bool]) -> bool:
    """Return whether a condition becomes true while the server may still be closing connections."""
    deadline = time.monotonic() + CLOSING_SECONDS
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_true


def _sql(statement: str) -> bytes:
    """Return a statement in the form that psycopg accepts from any string; names in it are quoted."""
    return statement.encode()
