"""Numbers of events of several customers and products, for charts, usage, estimates and pages.

They come from the daily counts, which have rows for all customers together, so that queries for all do not depend on
the number of customers. Days are those of UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from app.store.database import database
from app.store.events import daily_counts, hourly_counts
from app.store.events.filters import Condition, EventFilter
from app.store.events.hourly_counts import HourBucket
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

SPLITS = ("product", "type")
USED = {"customers": ("customer",), "products": ("product",), "types": ("product", "type")}

Customers = Sequence[str] | None  # customers visible to the user; None means all


@dataclass(frozen=True)
class Codes:
    """Codes whose daily counts are selected.

    Attributes:
        condition: SQL on the columns customer, product and type.
        values: its parameters.
        together: whether it has no condition on the customer, so that all customers are selected together.
    """

    condition: str
    values: list[object]
    together: bool

    @classmethod
    def of(cls, wanted: EventFilter) -> Self:
        """Return the codes that a filter selects, whatever its times."""
        return cls(*wanted.codes().where(), together=wanted.customers is None and wanted.customer is None)

    def among(self, column: str, codes: Sequence[str]) -> Codes:
        """Return those with certain codes in a column."""
        condition = f"{self.condition} AND {column} IN ({', '.join([database.param] * len(codes))})"
        return Codes(condition, [*self.values, *codes], self.together and column != "customer")

    @property
    def rows(self) -> str:
        """Return the table and the condition for their rows."""
        customer = "customer = ''" if self.together else "customer <> ''"
        return f"daily_count WHERE {customer} AND {self.condition}"

    def edge(self, which: str, bounds: str) -> int | None:
        """Return the first or last day that has events within bounds, found by an index lookup for each customer.

        Args:
            which: `min` or `max`.
        """
        order = "day" if which == "min" else "day DESC"
        customers = (
            "SELECT ''" if self.together else f"SELECT DISTINCT customer FROM observed_code WHERE {self.condition}"
        )
        same = "customer = known.name AND " + self.condition
        day = f"SELECT day FROM daily_count WHERE {same} AND {bounds} ORDER BY {order} LIMIT 1"
        query = f"WITH known (name) AS ({customers}) SELECT {which}(({day})) FROM known"
        found: int | None = database.execute_sql(query, self.values * (1 if self.together else 2)).fetchone()[0]
        return found


def by_step(customers: Customers, begin: int, end: int, step: int, split: str) -> list[tuple[int, str, int]]:
    """Return numbers of the hours from `begin` to before `end`, in steps of whole hours: (start of step, code, number).

    Args:
        split: `product` or `type`, which determines the codes.
    """
    codes, bounds = Codes.of(EventFilter(customers=customers)), daily_counts.bounds(begin, end)
    if step % DAY_MS == 0:
        columns = f"day / {step:d} * {step:d}, {split}, sum({daily_counts.number(begin, end)})"
        query = f"SELECT {columns} FROM {codes.rows} AND {bounds} GROUP BY 1, 2"
        found = database.execute_sql(query, codes.values).fetchall()
        return [(time, code, int(number)) for time, code, number in found if number]
    query = f"SELECT day, {split}, {daily_counts.EACH} FROM {codes.rows} AND {bounds} GROUP BY 1, 2"
    steps: Counter[tuple[int, str]] = Counter()
    for day, code, *of_hours in database.execute_sql(query, codes.values).fetchall():
        for hour, number in daily_counts.by_hour(day, of_hours):
            if begin <= hour < end:
                steps[hour // step * step, code] += number
    return [(*key, number) for key, number in steps.items()]


def most_active(customers: Customers, begin: int, end: int, limit: int) -> list[tuple[str, str, int]]:
    """Return the types with the most events in the hours from `begin` to before `end`, as (product, type, number)."""
    codes = Codes.of(EventFilter(customers=customers))
    columns = f"product, type, sum({daily_counts.number(begin, end)})"
    query = (
        f"SELECT {columns} FROM {codes.rows} AND {daily_counts.bounds(begin, end)} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    found = database.execute_sql(f"{query} LIMIT {limit:d}", codes.values).fetchall()
    return [(product, kind, int(number)) for product, kind, number in found if number]


def total(customers: Customers, begin: int | None, end: int) -> int:
    """Return the number of events in the hours from `begin` to before `end`. None means no limit."""
    return _number(Codes.of(EventFilter(customers=customers)), begin, end)


def number_before(moment: int, customers: Customers) -> int:
    """Return the number of events older than a time, without those of the hour that contains it."""
    return total(customers, None, moment // HOUR_MS * HOUR_MS)


def by_minute(customers: Customers, begin: int, end: int) -> list[tuple[int, str, str, int]]:
    """Count the events of the minutes from `begin` to before `end`: (start of minute, product, type, number).

    The events are read through their index. The caller checks with the counts that there are few enough of them.
    """
    counted, values = pairs_within(EventFilter(customers=customers), begin, end - 1)
    tail, more = EventFilter(customers=customers).where()
    pairs = (  # those of counted events, and those of events too new to be counted
        f"WITH tail AS MATERIALIZED (SELECT customer, product FROM event WHERE id > {database.param}) "
        f"{counted} UNION SELECT customer, product FROM tail WHERE {tail}"
    )
    within = database.of_pairs(pairs, f"timestamp >= {begin:d} AND timestamp < {end:d}")
    minute = f"timestamp / {MINUTE_MS} * {MINUTE_MS}"
    query = f"SELECT {minute}, event.product, type, count(*) FROM {within} GROUP BY 1, 2, 3"
    return database.execute_sql(query, [hourly_counts.watermark(), *values, *more]).fetchall()


def estimate_matching(wanted: EventFilter, now: int) -> int:
    """Estimate the number of events: whole hours as counted, and a proportional share of the first and last hour.

    Args:
        now: current time in milliseconds. The events of the current hour are spread over its elapsed part only.
    """
    codes = Codes.of(wanted)
    edges = [None if time is None else time // HOUR_MS * HOUR_MS for time in (wanted.start, wanted.end)]
    first, last = edges
    number: float = _number(codes, None if first is None else first + HOUR_MS, last)
    for hour in {hour for hour in edges if hour is not None}:
        limit = now + 1 if now // HOUR_MS * HOUR_MS == hour else hour + HOUR_MS
        begin = hour if wanted.start is None else max(hour, wanted.start)
        end = limit if wanted.end is None else min(limit, wanted.end + 1)
        if begin < end:
            number += _number(codes, hour, hour + HOUR_MS) * ((end - begin) / (limit - hour))
    return round(number)


def lately(
    kind: str, moment: int, days: int, codes: Sequence[str], customers: Customers = None
) -> dict[tuple[str, ...], tuple[int, int]]:
    """Return how many events each customer, product or type had in the last 24 hours, and in the last days.

    Args:
        kind: `customers`, `products` or `types`, which determines whether keys are (code,) or (product, code).
        codes: only these codes.
    """
    columns = USED[kind]
    wanted = Codes.of(EventFilter(customers=customers)).among(columns[-1], codes)
    hour = moment // HOUR_MS * HOUR_MS
    day, period = (_by_code(wanted, columns, hour - length * DAY_MS) for length in (1, days))
    return {code: (day.get(code, 0), number) for code, number in period.items()}


def by_day(code: tuple[str | None, str | None, str | None], since: int, customers: Customers = None) -> dict[int, int]:
    """Return the number of events of a code per day, by the day's first millisecond.

    Args:
        code: customer, product and type; None means any.
        since: the first millisecond of the first day.
    """
    customer, product, kind = code
    types = () if kind is None else (kind,)
    codes = Codes.of(EventFilter(customer, product, types, customers=customers))
    query = f"SELECT day, sum(number) FROM {codes.rows} AND day >= {since:d} GROUP BY 1"
    return {day: int(number) for day, number in database.execute_sql(query, codes.values).fetchall()}


def oldest_hour(customers: Customers) -> int | None:
    """Return the first hour that has events."""
    codes = Codes.of(EventFilter(customers=customers))
    day = codes.edge("min", "TRUE")
    hours = [] if day is None else _hours(codes, day, day)
    return min((one.hour for one in hours), default=None)


def _by_code(codes: Codes, columns: Sequence[str], since: int) -> dict[tuple[str, ...], int]:
    names = ", ".join(columns)
    query = f"SELECT {names}, sum({daily_counts.number(since, None)}) FROM {codes.rows}"
    query += f" AND {daily_counts.bounds(since, None)} GROUP BY {names}"
    found = database.execute_sql(query, codes.values).fetchall()
    return {tuple(code): int(number) for *code, number in found}


def _number(codes: Codes, begin: int | None, end: int | None) -> int:
    if begin is not None and end is not None and begin >= end:
        return 0
    query = f"SELECT coalesce(sum({daily_counts.number(begin, end)}), 0) FROM {codes.rows}"
    found = database.fetch_int(f"{query} AND {daily_counts.bounds(begin, end)}", codes.values)
    return int(found)  # PostgreSQL's sums are decimals


def _hours(codes: Codes, first: int, last: int) -> list[HourBucket]:
    """Return the hours of the days from `first` to `last` that have events."""
    columns = f"day, min(first_at), max(last_at), {daily_counts.EACH}"
    query = f"SELECT {columns} FROM {codes.rows} AND day BETWEEN {first:d} AND {last:d} GROUP BY day"
    return [
        HourBucket(hour, number, max(hour, first_at), min(hour + HOUR_MS - 1, last_at))
        for day, first_at, last_at, *of_hours in database.execute_sql(query, codes.values).fetchall()
        for hour, number in daily_counts.by_hour(day, of_hours)
    ]


# Hours of the events that match a filter, for pages of the events of many customers and products.


def hours_of_many(wanted: EventFilter) -> list[HourBucket]:
    """Return the first hours in scan order that have matching events."""
    first, last = wanted.first, wanted.last
    codes, which = Codes.of(wanted), "min" if wanted.forward else "max"
    days = hourly_counts.HOURS // 24 * DAY_MS
    while first is None or last is None or first <= last:
        edge = codes.edge(which, daily_counts.bounds(first, None if last is None else last + 1))
        if edge is None:
            break
        ends = (edge, edge + days) if wanted.forward else (edge - days, edge)
        found = [
            one
            for one in _hours(codes, *ends)
            if (first is None or one.hour > first - HOUR_MS) and (last is None or one.hour <= last)
        ]
        if found:
            return sorted(found, reverse=not wanted.forward)[: hourly_counts.HOURS]
        # That day has events only in hours that do not match.
        first, last = (ends[1] + DAY_MS, last) if wanted.forward else (first, ends[0] - 1)
    return []


def pairs_within(wanted: EventFilter, begin: int, end: int) -> Condition:
    """Return a query for the pairs of customer and product with matching events on the days between two times."""
    condition, values = wanted.codes().where()
    known = f"customer IN (SELECT customer FROM observed_code WHERE {condition})"  # one index lookup for each
    days = f"day > {begin - DAY_MS:d} AND day <= {end:d}"
    query = f"SELECT DISTINCT customer, product FROM daily_count WHERE {known} AND {condition} AND {days}"
    return query, values * 2
