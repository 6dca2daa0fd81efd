"""What is normal for a series of events, learnt from up to four weeks of its hourly counts.

The normal rate of an hour of the week is the middle of the four weeks. If a series has few events, it is averaged over
so many neighbouring hours that so many hours of an average week have 20 events in the four weeks. The length of a
silence is measured in the events that are normal in that time, so that a night counts as little as it should.

A silence is longer than normal from `silence_limit` events on. Gaps between independent events are exponential, so a
limit of ln(number of events in a quarter) + 4 would have a false alarm in 50 quarters. It is multiplied by
`burstiness`: by how much the longest gaps of the past weeks exceed those of independent events. The lower middle of the
weeks counts, because two of four may have had an outage or a holiday.

Hours are those of UTC, so daylight saving time moves a pattern by an hour twice a year, within the limits.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from statistics import median, median_low
from typing import Any, NamedTuple

from app.support.clock import DAY_MS, HOUR_MS

WEEK_HOURS = 168
WEEK_MS = WEEK_HOURS * HOUR_MS
WEEKS = 4
WEEKS_READ = WEEKS + 1
MONDAY_MS = 4 * DAY_MS  # 1970-01-05T00:00:00Z was a Monday
WEEKS_OF_QUARTER = 13
CALM_QUARTERS = 4.0  # e**4 = 55 quarters to a false alarm, if events are independent
LEAST_LIMIT = 3.0  # expected events, however regular the series is
REGULAR, LEAST_BURSTINESS = 0.6, 0.3  # below the first, events are regular rather than independent
LONGEST_MARGIN = 1.2
ONE_WEEK_MARGIN = 1.5  # if only one week is known, the longest silence in it may be short by chance
SMOOTHED_EVENTS = 20
REPRESENTED = 0.7  # of the events of a week, in the rates
HALF_WIDTHS = (0, 1, 2, 4, 8, 12, 24, 48, 83)  # hours before and after that an hour may be averaged with
WINDOWS = (1, 3, 6, 12, 24)  # hours whose volume is compared with normal: the first that has enough expected events
LEAST_WINDOW_EVENTS = 100
SPREAD_MARGIN = 2.0


class Hour(NamedTuple):
    """Hour of the past: its first millisecond, number of events, and time of the first and the last one."""

    hour: int
    number: int
    first_at: int
    last_at: int


@dataclass(frozen=True)
class Statistics:
    """What was learnt about a series, besides the rates.

    Attributes:
        weeks: number of weeks it was learnt from; 0 means that there is not a whole week yet.
        weekly: number of events in a normal week.
        burstiness: how many times longer than by chance the longest silences are.
        spread: largest normal deviation of the volume, as a factor.
        lag_ms: how late events normally arrive.
    """

    weeks: int = 0
    weekly: float = 0.0
    burstiness: float = 1.0
    spread: float = 1.0
    lag_ms: int = 0


class Normal:
    """What is normal for a series."""

    def __init__(self, rates: Sequence[float], statistics: Statistics) -> None:
        self.rates = rates
        self.statistics = statistics
        self._before = list(accumulate(rates, initial=0.0))  # normal number of events from Monday to each hour
        self._weekly = self._before[-1]

    @classmethod
    def load(cls, rates: bytes, statistics: dict[str, Any]) -> Normal:
        """Return what `dump` returned."""
        return cls(array("f", bytes(rates)), Statistics(**statistics))

    def dump(self) -> tuple[bytes, dict[str, Any]]:
        """Return the rates and statistics as they are stored."""
        return array("f", self.rates).tobytes(), asdict(self.statistics)

    @property
    def is_known(self) -> bool:
        """Return whether the past suffices: at least one whole week, with events."""
        return self.statistics.weeks > 0 and self._weekly > 0

    def expected(self, begin: int, end: int) -> float:
        """Return the normal number of events between two times in milliseconds."""
        return max(0.0, self._since_monday(end) - self._since_monday(begin))

    def expected_on_quietest_day(self, begin: int, end: int) -> float:
        """Return the normal number of events between two times if all days were as the quietest day of the week."""
        days = [self.rates[day : day + 24] for day in range(0, WEEK_HOURS, 24)]
        return Normal([*min(days, key=sum)] * 7, self.statistics).expected(begin, end)

    @cached_property
    def silence_limit(self) -> float:
        """Return the number of expected events from which on a silence is longer than normal."""
        by_chance = math.log(max(1.0, self.statistics.weekly * WEEKS_OF_QUARTER)) + CALM_QUARTERS
        return max(LEAST_LIMIT, by_chance * self.statistics.burstiness)

    def window(self, end: int) -> int | None:
        """Return how many hours before `end` are compared with normal, or None if they have too few events."""
        return next((w for w in WINDOWS if self.expected(end - w * HOUR_MS, end) >= LEAST_WINDOW_EVENTS), None)

    def rate(self, hour: int) -> float:
        """Return the normal number of events in the hour that contains a time."""
        return self.rates[hour_of_week(hour)]

    def _since_monday(self, moment: int) -> float:
        weeks, rest = divmod(moment - MONDAY_MS, WEEK_MS)
        hours, part = divmod(rest, HOUR_MS)
        return weeks * self._weekly + self._before[hours] + self.rates[hours] * (part / HOUR_MS)


def hour_of_week(moment: int) -> int:
    """Return the place of a time's hour in the week of UTC, from Monday."""
    return (moment - MONDAY_MS) // HOUR_MS % WEEK_HOURS


def learn(past: Sequence[Hour], begin: int, end: int, lag_ms: int = 0) -> Normal:
    """Return what is normal for a series.

    The silence since the last event is left out, because it may be an outage that has just begun, and would make itself
    normal before there is an alert; but at most a week of it, and only if the past is long enough.

    Args:
        past: the hours with events, in order.
        begin: the first hour of the known past, WEEKS_READ before `end` or later; the part of a week is left out.
        end: the end of the last complete hour.
        lag_ms: how late its events normally arrive.
    """
    weeks = min(WEEKS, (end - begin) // WEEK_MS)
    silent_since = max(end - WEEK_MS, past[-1].hour + HOUR_MS) if past else end
    end = silent_since if silent_since - begin >= weeks * WEEK_MS else end
    start = end - weeks * WEEK_MS
    used = [hour for hour in past if start <= hour.hour < end]
    if not weeks or not used:
        return Normal([0.0] * WEEK_HOURS, Statistics(weeks=weeks if past else 0, lag_ms=lag_ms))
    counts = [[0] * WEEK_HOURS for _ in range(weeks)]
    for hour in used:
        counts[(hour.hour - start) // WEEK_MS][hour_of_week(hour.hour)] = hour.number
    weekly = float(median(sum(week) for week in counts))
    normal = Normal(_smooth(counts, weekly), Statistics(weeks, weekly))
    longest = _longest_silences(normal, used, start, weeks)
    margin = ONE_WEEK_MARGIN if weeks == 1 else LONGEST_MARGIN
    burstiness = margin * median_low(longest) / math.log(max(weekly, math.e))
    second_largest = sorted(_largest_deviations(normal, counts, start))[-2:][0]  # or the only one
    spread = math.exp(SPREAD_MARGIN * second_largest)
    burstiness = max(LEAST_BURSTINESS, burstiness) if burstiness < REGULAR else max(1.0, burstiness)
    return Normal(normal.rates, Statistics(weeks, weekly, burstiness, spread, lag_ms))


def _smooth(counts: Sequence[Sequence[int]], weekly: float) -> list[float]:
    """Return the middle of the weeks for each hour of the week, averaged over neighbours if events are few.

    It is averaged over more if events come in other hours each week, so that the middle of most hours is nothing.
    """
    hourly = sum(map(sum, counts)) / WEEK_HOURS
    before = [[0, *accumulate((*week, *week, *week))] for week in counts]  # three weeks, because a week is a circle
    rates: list[float] = []
    for half in HALF_WIDTHS:
        width = 2 * half + 1
        if hourly * width < SMOOTHED_EVENTS and half < HALF_WIDTHS[-1]:
            continue
        rates = [
            median([sums[hour + half + 1] - sums[hour - half] for sums in before]) / width
            for hour in range(WEEK_HOURS, 2 * WEEK_HOURS)
        ]
        if sum(rates) >= REPRESENTED * weekly:
            break
    return rates


def _longest_silences(normal: Normal, used: Sequence[Hour], start: int, weeks: int) -> list[float]:
    """Return the longest silence that ended in each week, in expected events.

    Those within an hour are not known. A long silence is likely to include the end of an hour. The last one has not
    ended, so it may be the one that an alert is about.
    """
    longest = [0.0] * weeks
    previous = start
    for hour in used:
        week = (hour.hour - start) // WEEK_MS
        longest[week] = max(longest[week], normal.expected(previous, hour.first_at or hour.hour))
        previous = hour.last_at or hour.hour + HOUR_MS
    return longest


def _largest_deviations(normal: Normal, counts: Sequence[Sequence[int]], start: int) -> list[float]:
    """Return the largest deviation of the volume from normal in each week, as the logarithm of a factor."""
    first = hour_of_week(start)
    numbers = [week[(first + hour) % WEEK_HOURS] for week in counts for hour in range(WEEK_HOURS)]
    before = [0]
    for number in numbers:
        before.append(before[-1] + number)
    windows = [normal.window(start + hour * HOUR_MS) for hour in range(WEEK_HOURS)]
    largest = [0.0] * len(counts)
    for place in range(WINDOWS[-1], len(numbers) + 1):
        window = windows[place % WEEK_HOURS]
        if window:
            end = start + place * HOUR_MS
            seen, expected = before[place] - before[place - window], normal.expected(end - window * HOUR_MS, end)
            week = (place - 1) // WEEK_HOURS
            largest[week] = max(largest[week], abs(math.log(max(seen, 1) / expected)))
    return largest
