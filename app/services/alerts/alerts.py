"""Alerts for people: what is wrong now, what was wrong before, and the numbers behind an alert as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.exceptions import AlertUnknown
from app.schemas.alerts import STOPPED, VOLUME
from app.services.alerts.judging import kind_of
from app.services.alerts.normal import Normal
from app.services.people.principal import Principal
from app.store.alerts import alerts as store
from app.store.alerts import counts
from app.store.alerts.counts import Series
from app.store.models import Alert, AlertRule
from app.support.clock import HOUR_MS, now

BEFORE_HOURS, AFTER_HOURS = 24, 6  # shown around an alert
MAX_HOURS = 7 * 24


@dataclass(frozen=True)
class AlertChart:
    """What was seen and what was expected in the hours around an alert, oldest first.

    Attributes:
        hours: first millisecond of each hour, UTC.
        seen: number of events of each hour.
        expected: normal number of events of each hour, as learnt last; None if it is not known.
        since_at, until_at: when the condition began and when the alert was resolved (None: not yet).
    """

    hours: tuple[int, ...]
    seen: tuple[int, ...]
    expected: tuple[float, ...] | None
    since_at: int
    until_at: int | None


@dataclass(frozen=True)
class Watched:
    """Number of series that a rule watches, and of those that it is still learning, so that they cannot alert yet."""

    series: int
    learning: int


class Alerts:
    """Alerts that a user may see. A user who is limited to customers sees only alerts about one of them."""

    def current(self, who: Principal) -> list[Alert]:
        """Return the alerts that are firing, then those that are pending, the newest first."""
        return store.current(who.customers)

    def firing(self, who: Principal) -> int:
        """Return the number of firing alerts."""
        return store.count_firing(who.customers)

    def history(self, who: Principal, limit: int, rule: int | None = None, before: int | None = None) -> list[Alert]:
        """Return the newest alerts that fired, optionally of one rule, or with `before`, an alert id, the next page."""
        return store.history(limit, who.customers, rule, before)

    def get(self, who: Principal, key: int) -> Alert:
        """Return an alert. Raise AlertUnknown if it does not exist, or the caller may not see it."""
        found = store.by_id(key)
        if found is None or not who.sees(found.customer):
            raise AlertUnknown(f"There is no alert {key}, or you may not see it.")
        return found

    def watched(self, rule: AlertRule) -> Watched | None:
        """Return how many series a rule watches that compares them with normal, or None for another rule."""
        if rule.kind not in (STOPPED, VOLUME):
            return None
        kind = kind_of(rule)
        series, rows = counts.of_kind(kind), counts.normals(kind)
        known = {one for one, row in rows.items() if Normal.load(row.rates, row.statistics).is_known}
        return Watched(len(series), sum(one not in known for one in series))

    def chart(self, alert: Alert) -> AlertChart | None:
        """Return the chart of an alert about events, or None for an alert about the service's health."""
        if alert.subject:
            return None
        series = Series(alert.customer, alert.product, alert.type)
        end = min(now(), (alert.resolved_at or now()) + AFTER_HOURS * HOUR_MS) // HOUR_MS * HOUR_MS
        begin = max(alert.since_at // HOUR_MS - BEFORE_HOURS, end // HOUR_MS - MAX_HOURS) * HOUR_MS
        hours = tuple(range(begin, end + 1, HOUR_MS))
        seen = counts.by_hour(series, begin, end)
        return AlertChart(
            hours,
            tuple(seen.get(hour, 0) for hour in hours),
            _expected(series, hours),
            alert.since_at,
            alert.resolved_at,
        )


def _expected(series: Series, hours: Sequence[int]) -> tuple[float, ...] | None:
    row = counts.normal(series)
    known = Normal.load(row.rates, row.statistics) if row else None
    return tuple(map(known.rate, hours)) if known and known.is_known else None
