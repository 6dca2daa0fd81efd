"""A table to report from: every n-th event is selected, the others lie between, and all spread over time.

The database creates them, because that is fastest. The types and contexts are from the sample catalog, whose product
has columns, so that the same rows can be selected by position and by name. Every context has three strings.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import orjson
import psycopg

from app.store import database
from app.store.catalog import catalog
from app.store.events import hourly_counts
from bench.db_baseline import COLUMNS, DAY, DAYS, FILL_ROWS, PRAGMAS

WANTED, OTHER, PRODUCT = "BARCHART", "HARBORLINE", "PORTFOLIO"
TYPES = ("PORTFOLIO-CREATED", "PORTFOLIO-POSITION-REMOVED", "PORTFOLIO-VIEW-CHANGED", "PORTFOLIO-EXPORTED")
ITEMS = ("AAPL", "MSFT", "EUR", "USD", "csv", "Overview")
AWKWARD = 'said "sell" | then\nleft'  # a quote, the delimiter and a newline
AWKWARD_EVERY = 101  # about one in a hundred; no multiple of the types, so that each type has some
DISORDER = 30_000  # milliseconds by which some events are later than others that arrive together with them

# `i` counts all events and `k` those of a customer, approximately
POSTGRES_FILL = f"""
    INSERT INTO event {COLUMNS}
    SELECT CASE WHEN i %% %(every)s = 0 THEN %(wanted)s ELSE %(other)s END, %(product)s,
        (%(types)s::text[])[1 + k %% 4], NULL, %(first)s + i * %(step)s + i * 7919 %% %(disorder)s,
        ARRAY['user-' || (k %% 997),
            CASE WHEN k %% %(awkward_every)s = 50 THEN %(awkward)s ELSE 'portfolio-' || (k %% 89) END,
            (%(items)s::text[])[1 + k %% 6]],
        1 + i %% 100, md5((i / 100)::text)::uuid, %(first)s + i * %(step)s
    FROM generate_series(%(begin)s::bigint, %(end)s::bigint - 1) AS i,
        LATERAL (SELECT i / %(every)s + i %% %(every)s AS k)"""
SQLITE_FILL = f"""
    INSERT INTO event {COLUMNS}
    WITH RECURSIVE number (i) AS (SELECT :begin UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :end)
    SELECT CASE WHEN i % :every = 0 THEN :wanted ELSE :other END, :product,
        json_extract(:types, printf('$[%d]', k % 4)), NULL, :first + i * :step + i * 7919 % :disorder,
        json_array('user-' || (k % 997),
            CASE WHEN k % :awkward_every = 50 THEN :awkward ELSE 'portfolio-' || (k % 89) END,
            json_extract(:items, printf('$[%d]', k % 6))),
        1 + i % 100, printf('%08x-0000-4000-8000-%012x', i / 100, i / 100), :first + i * :step
    FROM (SELECT i, i / :every + i % :every AS k FROM number)"""  # noqa: S608


@dataclass(frozen=True)
class Mixture:
    """How many events there are, and which share is WANTED's; the others are OTHER's."""

    total: int
    every: int
    end: int = field(default_factory=lambda: time.time_ns() // 1_000_000)  # of the newest, milliseconds

    @property
    def wanted(self) -> int:
        """Return how many are WANTED's."""
        return self.total // self.every

    @property
    def step(self) -> int:
        """Return the milliseconds between two events."""
        return max(1, DAYS * DAY // self.total)

    @property
    def first(self) -> int:
        """Return the time of the first event."""
        return self.end - self.total * self.step - DISORDER

    def start_of_newest(self, rows: int) -> int:
        """Return the time from which there are about this many of OTHER's events."""
        number = self.total - rows * self.every // (self.every - 1)
        return self.first + number * self.step + DISORDER // 2

    def fill(self, url: str) -> None:
        """Insert the events into an empty table, and do what ingestion would have done besides."""
        fill = _fill_sqlite if url.startswith("sqlite") else _fill_postgres
        fill(url, self._fillings())
        database.open_database(url)
        catalog.note_seen([(customer, PRODUCT, kind, 3) for customer in (WANTED, OTHER) for kind in TYPES], 0)
        while hourly_counts.advance():
            pass
        database.release()

    def _fillings(self) -> Iterator[dict[str, object]]:
        shared = {"every": self.every, "wanted": WANTED, "other": OTHER, "product": PRODUCT, "awkward": AWKWARD}
        shared |= {"awkward_every": AWKWARD_EVERY, "disorder": DISORDER, "types": list(TYPES), "items": list(ITEMS)}
        shared |= {"step": self.step, "first": self.first}
        for begin in range(0, self.total, FILL_ROWS):
            yield shared | {"begin": begin, "end": min(begin + FILL_ROWS, self.total)}


def _fill_postgres(url: str, fillings: Iterator[Mapping[str, object]]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for values in fillings:
            connection.execute(POSTGRES_FILL, values)
        connection.execute("VACUUM ANALYZE event")
        connection.execute("CHECKPOINT")


def _fill_sqlite(url: str, fillings: Iterator[Mapping[str, object]]) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        for values in fillings:
            lists = {name: orjson.dumps(values[name]).decode() for name in ("types", "items")}
            connection.execute(SQLITE_FILL, {**values, **lists})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
