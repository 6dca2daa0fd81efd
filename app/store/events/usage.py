"""Usage of the catalog's codes, from the hourly counts."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import SQL, Case, fn

from app.store.events.hourly_counts import HOUR_MS, of_known
from app.store.models import HourlyCount, ObservedCode

Triple = tuple[str | None, str | None, str | None]  # customer, product, type

DAY_MS = 24 * HOUR_MS
FIELDS = {
    "customers": (HourlyCount.customer,),
    "products": (HourlyCount.product,),
    "types": (HourlyCount.product, HourlyCount.type),
}


def lately(
    kind: str, moment: int, days: int, codes: Sequence[str], customers: Sequence[str] | None = None
) -> dict[tuple, tuple[int, int]]:
    """Return how many events each customer, product or type had in the last 24 hours, and in the last days.

    Args:
        kind: `customers`, `products` or `types`, which determines whether keys are (code,) or (product, code).
        codes: only these codes.
        customers: only events of these customers. None means all.
    """
    fields = FIELDS[kind]
    last = Case(None, [(HourlyCount.hour >= _hour(moment - DAY_MS), HourlyCount.number)], 0)
    query = HourlyCount.select(*fields, fn.sum(last), fn.sum(HourlyCount.number))
    found = of_known(customers, getattr(ObservedCode, fields[-1].name).in_(codes))
    query = query.where(HourlyCount.hour >= _hour(moment - days * DAY_MS), found).group_by(*fields)
    return {row[:-2]: (int(row[-2]), int(row[-1])) for row in query.tuples()}


def by_day(code: Triple, since: int, customers: Sequence[str] | None = None) -> dict[int, int]:
    """Return the number of events of a code per day, by the day's first millisecond.

    Args:
        code: customer, product and type; None means any.
        customers: only events of these customers. None means all.
    """
    asked = zip((ObservedCode.customer, ObservedCode.product, ObservedCode.type), code, strict=True)
    found = of_known(customers, *(field == wanted for field, wanted in asked if wanted is not None))
    day = HourlyCount.hour / DAY_MS * DAY_MS  # whole numbers on both databases
    query = HourlyCount.select(day, fn.sum(HourlyCount.number)).where(HourlyCount.hour >= since, found)
    return {int(first): int(number) for first, number in query.group_by(SQL("1")).tuples()}


def _hour(moment: int) -> int:
    return moment - moment % HOUR_MS
