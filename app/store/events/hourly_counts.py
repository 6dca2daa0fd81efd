"""Counts of events per hour, which serve charts, estimates and usage, and locate rare events.

The scheduler counts the events committed since the last run, so that recording an event has no additional cost.
Events after `watermark` are not in the counts yet, except for a part of the slice being counted (`count_slices`).

The only index on the counts starts with the codes. Queries without all codes therefore select the counts of observed
codes, which all counts have (`_of_known`). Queries of all customers read the daily counts (`daily_counts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from peewee import SQL, Case, Expression, ModelSelect, Tuple, fn

from app.store.database import database
from app.store.events import count_slices, daily_counts
from app.store.events.count_slices import Slice
from app.store.events.filters import Condition, EventFilter
from app.store.models import Counted, Event, HourlyCount, ObservedCode
from app.store.queries import Codes, among, equal, fetch, fetch_int, of_codes
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

PATIENCE_MS = 5_000  # how long to wait for inserts, which are not blocked
SLICE = 1_000_000  # maximum number of events grouped at a time
HOURS = 100  # searched at a time for a rare type, or for many pairs of customer and product
LONG_MS = 7 * DAY_MS  # of a range above which all counts are read in one scan, instead of those of each code
SPLITS = {"product": HourlyCount.product, "type": HourlyCount.type}
USED = {
    "customers": (HourlyCount.customer,),
    "products": (HourlyCount.product,),
    "types": (HourlyCount.product, HourlyCount.type),
}

OLDEST = EventFilter(before=(-(2**63), 0))  # scans from the oldest event

Customers = Sequence[str] | None  # customers visible to the user; None means all
Query: TypeAlias = "ModelSelect[HourlyCount]"


class HourBucket(NamedTuple):
    """Hour with events of some types: their number, and their first and last time, both inclusive."""

    hour: int
    number: int
    first_at: int
    last_at: int


def watermark() -> int:
    """Return the id of the last event that the counts include."""
    return fetch_int(Counted.select(Counted.up_to))


def uncounted() -> int:
    """Return the maximum number of events that the counts do not include yet."""
    return max(0, fetch_int(Event.select(fn.max(Event.id))) - watermark())


def uncounted_since() -> int | None:
    """Return when the oldest uncounted event was received, in milliseconds, or None if all are counted."""
    query = Event.select(Event.received).where(Event.id > watermark()).order_by(Event.id).limit(1)
    received: int | None = query.scalar()
    return received


def advance() -> int:
    """Count the events since the last run, at most one slice, and return by how many ids the count advanced.

    Concurrent calls are safe, because a call changes nothing if another one was faster.

    Raises:
        StoreUnavailable: an insert takes longer than PATIENCE_MS. The events are counted later.
    """
    ((begin, end, done),) = fetch(Counted.select(Counted.up_to, Counted.slice_end, Counted.slice_groups))
    if end is not None and not database.has_one_writer:
        count_slices.begin_again()
        return advance()
    if end is None:
        end = min(database.settled_cut(PATIENCE_MS), begin + count_slices.longest(SLICE))
    if end <= begin:
        return 0
    return end - begin if Slice(begin, end, done).add() else 0


# Counts of one or several customers and products. Empty `types` means all. The hours between two times include those
# that are only partly between them, and None means no limit.


def newest(
    customer: Codes,
    product: Codes,
    types: Sequence[str],
    begin: int | None,
    end: int | None,
    limit: int,
    *,
    oldest: bool = False,
) -> list[HourBucket]:
    """Return the newest hours that have events of some types, newest first, or with `oldest` the oldest ones."""
    columns = (fn.sum(HourlyCount.number), fn.min(HourlyCount.first_at), fn.max(HourlyCount.last_at))
    query = _between(customer, product, types, begin, end, HourlyCount.select(HourlyCount.hour, *columns))
    order = HourlyCount.hour if oldest else HourlyCount.hour.desc()
    found = fetch(query.group_by(HourlyCount.hour).order_by(order).limit(limit))
    return [HourBucket(hour, int(number), first, last) for hour, number, first, last in found]


def has(customer: Codes, product: Codes, kind: str) -> bool:
    return _between(customer, product, [kind], None, None, HourlyCount.select()).exists()


def by_hour(
    customer: Codes, product: Codes, types: Sequence[str], begin: int | None, end: int | None
) -> list[tuple[int, int]]:
    """Return the number of events per hour: (hour, number), in order."""
    query = HourlyCount.select(HourlyCount.hour, fn.sum(HourlyCount.number))
    found = _between(customer, product, types, begin, end, query).group_by(HourlyCount.hour).order_by(HourlyCount.hour)
    return [(hour, int(number)) for hour, number in fetch(found)]


def number(customer: Codes, product: Codes, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """Return the number of events in the hours between two times."""
    return fetch_int(_between(customer, product, types, begin, end, HourlyCount.select(fn.sum(HourlyCount.number))))


def estimate(customer: Codes, product: Codes, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """Estimate the number of events between two times, with a proportional share of each partly covered hour."""
    outside = {time // HOUR_MS * HOUR_MS: 0 for time in (begin, end) if time is not None}
    for hour in outside:
        outside[hour] += 0 if begin is None else max(0, begin - hour)
        outside[hour] += 0 if end is None else max(0, hour + HOUR_MS - 1 - end)
    query = HourlyCount.select(HourlyCount.hour, HourlyCount.number).where(HourlyCount.hour.in_(list(outside)))
    counted = fetch(_between(customer, product, types, None, None, query)) if outside else []
    excess: int = sum(n * outside[hour] for hour, n in counted) // HOUR_MS
    return number(customer, product, types, begin, end) - excess


def _between(
    customer: Codes, product: Codes, types: Sequence[str], begin: int | None, end: int | None, query: Query
) -> Query:
    query = of_codes(of_codes(query, HourlyCount.customer, customer), HourlyCount.product, product)
    query = among(query, HourlyCount.type, types or None)
    if begin is not None:
        query = query.where(HourlyCount.hour > begin - HOUR_MS)
    return query if end is None else query.where(HourlyCount.hour <= end)


# Counts of several customers and products, for charts and usage.


def by_step(customers: Customers, begin: int, end: int, step: int, split: str) -> list[tuple[int, str, int]]:
    """Return counts of the hours from `begin` to before `end`, in steps of an hour or a day: (start, code, number).

    Args:
        split: `product` or `type`, which determines the codes.
    """
    if customers is None:
        return daily_counts.by_step(begin, end, step, split)
    query = HourlyCount.select(HourlyCount.hour / step * step, SPLITS[split], fn.sum(HourlyCount.number))
    found = fetch(_of_hours(query, customers, begin, end).group_by(SQL("1"), SQL("2")))
    return [(time, code, int(number)) for time, code, number in found]


def most_active(customers: Customers, begin: int, end: int, limit: int) -> list[tuple[str, str, int]]:
    """Return the types with the most events in the hours from `begin` to before `end`, as (product, type, number)."""
    if customers is None:
        return sorted(daily_counts.by_type(begin, end), key=lambda row: (-row[2], row[:2]))[:limit]
    columns = (HourlyCount.product, HourlyCount.type)
    query = _of_hours(HourlyCount.select(*columns, fn.sum(HourlyCount.number)), customers, begin, end)
    found = fetch(query.group_by(*columns).order_by(SQL("3 DESC"), *columns).limit(limit))
    return [(product, kind, int(number)) for product, kind, number in found]


def total(customers: Customers, begin: int, end: int) -> int:
    """Return the number of events in the hours from `begin` to before `end`."""
    if customers is None:
        return daily_counts.total(EventFilter(), begin, end)
    return fetch_int(_of_hours(HourlyCount.select(fn.sum(HourlyCount.number)), customers, begin, end))


def by_minute(customers: Customers, begin: int, end: int) -> list[tuple[int, str, str, int]]:
    """Count the events of the minutes from `begin` to before `end`: (start of minute, product, type, number).

    The events are read through their index. The caller checks with the counts that there are few enough of them.
    """
    hours, values = _hour_condition(EventFilter(customers=customers), begin // HOUR_MS * HOUR_MS, end - 1)
    tail, more = EventFilter(customers=customers).where()
    pairs = (  # from the counted hours and from events too new to be counted
        f"WITH tail AS MATERIALIZED (SELECT customer, product FROM event WHERE id > {database.param}) "
        f"SELECT customer, product FROM hourly_count WHERE {hours} "
        f"UNION SELECT customer, product FROM tail WHERE {tail}"
    )
    within = database.of_pairs(pairs, f"timestamp >= {begin:d} AND timestamp < {end:d}")
    minute = f"timestamp / {MINUTE_MS} * {MINUTE_MS}"
    query = f"SELECT {minute}, event.product, type, count(*) FROM {within} GROUP BY 1, 2, 3"
    return database.execute_sql(query, [watermark(), *values, *more]).fetchall()


def estimate_matching(wanted: EventFilter, now: int) -> int:
    """Estimate the number of events: whole hours as counted, and a proportional share of the first and last hour.

    Args:
        now: current time in milliseconds. The events of the current hour are spread over its elapsed part only.
    """
    first, last = (None if time is None else time // HOUR_MS * HOUR_MS for time in (wanted.start, wanted.end))
    number: float = _number(wanted, None if first is None else first + HOUR_MS, last)
    for hour in {hour for hour in (first, last) if hour is not None}:
        limit = now + 1 if now // HOUR_MS * HOUR_MS == hour else hour + HOUR_MS
        begin = hour if wanted.start is None else max(hour, wanted.start)
        end = limit if wanted.end is None else min(limit, wanted.end + 1)
        if begin < end:
            number += _number(wanted, hour, hour + HOUR_MS) * (end - begin) / (limit - hour)
    return round(number)


def _number(wanted: EventFilter, begin: int | None, end: int | None) -> int:
    """Return the number of events with the filter's codes in the hours from `begin` to before `end`."""
    if begin is not None and end is not None and begin >= end:
        return 0
    if wanted.of_all_customers:
        return daily_counts.total(wanted, begin, end)
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(_of_known(wanted.customers))
    query = equal(query, (HourlyCount.customer, wanted.customer), (HourlyCount.product, wanted.product))
    query = among(among(query, HourlyCount.product, wanted.products), HourlyCount.type, wanted.types or None)
    if begin is not None:
        query = query.where(HourlyCount.hour >= begin)
    return fetch_int(query if end is None else query.where(HourlyCount.hour < end))


def lately(
    kind: str, moment: int, days: int, codes: Sequence[str], customers: Customers = None
) -> dict[tuple[str, ...], tuple[int, int]]:
    """Return how many events each customer, product or type had in the last 24 hours, and in the last days.

    Args:
        kind: `customers`, `products` or `types`, which determines whether keys are (code,) or (product, code).
        codes: only these codes.
    """
    columns = USED[kind]
    hour = moment - moment % HOUR_MS
    if customers is None and kind != "customers":
        width = len(columns)
        day, period = (_lately(hour - length * DAY_MS, width, codes) for length in (1, days))
        return {key: (day[key], number) for key, number in period.items()}
    last = Case(None, [(HourlyCount.hour >= hour - DAY_MS, HourlyCount.number)], 0)
    query = HourlyCount.select(*columns, fn.sum(last), fn.sum(HourlyCount.number))
    found = _of_known(customers, getattr(ObservedCode, columns[-1].name).in_(codes))
    query = query.where(HourlyCount.hour >= hour - days * DAY_MS, found).group_by(*columns)
    return {row[:-2]: (int(row[-2]), int(row[-1])) for row in fetch(query)}


def _lately(since: int, width: int, codes: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Return the number of all customers' events since an hour, by product, or by product and type if `width` is 2."""
    found: Counter[tuple[str, ...]] = Counter()
    for *key, number in daily_counts.by_type(since, None):
        if key[width - 1] in codes:
            found[tuple(key[:width])] += number
    return found


def by_day(code: tuple[str | None, str | None, str | None], since: int, customers: Customers = None) -> dict[int, int]:
    """Return the number of events of a code per day, by the day's first millisecond.

    Args:
        code: customer, product and type; None means any.
        since: the first millisecond of the first day.
    """
    customer, product, kind = code
    wanted = EventFilter(customer, product, () if kind is None else (kind,), customers=customers)
    if wanted.of_all_customers:
        return daily_counts.by_day(wanted, since)
    columns = (ObservedCode.customer, ObservedCode.product, ObservedCode.type)
    known = [column == wanted for column, wanted in zip(columns, code, strict=True) if wanted is not None]
    query = HourlyCount.select(HourlyCount.hour / DAY_MS * DAY_MS, fn.sum(HourlyCount.number))  # whole numbers
    query = query.where(HourlyCount.hour >= since, _of_known(customers, *known))
    return {int(first): int(number) for first, number in fetch(query.group_by(SQL("1")))}


def oldest_hour(customers: Customers) -> int | None:
    """Return the first hour that has events."""
    if customers is None:
        return next((hour for hour, _ in daily_counts.hours(OLDEST, None, None, 1)), None)
    same = (HourlyCount.customer == ObservedCode.customer) & (HourlyCount.product == ObservedCode.product)
    first = HourlyCount.select(fn.min(HourlyCount.hour)).where(same, HourlyCount.type == ObservedCode.type)
    hour: int | None = among(ObservedCode.select(fn.min(first)), ObservedCode.customer, customers).scalar()
    return hour


def number_before(moment: int, customers: Customers) -> int:
    """Return the number of events older than a time, without those of the hour that contains it."""
    if customers is None:
        return daily_counts.total(EventFilter(), None, moment // HOUR_MS * HOUR_MS)
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(HourlyCount.hour <= moment - HOUR_MS)
    return fetch_int(among(query, HourlyCount.customer, customers))


def _of_hours(query: Query, customers: Customers, begin: int, end: int) -> Query:
    return query.where(HourlyCount.hour >= begin, HourlyCount.hour < end, _of_known(customers))


def _of_known(customers: Customers, *conditions: Expression) -> Expression:
    """Return the condition for counts of observed codes, optionally only of some customers.

    Args:
        conditions: conditions on `ObservedCode`.
    """
    known = ObservedCode.select(ObservedCode.customer, ObservedCode.product, ObservedCode.type).where(True, *conditions)
    columns = Tuple(HourlyCount.customer, HourlyCount.product, HourlyCount.type)
    condition: Expression = columns.in_(among(known, ObservedCode.customer, customers))
    return condition


# Hours of the events that match a filter, for pages of the events of many customers and products.


def hours_of_many(wanted: EventFilter) -> list[HourBucket]:
    """Return the first hours in scan order that have matching events."""
    if wanted.first is not None and wanted.last is not None and wanted.first > wanted.last:
        return []
    if wanted.of_all_customers:
        begin = None if wanted.first is None else wanted.first // HOUR_MS * HOUR_MS
        end = None if wanted.last is None else wanted.last + 1
        hours = daily_counts.hours(wanted, begin, end, HOURS)
        return [HourBucket(hour, number, hour, hour + HOUR_MS - 1) for hour, number in hours]
    which, order = ("min", "hour") if wanted.forward else ("max", "hour DESC")
    # The first hour is found per code, because the only index starts with codes.
    same = " AND ".join(f"hourly_count.{name} = observed_code.{name}" for name in ("customer", "product", "type"))
    hour = f"SELECT {which}(hour) FROM hourly_count WHERE {same} AND {_hour_bounds(wanted.first, wanted.last)}"
    condition, values = wanted.codes().where()
    query = f"SELECT {which}(({hour})) FROM observed_code WHERE {condition}"
    edge: int | None = database.execute_sql(query, values).fetchone()[0]
    if edge is None:
        return []
    further = HOURS * HOUR_MS
    ends = (edge, edge + further) if wanted.forward else (edge - further, edge)
    condition, values = _hour_condition(wanted, *ends)
    columns = "hour, sum(number), min(first_at), max(last_at)"
    query = f"SELECT {columns} FROM hourly_count WHERE {condition} GROUP BY hour ORDER BY {order} LIMIT {HOURS}"
    found = database.execute_sql(query, values).fetchall()
    return [HourBucket(hour, int(number), first, last) for hour, number, first, last in found]


def pairs_within(wanted: EventFilter, begin: int | None, end: int | None) -> Condition:
    """Return a query for the pairs of customer and product with matching events in the hours between two times."""
    condition, values = _hour_condition(wanted, begin, end)
    return f"SELECT DISTINCT customer, product FROM hourly_count WHERE {condition}", values


def selection(wanted: EventFilter, begin: int | None, end: int | None) -> Condition:
    """Return a query for counts from `begin` to before `end`: time of the hour, customer, product, type, number."""
    last = None if end is None else end - 1
    if begin is None or last is None or last - begin > LONG_MS:
        condition, values = wanted.codes().where()
        condition = f"{condition} AND {_hour_bounds(begin, last)}"
    else:
        condition, values = _hour_condition(wanted, begin, last)
    columns = "hour AS time, customer, product, type, number"
    return f"SELECT {columns} FROM hourly_count WHERE {condition}", values


def _hour_condition(wanted: EventFilter, begin: int | None, end: int | None) -> Condition:
    condition, values = wanted.codes().where()
    known = f"(customer, product, type) IN (SELECT customer, product, type FROM observed_code WHERE {condition})"
    return f"{known} AND {_hour_bounds(begin, end)}", values


def _hour_bounds(begin: int | None, end: int | None) -> str:
    """Return the SQL for hours that lie between two times, entirely or partly."""
    bounds = [f"hour > {begin - HOUR_MS:d}"] if begin is not None else []
    bounds += [f"hour <= {end:d}"] if end is not None else []
    return " AND ".join(bounds) or "TRUE"
