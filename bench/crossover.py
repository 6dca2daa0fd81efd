"""Crossover: the group size up to which INSERT is faster than COPY on PostgreSQL, and the sizes of groups under load.

    python -m bench.crossover [--short] [--json FILE]

One connection commits each group, as the service's writer does. Every variant does all that the writer needs: the id of
the transaction before its commit, the shared lock for reports, and the encoding of the rows. Rounds are interleaved.
Then the service is started, and the rows in PostgreSQL show which of them share a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from app.store.backends.postgres import ACCEPTANCE, BEGIN_GROUP, PostgresBackend
from bench.databases import Stage, postgres_stage
from bench.db_baseline import COLUMNS, INSERT, Row, measure
from bench.load import load
from bench.report import Figure, command, progress, table
from bench.servers import SERVICE

SIZES = (1, 2, 5, 10, 20, 50, 100, 1000)
CONNECTIONS = (1, 4, 16, 64)  # that post single events
ROUNDS, ROUNDS_SHORT = 25, 7  # many and short, so that other load on the machine affects every variant
SECONDS = 0.1  # of a measurement
LOAD_SECONDS = 2
CLEARLY = 1.05  # of COPY's rate; a smaller difference is noise
COPYING, TICKET = "COPY", f"SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared({ACCEPTANCE})"
VALUES = "(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
SMALL = (1, 2, 5, 10, 20)  # rows: the share of the groups with at most this many
GROUPS = "SELECT array_agg(size) FROM (SELECT count(*) AS size FROM event GROUP BY xmin::text) AS written"

Way = Callable[[Sequence[Row]], None]  # writes a group and commits it


@dataclass
class Run:
    """Results of every variant at every size."""

    ways: Mapping[str, Way]
    clear: Callable[[], None]
    rates: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # events/s by (variant, size)

    def measure(self, rounds: int, seconds: float) -> None:
        """Measure everything in rounds, of which the first warms up."""
        for number in range(rounds + 1):
            for size in SIZES:
                self._each(size, seconds if number else seconds / 4, f"round {number} of {rounds}")
            if number == 0:
                self.rates.clear()

    def _each(self, size: int, seconds: float, said: str) -> None:
        for name, way in self.ways.items():
            progress(f"Crossover, {said}: {name} of {size} rows")
            self.clear()
            self.rates.setdefault((name, size), []).append(measure(way, size, seconds))
        progress()

    def ratio(self, name: str, size: int) -> float:
        """Return a rate as a ratio to COPY's, the median of the rounds."""
        pairs = zip(self.rates[name, size], self.rates[COPYING, size], strict=True)
        return median(rate / copying for rate, copying in pairs)

    def crossover(self) -> int:
        """Return the largest size up to which some variant is clearly faster than COPY at every size, or 0."""
        others = [name for name in self.ways if name != COPYING]
        last = 0
        for size in SIZES:
            if max(self.ratio(name, size) for name in others) < CLEARLY:
                break
            last = size
        return last

    def figures(self) -> Iterator[Figure]:
        """Return the rates as ratios to COPY's."""
        for (name, size), rates in self.rates.items():
            against = (None, None) if name == COPYING else (COPYING, self.ratio(name, size))
            yield Figure(f"crossover, groups of {size}, {name}", median(rates), "events/s", *against)

    def __str__(self) -> str:
        """Return the microseconds for a group, and the ratio to COPY's rate."""
        rows = [[str(size), *(self._cell(name, size) for name in self.ways)] for size in SIZES]
        return f"PostgreSQL, microseconds for a group (rate : COPY)\n{table(['rows', *self.ways], rows)}"

    def _cell(self, name: str, size: int) -> str:
        spent = f"{1_000_000 * size / median(self.rates[name, size]):,.0f}"
        return spent if name == COPYING else f"{spent} ({self.ratio(name, size):.2f})"


def run(short: bool) -> list[Figure]:
    """Measure, and print the table, the crossover and the sizes of groups."""
    with postgres_stage() as stage:
        measured = _ways(stage)
        measured.measure(ROUNDS_SHORT if short else ROUNDS, SECONDS)
        small = measured.crossover()
        found = f"clearly faster up to {small} rows" if small else "not clearly faster even for one row"
        print(f"{measured}\n\nINSERT is {found}.\n", flush=True)
        return [*measured.figures(), *_groups(stage)]


def _ways(stage: Stage) -> Run:
    url, events = stage.create("crossover")
    backend = PostgresBackend.from_url(url)
    connection = psycopg.connect(url, autocommit=True)
    ways = {
        COPYING: partial(_copy, backend),
        "INSERT, as text": partial(_insert_text, connection),
        "INSERT, parameters": partial(_insert, connection),
        "executemany": partial(_executemany, connection),
    }
    return Run(ways, events.clear)


def _copy(backend: PostgresBackend, rows: Sequence[Row]) -> None:
    """COPY as the service does."""
    data = backend.encode_events(rows)
    backend.begin_group(events_only=True)
    backend.insert_encoded([data])
    backend.commit_group()


def _insert_text(connection: psycopg.Connection, rows: Sequence[Row]) -> None:
    """Send all but the commit as one message of SQL with literal values, then the commit: two round trips."""
    values = ",".join([_literal(row) for row in rows])
    _say(connection, f"{BEGIN_GROUP}; INSERT INTO event {COLUMNS} VALUES {values}")
    _say(connection, "COMMIT")


def _literal(row: Row) -> str:
    customer, product, kind, _, timestamp, items, sequence, batch, received = row
    texts = "','".join([text.replace("'", "''") for text in (customer, product, kind)])
    array = '","'.join(items).replace("'", "''")  # of texts that are otherwise plain
    return f"('{texts}',NULL,{timestamp},'{{\"{array}\"}}',{sequence},'{batch}',{received})"


def _say(connection: psycopg.Connection, statements: str) -> None:
    connection.pgconn.send_query(statements.encode())
    while result := connection.pgconn.get_result():
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise error_from_result(result)


def _insert(connection: psycopg.Connection, rows: Sequence[Row]) -> None:
    """Send a prepared INSERT with a list of values for each row in a pipeline, then the commit: two round trips."""
    with connection.pipeline():
        connection.execute("BEGIN")
        connection.execute(TICKET)
        statement = f"INSERT INTO event {COLUMNS} VALUES {', '.join([VALUES] * len(rows))}"
        connection.execute(statement, [value for row in rows for value in row])
    connection.execute("COMMIT")


def _executemany(connection: psycopg.Connection, rows: Sequence[Row]) -> None:
    """Send a prepared INSERT for each row in a pipeline, then the commit: two round trips."""
    with connection.pipeline(), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(TICKET)
        cursor.executemany(INSERT, rows)
    connection.execute("COMMIT")


def _groups(stage: Stage) -> list[Figure]:
    """Return the sizes of the groups that the service writes, by the number of connections with single events."""
    url, events = stage.create("groups")
    server = stage.serve(SERVICE, "groups", url)
    load(server.port, 1, 1)  # the first events of a process are written differently
    rows, figures = [], []
    for connections in CONNECTIONS:
        progress(f"Crossover: the groups of {connections} connections")
        events.clear()
        load(server.port, 1, LOAD_SECONDS, connections)
        sizes = _sizes(url)
        shares = [sum(size <= small for size in sizes) / len(sizes) for small in SMALL]
        rows.append([str(connections), f"{median(sizes):g}", str(max(sizes)), *(f"{share:.0%}" for share in shares)])
        figures.append(Figure(f"crossover, {connections} connections, rows of a group", median(sizes), "rows"))
    progress()
    head = ("connections", "median rows", "most", *(f"up to {small}" for small in SMALL))
    print(f"The groups of the service at batch 1, and the share that is small\n{table(head, rows)}\n", flush=True)
    return figures


def _sizes(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return connection.execute(GROUPS).fetchone()[0]


if __name__ == "__main__":
    command("bench.crossover", "INSERT against COPY by the size of a group.", run)
