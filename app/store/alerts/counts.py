"""Hourly counts of series of events, and what was learnt from them.

A series is all events of a customer, a product and a type, of which an empty one means all. Many series of one kind are
read by one query, which groups the counts by the codes that distinguish them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from peewee import ModelSelect, fn

from app.store import step_size
from app.store.database import database
from app.store.events.filters import Condition, EventFilter
from app.store.models import AlertNormal, Event, HourlyCount, ObservedCode
from app.store.queries import equal, execute, fetch_column, fetch_unconverted
from app.support.clock import HOUR_MS

SAMPLED_HOURS, SAMPLED_EVENTS = 24, 5  # events whose lag is measured


class Series(NamedTuple):
    """All events of a customer, a product and a type. An empty code means all."""

    customer: str
    product: str
    type: str


class Recent(NamedTuple):
    """Events of a series lately.

    Attributes:
        last_at: time of the last event.
        current: number of events in the current hour.
        sums: number of events in the last complete hours, one for each of some lengths.
    """

    last_at: int
    current: int
    sums: tuple[int, ...]


class PastHour(NamedTuple):
    """Hour with events: its first millisecond, number of events, and time of the first and the last one."""

    hour: int
    number: int
    first_at: int
    last_at: int


class LearntRow(NamedTuple):
    """What was learnt about a series, as columns of `AlertNormal`."""

    rates: bytes
    statistics: dict[str, Any]
    learnt_at: int
    last_event_at: int | None


class Kind(NamedTuple):
    """Series of one kind: the columns that distinguish them, and the codes that all of them have."""

    columns: tuple[str, ...]
    codes: Mapping[str, str]

    def reader(self) -> Callable[[Sequence[str]], Series]:
        """Return a function that returns the series with some values of the columns."""
        fixed = [self.codes.get(name, "") for name in Series._fields]
        places = [Series._fields.index(name) for name in self.columns]

        def read(values: Sequence[str]) -> Series:
            codes = fixed.copy()
            for place, value in zip(places, values, strict=True):
                codes[place] = value
            return Series._make(codes)

        return read


def of_kind(kind: Kind) -> list[Series]:
    """Return all series of a kind whose events are not all erased."""
    read = kind.reader()
    if not kind.columns:
        return [read(())]
    columns = [getattr(ObservedCode, name) for name in kind.columns]
    query = ObservedCode.select(*columns).distinct().where(~ObservedCode.is_erased)
    return list(map(read, fetch_unconverted(_with_codes(query, kind.codes))))


def recent(kind: Kind, now: int, lengths: Sequence[int]) -> dict[Series, Recent]:
    """Return the recent events of each series of a kind that has any.

    Args:
        now: current time. Events of later hours are ignored.
        lengths: numbers of complete hours to sum up, in ascending order.
    """
    hour = now // HOUR_MS * HOUR_MS
    since = [hour - length * HOUR_MS for length in lengths]
    names = [f"known.{name}" for name in kind.columns]
    sums = [f"sum(CASE WHEN hour >= {first:d} AND hour < {hour:d} THEN number ELSE 0 END)" for first in since]
    current = f"sum(CASE WHEN hour = {hour:d} THEN number ELSE 0 END)"
    source, values = _counts(kind.codes, since[-1], hour)
    query = f"SELECT {', '.join([*names, 'max(last_at)', current, *sums])} FROM {source}"  # noqa: S608
    with database.many_rows():
        rows = database.execute_sql(f"{query} GROUP BY {', '.join(names)}" if names else query, values).fetchall()
    read, number = kind.reader(), len(names)
    return {
        read(row[:number]): Recent(row[number], int(row[number + 1]), tuple(map(int, row[number + 2 :])))
        for row in rows
        if row[number] is not None
    }


def by_hour(series: Series, begin: int, end: int) -> dict[int, int]:
    """Return the number of events of a series in each hour from `begin` to `end`, both inclusive, if it has any."""
    return {hour.hour: hour.number for hour in past(series, begin, end)}


def past(series: Series, begin: int, end: int) -> list[PastHour]:
    """Return the hours from `begin` to `end`, both inclusive, in which a series has events, in order."""
    source, values = _counts(_codes(series), begin, end)
    columns = "hour, sum(number), min(first_at), max(last_at)"
    with database.many_rows():
        query = f"SELECT {columns} FROM {source} GROUP BY hour ORDER BY hour"  # noqa: S608
        found = database.execute_sql(query, values).fetchall()
    return [PastHour(hour, int(number), first, last) for hour, number, first, last in found]


def first_hour(series: Series) -> int | None:
    """Return the first hour in which a series has events, however long ago."""
    same = [getattr(HourlyCount, name) == getattr(ObservedCode, name) for name in Series._fields]
    first = HourlyCount.select(fn.min(HourlyCount.hour)).where(*same)
    hour: int | None = _with_codes(ObservedCode.select(fn.min(first)), _codes(series)).scalar()
    return hour


def lags(series: Series, hours: Sequence[PastHour]) -> list[int]:
    """Return how many milliseconds after their timestamp some events of a series were received.

    They are from the last of some hours, and from the customer and product that have most events in them.
    """
    sampled = [hour.hour for hour in hours[-SAMPLED_HOURS:]]
    if not sampled:
        return []
    source, values = _counts(_codes(series), sampled[0], sampled[-1])
    query = f"SELECT known.customer, known.product FROM {source} GROUP BY 1, 2 ORDER BY sum(number) DESC LIMIT 1"  # noqa: S608
    customer, product = database.execute_sql(query, values).fetchone()
    found: list[int] = []
    for hour in sampled:
        events = Event.select(Event.received - Event.timestamp)
        events = events.where(Event.customer == customer, Event.product == product)
        events = equal(events, (Event.type, series.type or None))
        events = events.where(Event.timestamp >= hour, Event.timestamp < hour + HOUR_MS)
        found += fetch_column(events.order_by(Event.timestamp).limit(SAMPLED_EVENTS))
    return found


def _codes(series: Series) -> dict[str, str]:
    return {name: code for name, code in series._asdict().items() if code}


def _with_codes(query: ModelSelect[ObservedCode], codes: Mapping[str, str]) -> ModelSelect[ObservedCode]:
    return equal(query, *((getattr(ObservedCode, name), code) for name, code in codes.items()))


def _counts(codes: Mapping[str, str], begin: int, end: int) -> Condition:
    """Return the `FROM` of the counts of observed codes in the hours from `begin` to `end`, both inclusive.

    The only index on the counts starts with the codes.
    """
    kind = codes.get("type")
    observed = EventFilter(codes.get("customer"), codes.get("product"), () if kind is None else (kind,))
    condition, values = observed.where()
    known = f"SELECT customer, product, type FROM observed_code WHERE {condition}"  # noqa: S608
    return database.of_codes(known, f"hour BETWEEN {begin:d} AND {end:d}"), values


# What was learnt.


def normal(series: Series) -> AlertNormal | None:
    """Return what was learnt about a series."""
    same = [getattr(AlertNormal, name) == value for name, value in zip(Series._fields, series, strict=True)]
    return AlertNormal.get_or_none(*same)


def normals(kind: Kind) -> dict[Series, LearntRow]:
    """Return what was learnt about each series of a kind."""
    columns = [getattr(AlertNormal, name) for name in (*Series._fields, *LearntRow._fields)]
    query = AlertNormal.select(*columns)
    for name in Series._fields:
        column = getattr(AlertNormal, name)
        query = query.where(column != "" if name in kind.columns else column == kind.codes.get(name, ""))
    return {
        Series._make(codes): LearntRow(rates, orjson.loads(statistics), learnt_at, last_event_at)
        for *codes, rates, statistics, learnt_at, last_event_at in fetch_unconverted(query)
    }


def learnt() -> dict[Series, int]:
    """Return when each series was learnt."""
    query = AlertNormal.select(AlertNormal.customer, AlertNormal.product, AlertNormal.type, AlertNormal.learnt_at)
    return {Series._make(codes): learnt_at for *codes, learnt_at in fetch_unconverted(query)}


def save_normal(series: Series, **values: object) -> None:
    """Store what was learnt about a series."""
    query = AlertNormal.insert(**series._asdict(), **values)
    execute(query.on_conflict(conflict_target=list(Series._fields), update=values))


def purge_normals(before: int) -> None:
    """Remove what was learnt about series before a time, because they no longer exist."""
    step_size.purge(AlertNormal.id, AlertNormal.learnt_at < before)
