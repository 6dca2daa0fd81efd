"""Comparison of the hourly counts with the events that they count, and of the daily counts with them."""

from __future__ import annotations

from typing import NamedTuple

from app.store.events import daily_customer_counts
from app.store.events.daily_counts import COLUMNS, NAMES, OF_CUSTOMERS, OF_TYPES, DailyTable
from app.store.operations.transfer import Source
from app.support.clock import HOUR_MS

# Groups of the slice that is being counted on SQLite are in the counts up to `slice_groups`, in the order of their key.
HOURS = f"""
    SELECT customer, product, type, hour, sum(counted) AS counted, sum(found) AS found FROM (
        SELECT customer, product, type, hour, number AS counted, 0 AS found FROM hourly_count
        UNION ALL
        SELECT customer, product, type, timestamp / {HOUR_MS} * {HOUR_MS}, 0, count(*) FROM event
            WHERE id <= {{up_to:d}} GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT customer, product, type, hour, 0, number FROM (
            SELECT customer, product, type, timestamp / {HOUR_MS} * {HOUR_MS} AS hour, count(*) AS number FROM event
            WHERE id > {{up_to:d}} AND id <= {{slice_end:d}}
            GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT {{groups:d}}) AS slice) AS hours
    GROUP BY 1, 2, 3, 4 HAVING sum(counted) <> sum(found) ORDER BY 1, 2, 3, 4"""
DAYS = """
    SELECT {key} FROM (
        SELECT {key}, {names} FROM {table}
        UNION ALL
        SELECT {key}, {minus} FROM ({sums}) AS sums) AS days
    GROUP BY 1, 2, 3 HAVING {differ} ORDER BY 1, 2, 3"""
FILES = """
    SELECT job, file, bytes, sha256, output FROM report
    WHERE status = 'COMPLETE' AND NOT removed AND file IS NOT NULL ORDER BY id"""


class Hour(NamedTuple):
    """Hour whose count differs from the number of its events."""

    customer: str
    product: str
    type: str
    hour: int
    counted: int
    found: int


class Day(NamedTuple):
    """Day whose daily count differs from the sum of its hourly counts, and its codes."""

    day: int
    codes: tuple[str, str]


class ReportFile(NamedTuple):
    """File that a completed report should have. `output` is the JSON that the client sent, or None."""

    job: str
    file: str
    bytes: int
    sha256: str | None
    output: str | None


def differing_hours(source: Source) -> list[Hour]:
    """Return the hours whose counts differ from the counted events."""
    rows = source.fetch("SELECT up_to, slice_end, slice_groups FROM counted")
    up_to, slice_end, groups = rows[0] if rows else (0, None, 0)
    query = HOURS.format(up_to=up_to, slice_end=up_to if slice_end is None else slice_end, groups=groups)
    return [
        Hour(customer, product, kind, hour, int(counted), int(found))
        for customer, product, kind, hour, counted, found in source.fetch(query)
    ]


def differing_days(source: Source) -> list[Day] | None:
    """Return the daily counts by product and type that differ from the sums of the hourly counts.

    They are not compared while a slice is counted on SQLite, because they follow the hourly counts. The result is then
    None.
    """
    return _differing(source, OF_TYPES, "slice_end IS NULL")


def differing_customer_days(source: Source) -> list[Day] | None:
    """Return the daily counts by customer and product that differ likewise, or None if they are incomplete."""
    return _differing(source, OF_CUSTOMERS, daily_customer_counts.IS_COMPLETE)


def _differing(source: Source, table: DailyTable, condition: str) -> list[Day] | None:
    if not source.fetch(f"SELECT 1 FROM counted WHERE {condition}"):  # noqa: S608
        return None
    key = ", ".join(("day", *table.codes))
    differ = " OR ".join(f"sum({name}) <> 0" for name in COLUMNS)
    minus = ", ".join(f"-{name}" for name in COLUMNS)
    sums = table.sums("hourly_count")
    query = DAYS.format(key=key, names=NAMES, table=table.name, minus=minus, sums=sums, differ=differ)
    return [Day(day, (first, second)) for day, first, second in source.fetch(query)]


def report_files(source: Source) -> list[ReportFile]:
    """Return the files that completed reports should have."""
    return [ReportFile(*row) for row in source.fetch(FILES)]
