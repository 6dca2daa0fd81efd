"""Hourly counts of series of events, and what was learnt from them.

A series is all events of a customer, a product and a type, of which an empty one means all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from peewee import Tuple, fn

from app.store.models import AlertNormal, HourlyCount, ObservedCode
from app.store.queries import equal, fetch


class Series(NamedTuple):
    """All events of a customer, a product and a type. An empty code means all."""

    customer: str
    product: str
    type: str


def by_hour(series: Series, begin: int, end: int) -> dict[int, int]:
    """Return the number of events of a series in each hour from `begin` to `end`, both inclusive, if it has any."""
    columns = [name for name in Series._fields if getattr(series, name)]
    known = ObservedCode.select(ObservedCode.customer, ObservedCode.product, ObservedCode.type)
    known = equal(known, *((getattr(ObservedCode, name), getattr(series, name)) for name in columns))
    codes = Tuple(HourlyCount.customer, HourlyCount.product, HourlyCount.type)
    query = HourlyCount.select(HourlyCount.hour, fn.sum(HourlyCount.number)).where(codes.in_(known))
    query = query.where(HourlyCount.hour >= begin, HourlyCount.hour <= end).group_by(HourlyCount.hour)
    return {hour: int(number) for hour, number in fetch(query)}


def normal(series: Series) -> AlertNormal | None:
    """Return what was learnt about a series."""
    same = [getattr(AlertNormal, name) == value for name, value in zip(Series._fields, series, strict=True)]
    return AlertNormal.get_or_none(*same)


def save_normal(series: Series, **values: object) -> None:
    """Store what was learnt about a series."""
    keys: Sequence[str] = Series._fields
    query = AlertNormal.insert(**series._asdict(), **values)
    query.on_conflict(conflict_target=list(keys), update=values).execute()
