"""How much arrives: counts over a range of time, split by what they are of, and held against the time before.

A range is cut into minutes, hours or days, all of them UTC's. Hours and days are those that the scheduler counted, a
few seconds ago; minutes are counted when somebody asks, and only where they are few enough to be counted at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.exceptions import FieldError, InputInvalid
from app.services.people.principal import Principal
from app.store.events import charts as store
from app.store.events.charts import SPLITS, Customers, VolumeFilter
from app.support.clock import now
from app.support.ttl_cache import TTLCache

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
RANGES = {"1h": (60, MINUTE), "24h": (24, HOUR), "7d": (168, HOUR), "30d": (30, DAY)}  # how many steps, of what
DEFAULT_RANGE, DEFAULT_SPLIT = "24h", "product"
FINEST = ((3 * HOUR, MINUTE), (8 * DAY, HOUR), (366 * DAY, DAY))  # up to how long a range is cut into what
MOST_SERIES = 5
MOST_ACTIVE = 10
COUNTED_AT_ONCE = 100_000  # events whose minutes are counted on request
FEWEST_MINUTES = 5
KEPT_SECONDS = 2.0
YEAR_1970 = 365 * DAY  # the end of 1970

Row = tuple[int, str, int]  # the beginning of a step, a code, the number
Active = tuple[str, str, int]  # product, type, number

__all__ = ["DEFAULT_RANGE", "DEFAULT_SPLIT", "RANGES", "SPLITS", "Chart", "Series", "Span", "Volume", "VolumeFilter"]


@dataclass(frozen=True)
class Span:
    """A range of time in steps: from `begin` to before `end`, milliseconds."""

    begin: int
    end: int
    step: int

    @property
    def steps(self) -> range:
        """The beginning of each step."""
        return range(self.begin, self.end, self.step)


@dataclass(frozen=True)
class Series:
    """Counts of one code, a number for each step.

    Attributes:
        code: None: of all that have no series of their own.
    """

    code: str | None
    numbers: tuple[int, ...]

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(self.numbers)


@dataclass(frozen=True)
class Chart:
    """What arrived over a span.

    Attributes:
        wanted: the span that was asked for, where it is not the one that is shown.
        series: the largest first, all that have none of their own last.
        active: the types with most events.
        before: the number in the same time before, as far as whole hours (or minutes) go; `since`: in the span as far.
    """

    span: Span
    wanted: Span | None
    split: str
    series: tuple[Series, ...]
    active: list[Active]
    since: int
    before: int

    @property
    def totals(self) -> tuple[int, ...]:
        """The number of each step."""
        return tuple(map(sum, zip(*(one.numbers for one in self.series), strict=True))) or (0,) * len(self.span.steps)

    @property
    def total(self) -> int:
        """The number of all."""
        return sum(one.total for one in self.series)

    @property
    def change(self) -> float | None:
        """How much more than before, as a share; None where there was nothing."""
        return (self.since - self.before) / self.before if self.before else None


class Volume:
    """Charts and estimates of one process, each kept for a moment."""

    def __init__(self) -> None:
        self._charts: TTLCache[Chart] = TTLCache(KEPT_SECONDS)
        self._rates: TTLCache[float] = TTLCache(KEPT_SECONDS)
        self._old: TTLCache[int] = TTLCache(KEPT_SECONDS)

    def chart(self, who: Principal, span: Span, split: str) -> Chart:
        """What arrived over a span, of the customers that somebody may see."""
        key = (who.customers, span, split)
        return self._charts.get(key, lambda: _chart(who.customers, span, split))

    def per_minute(self, who: Principal) -> float:
        """How many events had their time in a minute of the last hour, about."""
        return self._rates.get(who.customers, lambda: _about(who.customers, now() - HOUR, now()) / 60)

    def estimate(self, who: Principal, wanted: VolumeFilter) -> int:
        """About how many events a filter gives that somebody may see."""
        return store.estimate(replace(wanted, customers=who.customers), now())

    def of_1970(self, who: Principal) -> int:
        """Return how many counted events are dated 1970, because the client sent seconds instead of milliseconds."""
        return self._old.get(who.customers, lambda: store.total(who.customers, 0, YEAR_1970))

    def uncounted(self) -> int:
        """How many events no count of hours has yet."""
        return store.uncounted()


def preset(name: str, moment: int) -> Span:
    """The span of a range that has a name: its last step is the one that is now."""
    number, step = RANGES[name]
    end = moment // step * step + step
    return Span(end - number * step, end, step)


def between(start: int, end: int) -> Span:
    """The span of two moments, widened to whole steps.

    Raises:
        InputInvalid: the end is before the start, or the span longer than a year.
    """
    if end < start:
        raise InputInvalid("The range is none.", [FieldError("end is before start; it must be start or later.")])
    for longest, step in FINEST:
        if end - start <= longest:
            return Span(start // step * step, end // step * step + step, step)
    raise InputInvalid("The range is too long.", [FieldError("end is more than 366 days after start; ask for less.")])


def _chart(customers: Customers, span: Span, split: str) -> Chart:
    shown = _affordable(customers, span)
    rows, active = (_by_minute if shown.step == MINUTE else _by_hour)(customers, shown, split)
    since, before = _compared(customers, shown, rows)
    return Chart(shown, None if shown == span else span, split, _series(shown, rows), active, since, before)


def _affordable(customers: Customers, span: Span) -> Span:
    """The span itself, or, where it has too many events to count its minutes at once, its end, or its hours."""
    if span.step != MINUTE:
        return span
    number = _about(customers, span.begin, span.end) + store.uncounted()
    minutes = len(span.steps) * COUNTED_AT_ONCE // max(1, number)
    if minutes >= len(span.steps):
        return span
    if minutes >= FEWEST_MINUTES:
        return replace(span, begin=span.end - minutes * MINUTE)
    return Span(span.begin // HOUR * HOUR, -(-span.end // HOUR) * HOUR, HOUR)


def _by_hour(customers: Customers, span: Span, split: str) -> tuple[list[Row], list[Active]]:
    rows = store.by_hour(customers, span.begin, span.end, span.step, split)
    return rows, store.most_active(customers, span.begin, span.end, MOST_ACTIVE)


def _by_minute(customers: Customers, span: Span, split: str) -> tuple[list[Row], list[Active]]:
    found = store.by_minute(customers, span.begin, span.end)
    numbers: Counter[tuple[int, str]] = Counter()
    types: Counter[tuple[str, str]] = Counter()
    for time, product, kind, number in found:
        numbers[time, product if split == "product" else kind] += number
        types[product, kind] += number
    most = sorted(types.items(), key=lambda one: (-one[1], one[0]))[:MOST_ACTIVE]
    return [(*key, number) for key, number in numbers.items()], [(*key, number) for key, number in most]


def _series(span: Span, rows: Sequence[Row]) -> tuple[Series, ...]:
    """The codes with most events, each with its numbers, and one series of all others."""
    sums: Counter[str] = Counter()
    numbers: Counter[tuple[int, str]] = Counter()
    for time, code, number in rows:
        sums[code] += number
        numbers[time, code] += number
    codes = sorted(sums, key=lambda code: (-sums[code], code))
    most, rest = codes[:MOST_SERIES], codes[MOST_SERIES:]
    series = [Series(code, tuple(numbers[time, code] for time in span.steps)) for code in most]
    if rest:
        series.append(Series(None, tuple(sum(numbers[time, code] for code in rest) for time in span.steps)))
    return tuple(series)


def _compared(customers: Customers, span: Span, rows: Sequence[Row]) -> tuple[int, int]:
    """The number in the span so far, and as far into the time of the same length before it.

    What is compared ends with a whole hour (or minute): the one that is now has only begun.
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
    return store.estimate(VolumeFilter(customers, start=begin, end=end - 1), now())
