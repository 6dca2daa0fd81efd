"""Hourly counts: how fast events in no order of time are counted, and what other requests notice meanwhile.

    python -m bench.counting [--short] [--json FILE]

All scattered events are counted while a client sends single events to the service. The speed is compared with one
INSERT … SELECT … GROUP BY of the same events into a table with the same key, alone on the machine. On SQLite the
longest counting transaction is also printed, because other writers wait for it, beside the longest of as many fixed
computations of the same length: on a virtual machine some take many times as long as the others.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from app.store import database
from app.store.events import count_slices, hourly_counts
from app.store.step_size import STEP_SECONDS, Pace, pause
from bench import scattered
from bench.databases import STAGES, Stage
from bench.db_baseline import PRAGMAS
from bench.load import Connection
from bench.report import Figure, Goal, command, progress
from bench.servers import SERVICE

SHORT, LONG = 200_000, 5_000_000  # events
BETWEEN_SECONDS = 0.01  # between two single events
SPEED = {"SQLite": Goal(60_000), "PostgreSQL": Goal(100_000)}  # events a second, of the long form
STEP_GOAL = Goal(50, at_most=True)  # ms
SINGLE_GOAL = Goal(100, at_most=True)  # ms

KEY = "customer, product, type, hour"
RAW_TABLE = f"CREATE TABLE raw_count AS SELECT {KEY}, number, first_at, last_at FROM hourly_count WHERE 1 = 0"
RAW = f"""
    INSERT INTO raw_count
        SELECT customer, product, type, timestamp / {count_slices.HOUR_MS} * {count_slices.HOUR_MS}, count(*),
        min(timestamp), max(timestamp) FROM event GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""


class Noted(Pace):
    """A pace that records the duration of each step in seconds."""

    def __init__(self) -> None:
        super().__init__(count_slices.STEPS[0].size, 10_000)
        self.took: list[float] = []

    def note(self, took: float) -> None:
        """See `Pace.note`."""
        self.took.append(took)
        super().note(took)


def run(short: bool) -> list[Figure]:
    """Measure both databases."""
    figures = []
    for stage in STAGES:
        with stage() as opened:
            found = measure(opened, SHORT if short else LONG, short=short)
            print("\n".join(f"{one.name}: {one.value:,.1f} {one.unit}" for one in found), flush=True)
            figures.extend(found)
    return figures


def measure(stage: Stage, number: int, *, short: bool) -> list[Figure]:
    """Fill a database, group it at once, and count it while a client sends."""
    progress(f"{stage.database}: filling a table with {number:,} scattered events")
    url, _ = stage.create("counting")
    scattered.fill(url, number)
    progress(f"{stage.database}: grouping them at once")
    raw = number / _raw_seconds(url)
    server = stage.serve(SERVICE, "counting", url)
    progress(f"{stage.database}: counting them")
    paces = count_slices.STEPS = tuple(Noted() for _ in count_slices.STEPS)
    with single_events(server.port) as times:
        began = time.monotonic()
        database.open_database(url)
        while hourly_counts.watermark() < number:
            hourly_counts.advance()
        rate = number / (time.monotonic() - began)
        database.release()
    progress()
    name = f"counting, {stage.database}, {number:,} scattered events"
    p99 = sorted(times)[int(len(times) * 0.99)] * 1000
    figures = [
        Figure(name, rate, "events/s", goal=None if short else SPEED[stage.database]),
        Figure(f"{name}, grouped at once", raw, "events/s", "counting : grouping at once", rate / raw),
        Figure(f"{name}, a single event meanwhile, p99", p99, "ms", goal=SINGLE_GOAL),
    ]
    if took := [seconds for pace in paces for seconds in pace.took]:
        computed = _longest_computation(len(took))
        alone = f"the longest of {len(took)} computations of {STEP_SECONDS * 1000:.0f} ms"
        figures += [
            Figure(f"{name}, longest transaction", max(took) * 1000, "ms", goal=STEP_GOAL),
            Figure(f"{name}, {alone}", computed * 1000, "ms"),
        ]
    return figures


@contextmanager
def single_events(port: int) -> Iterator[list[float]]:
    """Send single events within the context, and yield the list of their durations in seconds."""
    times: list[float] = []
    stop = threading.Event()

    def send() -> None:
        with closing(Connection(port)) as connection:
            requests = scattered.Requests(port, 1)
            while not stop.wait(BETWEEN_SECONDS):
                began = time.perf_counter()
                connection.send(requests.next(began), began)
                while not connection.receive():
                    pass
                times.append(time.perf_counter() - began)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


def _longest_computation(number: int) -> float:
    """Return the seconds of the longest of fixed computations that take STEP_SECONDS alone, with pauses as of steps."""
    began = time.perf_counter()
    loops = 0
    while time.perf_counter() - began < STEP_SECONDS:
        loops += 1
    longest = 0.0
    for _ in range(number):
        began = time.monotonic()
        for _ in range(loops):
            time.perf_counter()
        longest = max(longest, time.monotonic() - began)
        pause(began)
    return longest


def _raw_seconds(url: str) -> float:
    """Return the seconds in which the database groups all events into an empty table with the key of the counts."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(
                "CREATE TABLE raw_count (customer, product, type, hour, number, first, last, "
                f"PRIMARY KEY ({KEY})) WITHOUT ROWID"
            )
            began = time.monotonic()
            connection.execute(RAW)
            took = time.monotonic() - began
            connection.execute("DROP TABLE raw_count")
            return took
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(RAW_TABLE)
        connection.execute(f"ALTER TABLE raw_count ADD PRIMARY KEY ({KEY})")
        began = time.monotonic()
        connection.execute(RAW)
        took = time.monotonic() - began
        connection.execute("DROP TABLE raw_count")
        return took


if __name__ == "__main__":
    command("bench.counting", "Counting by hour, and what others notice of it.", run)
