"""PostgreSQL: many writers, COPY for bulk, and a cut that no late commit can slip under."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playhouse.pool import PooledPostgresqlDatabase

from app.store.backends.availability import Availability, translated

CONNECTIONS = 20  # of one process; a thread that finds none waits
WAIT_SECONDS = 10  # for a free connection
CONNECT_SECONDS = 5

# Advisory locks, so that nothing else waits for them. Each is a number of ours in the one space the server has.
ACCEPTANCE = 7_201_001  # shared by transactions that insert events, exclusive for the moment that fixes a report's cut
MIGRATION = 7_201_002

COPY_FROM_ROWS = 10  # below this many rows an INSERT is faster than COPY's own round trips (measured)

COLUMNS = "(customer, product, type, version, timestamp, context, sequence, batch, received)"
INSERT_EVENTS = f"INSERT INTO event {COLUMNS} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
COPY_EVENTS = f"COPY event {COLUMNS} FROM STDIN"


class PostgresBackend(Availability, PooledPostgresqlDatabase):
    """Peewee's pooled PostgreSQL with what the service needs beyond it."""

    @classmethod
    def from_url(cls, url: str) -> PostgresBackend:
        """Open by libpq's URL; connections are made as threads ask for them."""
        return cls(
            url.replace("postgres://", "postgresql://", 1),
            prefer_psycopg3=True,
            max_connections=CONNECTIONS,
            timeout=WAIT_SECONDS,
            connect_timeout=CONNECT_SECONDS,
            application_name="tally",
        )

    @contextmanager
    def migration_lock(self) -> Iterator[None]:
        """One migrates at a time; the others wait, then find nothing to do."""
        self.execute_sql("SELECT pg_advisory_lock(%s)", (MIGRATION,))
        try:
            yield
        finally:
            self.execute_sql("SELECT pg_advisory_unlock(%s)", (MIGRATION,))

    def context_value(self, value: Sequence[str | None]) -> list[str | None]:
        """A context as the column keeps it."""
        return list(value)

    def insert_events(self, rows: Sequence[tuple]) -> None:
        """Insert rows (customer, product, type, version, timestamp, context, sequence, batch, received)."""
        with translated(), self.connection().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (ACCEPTANCE,))
            if len(rows) < COPY_FROM_ROWS:
                cursor.executemany(INSERT_EVENTS, rows)
                return
            with cursor.copy(COPY_EVENTS) as copy:
                for row in rows:
                    copy.write_row(row)

    def acceptance_cut(self) -> int:
        """The id of the last event accepted; inside a transaction.

        Ids become visible out of order: a transaction that took a low id may commit after one with a higher. So this
        waits until every transaction that is inserting has ended, and holds back new ones until the report's row is
        committed: then no id below the cut can appear any more, and every later event has a higher one.
        """
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ACCEPTANCE,))
        return self.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]

    def context_width(self) -> str:
        """SQL for the number of a context's items."""
        return "cardinality(context)"

    def context_item(self, index: int) -> str:
        """SQL for one item of a context, from 0."""
        return f"context[{index + 1}]"

    def csv_lines(self, query: str, parameters: Sequence[object], delimiter: str) -> Iterator[bytes] | None:
        """The rows of a query as CSV lines, quoted by the server; None where COPY cannot write that delimiter."""
        if not delimiter.isascii():
            return None
        return self._copy(query, parameters, delimiter)

    def stream(self, query: str, parameters: Sequence[object]) -> Iterator[tuple]:
        """Rows as they come, never all in memory."""
        with translated(), self.atomic(), self.connection().cursor(name="tally_stream") as cursor:
            cursor.itersize = 5000
            cursor.execute(query, parameters)
            yield from cursor

    def _copy(self, query: str, parameters: Sequence[object], delimiter: str) -> Iterator[bytes]:
        statement = f"COPY ({query}) TO STDOUT (FORMAT csv, DELIMITER %s, ENCODING 'UTF8')"
        with (
            translated(),
            self.connection().cursor() as cursor,
            cursor.copy(statement, (*parameters, delimiter)) as copy,
        ):
            yield from copy
