"""Counts of events by hour, kept beside the events: a page's charts, and where the rare ones are.

They are made from the events that were committed since the last time, by the scheduler, so that recording an event
costs nothing more. What is newer than `counted_to` is not in them yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from peewee import EXCLUDED, Case, Select, fn

from app.store import catalog
from app.store.database import database
from app.store.models import Counted, HourlyCount

HOUR_MS = 3_600_000
PATIENCE_MS = 200  # events come first: where somebody inserts for so long, the next count catches up
SLICE = 200_000  # events counted at a time, so that no transaction is long


class Filled(NamedTuple):
    """An hour that has events of some types: how many, and between which times, both included."""

    hour: int
    number: int
    first: int
    last: int


def counted_to() -> int:
    """The id of the last event that the counts include."""
    return Counted.select(Counted.up_to).scalar() or 0


def count_up() -> int:
    """Count the events that came since the last time, a slice at most; how many ids it went on.

    Safe when several run it at once: whoever finds that another was faster changes nothing.
    """
    begin = counted_to()
    with database.atomic():
        end = min(database.acceptance_cut(PATIENCE_MS), begin + SLICE)
    if end <= begin:
        return 0
    rows = _group(begin, end)
    with database.atomic():
        further = {"up_to": end, "total": Counted.total + sum(row[4] for row in rows)}
        if Counted.update(further).where(Counted.up_to == begin).execute() != 1:
            return 0
        for row in rows:
            _add(row)
        catalog.see_again({row[:3] for row in rows})
    return end - begin


def take_off(numbers: Mapping[tuple[str, str, str, int], int]) -> None:
    """Count events no more that are erased: so many of each customer, product, type and hour.

    Inside the transaction that erases them, and only of events that are counted (`counted_to`). The one row first, as
    `count_up` does, so that they wait for each other instead of for ever.
    """
    Counted.update(erased=Counted.erased + sum(numbers.values())).execute()
    for customer, product, type_, hour in sorted(numbers):
        key = (HourlyCount.customer == customer) & (HourlyCount.product == product)
        key &= (HourlyCount.type == type_) & (HourlyCount.hour == hour)
        left = HourlyCount.number - numbers[customer, product, type_, hour]
        HourlyCount.update(number=left).where(key).execute()
        HourlyCount.delete().where(key, HourlyCount.number <= 0).execute()


def newest(
    customer: str,
    product: str,
    types: Sequence[str],
    begin: int | None,
    end: int | None,
    limit: int,
    *,
    oldest: bool = False,
) -> list[Filled]:
    """The newest hours that have events of some types, newest first.

    Args:
        begin, end: milliseconds; hours wholly outside do not count. None: open.
        limit: how many at most.
        oldest: the oldest hours instead, oldest first.
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
    return [Filled(hour, int(number), first, last) for hour, number, first, last in found]


def total(customer: str, product: str, first: int, last: int) -> int:
    """How many events of all types a customer and product have in some hours, the first and the last included."""
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(
        HourlyCount.customer == customer, HourlyCount.product == product, HourlyCount.hour.between(first, last)
    )
    return int(query.scalar() or 0)


def by_hour(
    customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None
) -> list[tuple[int, int]]:
    """How many events of some types, none: of all, each hour has that is between two times, wholly or not.

    Returns:
        (hour, number), in order.
    """
    query = _between(_of(customer, product, types), begin, end)
    numbers = query.select(HourlyCount.hour, fn.sum(HourlyCount.number)).group_by(HourlyCount.hour)
    return [(hour, int(number)) for hour, number in numbers.order_by(HourlyCount.hour).tuples()]


def number(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """How many events there are of some types, none: of all, in the hours between two times, wholly or not."""
    query = _between(_of(customer, product, types), begin, end)
    return int(query.select(fn.sum(HourlyCount.number)).scalar() or 0)


def estimate(customer: str, product: str, types: Sequence[str], begin: int | None, end: int | None) -> int:
    """About how many there are between two times: of an hour that is not wholly between them, its share."""
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


def _group(begin: int, end: int) -> list[tuple]:
    mark = database.param
    hour = f"timestamp / {HOUR_MS} * {HOUR_MS}"  # whole numbers on both databases
    query = (
        f"SELECT customer, product, type, {hour}, count(*), min(timestamp), max(timestamp) FROM event "  # noqa: S608
        f"WHERE id > {mark} AND id <= {mark} GROUP BY customer, product, type, {hour}"
    )
    rows = database.execute_sql(query, (begin, end)).fetchall()
    return sorted(rows)  # here, as databases differ in which letter comes first


def _add(row: tuple) -> None:
    """In one order always (`_group` sorts), so that two who change counts wait for each other instead of for ever."""
    customer, product, type_, hour, number, first, last = row
    wider = {
        HourlyCount.first: Case(None, [(EXCLUDED.first < HourlyCount.first, EXCLUDED.first)], HourlyCount.first),
        HourlyCount.last: Case(None, [(EXCLUDED.last > HourlyCount.last, EXCLUDED.last)], HourlyCount.last),
    }
    HourlyCount.insert(
        customer=customer, product=product, type=type_, hour=hour, number=number, first=first, last=last
    ).on_conflict(
        conflict_target=["customer", "product", "type", "hour"],
        update={HourlyCount.number: HourlyCount.number + number} | wider,
    ).execute()
