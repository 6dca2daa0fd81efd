"""Erasing by age: how fast, what other requests notice meanwhile, and whether the files stay as small as before.

    python -m bench.erasing [--rows N] [--short] [--only PIECE] [--json FILE]

A third of the events is erased as EVENT_KEEP_DAYS does it, while a client sends single events to the service. Other
programs slow that down, so events per second of processor time are printed as well. Then the database gives the space
back or reuses it: as many new events are stored, and the size is compared with that before. On PostgreSQL a thirtieth
is erased and stored again ten times more, as from day to day.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import ClassVar

import psycopg

from app import create_app
from app.config import Settings
from app.store import database
from app.store.backends import sqlite
from app.store.catalog import catalog
from app.store.events import erase, hourly_counts
from app.store.step_size import Pace
from bench import db_baseline, scattered
from bench.counting import single_events
from bench.databases import Stage, postgres_stage, sqlite_stage
from bench.db_baseline import DAYS, SqliteTable
from bench.report import Figure, Goal, command, progress, say
from bench.servers import SERVICE

ROWS, SHORT = 3_000_000, 300_000
COST = "sqlite-ingestion"
STAGES = {"postgresql": postgres_stage, "sqlite": sqlite_stage, COST: sqlite_stage}
BATCH, COST_ROUNDS, COST_SECONDS = 100, 9, 2.0
INGESTION = Goal(0.9)
KEPT_DAYS = DAYS * 2 // 3
ROUNDS = 10
IDLE_SECONDS = 5
VACUUM_SECONDS = 180
REFILL = 5_000  # events of a transaction
SPEED = {"PostgreSQL": Goal(200_000), "SQLite": None}  # events a second
SINGLE_GOAL = Goal(100, at_most=True)  # ms
SIZE_GOAL = Goal(1.1, at_most=True)
STEP_GOAL = Goal(50, at_most=True)  # ms, of a transaction on SQLite

IMPATIENT = ("ALTER SYSTEM SET autovacuum_naptime = 1", "SELECT pg_reload_conf()")
DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'event'"
VACUUMING = "SELECT count(*) FROM pg_stat_progress_vacuum"
SIZE = "SELECT pg_total_relation_size('event')"
MADE: dict[str, Callable[[int], Sequence[db_baseline.Row]]] = {
    "in order of time": db_baseline.rows,
    "scattered": scattered.rows,
}


class Noted(Pace):
    """A pace that records the duration of each step in seconds."""

    took: ClassVar[list[float]] = []

    def note(self, took: float) -> None:
        """See `Pace.note`."""
        self.took.append(took)
        super().note(took)


def run(short: bool, pieces: Sequence[str], rows: int) -> list[Figure]:
    """Measure the databases, and what it costs ingestion into SQLite that its file can shrink."""
    figures: list[Figure] = []
    for piece in pieces:
        for name in MADE:
            with STAGES[piece]() as stage:
                stored = SHORT if short else rows
                for figure in _cost(stage, name, stored) if piece == COST else _measure(stage, name, stored):
                    figures.append(figure)
                    ratio = "" if figure.ratio is None else f", {figure.ratio:.2f} of {figure.against}"
                    say(f"{figure.name}: {figure.value:,.1f} {figure.unit}{ratio}")
    return figures


def _cost(stage: Stage, name: str, rows: int) -> Iterator[Figure]:
    """Insert batches in turns into a file that can shrink and one that cannot, both with events stored."""
    tables = []
    for kind in ("NONE", "INCREMENTAL"):
        url, table = stage.create(kind)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute(f"PRAGMA auto_vacuum = {kind}")
            connection.execute("VACUUM")
        table.fill(rows) if MADE[name] is db_baseline.rows else scattered.fill(url, rows)
        tables.append(table)
    pairs = []
    for number in range(COST_ROUNDS):
        progress(f"{name}: round {number + 1} of {COST_ROUNDS}")
        rates = [
            db_baseline.measure(table.insert, BATCH, COST_SECONDS, made=MADE[name])
            for table in (tables if number % 2 else tables[::-1])
        ]
        pairs.append(rates if number % 2 else rates[::-1])
    yield Figure(
        f"SQLite, a file that can shrink, {rows:,} events {name}, batch {BATCH}",
        median(rate for _, rate in pairs),
        "events/s",
        "one that cannot",
        median(rate / plain for plain, rate in pairs),
        INGESTION,
    )


def _measure(stage: Stage, name: str, rows: int) -> Iterator[Figure]:
    title = f"{stage.database}, {rows:,} events {name}"
    url, table = stage.create("erasing")
    if stage.database == "PostgreSQL":
        for statement in IMPATIENT:
            _ask(url, statement)
    progress(f"{title}: filling")
    table.fill(rows) if MADE[name] is db_baseline.rows else scattered.fill(url, rows)
    app = create_app(Settings(data_dir=stage.folder / "own", database_url=url))
    services = app.extensions["services"]
    _count(url)
    server = stage.serve(SERVICE, "erasing", url)
    with single_events(server.port) as idle:
        time.sleep(IDLE_SECONDS)
    before, stored = _size(url), database.database.fetch_int("SELECT count(*) FROM event")
    erase.Pace = sqlite.Pace = Noted
    progress(f"{title}: erasing")
    with single_events(server.port) as times:
        began, used = time.monotonic(), _processor_seconds()
        services.retention.expire(KEPT_DAYS)
        took, processor = time.monotonic() - began, _processor_seconds() - used
    gone = stored - database.database.fetch_int("SELECT count(*) FROM event") + len(times)
    yield Figure(f"{title}, erasing", gone / took, "events/s", goal=SPEED[stage.database])
    yield Figure(f"{title}, erasing, of processor time", gone / processor, "events/s")
    yield from _single(f"{title}, a single event meanwhile", times, idle)
    progress(f"{title}: giving the space back")
    with single_events(server.port) as times:
        began = time.monotonic()
        _give_back(url)
        took = time.monotonic() - began
    yield Figure(f"{title}, giving the space back", took, "s", "the size before", _size(url) / before)
    yield from _single(f"{title}, a single event beside that", times, idle)
    insert = partial(_insert, table.insert if isinstance(table, SqliteTable) else table.copy, MADE[name])
    progress(f"{title}: storing as many")
    insert(gone)
    yield Figure(
        f"{title}, size after as many new ones", _size(url) / 2**20, "MiB", "before", _size(url) / before, SIZE_GOAL
    )
    if stage.database == "PostgreSQL":
        for number in range(1, ROUNDS + 1):
            progress(f"{title}: day {number}")
            kept = database.database.fetch_int("SELECT count(*) FROM event")
            _count(url)
            services.retention.expire(KEPT_DAYS - number * DAYS // 30)
            gone = kept - database.database.fetch_int("SELECT count(*) FROM event")
            time.sleep(2)  # seconds; autovacuum looks every second
            insert(gone)
        yield Figure(
            f"{title}, size after {ROUNDS} more days",
            _size(url) / 2**20,
            "MiB",
            "before",
            _size(url) / before,
            SIZE_GOAL,
        )
    database.disconnect()


def _single(name: str, times: Sequence[float], idle: Sequence[float]) -> Iterator[Figure]:
    """Yield the 99th percentile and the maximum in milliseconds, and the same for SQLite's transactions meanwhile."""
    p99, usual = (sorted(some)[int(len(some) * 0.99)] * 1000 for some in (times, idle))
    yield Figure(f"{name}, p99", p99, "ms", goal=SINGLE_GOAL)
    yield Figure(f"{name}, p99, compared", p99, "ms", "nothing erased", p99 / usual)
    yield Figure(f"{name}, longest", max(times) * 1000, "ms")
    if database.database.has_one_writer and Noted.took:
        yield Figure(f"{name}, longest transaction", max(Noted.took) * 1000, "ms", goal=STEP_GOAL)
    Noted.took.clear()


def _count(url: str) -> None:
    """Do what ingestion and the scheduler would have done besides."""
    if not database.database.fetch_int("SELECT count(*) FROM observed_code"):
        seen = database.database.execute_sql("SELECT DISTINCT customer, product, type FROM event").fetchall()
        catalog.note_seen([(*one, 3) for one in seen], 0)
    while hourly_counts.advance():
        pass


def _give_back(url: str) -> None:
    """Shorten SQLite's file, or wait until autovacuum of PostgreSQL has cleaned the table."""
    database.give_back_space()
    until = time.monotonic() + VACUUM_SECONDS
    while url.startswith("postgresql") and time.monotonic() < until:
        time.sleep(1)
        if not _ask(url, VACUUMING) and _ask(url, DEAD) < 1_000:
            return


def _insert(insert: db_baseline.Insert, made: Callable[[int], Sequence[db_baseline.Row]], number: int) -> None:
    for _ in range(number // REFILL):
        insert(made(REFILL))


def _size(url: str) -> int:
    if url.startswith("postgresql"):
        return _ask(url, SIZE)
    database.database.checkpoint()
    return Path(url.removeprefix("sqlite:///")).stat().st_size


def _ask(url: str, query: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return int((cursor.fetchone() or (0,))[0]) if cursor.description else 0


def _processor_seconds() -> float:
    """Return the processor time of what erases: the server's process on PostgreSQL, otherwise this one."""
    if database.database.has_one_writer:
        return time.process_time()
    pid = database.database.fetch_int("SELECT pg_backend_pid()")
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    command("bench.erasing", "Erasing by age, and what becomes of the space.", run, tuple(STAGES), rows=ROWS)
