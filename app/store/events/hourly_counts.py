"""Counts of events per hour of one customer, product and type, which serve estimates, and locate rare events.

The scheduler counts the events committed since the last run, so that recording an event has no additional cost.
Events after `watermark` are not in the counts yet, except for a part of the slice being counted (`count_slices`).
Queries of several customers or products are in `totals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from peewee import ModelSelect, fn

from app.store.database import database
from app.store.events import count_slices
from app.store.events.count_slices import Slice
from app.store.models import Counted, Event, HourlyCount
from app.store.queries import among, fetch, fetch_int
from app.support.clock import HOUR_MS

PATIENCE_MS = 5_000  # how long to wait for inserts, which are not blocked
SLICE = 1_000_000  # maximum number of events grouped at a time
HOURS = 100  # searched at a time for a rare type, or for many pairs of customer and product

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


def advance() -> int:
    """Count the events since the last run, at most one slice, and return by how many ids the count advanced.

    Concurrent calls are safe, because a call changes nothing if another one was faster.

    Raises:
        StoreUnavailable: an insert takes longer than PATIENCE_MS. The events are counted later.
    """
    ((begin, end, done),) = fetch(Counted.select(Counted.up_to, Counted.slice_end, Counted.slice_groups))
    if end is None:
        end = min(database.settled_cut(PATIENCE_MS), begin + count_slices.longest(SLICE))
    if end <= begin:
        return 0
    return end - begin if Slice(begin, end, done).add() else 0


# In the following, `types` may be empty, which means all. The hours between two times include those that are only
# partly between them, and None means no limit.


def newest(
    customer: str,
    product: str,
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


def has(customer: str, product: str | None, kind: str) -> bool:
    query = HourlyCount.select().where(HourlyCount.customer == customer, HourlyCount.product == product)
    return query.where(HourlyCount.type == kind).exists()


def by_hour(
    customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None
) -> list[tuple[int, int]]:
    """Return the number of events per hour: (hour, number), in order."""
    query = HourlyCount.select(HourlyCount.hour, fn.sum(HourlyCount.number))
    found = _between(customer, product, types, begin, end, query).group_by(HourlyCount.hour).order_by(HourlyCount.hour)
    return [(hour, int(number)) for hour, number in fetch(found)]


def number(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """Return the number of events in the hours between two times."""
    return fetch_int(_between(customer, product, types, begin, end, HourlyCount.select(fn.sum(HourlyCount.number))))


def estimate(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
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
    customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None, query: Query
) -> Query:
    query = query.where(HourlyCount.customer == customer, HourlyCount.product == product)
    query = among(query, HourlyCount.type, types or None)
    if begin is not None:
        query = query.where(HourlyCount.hour > begin - HOUR_MS)
    return query if end is None else query.where(HourlyCount.hour <= end)
