"""The table of events as it is against one partitioned by month of `timestamp`, on PostgreSQL.

    python -m bench.partitions [--rows N] [--short] [--only PIECE] [--json FILE]

Both tables are in one server, have the same rows and are measured in turns: ingestion in order of time and in no order,
what pages and reports ask, and erasing the oldest month against dropping its partition. The partitioned table has an
index on `id` that is not unique, because a unique one would have to contain `timestamp`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median

import psycopg

from app.exports.layout import POSITIONAL, Layout
from app.store import database
from app.store.catalog import catalog
from app.store.events import erase, hourly_counts, pages, select
from app.store.events.filters import EventFilter
from app.store.events.select import Selection
from bench import scattered
from bench.databases import Stage, postgres_stage
from bench.db_baseline import DAY, PostgresTable
from bench.db_baseline import rows as ordered_rows
from bench.load import CUSTOMERS, PRODUCT, load
from bench.report import Figure, Goal, command, say
from bench.servers import SERVICE

ROWS = 2_000_000
MONTHS_BACK, MONTHS_AHEAD = 36, 3  # with the default partition, 41 partitions
SPANS = {"scattered-90": 90, "scattered-730": 730}  # days
ROUNDS, SHORT_ROUNDS = 7, 3
SECONDS = 3.0
REPEATS = 30
REPORT_ROWS = 20_000
BATCH = 100
INGESTION, NO_SLOWER = Goal(0.9), Goal(1.1, at_most=True)


@dataclass(frozen=True)
class Twin:
    """One of the two databases."""

    url: str
    table: PostgresTable

    def ask(self, query: str) -> tuple[object, ...]:
        """Return the first row of a query, or an empty one if it has none."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query)
            return (cursor.fetchone() or ()) if cursor.description else ()


@dataclass(frozen=True)
class Twins:
    """The two databases."""

    plain: Twin
    monthly: Twin

    def ratios(self, measured: Callable[[Twin], float], rounds: int) -> tuple[float, float]:
        """Return the median for the partitioned table, and the median of its ratios to the plain one."""
        pairs = []
        for number in range(rounds):
            order = (self.plain, self.monthly) if number % 2 else (self.monthly, self.plain)
            found = {twin: measured(twin) for twin in order}
            pairs.append((found[self.plain], found[self.monthly]))
        return median(monthly for _, monthly in pairs), median(monthly / plain for plain, monthly in pairs)


def run(short: bool, pieces: Sequence[str], rows: int) -> list[Figure]:
    """Measure a table in order of time, and ingestion into tables of scattered events."""
    rounds = SHORT_ROUNDS if short else ROUNDS
    figures: list[Figure] = []
    for piece in pieces:
        with postgres_stage() as stage:
            measured = (
                _ordered(stage, rows, rounds) if piece == "ordered" else _scattered(stage, rows, rounds, SPANS[piece])
            )
            for figure in measured:
                figures.append(figure)
                ratio = "" if figure.ratio is None else f", {figure.ratio:.2f} of {figure.against}"
                say(f"{figure.name}: {figure.value:,.2f} {figure.unit}{ratio}")
    return figures


def _ordered(stage: Stage, rows: int, rounds: int) -> Iterator[Figure]:
    twins = _create(stage)
    for twin in (twins.plain, twins.monthly):
        twin.table.fill(rows)
        _count(twin)
    yield from _copying(twins, f"in order of time, {rows:,} stored", rounds, None)
    servers = {twin: stage.serve(SERVICE, name, twin.url) for name, twin in (("p", twins.plain), ("m", twins.monthly))}
    for shape, name in ((None, "in order of time"), (scattered.Requests, "scattered over 90 days")):
        loaded = partial(load, batch=BATCH, seconds=SECONDS, **({"shape": shape} if shape else {}))
        rate, ratio = twins.ratios(lambda twin: loaded(servers[twin].port).rate, rounds)  # noqa: B023
        yield Figure(f"the service, batch {BATCH}, {name}", rate, "events/s", "plain", ratio, INGESTION)
    for twin in (twins.plain, twins.monthly):
        _count(twin)
    yield from _questions(twins, rows, rounds)
    yield from _removal(twins)


def _scattered(stage: Stage, rows: int, rounds: int, days: int) -> Iterator[Figure]:
    twins = _create(stage)
    for twin in (twins.plain, twins.monthly):
        scattered.fill(twin.url, rows, days * DAY)
    yield from _copying(twins, f"scattered over {days} days, {rows:,} stored", rounds, days * DAY)


def _create(stage: Stage) -> Twins:
    plain, monthly = (Twin(*stage.create(name)) for name in ("plain", "monthly"))
    with psycopg.connect(monthly.url, autocommit=True) as connection:
        for statement in _partitioning(datetime.now(UTC)):
            connection.execute(statement)
    return Twins(plain, monthly)


def _partitioning(now: datetime) -> Iterator[str]:
    """Yield the statements that replace the empty table."""
    yield "ALTER TABLE event RENAME TO plain"
    yield "CREATE SEQUENCE event_key"
    yield ("CREATE TABLE event (LIKE plain INCLUDING STORAGE) PARTITION BY RANGE (timestamp)")
    yield "ALTER TABLE event ALTER COLUMN id SET DEFAULT nextval('event_key')"
    yield "DROP TABLE plain"
    yield "CREATE INDEX event_id ON event (id)"
    yield "CREATE INDEX event_codes ON event (customer, product, timestamp)"
    current = now.year * 12 + now.month - 1
    for month in range(current - MONTHS_BACK, current + MONTHS_AHEAD + 1):
        begin, end = (
            int(datetime(at // 12, at % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000) for at in (month, month + 1)
        )
        yield (f"CREATE TABLE {_partition(month)} PARTITION OF event FOR VALUES FROM ({begin}) TO ({end})")
    yield "CREATE TABLE event_other PARTITION OF event DEFAULT"


def _partition(month: int) -> str:
    return f"event_{month // 12}_{month % 12 + 1:02d}"


def _count(twin: Twin) -> None:
    """Do what ingestion and the scheduler would have done besides."""
    database.open_database(twin.url)
    codes = twin.ask("SELECT 1 FROM observed_code LIMIT 1")
    if not codes:
        with psycopg.connect(twin.url) as connection:
            seen = connection.execute("SELECT DISTINCT customer, product, type FROM event").fetchall()
        catalog.note_seen([(*one, 3) for one in seen], 0)
    while hourly_counts.advance():
        pass
    database.release()


def _copying(twins: Twins, name: str, rounds: int, span: int | None) -> Iterator[Figure]:
    """COPY encoded rows as the writer does: batches of one request, and groups of many."""
    for batch in (BATCH, 32 * BATCH):
        rate, ratio = twins.ratios(lambda twin: _copy_rate(twin, batch, span), rounds)  # noqa: B023
        yield Figure(f"COPY, batch {batch}, {name}", rate, "events/s", "plain", ratio, INGESTION)


def _copy_rate(twin: Twin, batch: int, span: int | None) -> float:
    database.open_database(twin.url)
    backend = database.database
    spent, events = 0.0, 0
    while spent < SECONDS:
        made = scattered.rows(batch, span) if span else ordered_rows(batch)
        payload = backend.encode_events(made)
        began = time.perf_counter()
        backend.begin_group(events_only=True)
        backend.insert_encoded([payload])
        backend.commit_group()
        spent += time.perf_counter() - began
        events += batch
    database.disconnect()
    return events / spent


def _questions(twins: Twins, rows: int, rounds: int) -> Iterator[Figure]:
    """Measure what pages, counting and reports ask. Ratios below 1 mean that the partitioned table is faster."""
    for twin in (twins.plain, twins.monthly):
        twin.ask("VACUUM ANALYZE")
    newest = int(str(twins.plain.ask("SELECT max(timestamp) FROM event")[0]))
    known = EventFilter(CUSTOMERS[0], PRODUCT)
    cases: dict[str, Callable[[], object]] = {
        "max(id), for each snapshot": lambda: database.database.fetch_int("SELECT max(id) FROM event"),
        "page of a customer and product": lambda: pages.page(known, 100),
        "page of a customer and product, ten days": lambda: pages.page(
            EventFilter(CUSTOMERS[0], PRODUCT, start=newest - 40 * DAY, end=newest - 30 * DAY), 100
        ),
        "page of all events": lambda: pages.page(EventFilter(), 100),
        "page of a rare type": lambda: pages.page(EventFilter(types=("RARE",)), 100),
        "latest arrivals of all": lambda: pages.arrivals(100, None),
        "latest arrivals of a customer": lambda: pages.arrivals(100, CUSTOMERS[:1]),
        "100 events by id": lambda: pages.rows(random.sample(range(1, rows), 100)),
    }
    for name, ask in cases.items():
        took, ratio = twins.ratios(lambda twin: _asked(twin, ask, REPEATS), rounds)  # noqa: B023
        yield Figure(name, took, "ms", "plain", ratio, NO_SLOWER)
    for name, days in (("report of ten days", 10), ("report of a month", 30), ("report of 90 days", 90)):
        selection = Selection(CUSTOMERS[0], PRODUCT, start=newest - days * DAY, end=newest)
        took, ratio = twins.ratios(lambda twin: _asked(twin, partial(_report, selection), 1), rounds)  # noqa: B023
        yield Figure(name, took, "ms", "plain", ratio, NO_SLOWER)
    for name, query in (
        ("a query by id", "SELECT * FROM event WHERE id > 5 AND id <= 9"),
        (
            "a page's query",
            f"SELECT id FROM event WHERE customer = '{CUSTOMERS[0]}' AND product = '{PRODUCT}' "
            "ORDER BY timestamp DESC, id DESC LIMIT 100",
        ),
    ):
        took, ratio = twins.ratios(lambda twin: _planning(twin, query), rounds)  # noqa: B023
        yield Figure(f"planning {name}", took, "ms", "plain", ratio)
        yield Figure(
            f"locks of {name}",
            _locks(twins.monthly, query),
            "locks",
            "plain",
            _locks(twins.monthly, query) / _locks(twins.plain, query),
        )


def _asked(twin: Twin, ask: Callable[[], object], repeats: int) -> float:
    """Return the median duration of a question in milliseconds, on a connection that has asked it before."""
    database.open_database(twin.url)
    ask()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    database.disconnect()
    return median(times) * 1000


def _report(selection: Selection) -> None:
    for _ in select.csv_blocks(selection, Layout(POSITIONAL), 3, "|") or ():
        pass


def _planning(twin: Twin, query: str) -> float:
    with psycopg.connect(twin.url, autocommit=True) as connection:
        connection.execute(query)
        times = []
        for _ in range(REPEATS):
            lines = [line for (line,) in connection.execute(f"EXPLAIN (SUMMARY) {query}")]
            times += [float(line.split()[2]) for line in lines if line.startswith("Planning Time")]
        return median(times)


def _locks(twin: Twin, query: str) -> int:
    with psycopg.connect(twin.url) as connection:
        connection.execute(query)
        (number,) = connection.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()").fetchone() or (0,)
        return int(number)


def _removal(twins: Twins) -> Iterator[Figure]:
    """Erase the oldest whole month as EVENT_KEEP_DAYS does, and drop its partition."""
    oldest = datetime.fromtimestamp(int(str(twins.plain.ask("SELECT min(timestamp) FROM event")[0])) / 1000, UTC)
    month = oldest.year * 12 + oldest.month
    begin, end = (int(datetime(at // 12, at % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000) for at in (month, month + 1))
    number = int(
        str(twins.plain.ask(f"SELECT count(*) FROM event WHERE timestamp >= {begin} AND timestamp < {end}")[0])
    )
    database.open_database(twins.plain.url)
    doomed = EventFilter(start=begin, end=end - 1, snapshot_max_id=hourly_counts.watermark())
    began = time.perf_counter()
    gone = sum(erase.erase(doomed))
    took = time.perf_counter() - began
    database.disconnect()
    yield Figure(f"erasing a month of {number:,} events, without pauses", gone / took, "events/s")
    began = time.perf_counter()
    twins.plain.ask("VACUUM event")
    yield Figure("VACUUM afterwards", time.perf_counter() - began, "s")
    began = time.perf_counter()
    twins.monthly.ask(f"DROP TABLE {_partition(month)}")
    yield Figure("dropping its partition", number / (time.perf_counter() - began), "events/s")


if __name__ == "__main__":
    command("bench.partitions", "Events in one table against one table per month.", run, ("ordered", *SPANS), rows=ROWS)
