"""Counts of events per hour, which serve charts and locate rare events.

The scheduler counts the events committed since the last run, so that recording an event has no additional cost.
Events after `watermark` are not in the counts yet, except for a part of the slice being counted (`count_slices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from peewee import Select, Tuple, fn

from app.store.database import database
from app.store.events import count_slices
from app.store.events.count_slices import HOUR_MS, Slice
from app.store.models import Counted, HourlyCount, ObservedCode

PATIENCE_MS = 5_000  # how long to wait for inserts, which are not blocked
SLICE = 1_000_000  # maximum number of events grouped at a time


class HourBucket(NamedTuple):
    """Hour with events of some types: their number, and their first and last time, both inclusive."""

    hour: int
    number: int
    first: int
    last: int


def watermark() -> int:
    """Return the id of the last event that the counts include."""
    return Counted.select(Counted.up_to).scalar() or 0


def advance() -> int:
    """Count the events since the last run, at most one slice, and return by how many ids the count advanced.

    Concurrent calls are safe, because a call changes nothing if another one was faster.

    Raises:
        StoreUnavailable: an insert takes longer than PATIENCE_MS. The events are counted later.
    """
    begin, end, done = Counted.select(Counted.up_to, Counted.slice_end, Counted.slice_groups).tuples().get()
    if end is None:
        end = min(database.settled_cut(PATIENCE_MS), begin + count_slices.longest(SLICE))
    if end <= begin:
        return 0
    return end - begin if Slice(begin, end, done).add() else 0


def subtract(chosen: str, keys: object) -> None:
    """Subtract events that are about to be erased from the counts.

    Call it inside the transaction that erases them, and only for counted events (`watermark`). It locks the row of
    `counted` first, as counting does, so that the two do not deadlock.

    Args:
        chosen: a condition on events with one parameter, the keys.
    """
    hour = f"timestamp / {HOUR_MS} * {HOUR_MS}"
    grouped = (
        f"SELECT customer, product, type, {hour} AS hour, count(*) AS number FROM event "  # noqa: S608
        f"WHERE {chosen} GROUP BY 1, 2, 3, 4"
    )
    same = " AND ".join(f"hourly_count.{name} = erased.{name}" for name in ("customer", "product", "type", "hour"))
    for statement in (
        f"UPDATE counted SET erased = erased + (SELECT count(*) FROM event WHERE {chosen})",  # noqa: S608
        "UPDATE hourly_count SET number = hourly_count.number - erased.number "  # noqa: S608
        f"FROM ({grouped}) AS erased WHERE {same}",
        "DELETE FROM hourly_count WHERE number <= 0 AND (customer, product, type, hour) IN "
        f"(SELECT customer, product, type, {hour} FROM event WHERE {chosen})",  # noqa: S608
    ):
        database.execute_sql(statement, [keys])


def hold() -> None:
    """Block counting until this transaction ends."""
    Counted.update(up_to=Counted.up_to).execute()


def of_known(customers: Sequence[str] | None, *conditions: object) -> object:
    """Return the condition that counts have observed codes, as all counts do, optionally only of some customers.

    The only index on the counts starts with the codes, so queries without all codes use this condition to select hours.

    Args:
        conditions: conditions on `ObservedCode`.
    """
    known = ObservedCode.select(ObservedCode.customer, ObservedCode.product, ObservedCode.type).where(True, *conditions)
    if customers is not None:
        known = known.where(ObservedCode.customer.in_(list(customers)))
    return Tuple(HourlyCount.customer, HourlyCount.product, HourlyCount.type).in_(known)


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
    """Return the newest hours that have events of some types, newest first.

    Args:
        begin, end: milliseconds; hours entirely outside are excluded. None means no limit.
        limit: maximum number of hours.
        oldest: return the oldest hours instead, oldest first.
    """
    query = (
        HourlyCount.select(
            HourlyCount.hour, fn.sum(HourlyCount.number), fn.min(HourlyCount.first), fn.max(HourlyCount.last)
        )
        .where(HourlyCount.customer == customer, HourlyCount.product == product)
        .where(HourlyCount.type.in_(list(types)))
        .group_by(HourlyCount.hour)
        .order_by(HourlyCount.hour if oldest else HourlyCount.hour.desc())
        .limit(limit)
    )
    found = _between(query, begin, end).tuples()
    return [HourBucket(hour, int(number), first, last) for hour, number, first, last in found]


def has(customer: str, product: str, kind: str) -> bool:
    """Return whether an event of a type is counted."""
    return _of(customer, product, [kind]).exists()


def total(customer: str, product: str, first: int, last: int) -> int:
    """Return the number of events of a customer and product in a range of hours, both ends inclusive."""
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(
        HourlyCount.customer == customer, HourlyCount.product == product, HourlyCount.hour.between(first, last)
    )
    return int(query.scalar() or 0)


def by_hour(
    customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None
) -> list[tuple[int, int]]:
    """Return the number of events per hour, of some types or of all if `types` is empty.

    Hours that lie only partly between the two times are included as a whole.

    Returns:
        (hour, number), in order.
    """
    query = _between(_of(customer, product, types), begin, end)
    numbers = query.select(HourlyCount.hour, fn.sum(HourlyCount.number)).group_by(HourlyCount.hour)
    return [(hour, int(number)) for hour, number in numbers.order_by(HourlyCount.hour).tuples()]


def number(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """Return the number of events of some types (all if empty) in the hours that overlap a time range."""
    query = _between(_of(customer, product, types), begin, end)
    return int(query.select(fn.sum(HourlyCount.number)).scalar() or 0)


def estimate(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """Estimate the number of events in a time range, with a proportional share of each partly covered hour."""
    outside = {time // HOUR_MS * HOUR_MS: 0 for time in (begin, end) if time is not None}
    for hour in outside:
        outside[hour] += 0 if begin is None else max(0, begin - hour)
        outside[hour] += 0 if end is None else max(0, hour + HOUR_MS - 1 - end)
    query = _of(customer, product, types).where(HourlyCount.hour.in_(list(outside)))
    counted = query.select(HourlyCount.hour, HourlyCount.number).tuples() if outside else ()
    return number(customer, product, types, begin, end) - sum(n * outside[hour] for hour, n in counted) // HOUR_MS


def _of(customer: str, product: str, types: Sequence[str]) -> Select:
    query = HourlyCount.select().where(HourlyCount.customer == customer, HourlyCount.product == product)
    return query.where(HourlyCount.type.in_(list(types))) if types else query


def _between(query: Select, begin: int | None, end: int | None) -> Select:
    if begin is not None:
        query = query.where(HourlyCount.hour > begin - HOUR_MS)
    return query if end is None else query.where(HourlyCount.hour <= end)
