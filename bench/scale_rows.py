"""A very large event table, filled as fast as the database allows: 90 days of 300 customers, 5 products and 40 types.

Events arrive in order of time. Most are a few seconds late, and one in fifty is up to 30 days late. A few customers
send most of them, and one customer, SCATTERED, sends 20,000 in all, however many there are. The last hundredth passes
the store's own writer. SQL alone creates the others in a table without indexes, which follow. The service's own counter
counts all of them by hour, in larger slices than the scheduler's.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache

import orjson
import psycopg

from app.event_columns import COLUMNS as NAMES
from app.event_columns import EventRow
from app.store import database
from app.store.backends import copying
from app.store.events import count_slices, hourly_counts
from app.store.events.writer import GroupCommitWriter, WriteRequest
from app.store.models import Event
from app.store.step_size import Pace
from bench import scattered
from bench.db_baseline import COLUMNS, DAY, DAYS, FILL_ROWS
from bench.report import progress
from bench.servers import BenchFailed

CUSTOMERS, PRODUCTS, TYPES_EACH = 300, 5, 8
LARGEST = ("CUSTOMER-000", "PRODUCT-0")
SCATTERED, SCATTERED_ROWS = "SCATTERED", 20_000
KINDS = 65_536  # different events except for their times and users, repeated in the same order
STRIDE = 7_919  # a prime, so that neighbors differ
USERS, USER_STRIDE = 99_991, 104_729
LATE_EVERY, LATE_AT, LATEST, DISORDER = 50, 25, 30 * DAY, 30_000  # one in LATE_EVERY is late; milliseconds
BATCH = 100  # events with the same time of receipt
OWN_SHARE, OWN_BATCH, OWN_SECONDS = 100, 1_000, 60.0
CHECKED = 200  # events
SLICE = 10_000_000  # events counted at a time
VIEWS = ("Overview", "Positions", "Performance", "Dividends", "News", "Settings")
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SAP", "NESN", "ASML", "BTCUSD", "ZCZ26", "BRK.B", "^SPX")
VERSIONS = ("4.0.2", "5.2.0", "6.0.0", "6.1.3", None)

# `i` counts the events, and `at` is the time of receipt.
SELECT = f"""
    SELECT kind.customer, kind.product, kind.type, kind.version,
        at - i * {STRIDE} % CASE WHEN i % {LATE_EVERY} = {LATE_AT} THEN {LATEST} ELSE {DISORDER} END,
        {{context}}, {{sequence}}, {{name}}, at
    FROM (SELECT i, {{first}} + i / {BATCH} * {BATCH} * {{step}} AS at,
        CASE WHEN i % {{every}} = 0 THEN {KINDS} ELSE i * {STRIDE} % {KINDS} END AS number FROM {{numbers}}) AS arrival
        JOIN kind ON kind.number = arrival.number"""  # noqa: S608
POSTGRES = {
    "context": f"('user-' || i * {USER_STRIDE} % {USERS}) || kind.items",
    "sequence": f"(1 + i % {BATCH})::int",
    "name": f"(lpad(to_hex(i / {BATCH}), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(i / {BATCH}), 12, '0'))::uuid",
    "numbers": "generate_series({begin}::bigint, {end}::bigint - 1) AS i",
}
SQLITE = {
    "context": f"'[\"user-' || (i * {USER_STRIDE} % {USERS}) || kind.items",
    "sequence": f"1 + i % {BATCH}",
    "name": f"printf('%08x-0000-4000-8000-%012x', i / {BATCH}, i / {BATCH})",
    "numbers": (
        "(WITH RECURSIVE number (i) AS (SELECT {begin} UNION ALL SELECT i + 1 FROM number WHERE i + 1 < {end}) "
        "SELECT i FROM number)"
    ),
}
# Enough for the hash of all kinds. Otherwise the join would return the events in another order.
MEMORY = b"SELECT set_config('work_mem', '64MB', true)"
KIND_TABLE = (
    "CREATE TABLE kind (number integer PRIMARY KEY, customer text, product text, type text, version text, items {})"
)
FAST_SQLITE = ("journal_mode = off", "synchronous = off", "locking_mode = exclusive", "cache_size = -500000")

Kind = tuple[str, str, str, str | None, tuple[str | None, ...]]  # codes, version, items after the user


@cache
def kinds() -> Sequence[Kind]:
    """Return the different events: the same in every run, and the last one is SCATTERED's."""
    chance = random.Random(12)
    used = [chance.sample(range(PRODUCTS), chance.randint(1, 3)) for _ in range(CUSTOMERS)]
    used[0] = [0, 1]  # of the largest customer
    made = [_kind(chance, int(CUSTOMERS * chance.random() ** 3), used) for _ in range(KINDS)]
    return [*made, (SCATTERED, LARGEST[1], "PRODUCT-0-TYPE-0", VERSIONS[0], VIEWS[:2])]


def _kind(chance: random.Random, customer: int, used: Sequence[Sequence[int]]) -> Kind:
    product = chance.choice(used[customer])
    kind = chance.choices(range(TYPES_EACH), [1 / rank for rank in range(1, TYPES_EACH + 1)])[0]
    items = (chance.choice(VIEWS), chance.choice(SYMBOLS), chance.choice((None, "EUR", "USD")), "csv")
    codes = f"CUSTOMER-{customer:03}", f"PRODUCT-{product}", f"PRODUCT-{product}-TYPE-{kind}"
    return *codes, chance.choice(VERSIONS), items[: 1 + kind % 4]


class Requests(scattered.Requests):
    """Requests with events of all customers that happen now."""

    span = DISORDER

    def _kind(self, number: int) -> bytes:
        customer, product, kind, version, items = kinds()[number * STRIDE % KINDS]
        event = {"customer": customer, "product": product, "type": kind, "context": [f"user-{number}", *items]}
        event |= {"version": version} if version else {}
        return orjson.dumps(event).removesuffix(b"}") + b',"timestamp":%d}'


@dataclass
class Filling:
    """Fills the event table at a URL, and measures each stage.

    Attributes:
        seconds: duration of each stage by name.
        rates: events per second of each stage by name.
    """

    url: str
    rows: int
    end: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    seconds: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Fill the empty table."""
        own = self.rows // OWN_SHARE
        (self._sqlite if self.url.startswith("sqlite") else self._postgres)(self.rows - own)
        database.open_database(self.url)
        self._check(range(0, self.rows - own, max(1, self.rows // CHECKED)))
        self._stage("the store's writer", own, lambda: self._write(self.rows - own))
        self._stage("hourly counts", self.rows, self._count)
        database.release()
        if not self.url.startswith("sqlite"):
            self._stage("VACUUM ANALYZE", self.rows, self._vacuum)

    def _stage(self, name: str, rows: int, work: Callable[[], None]) -> None:
        progress(f"{self.rows:,} events: {name}")
        began = time.monotonic()
        work()
        self.seconds[name] = time.monotonic() - began
        self.rates[name] = rows / self.seconds[name]

    def _select(self, dialect: Mapping[str, str], begin: int, end: int) -> str:
        """Return the SQL of some events."""
        numbers = dialect["numbers"].format(begin=begin, end=end)
        values = {"first": self._first, "step": self._step, "every": self._every}
        return SELECT.format(**{**dialect, **values, "numbers": numbers})

    @property
    def _step(self) -> int:
        """Return the milliseconds between two events."""
        return DAYS * DAY // self.rows

    @property
    def _first(self) -> int:
        """Return the time of the first event."""
        return self.end - self.rows * self._step

    @property
    def _every(self) -> int:
        return max(2, self.rows // SCATTERED_ROWS)

    def _postgres(self, rows: int) -> None:
        """Fill a table without indexes by COPY in the transaction that empties it, and then create the indexes.

        With `wal_level = minimal`, neither is logged. One process of the server creates the rows, and another stores
        them as frozen, so that VACUUM does not write them again.
        """
        with psycopg.connect(self.url, autocommit=True) as target, psycopg.connect(self.url, autocommit=True) as source:
            target.execute(KIND_TABLE.format("text[]"))
            with target.cursor().copy("COPY kind FROM STDIN") as copy:
                for number, (*codes, items) in enumerate(kinds()):
                    copy.write_row((number, *codes, list(items)))
            target.execute("ANALYZE kind")
            query = "SELECT indexdef FROM pg_indexes WHERE tablename = 'event' AND indexname <> 'event_pkey'"
            [index] = target.execute(query).fetchone()
            target.execute("ALTER TABLE event DROP CONSTRAINT event_pkey")
            target.execute("DROP INDEX event_customer_product_timestamp")
            self._stage("SQL", rows, lambda: self._copy(source, target, rows))
            target.execute("SET maintenance_work_mem = '1GB'")
            self._stage("primary key", rows, lambda: target.execute("ALTER TABLE event ADD PRIMARY KEY (id)"))
            self._stage("index", rows, lambda: target.execute(index))
            target.execute("DROP TABLE kind")

    def _copy(self, source: psycopg.Connection, target: psycopg.Connection, rows: int) -> None:
        statement = f"COPY ({self._select(POSTGRES, 0, rows)}) TO STDOUT (FORMAT binary)"
        made = 0
        with target.transaction(), target.cursor() as cursor:
            cursor.execute("TRUNCATE event RESTART IDENTITY")
            with cursor.copy(f"COPY event {COLUMNS} FROM STDIN (FORMAT binary, FREEZE)") as copy:
                for block, number in copying.receive(source.pgconn, MEMORY, statement.encode()):
                    copy.write(block)
                    made += number
                    progress(f"{self.rows:,} events: {made / rows:.0%} created by SQL")

    def _sqlite(self, rows: int) -> None:
        """Fill a table without its index and without a journal, and then create the index."""
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            for pragma in FAST_SQLITE:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute(KIND_TABLE.format("text"))
            ends = (
                (number, *kind[:4], f'",{orjson.dumps(kind[4]).decode()[1:]}') for number, kind in enumerate(kinds())
            )
            connection.executemany("INSERT INTO kind VALUES (?, ?, ?, ?, ?, ?)", ends)
            name = "event_customer_product_timestamp"
            [index] = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            connection.execute(f"DROP INDEX {name}")
            self._stage("SQL", rows, lambda: self._insert(connection, rows))
            self._stage("index", rows, lambda: connection.execute(index))
            connection.execute("DROP TABLE kind")
            connection.execute("PRAGMA journal_mode = wal").fetchall()

    def _insert(self, connection: sqlite3.Connection, rows: int) -> None:
        for begin in range(0, rows, FILL_ROWS):
            progress(f"{self.rows:,} events: {begin / rows:.0%} created by SQL")
            select = self._select(SQLITE, begin, min(begin + FILL_ROWS, rows))
            connection.execute(f"INSERT INTO event {COLUMNS} {select}")

    def _check(self, numbers: range) -> None:
        """Compare some events created by SQL with those that the store's writer would get."""
        for number, row in zip(numbers, self._rows(numbers), strict=True):
            event = Event.get_by_id(number + 1)
            found = (*(getattr(event, name) for name in NAMES),)
            if [str(value) for value in found] != [str(value) for value in row]:
                raise BenchFailed(f"SQL has created {found} in place of {row}.")

    def _write(self, begin: int) -> None:
        """Store the last events as requests of OWN_BATCH through the writer of the service's store."""
        writer = GroupCommitWriter(OWN_SECONDS)
        for start in range(begin, self.rows, OWN_BATCH):
            rows = list(self._rows(range(start, min(start + OWN_BATCH, self.rows))))
            sightings = {(row[0], row[1], row[2], len(row[5])) for row in rows}
            writer.write(WriteRequest(database.database.encode_events(rows), len(rows), rows[0][-1], sightings))

    def _rows(self, numbers: Sequence[int]) -> Iterator[EventRow]:
        for i in numbers:
            *codes, version, items = kinds()[KINDS if i % self._every == 0 else i * STRIDE % KINDS]
            at = self._first + i // BATCH * BATCH * self._step
            late = i * STRIDE % (LATEST if i % LATE_EVERY == LATE_AT else DISORDER)
            name = f"{i // BATCH:08x}-0000-4000-8000-{i // BATCH:012x}"
            context = [f"user-{i * USER_STRIDE % USERS}", *items]
            yield (*codes, version, at - late, context, 1 + i % BATCH, name, at)

    def _count(self) -> None:
        hourly_counts.SLICE = SLICE
        count_slices.WHOLE = Pace(SLICE, SLICE, math.inf)
        count_slices.STEPS = (count_slices.WHOLE,) * len(count_slices.STEPS)
        while hourly_counts.advance():
            progress(f"{self.rows:,} events: {hourly_counts.watermark() / self.rows:.0%} counted by hour")

    def _vacuum(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
