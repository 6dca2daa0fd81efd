"""Numbers of events by day, one row per day and two codes, with the numbers of the day's 24 hours.

`daily_count` has those of each product and type, of all customers together. `daily_customer_count` has those of each
customer and product, of all types together. The transactions that change the hourly counts also change these, which are
their sums. Charts and questions therefore read rows whose number does not depend on the other code. Days are those of
UTC.

Versions before 1.1 do not know `daily_customer_count`, so it is read only if it is complete (`daily_customer_counts`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

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
# `fewer` has the numbers of erased events by type and hour of one customer's product (`count_slices`).
PLACED = f"placed AS MATERIALIZED (SELECT type, {DAY} AS day, {PLACE}, CAST(number AS int) AS number FROM fewer)"


@dataclass(frozen=True)
class DailyTable:
    """Table of daily counts.

    Attributes:
        codes: of its key, after the day.
        sums_hours_first: whether hourly counts of the same hour and codes are added up before they become columns. That
            is faster if there are many of them.
    """

    name: str
    codes: tuple[str, str]
    sums_hours_first: bool

    @property
    def _given(self) -> list[str]:
        """Return the codes that an erasure has the same values of, because it is of one customer's product."""
        return [code for code in self.codes if code != "type"]

    @property
    def _keys(self) -> list[str]:
        """Return the columns of the key that differ within an erasure."""
        return ["day", *(code for code in self.codes if code == "type")]

    def sums(self, groups: str) -> str:
        """Return a query for the rows that hourly counts add up to, in the order of the key.

        So a step writes to few pages. The materialized rows are narrow, which halves PostgreSQL's time.
        """
        codes = ", ".join(self.codes)
        number, group_by = ("sum(number)", "GROUP BY 1, 2, 3, 4") if self.sums_hours_first else ("number", "")
        return f"""
            WITH placed AS MATERIALIZED (
                SELECT {DAY} AS day, {codes}, {PLACE}, CAST({number} AS int) AS number FROM {groups} {group_by})
            SELECT day, {codes}, sum(number) AS number, {NUMBERS} FROM placed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""  # noqa: S608

    def add(self, rows: str) -> str:
        """Return the statement that adds the rows of a query."""
        key = f"day, {', '.join(self.codes)}"
        sums = ", ".join(f"{name} = {self.name}.{name} + excluded.{name}" for name in COLUMNS)
        return f"INSERT INTO {self.name} ({key}, {NAMES}) {rows} ON CONFLICT ({key}) DO UPDATE SET {sums}"  # noqa: S608

    def subtract_whole(self) -> str:
        """Return the parts of a statement that subtract `placed`, with the codes of `_given` as parameters."""
        name, keys = self.name, ", ".join(self._keys)
        fewer, matched = f"fewer_{name}", f"matched_{name}"
        same = " AND ".join(f"d.{key} = {fewer}.{key}" for key in self._keys)
        given = " AND ".join(f"d.{code} = %s" for code in self._given)
        return f"""
            {fewer} AS MATERIALIZED (
                SELECT {keys}, sum(number) AS number, {NUMBERS} FROM placed
                GROUP BY {", ".join(str(1 + place) for place, _ in enumerate(self._keys))}),
            {matched} AS MATERIALIZED (
                SELECT d.ctid AS place, {", ".join(f"d.{column} - {fewer}.{column} AS {column}" for column in COLUMNS)}
                FROM {name} AS d JOIN {fewer} ON {same} WHERE {given}
            ), lowered_{name} AS (
                UPDATE {name} SET {", ".join(f"{column} = {matched}.{column}" for column in COLUMNS)} FROM {matched}
                WHERE {name}.ctid = place AND {matched}.number > 0
            ), removed_{name} AS (
                DELETE FROM {name} USING {matched} WHERE {name}.ctid = place AND {matched}.number <= 0)"""  # noqa: S608

    def subtract(self, customer: str | None, product: str | None, fewer: Rows) -> None:
        """Subtract numbers of one customer's product, on SQLite: (type, hour, number)."""
        rows: defaultdict[tuple[object, ...], list[int]] = defaultdict(lambda: [0] * len(COLUMNS))
        for kind, hour, number in fewer:
            day = hour // DAY_MS * DAY_MS
            numbers = rows[(day, kind) if "type" in self.codes else (day,)]
            numbers[0] += number
            numbers[1 + hour % DAY_MS // HOUR_MS] += number
        given = [{"customer": customer, "product": product}[code] for code in self._given]
        days = [hour // DAY_MS * DAY_MS for _, hour, _ in fewer]
        items = orjson.dumps([(*key, *numbers) for key, numbers in rows.items()]).decode()
        columns = [*self._keys, *COLUMNS]
        values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
        same = " AND ".join(f"{self.name}.{key} = fewer.{key}" for key in self._keys)
        is_given = " AND ".join(f"{code} = ?" for code in self._given)
        lower = f"""
            WITH fewer ({", ".join(columns)}) AS (SELECT {values} FROM json_each(?) LIMIT -1)
            UPDATE {self.name} SET {", ".join(f"{name} = {self.name}.{name} - fewer.{name}" for name in COLUMNS)}
            FROM fewer WHERE {is_given} AND {same}"""  # noqa: S608 - the limit lets it read the JSON once
        database.execute_sql(lower, (items, *given))
        remove = f"DELETE FROM {self.name} WHERE day BETWEEN ? AND ? AND {is_given} AND number <= 0"  # noqa: S608
        database.execute_sql(remove, (min(days), max(days), *given))

    def selection(self, wanted: EventFilter, begin: int | None, end: int | None, *, by_hour: bool) -> Condition:
        """Return a query for the numbers of the hours from `begin` to before `end`: the time, the codes, the number.

        Args:
            by_hour: whether the time is that of the hour, not of the day. Numbers may be 0.
        """
        where, values = wanted.codes().where()
        source, time, number = self.name, "day", _number(begin, end)
        condition = f"{_bounds(begin, end)} AND {where}"
        if by_hour:
            places = " UNION ALL ".join(f"SELECT {place} AS place" for place in range(24))
            source, time = f"{self.name} CROSS JOIN ({places}) AS places", f"day + place * {HOUR_MS}"
            number = f"CASE place {' '.join(f'WHEN {place} THEN {name}' for place, name in enumerate(HOURS))} END"
            condition += "".join(
                f" AND {time} {sign} {limit:d}" for sign, limit in ((">=", begin), ("<", end)) if limit is not None
            )
        columns = f"{time} AS time, {', '.join(self.codes)}, {number} AS number"
        return f"SELECT {columns} FROM {source} WHERE {condition}", values  # noqa: S608


OF_TYPES = DailyTable("daily_count", ("product", "type"), sums_hours_first=False)
OF_CUSTOMERS = DailyTable("daily_customer_count", ("customer", "product"), sums_hours_first=True)
TABLES = (OF_TYPES, OF_CUSTOMERS)


# Of all customers together.


def by_step(begin: int, end: int, step: int, split: str) -> list[tuple[int, str, int]]:
    """Return numbers of the hours from `begin` to before `end`, in steps of an hour or a day: (start, code, number).

    Args:
        split: `product` or `type`, which determines the codes.
    """
    numbers_of = f"sum({_number(begin, end)})" if step == DAY_MS else EACH
    query = f"SELECT day, {split}, {numbers_of} FROM daily_count WHERE {_bounds(begin, end)} GROUP BY 1, 2"  # noqa: S608
    found = database.execute_sql(query).fetchall()
    if step == DAY_MS:
        return [(day, code, int(number)) for day, code, number in found if number]
    return [(hour, code, n) for day, code, *numbers in found for hour, n in _by_hour(day, numbers, begin, end)]


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
