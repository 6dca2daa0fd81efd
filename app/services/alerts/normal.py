"""What is normal for a series of events, learnt from four weeks of hourly counts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from app.store.alerts import counts
from app.store.alerts.counts import Series as Series
from app.support.clock import DAY_MS, HOUR_MS

WEEK_HOURS = 168
MONDAY_MS = 4 * DAY_MS  # 1970-01-05T00:00:00Z was a Monday


def hour_of_week(hour: int) -> int:
    """Return the place of an hour, given by a time in it, in the week of UTC from Monday. DST does not matter."""
    return (hour - MONDAY_MS) // HOUR_MS % WEEK_HOURS


def normal_rates(series: Series, hours: Sequence[int]) -> tuple[float, ...] | None:
    """Return the normal number of events in some hours, or None if nothing was learnt about the series yet."""
    row = counts.normal(series)
    if row is None:
        return None
    rates = array("f", row.rates)
    return tuple(rates[hour_of_week(hour)] for hour in hours)
