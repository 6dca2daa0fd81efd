"""Volume of events: counts over a time range, split by code and compared with the preceding period.

A range is divided into minutes, hours or days of UTC. Hours and days come from the hourly counts, which the scheduler
updates every few seconds. Minutes are counted on request, and only if there are few enough events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.exceptions import FieldError, InputInvalid
from app.services.people.principal import Principal
from app.store.database import read
from app.store.events import hourly_counts as store
from app.store.events.filters import EventFilter
from app.store.events.hourly_counts import SPLITS, Customers
from app.support.clock import now
from app.support.ttl_cache import TTLCache

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
RANGES = {"1h": (60, MINUTE), "24h": (24, HOUR), "7d": (168, HOUR), "30d": (30, DAY)}  # number and length of steps
DEFAULT_RANGE, DEFAULT_SPLIT = "24h", "product"
FINEST = ((3 * HOUR, MINUTE), (8 * DAY, HOUR), (366 * DAY, DAY))  # maximum length of a range for each step
MAX_SERIES = 5
MAX_ACTIVE = 10
COUNTED_AT_ONCE = 100_000  # events whose minutes are counted on request
FEWEST_MINUTES = 5
FEWEST_COMPARED = 10  # events of the preceding period; with fewer, a percentage says nothing
KEPT_SECONDS = 2.0
YEAR_1970 = 365 * DAY  # the end of 1970

Row = tuple[int, str, int]  # start of a step, code, number
Active = tuple[str, str, int]  # product, type, number

__all__ = ["DEFAULT_RANGE", "DEFAULT_SPLIT", "RANGES", "SPLITS", "Chart", "EventFilter", "Series", "Span", "Volume"]


@dataclass(frozen=True)
class Span:
    """Time range divided into steps, from `begin` (inclusive) to `end` (exclusive), in milliseconds."""

    begin: int
    end: int
    step: int

    @property
    def steps(self) -> range:
        """Return the start of each step."""
        return range(self.begin, self.end, self.step)


@dataclass(frozen=True)
class Series:
    """Counts of a code, with a number for each step."""

    code: str | None  # the code, or None for the sum of all codes without a series of their own
    numbers: tuple[int, ...]

    @property
    def total(self) -> int:
        """Return the sum of the numbers."""
        return sum(self.numbers)


@dataclass(frozen=True)
class Chart:
    """Volume of events over a span."""

    span: Span
    wanted: Span | None  # the requested span, or None if it is the span shown
    split: str
    series: tuple[Series, ...]  # the largest first; the series of all other codes last
    active: list[Active]  # the types with most events
    since: int  # the number of events in the span, up to the last whole hour (or minute)
    before: int  # the number of events in the preceding period, up to the same point

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """Return the total of each step."""
        return tuple(map(sum, zip(*(one.numbers for one in self.series), strict=True))) or (0,) * len(self.span.steps)

    @property
    def total(self) -> int:
        """Return the total of all series."""
        return sum(one.total for one in self.series)

    @property
    def change(self) -> float | None:
        """Return the relative change from the preceding period, or None if it had too few events."""
        return (self.since - self.before) / self.before if self.before >= FEWEST_COMPARED else None


class Volume:
    """Cached charts and estimates of a process."""

    def __init__(self) -> None:
        self._charts: TTLCache[Chart] = TTLCache(KEPT_SECONDS)
        self._rates: TTLCache[float] = TTLCache(KEPT_SECONDS)
        self._old: TTLCache[int] = TTLCache(KEPT_SECONDS)

    def chart(self, who: Principal, span: Span, split: str) -> Chart:
        """Return the chart of a span for the customers that the caller may see."""
        key = (who.customers, span, split)
        return self._charts.get(key, lambda: read(lambda: _chart(who.customers, span, split)))

    def per_minute(self, who: Principal) -> float:
        """Return the approximate number of events per minute, by event time, in the last hour."""
        return self._rates.get(who.customers, lambda: _about(who.customers, now() - HOUR, now()) / 60)

    def estimate(self, who: Principal, wanted: EventFilter) -> int:
        """Return the approximate number of events that match a filter and that the caller may see."""
        asked = wanted.customers
        visible = who.customers if asked is None else [code for code in asked if who.sees(code)]
        return store.estimate_matching(replace(wanted, customers=visible), now())

    def of_1970(self, who: Principal) -> int:
        """Return how many counted events are dated 1970, because the client sent seconds instead of milliseconds."""
        return self._old.get(who.customers, lambda: store.total(who.customers, 0, YEAR_1970))

    def uncounted(self) -> int:
        """Return the number of events that the hourly counts do not include yet."""
        return store.uncounted()


def preset(name: str, moment: int) -> Span:
    """Return the span of a named range, which ends with the current step."""
    number, step = RANGES[name]
    end = moment // step * step + step
    return Span(end - number * step, end, step)


def between(start: int, end: int) -> Span:
    """Return the span between two moments, widened to whole steps. Raise InputInvalid unless that is up to a year."""
    if end < start:
        raise InputInvalid("The range is none.", [FieldError("end is before start; it must be start or later.")])
    for longest, step in FINEST:
        if end - start <= longest:
            return Span(start // step * step, end // step * step + step, step)
    raise InputInvalid("The range is too long.", [FieldError("end is more than 366 days after start; ask for less.")])


def _chart(customers: Customers, span: Span, split: str) -> Chart:
    shown = _affordable(customers, span)
    if shown.step == MINUTE:
        rows, active = _by_minute(customers, shown, split)
    else:
        rows = store.by_step(customers, shown.begin, shown.end, shown.step, split)
        active = store.most_active(customers, shown.begin, shown.end, MAX_ACTIVE)
    since, before = _compared(customers, shown, rows)
    return Chart(shown, None if shown == span else span, split, _series(shown, rows), active, since, before)


def _affordable(customers: Customers, span: Span) -> Span:
    """Return the span. If it has too many events to count by minute, return its end, or use steps of an hour."""
    if span.step != MINUTE:
        return span
    number = _about(customers, span.begin, span.end) + store.uncounted()
    minutes = len(span.steps) * COUNTED_AT_ONCE // max(1, number)
    if minutes >= len(span.steps):
        return span
    if minutes >= FEWEST_MINUTES:
        return replace(span, begin=span.end - minutes * MINUTE)
    return Span(span.begin // HOUR * HOUR, -(-span.end // HOUR) * HOUR, HOUR)


def _by_minute(customers: Customers, span: Span, split: str) -> tuple[list[Row], list[Active]]:
    found = store.by_minute(customers, span.begin, span.end)
    numbers: Counter[tuple[int, str]] = Counter()
    types: Counter[tuple[str, str]] = Counter()
    for time, product, kind, number in found:
        numbers[time, product if split == "product" else kind] += number
        types[product, kind] += number
    most = sorted(types.items(), key=lambda one: (-one[1], one[0]))[:MAX_ACTIVE]
    return [(*key, number) for key, number in numbers.items()], [(*key, number) for key, number in most]


def _series(span: Span, rows: Sequence[Row]) -> tuple[Series, ...]:
    """Return the series of the codes with most events, and a series for the sum of all others."""
    sums: Counter[str] = Counter()
    numbers: Counter[tuple[int, str]] = Counter()
    for time, code, number in rows:
        sums[code] += number
        numbers[time, code] += number
    codes = sorted(sums, key=lambda code: (-sums[code], code))
    most, rest = codes[:MAX_SERIES], codes[MAX_SERIES:]
    series = [Series(code, tuple(numbers[time, code] for time in span.steps)) for code in most]
    if rest:
        series.append(Series(None, tuple(sum(numbers[time, code] for code in rest) for time in span.steps)))
    return tuple(series)


def _compared(customers: Customers, span: Span, rows: Sequence[Row]) -> tuple[int, int]:
    """Return the number of events in the span so far, and up to the same point of the preceding period.

    Both numbers end with a whole hour (or minute), because the current hour is incomplete.
    """
    unit = MINUTE if span.step == MINUTE else HOUR
    until = min(span.end, now() // unit * unit)
    length = span.end - span.begin
    if until <= span.begin:
        return 0, 0
    if span.step == MINUTE:
        since = sum(number for time, _, number in rows if time < until)
        return since, _about(customers, span.begin - length, until - length)
    return store.total(customers, span.begin, until), store.total(customers, span.begin - length, until - length)


def _about(customers: Customers, begin: int, end: int) -> int:
    return store.estimate_matching(EventFilter(customers=customers, start=begin, end=end - 1), now())
