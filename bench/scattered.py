"""Events in no order of time: the last 90 days, 3 customers, 5 products and 40 types, all equally likely.

Five million of them fall into more than a million hours of a customer, product and type, and write to every part of
every index. Such events come from products that send late, and from imports of the past.
"""

from __future__ import annotations

import random
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import orjson
import psycopg

from bench.db_baseline import COLUMNS, DAY, DAYS, FILL_ROWS, PRAGMAS, Row
from bench.load import CUSTOMERS, head

PRODUCTS, TYPES = 5, 40
SPAN = DAYS * DAY  # milliseconds
KINDS = 4_096  # different events except for their times, created in advance

POSTGRES_FILL = f"""
    INSERT INTO event {COLUMNS}
    SELECT (%(customers)s::text[])[1 + floor(random() * 3)::int], 'PRODUCT-' || floor(random() * 5)::int,
        'EVENT-TYPE-' || floor(random() * 40)::int, NULL, %(first)s + floor(random() * %(span)s)::bigint,
        ARRAY['user-' || i %% 997, 'Overview', 'News'], 1 + i %% 100, md5((i / 100)::text)::uuid, %(first)s
    FROM generate_series(%(begin)s::bigint, %(end)s::bigint - 1) AS i"""
SQLITE_FILL = f"""
    INSERT INTO event {COLUMNS}
    WITH RECURSIVE number (i) AS (SELECT :begin UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :end)
    SELECT json_extract(:customers, printf('$[%d]', abs(random() % 3))), 'PRODUCT-' || abs(random() % 5),
        'EVENT-TYPE-' || abs(random() % 40), NULL, :first + abs(random() % :span),
        '["user-' || (i % 997) || '","Overview","News"]', 1 + i % 100,
        printf('%08x-0000-4000-8000-%012x', i / 100, i / 100), :first
    FROM number"""  # noqa: S608


def _codes(chance: random.Random) -> tuple[str, str, str]:
    product, kind = chance.randrange(PRODUCTS), chance.randrange(TYPES)
    return chance.choice(CUSTOMERS), f"PRODUCT-{product}", f"EVENT-TYPE-{kind}"


def _context(number: int) -> list[str]:
    return [f"user-{number % 997}", "Overview", "News"]


def rows(batch: int, span: int = SPAN) -> list[Row]:
    """Return the rows of one request, with times of the last `span` milliseconds."""
    chance, now, name = random.Random(), time.time_ns() // 1_000_000, str(uuid.uuid4())
    return [
        (*_codes(chance), None, now - chance.randrange(span), _context(number), number + 1, name, now)
        for number in range(batch)
    ]


class Requests:
    """Complete requests, ready to send, all different; see `bench.load.Requests`."""

    span = SPAN  # before now; milliseconds

    def __init__(self, port: int, batch: int) -> None:
        self.batch = batch
        self._chance = random.Random()
        self._kinds = [self._kind(number) for number in range(KINDS)]
        self._head = b""
        self._port = port

    def next(self, now: float) -> bytes:
        """Return the next request."""
        until = time.time_ns() // 1_000_000
        chance = self._chance.random
        kinds = self._chance.choices(self._kinds, k=self.batch)
        body = b'{"events":[%s]}' % b",".join([kind % (until - int(chance() * self.span)) for kind in kinds])
        return head(self._port, len(body)) + body

    def _kind(self, number: int) -> bytes:
        customer, product, kind = _codes(self._chance)
        event = {"customer": customer, "product": product, "type": kind, "context": _context(number)}
        return orjson.dumps(event).removesuffix(b"}") + b',"timestamp":%d}'


def fill(url: str, count: int, span: int = SPAN) -> None:
    """Insert events of the last `span` milliseconds into an empty table, and finish the server's own maintenance."""
    fill_database = _fill_sqlite if url.startswith("sqlite") else _fill_postgres
    fill_database(url, _fillings(count, span))


def _fill_sqlite(url: str, fillings: Iterator[dict[str, object]]) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        for values in fillings:
            connection.execute(SQLITE_FILL, {**values, "customers": orjson.dumps(CUSTOMERS).decode()})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _fill_postgres(url: str, fillings: Iterator[dict[str, object]]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for values in fillings:
            connection.execute(POSTGRES_FILL, {**values, "customers": list(CUSTOMERS)})
        connection.execute("VACUUM ANALYZE event")
        connection.execute("CHECKPOINT")


def _fillings(count: int, span: int) -> Iterator[dict[str, object]]:
    first = time.time_ns() // 1_000_000 - span
    for begin in range(0, count, FILL_ROWS):
        yield {"first": first, "span": span, "begin": begin, "end": min(begin + FILL_ROWS, count)}
