"""Event volume for charts and estimates, by minute, hour or day, and by code.

Hours and days come from the hourly counts. Minutes are counted on request through the only index on events. The caller
checks with the hourly counts that they contain few enough events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.database import database
from app.store.events import hourly_counts
from app.store.models import Event

MINUTE_MS = 60_000
SPLITS = ("product", "type")

Customers = Sequence[str] | None  # customers visible to the user; None means all


@dataclass(frozen=True)
class VolumeFilter:
    """Filter for the events to count. None or empty means all.

    Attributes:
        start, end: milliseconds, both inclusive.
    """

    customers: Customers = None
    customer: str | None = None
    product: str | None = None
    types: Sequence[str] = ()
    start: int | None = None
    end: int | None = None


def by_hour(customers: Customers, begin: int, end: int, step: int, split: str) -> list[tuple[int, str, int]]:
    """Return counts of the hours from `begin` to before `end`, in steps of whole hours: (start of step, code, number).

    Args:
        split: `product` or `type`, which determines the codes.
    """
    where, values = _hours(customers, begin, end)
    query = f"SELECT hour / {step:d} * {step:d}, {_column(split)}, sum(number) FROM hourly_count {where} GROUP BY 1, 2"
    return [(time, code, int(number)) for time, code, number in database.execute_sql(query, values).fetchall()]


def most_active(customers: Customers, begin: int, end: int, limit: int) -> list[tuple[str, str, int]]:
    """Return the types with the most events in the hours from `begin` to before `end`, as (product, type, number)."""
    where, values = _hours(customers, begin, end)
    query = (
        f"SELECT product, type, sum(number) FROM hourly_count {where} "
        f"GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {limit:d}"
    )
    return [(product, kind, int(number)) for product, kind, number in database.execute_sql(query, values).fetchall()]


def total(customers: Customers, begin: int, end: int) -> int:
    """Return the number of events in the hours from `begin` to before `end`."""
    where, values = _hours(customers, begin, end)
    return int(database.execute_sql(f"SELECT sum(number) FROM hourly_count {where}", values).fetchone()[0] or 0)


def by_minute(customers: Customers, begin: int, end: int) -> list[tuple[int, str, str, int]]:
    """Count the events of the minutes from `begin` to before `end`: (start of minute, product, type, number)."""
    where, values = _hours(customers, hour(begin), end)
    theirs = "" if customers is None else f"WHERE {_among('customer', customers)}"
    pairs = (  # from the counted hours and from events too new to be counted
        f"WITH tail AS MATERIALIZED (SELECT customer, product FROM event WHERE id > {database.param}) "
        f"SELECT customer, product FROM hourly_count {where} UNION SELECT customer, product FROM tail {theirs}"
    )
    within = database.of_pairs(pairs, f"timestamp >= {begin:d} AND timestamp < {end:d}")
    minute = f"timestamp / {MINUTE_MS} * {MINUTE_MS}"
    query = f"SELECT {minute}, event.product, type, count(*) FROM {within} GROUP BY 1, 2, 3"
    return database.execute_sql(query, [hourly_counts.watermark(), *values, *(customers or ())]).fetchall()


def estimate(wanted: VolumeFilter, now: int) -> int:
    """Estimate the number of events: whole hours as counted, and a proportional share of the first and last hour.

    Args:
        now: current time in milliseconds. The events of the current hour are spread over its elapsed part only.
    """
    parts, values = [], []
    for name, value in (("customer", wanted.customer), ("product", wanted.product)):
        if value is not None:
            parts.append(f"{name} = {database.param}")
            values.append(value)
    if wanted.types:
        parts.append(_among("type", wanted.types))
        values += wanted.types
    known, customers = _known(wanted.customers)
    parts.append(known)
    values += customers
    edges = _edges(wanted, now)
    parts += [f"hour >= {hour(wanted.start)}"] if wanted.start is not None else []
    parts += [f"hour <= {hour(wanted.end)}"] if wanted.end is not None else []
    where = f"WHERE {' AND '.join(parts)}"
    case = " ".join(f"WHEN {edge:d} THEN {place:d}" for place, edge in enumerate(edges, 1))
    group = f"CASE hour {case} ELSE 0 END" if case else "0"
    shares = [1.0, *edges.values()]
    found = database.execute_sql(f"SELECT {group}, sum(number) FROM hourly_count {where} GROUP BY 1", values).fetchall()
    return round(sum(int(number) * shares[place] for place, number in found))


def uncounted() -> int:
    """Return the maximum number of events that the hourly counts do not include yet."""
    newest = Event.select(Event.id).order_by(Event.id.desc()).limit(1).scalar() or 0
    return max(0, newest - hourly_counts.watermark())


def hour(time: int) -> int:
    """Return the start of the hour that contains a time."""
    return time // hourly_counts.HOUR_MS * hourly_counts.HOUR_MS


def _edges(wanted: VolumeFilter, now: int) -> dict[int, float]:
    """Return the hours that the filter covers only partly, and the share of each that it covers."""
    touched = {hour(time) for time in (wanted.start, wanted.end) if time is not None}
    return {one: _share(wanted, one, now) for one in touched}


def _share(wanted: VolumeFilter, one: int, now: int) -> float:
    ends = now + 1 if hour(now) == one else one + hourly_counts.HOUR_MS
    begin = one if wanted.start is None else max(one, wanted.start)
    end = ends if wanted.end is None else min(ends, wanted.end + 1)
    return max(0, end - begin) / (ends - one)


def _hours(customers: Customers, begin: int, end: int) -> tuple[str, list[str]]:
    known, values = _known(customers)
    return f"WHERE hour >= {begin:d} AND hour < {end:d} AND {known}", values


def _known(customers: Customers) -> tuple[str, list[str]]:
    """Return the SQL for counts of observed codes; see `hourly_counts.of_known`."""
    where = "" if customers is None else f" WHERE {_among('customer', customers)}"
    return f"(customer, product, type) IN (SELECT customer, product, type FROM observed_code{where})", list(
        customers or ()
    )


def _among(name: str, codes: Sequence[str]) -> str:
    """Return SQL for membership in a list, which matches nothing if empty, because PostgreSQL rejects an empty list."""
    return f"{name} IN ({', '.join([database.param] * len(codes))})" if codes else "1 = 0"


def _column(split: str) -> str:
    """Return the column name if it is allowed, because it becomes part of the SQL."""
    if split not in SPLITS:
        raise ValueError(f"{split} is not one of {SPLITS}")
    return split
