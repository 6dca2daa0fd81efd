"""Recurrence of schedules: when a recurring report runs, and the period that it covers, in UTC.

A period is a day, a week from Monday to Sunday, or a calendar month. Its report runs at a fixed hour of the next day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"


@dataclass(frozen=True)
class Recurrence:
    """Recurrence of a schedule: daily, weekly or monthly, at an hour from 0 to 23."""

    kind: str
    hour: int

    def next_run(self, moment: int) -> int:
        """Return the first run after a moment."""
        begin = self._begin(_utc(moment))
        run = _ms(begin) + self._delay
        if run > moment:
            return run
        days = {DAILY: 1, WEEKLY: 7, MONTHLY: 31}[self.kind]  # the first of a month plus 31 days is in the next month
        return _ms(self._begin(begin + timedelta(days=days))) + self._delay

    def latest_run(self, moment: int) -> int:
        """Return the last run up to a moment. Of several missed runs, this is the run to make up for."""
        begin = self._begin(_utc(moment))
        run = _ms(begin) + self._delay
        return run if run <= moment else _ms(self._begin(begin - timedelta(days=1))) + self._delay

    def period(self, moment: int) -> tuple[int, int]:
        """Return the last period that had ended at a moment, as its first and last millisecond."""
        end = self._begin(_utc(moment))
        return _ms(self._begin(end - timedelta(days=1))), _ms(end) - 1

    @property
    def _delay(self) -> int:
        return self.hour * 3_600_000

    def _begin(self, time: datetime) -> datetime:
        """Return the start of the period that contains a time."""
        day = time.replace(hour=0, minute=0, second=0, microsecond=0)
        if self.kind == WEEKLY:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.kind == MONTHLY else day


def _utc(moment: int) -> datetime:
    return datetime.fromtimestamp(moment // 1000, UTC)


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1000
