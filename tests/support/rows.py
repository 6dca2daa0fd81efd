"""Many events at once, created by the database itself in a second instead of a minute by the API."""

from __future__ import annotations

from app.store.catalog import catalog
from app.store.database import database, release, transaction
from app.store.models import Event
from tests.support.client import FIRST

TYPE = "PORTFOLIO-APPLICATION-LOADED"

# every hundredth context has characters that need quoting
ITEM = "CASE WHEN n % 100 = 0 THEN 'a \"quoted\" | item' ELSE 'user-' || n END"
SQLITE = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
    INSERT INTO event (customer, product, type, timestamp, context, sequence, batch, received)
    SELECT 'BARCHART', 'PORTFOLIO', ?, ? + n, json_array({item}, 'Overview', NULL), n,
        '8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b', ? FROM number"""
POSTGRESQL = """INSERT INTO event (customer, product, type, timestamp, context, sequence, batch, received)
    SELECT 'BARCHART', 'PORTFOLIO', %s, %s + n, ARRAY[{item}, 'Overview', NULL], n,
        '8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b'::uuid, %s FROM generate_series(1, %s) n"""


def fill(count: int) -> None:
    """Insert events of BARCHART's PORTFOLIO, a millisecond apart."""
    with transaction():
        catalog.note_seen([("BARCHART", "PORTFOLIO", TYPE, 3)], FIRST)
        if database.param == "?":
            database.execute_sql(SQLITE.format(item=ITEM), (count, TYPE, FIRST, FIRST))
        else:
            item = ITEM.replace("%", "%%")
            database.execute_sql(POSTGRESQL.format(item=item), (TYPE, FIRST, FIRST, count))


NUMBERS = {
    "?": "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count}) "
    "{query} FROM number",
    "%s": "{query} FROM generate_series(1, {count}) AS n",
}


def numbered(query: str, count: int) -> None:
    """Run `INSERT … SELECT` for the numbers n from 1."""
    database.execute_sql(NUMBERS[database.param].format(query=query, count=count))


def fill_seen(count: int) -> None:
    """Add types T1, T2, … of BARCHART's PORTFOLIO to the observed codes."""
    numbered(
        "INSERT INTO observed_code (customer, product, type, first_observed_at, width) "
        "SELECT 'BARCHART', 'PORTFOLIO', 'T' || n, 0, 2",
        count,
    )
    release()


def newest_events(limit: int) -> list[Event]:
    """Return the last accepted events, newest first."""
    return list(Event.select().order_by(Event.id.desc()).limit(limit))
