"""Learns what is normal for each series that a rule watches, some series at a time, and again every half day."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

from app.services.alerts.normal import WEEK_MS, WEEKS_READ, Hour, learn
from app.store.alerts import counts
from app.store.alerts.counts import Kind, Series
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

RENEWED_MS = 12 * HOUR_MS
KEPT_MS = 30 * DAY_MS  # for series that no rule watches any more
BUDGET_SECONDS = 5.0  # in each evaluation
PROMPT_MS = 2 * MINUTE_MS  # events that arrive so soon are not late
LATEST_MS = 2 * DAY_MS  # events that arrive later were imported


def learn_due(kinds: Iterable[Kind], now: int, budget_seconds: float = BUDGET_SECONDS) -> int:
    """Learn the series that are new or were learnt longest ago, and return how many are left for the next call.

    Args:
        now: the time up to which events are counted.
    """
    learnt, end = counts.learnt(), time.monotonic() + budget_seconds
    series = {one for kind in kinds for one in counts.of_kind(kind)}
    due = sorted((learnt.get(one, 0), one) for one in series if not now - RENEWED_MS < learnt.get(one, 0) <= now)
    for number, (_, one) in enumerate(due):
        if time.monotonic() > end:
            return len(due) - number
        learn_series(one, now)
    counts.purge_normals(now - KEPT_MS)
    return 0


def learn_series(series: Series, now: int) -> None:
    """Learn what is normal for a series from its complete hours."""
    end = now // HOUR_MS * HOUR_MS
    begin = end - WEEKS_READ * WEEK_MS
    past = counts.past(series, begin, end)
    first = counts.first_hour(series)
    complete = [Hour(*hour) for hour in past if hour.hour < end]
    late = median(lags) if (lags := counts.lags(series, past)) else 0
    lag = 0 if late < PROMPT_MS else min(LATEST_MS, int(2 * late))  # half of the events are later than the median
    rates, statistics = learn(complete, max(begin, end if first is None else first), end, lag).dump()
    before = counts.normal(series)
    last = max([min(hour.last_at, now) for hour in past] + [before.last_event_at or 0 if before else 0])
    values = {"first_hour_at": first, "last_event_at": last or None, "rates": rates, "statistics": statistics}
    counts.save_normal(series, learnt_at=now, **values)
