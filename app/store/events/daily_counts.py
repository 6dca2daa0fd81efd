"""Numbers of events of all customers together, one row per day, product and type, with the numbers of its 24 hours.

The transactions that change the hourly counts also change these, which are their sums. Charts and usage of all
customers therefore read rows whose number does not depend on the number of customers. Days are those of UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import orjson

from app.store.backends.backend import Rows
from app.store.database import database
from app.store.events.filters import Condition, EventFilter
from app.support.clock import DAY_MS, HOUR_MS

HOURS = tuple(f"hour_{place}" for place in range(24))
COLUMNS = ("number", *HOURS)  # of the whole day, and of each hour
NAMES = ", ".join(COLUMNS)
EACH = ", ".join(f"sum({name})" for name in HOURS)

DAY = f"hour / {DAY_MS} * {DAY_MS}"
PLACE = f"CAST((hour - {DAY}) / {HOUR_MS} AS int) AS place"  # of the hour in the day
NUMBERS = ", ".join(f"coalesce(sum(number) FILTER (WHERE place = {n}), 0) AS {name}" for n, name in enumerate(HOURS))
# The rows of `groups`, which are hourly counts. The materialized rows are narrow, which halves PostgreSQL's time. The
# order is that of the key, so that a step writes to few pages.
SUMS = f"""
    WITH placed AS MATERIALIZED (
        SELECT {DAY} AS day, product, type, {PLACE}, CAST(number AS int) AS number FROM {{groups}})
    SELECT day, product, type, sum(number) AS number, {NUMBERS} FROM placed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""  # noqa: S608
ADD = f"""
    INSERT INTO daily_count (day, product, type, {NAMES}) {{rows}}
    ON CONFLICT (day, product, type) DO UPDATE SET
        {", ".join(f"{name} = daily_count.{name} + excluded.{name}" for name in COLUMNS)}"""

# Subtracts `fewer`, the numbers of erased events by type and hour of one product (`count_slices`).
SUBTRACT_WHOLE = f"""
    placed AS MATERIALIZED (SELECT type, {DAY} AS day, {PLACE}, CAST(number AS int) AS number FROM fewer),
    fewer_days AS MATERIALIZED (SELECT type, day, sum(number) AS number, {NUMBERS} FROM placed GROUP BY 1, 2),
    matched_days AS MATERIALIZED (
        SELECT d.ctid AS place, {", ".join(f"d.{name} - fewer_days.{name} AS {name}" for name in COLUMNS)}
        FROM daily_count AS d JOIN fewer_days ON d.type = fewer_days.type AND d.day = fewer_days.day
        WHERE d.product = %s
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
    WHERE product = ? AND daily_count.type = fewer.type AND daily_count.day = fewer.day"""  # noqa: S608
REMOVE = "DELETE FROM daily_count WHERE day BETWEEN ? AND ? AND product = ? AND number <= 0"


def subtract(product: str | None, fewer: Rows) -> None:
    """Subtract numbers of one product, on SQLite: (type, hour, number)."""
    days: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0] * len(COLUMNS))
    for kind, hour, number in fewer:
        numbers = days[kind, hour // DAY_MS * DAY_MS]
        numbers[0] += number
        numbers[1 + hour % DAY_MS // HOUR_MS] += number
    rows = [(*key, *numbers) for key, numbers in days.items()]
    times = [day for _, day in days]
    database.execute_sql(LOWER, (orjson.dumps(rows).decode(), product))
    database.execute_sql(REMOVE, (min(times), max(times), product))


def by_step(begin: int, end: int, step: int, split: str) -> list[tuple[int, str, int]]:
    """Return numbers of the hours from `begin` to before `end`, in steps of whole hours: (start of step, code, number).

    Args:
        split: `product` or `type`, which determines the codes.
    """
    query = f"SELECT day, {split}, {EACH} FROM daily_count WHERE {_bounds(begin, end)} GROUP BY 1, 2"  # noqa: S608
    steps: Counter[tuple[int, str]] = Counter()
    for day, code, *numbers in database.execute_sql(query).fetchall():
        for hour, number in _by_hour(day, numbers, begin, end):
            steps[hour // step * step, code] += number
    return [(*key, number) for key, number in steps.items()]


def by_type(begin: int, end: int | None) -> list[tuple[str, str, int]]:
    """Return the number of events of each type in the hours from `begin` to before `end`: (product, type, number)."""
    query = f"SELECT product, type, sum({_number(begin, end)}) FROM daily_count WHERE {_bounds(begin, end)}"  # noqa: S608
    found = database.execute_sql(f"{query} GROUP BY 1, 2").fetchall()
    return [(product, kind, int(number)) for product, kind, number in found if number]


def by_day(wanted: EventFilter, since: int) -> dict[int, int]:
    """Return the number of events per day, by the day's first millisecond, from the day that begins with `since`."""
    where, values = wanted.codes().where()
    query = f"SELECT day, sum(number) FROM daily_count WHERE day >= {since:d} AND {where} GROUP BY 1"  # noqa: S608
    return {day: int(number) for day, number in database.execute_sql(query, values).fetchall()}


def total(wanted: EventFilter, begin: int | None, end: int | None) -> int:
    """Return the number of events in the hours from `begin` to before `end`. None means no limit."""
    where, values = wanted.codes().where()
    query = f"SELECT sum({_number(begin, end)}) FROM daily_count WHERE {_bounds(begin, end)} AND {where}"  # noqa: S608
    return int(database.execute_sql(query, values).fetchone()[0] or 0)  # PostgreSQL's sums are decimals


def hours(wanted: EventFilter, begin: int | None, end: int | None, limit: int) -> list[tuple[int, int]]:
    """Return the first hours in scan order that have events, from `begin` to before `end`: (hour, number)."""
    where, values = wanted.codes().where()
    order, days = "ASC" if wanted.forward else "DESC", limit // 24 + 3
    query = f"SELECT day, {EACH} FROM daily_count WHERE {_bounds(begin, end)} AND {where} GROUP BY day"  # noqa: S608
    while True:
        rows = database.execute_sql(f"{query} ORDER BY day {order} LIMIT {days:d}", values).fetchall()
        found = [one for day, *numbers in rows for one in _by_hour(day, numbers, begin, end)]
        if len(found) >= limit or len(rows) < days:
            return sorted(found, reverse=not wanted.forward)[:limit]
        days *= 4  # few hours of those days have events


def selection(wanted: EventFilter, begin: int | None, end: int | None, *, by_hour: bool) -> Condition:
    """Return a query for the numbers of the hours from `begin` to before `end`: (time, product, type, number).

    Args:
        by_hour: whether the time is that of the hour, not of the day. Numbers may be 0.
    """
    where, values = wanted.codes().where()
    source, time, number = "daily_count", "day", _number(begin, end)
    condition = f"{_bounds(begin, end)} AND {where}"
    if by_hour:
        places = " UNION ALL ".join(f"SELECT {place} AS place" for place in range(24))
        source, time = f"daily_count CROSS JOIN ({places}) AS places", f"day + place * {HOUR_MS}"
        number = f"CASE place {' '.join(f'WHEN {place} THEN {name}' for place, name in enumerate(HOURS))} END"
        condition += "".join(
            f" AND {time} {sign} {limit:d}" for sign, limit in ((">=", begin), ("<", end)) if limit is not None
        )
    return f"SELECT {time} AS time, product, type, {number} AS number FROM {source} WHERE {condition}", values  # noqa: S608


def _by_hour(day: int, numbers: Sequence[int], begin: int | None, end: int | None) -> list[tuple[int, int]]:
    """Return the hours of a day from `begin` to before `end` that have events: (hour, number)."""
    hours = ((day + place * HOUR_MS, int(number)) for place, number in enumerate(numbers) if number)
    return [(hour, number) for hour, number in hours if _is_within(hour, begin, end)]


def _is_within(hour: int, begin: int | None, end: int | None) -> bool:
    return (begin is None or hour >= begin) and (end is None or hour < end)


def _bounds(begin: int | None, end: int | None) -> str:
    """Return the condition for days with hours from `begin` to before `end`."""
    limits = [f"day > {begin - DAY_MS:d}"] if begin is not None else []
    limits += [f"day < {end:d}"] if end is not None else []
    return " AND ".join(limits) or "TRUE"


def _number(begin: int | None, end: int | None) -> str:
    """Return the SQL of the number of a row's events in the hours from `begin` to before `end`, both whole hours."""
    edges = {time // DAY_MS * DAY_MS for time in (begin, end) if time is not None and time % DAY_MS}
    cases = [f"WHEN day = {day:d} THEN {_of_day(day, begin, end)}" for day in sorted(edges)]
    return f"CASE {' '.join(cases)} ELSE number END" if cases else "number"


def _of_day(day: int, begin: int | None, end: int | None) -> str:
    within = [name for place, name in enumerate(HOURS) if _is_within(day + place * HOUR_MS, begin, end)]
    return " + ".join(within) or "0"
