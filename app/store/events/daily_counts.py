"""Numbers of events by hour in one row per day, written beside the hourly counts by the same transactions.

A row has the numbers of the 24 hours of one day of UTC, for a customer, product and type, or with an empty customer for
all customers together. There are up to 24 times fewer rows than hourly counts, and those of one customer's day are
adjacent, so that charts of many customers and types read few rows (`totals`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import orjson

from app.store.backends.backend import Rows
from app.store.database import database
from app.support.clock import DAY_MS, HOUR_MS

HOURS = tuple(f"hour_{place}" for place in range(24))
COLUMNS = ("number", *HOURS)  # of the whole day, and of each hour
NAMES = ", ".join(COLUMNS)
ROW = f"customer, day, product, type, first_at, last_at, {NAMES}"
EACH = ", ".join(f"sum({name})" for name in HOURS)

DAY = f"hour / {DAY_MS} * {DAY_MS}"
PLACE = f"(hour - {DAY}) / {HOUR_MS} AS place"  # of the hour in the day
# Each hour of a group is one row. PostgreSQL finds the maximum of whole numbers faster than their sum.
NUMBERS = ", ".join(f"coalesce(max(number) FILTER (WHERE place = {n}), 0) AS {name}" for n, name in enumerate(HOURS))
# The rows of `groups`, which are hourly counts.
SUMS = f"""
    WITH placed AS MATERIALIZED (
        SELECT customer, {DAY} AS day, product, type, first_at, last_at, number, {PLACE} FROM {{groups}}
    ), of_customer AS (
        SELECT customer, day, product, type, min(first_at) AS first_at, max(last_at) AS last_at,
            sum(number) AS number, {NUMBERS}
        FROM placed GROUP BY 1, 2, 3, 4)
    SELECT {ROW} FROM of_customer
    UNION ALL
    SELECT '', day, product, type, min(first_at), max(last_at), sum(number), {EACH} FROM of_customer
    GROUP BY 2, 3, 4"""  # noqa: S608
ADD = f"""
    INSERT INTO daily_count ({ROW}) {{rows}}
    ON CONFLICT (customer, day, product, type) DO UPDATE SET
        first_at = CASE WHEN excluded.first_at < daily_count.first_at THEN excluded.first_at
            ELSE daily_count.first_at END,
        last_at = CASE WHEN excluded.last_at > daily_count.last_at THEN excluded.last_at ELSE daily_count.last_at END,
        {", ".join(f"{name} = daily_count.{name} + excluded.{name}" for name in COLUMNS)}"""

# Subtracts `fewer`, the numbers of erased events by type and hour of one customer's product (`count_slices`).
SUBTRACT_WHOLE = f"""
    placed AS MATERIALIZED (SELECT type, {DAY} AS day, number, {PLACE} FROM fewer),
    fewer_days AS MATERIALIZED (SELECT type, day, sum(number) AS number, {NUMBERS} FROM placed GROUP BY 1, 2),
    matched_days AS MATERIALIZED (
        SELECT d.ctid AS place, {", ".join(f"d.{name} - fewer_days.{name} AS {name}" for name in COLUMNS)}
        FROM daily_count AS d JOIN fewer_days ON d.type = fewer_days.type AND d.day = fewer_days.day
        WHERE d.customer IN (%s, '') AND d.product = %s
    ), lowered_days AS (
        UPDATE daily_count SET {", ".join(f"{name} = matched_days.{name}" for name in COLUMNS)} FROM matched_days
        WHERE daily_count.ctid = place AND matched_days.number > 0
    ), removed_days AS (
        DELETE FROM daily_count USING matched_days
        WHERE daily_count.ctid = place AND matched_days.number <= 0
    )"""  # noqa: S608
ITEMS = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(2 + len(COLUMNS)))
FEWER = f"WITH fewer (type, day, {NAMES}) AS (SELECT {ITEMS} FROM json_each(?) LIMIT -1)"  # read once, with a limit
LOWER = f"""{FEWER}
    UPDATE daily_count SET {", ".join(f"{name} = daily_count.{name} - fewer.{name}" for name in COLUMNS)} FROM fewer
    WHERE customer = ? AND product = ? AND daily_count.type = fewer.type AND daily_count.day = fewer.day"""  # noqa: S608
REMOVE = """
    DELETE FROM daily_count
    WHERE customer = ? AND day BETWEEN ? AND ? AND product = ? AND number <= 0"""  # noqa: S608


def subtract(customer: str | None, product: str | None, fewer: Rows) -> None:
    """Subtract numbers of one customer's product, on SQLite: (type, hour, number)."""
    days: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0] * len(COLUMNS))
    for kind, hour, number in fewer:
        numbers = days[kind, hour // DAY_MS * DAY_MS]
        numbers[0] += number
        numbers[1 + hour % DAY_MS // HOUR_MS] += number
    rows = orjson.dumps([(*key, *numbers) for key, numbers in days.items()]).decode()
    times = [day for _, day in days]
    for one in (customer, ""):
        database.execute_sql(LOWER, (rows, one, product))
        database.execute_sql(REMOVE, (one, min(times), max(times), product))


def number(begin: int | None, end: int | None) -> str:
    """Return the SQL of the number of a row's events in the hours from `begin` to before `end`, both whole hours."""
    edges = {time // DAY_MS * DAY_MS for time in (begin, end) if time is not None and time % DAY_MS}
    cases = [f"WHEN day = {day:d} THEN {_of_day(day, begin, end)}" for day in sorted(edges)]
    return f"CASE {' '.join(cases)} ELSE number END" if cases else "number"


def bounds(begin: int | None, end: int | None) -> str:
    """Return the condition for days with hours from `begin` to before `end`."""
    limits = [f"day > {begin - DAY_MS:d}"] if begin is not None else []
    limits += [f"day < {end:d}"] if end is not None else []
    return " AND ".join(limits) or "TRUE"


def by_hour(day: int, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the hours of a row that have events: (hour, number)."""
    return [(day + place * HOUR_MS, int(number)) for place, number in enumerate(numbers) if number]


def _of_day(day: int, begin: int | None, end: int | None) -> str:
    hours = [(day + place * HOUR_MS, name) for place, name in enumerate(HOURS)]
    within = [name for hour, name in hours if (begin is None or hour >= begin) and (end is None or hour < end)]
    return " + ".join(within) or "0"
