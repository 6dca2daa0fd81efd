"""The limit of the database: rows written on one connection with a commit per batch, and nothing else.

The table is created by the service's migrations. A row is a tuple whose context is a list, as in a program. Encoding it
for the column is part of the measured time, and creating the rows is not.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence

import orjson
import psycopg

from bench.load import CUSTOMERS, PRODUCT, TYPE, context

Row = tuple[object, ...]
Insert = Callable[[Sequence[Row]], None]

COLUMNS = "(customer, product, type, version, timestamp, context, sequence, batch, received)"
COPY = f"COPY event {COLUMNS} FROM STDIN"
INSERT = f"INSERT INTO event {COLUMNS} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
SQLITE_INSERT = INSERT.replace("%s", "?")
PRAGMAS = ("journal_mode = wal", "synchronous = full", "cache_size = -32000")  # as the service has them
LOCK_SECONDS = 60
FILL_ROWS = 500_000  # in one transaction
DAYS = 90  # before now, over which the events of a filled table are spread
DAY = 86_400_000  # milliseconds
RARE_EVERY = 50_000  # one event in this many has a rare type, for those who read them back

# Time-ordered events like those of `load`, created by the database, because that is fastest.
POSTGRES_FILL = f"""
    INSERT INTO event {COLUMNS}
    SELECT (%(customers)s::text[])[1 + i %% 3], %(product)s,
        CASE WHEN i %% %(rare_every)s = 7 THEN 'RARE' ELSE %(type)s END, NULL, %(first)s + i * %(step)s,
        ARRAY['user-' || i %% 997, 'Overview', 'News'], 1 + i %% 100, md5((i / 100)::text)::uuid,
        %(first)s + i * %(step)s
    FROM generate_series(%(begin)s::bigint, %(end)s::bigint - 1) AS i"""
SQLITE_FILL = f"""
    INSERT INTO event {COLUMNS}
    WITH RECURSIVE number (i) AS (SELECT :begin UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :end)
    SELECT json_extract(:customers, printf('$[%d]', i % 3)), :product,
        CASE WHEN i % :rare_every = 7 THEN 'RARE' ELSE :type END, NULL, :first + i * :step,
        '["user-' || (i % 997) || '","Overview","News"]', 1 + i % 100,
        printf('%08x-0000-4000-8000-%012x', i / 100, i / 100), :first + i * :step
    FROM number"""  # noqa: S608


def measure(insert: Insert, batch: int, seconds: float, made: Callable[[int], Sequence[Row]] | None = None) -> float:
    """Return the events per second of repeated inserts for `seconds`."""
    spent, events = 0.0, 0
    while spent < seconds:
        some = (made or rows)(batch)
        began = time.perf_counter()
        insert(some)
        spent += time.perf_counter() - began
        events += batch
    return events / spent


def rows(batch: int) -> list[Row]:
    """Return the rows of a request of `load` that arrives now."""
    now, name = time.time_ns() // 1_000_000, str(uuid.uuid4())
    second = now - now % 1000
    return [
        (CUSTOMERS[i % 3], PRODUCT, TYPE, None, second + i % 1000, context(i), i + 1, name, now) for i in range(batch)
    ]


class PostgresTable:
    """The service's table on PostgreSQL, on one connection."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def copy(self, made: Sequence[Row]) -> None:
        """COPY the rows, and commit."""
        with self._connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for row in made:
                copy.write_row(row)
        self._connection.commit()

    def insert(self, made: Sequence[Row]) -> None:
        """INSERT the rows one by one, with a commit each."""
        for row in made:
            self._connection.execute(INSERT, row)
            self._connection.commit()

    def clear(self) -> None:
        """Remove all events."""
        self._connection.execute("TRUNCATE event")
        self._connection.commit()

    def fill(self, count: int) -> None:
        """Add `count` time-ordered events up to now, and finish the server's own maintenance."""
        for values in _fillings(count):
            self._connection.execute(POSTGRES_FILL, {**values, "customers": list(CUSTOMERS)})
            self._connection.commit()
        self._connection.autocommit = True
        self._connection.execute("VACUUM ANALYZE event")
        self._connection.execute("CHECKPOINT")
        self._connection.autocommit = False


class SqliteTable:
    """The service's table on SQLite, on one connection."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url.removeprefix("sqlite:///"), LOCK_SECONDS, isolation_level=None)
        for pragma in PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def insert(self, made: Sequence[Row]) -> None:
        """Insert the rows with executemany, and commit."""
        dumps = orjson.dumps
        flat = [(*row[:5], dumps(row[5]).decode(), *row[6:]) for row in made]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(SQLITE_INSERT, flat)
        self._connection.execute("COMMIT")

    def clear(self) -> None:
        """Remove all events."""
        self._connection.execute("DELETE FROM event")
        self._checkpoint()

    def fill(self, count: int) -> None:
        """Add `count` time-ordered events up to now."""
        for values in _fillings(count):
            self._connection.execute(SQLITE_FILL, {**values, "customers": orjson.dumps(CUSTOMERS).decode()})
        self._checkpoint()

    def _checkpoint(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _fillings(count: int) -> list[dict[str, object]]:
    step = max(1, DAYS * DAY // count)
    first = time.time_ns() // 1_000_000 - count * step
    shared = {"product": PRODUCT, "type": TYPE, "rare_every": RARE_EVERY, "first": first, "step": step}
    begins = range(0, count, FILL_ROWS)
    return [{**shared, "begin": begin, "end": min(begin + FILL_ROWS, count)} for begin in begins]
