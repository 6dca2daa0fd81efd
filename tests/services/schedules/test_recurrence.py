"""Recurrences: when a recurring report runs, and which days, weeks or months in UTC it covers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.schedules.recurrence import DAILY, MONTHLY, WEEKLY, Recurrence

HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def text(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")[:23]


# 2026-11-23 is a Monday
NEXT = [
    (DAILY, 6, "2026-11-23T05:59:59.999", "2026-11-23T06:00"),
    (DAILY, 6, "2026-11-23T06:00", "2026-11-24T06:00"),
    (DAILY, 0, "2026-11-23T00:00", "2026-11-24T00:00"),
    (DAILY, 23, "2026-12-31T23:30", "2027-01-01T23:00"),
    (WEEKLY, 6, "2026-11-23T05:00", "2026-11-23T06:00"),
    (WEEKLY, 6, "2026-11-23T06:00", "2026-11-30T06:00"),
    (WEEKLY, 6, "2026-11-29T23:00", "2026-11-30T06:00"),
    (MONTHLY, 3, "2026-11-01T02:00", "2026-11-01T03:00"),
    (MONTHLY, 3, "2026-11-23T02:00", "2026-12-01T03:00"),
    (MONTHLY, 3, "2026-01-31T02:00", "2026-02-01T03:00"),
    (MONTHLY, 3, "2028-02-01T03:00", "2028-03-01T03:00"),
]
COVERED = [
    (DAILY, "2026-11-23T06:00", "2026-11-22T00:00:00.000", "2026-11-22T23:59:59.999"),
    (DAILY, "2026-11-23T00:00", "2026-11-22T00:00:00.000", "2026-11-22T23:59:59.999"),
    (WEEKLY, "2026-11-23T06:00", "2026-11-16T00:00:00.000", "2026-11-22T23:59:59.999"),
    (WEEKLY, "2026-11-29T06:00", "2026-11-16T00:00:00.000", "2026-11-22T23:59:59.999"),
    (MONTHLY, "2026-12-01T06:00", "2026-11-01T00:00:00.000", "2026-11-30T23:59:59.999"),
    (MONTHLY, "2028-03-31T06:00", "2028-02-01T00:00:00.000", "2028-02-29T23:59:59.999"),
    (MONTHLY, "2027-01-15T06:00", "2026-12-01T00:00:00.000", "2026-12-31T23:59:59.999"),
]


@pytest.mark.parametrize(("kind", "hour", "moment", "run"), NEXT)
def test_the_next_run_is_the_first_after_a_moment(kind, hour, moment, run):
    assert Recurrence(kind, hour).next_run(ms(moment)) == ms(run)


@pytest.mark.parametrize(("kind", "moment", "first", "last"), COVERED)
def test_the_period_is_the_last_complete_one(kind, moment, first, last):
    assert [text(end) for end in Recurrence(kind, 6).period(ms(moment))] == [first, last]


@pytest.mark.parametrize(("kind", "hour", "run", "after"), NEXT)
def test_the_latest_run_is_the_last_one_at_or_before_a_moment(kind, hour, run, after):
    recurrence = Recurrence(kind, hour)
    assert recurrence.latest_run(ms(after)) == ms(after)
    assert recurrence.latest_run(ms(after) + 1) == ms(after)
    assert recurrence.latest_run(ms(after) - 1) < ms(after)


moments = st.integers(ms("1971-01-01"), ms("2200-01-01"))
recurrences = st.builds(Recurrence, st.sampled_from([DAILY, WEEKLY, MONTHLY]), st.integers(0, 23))


@given(recurrences, moments)
def test_there_is_no_run_between_a_run_and_the_next(recurrence, moment):
    following = recurrence.next_run(moment)
    assert recurrence.latest_run(moment) <= moment < following
    assert recurrence.latest_run(following) == following
    assert recurrence.latest_run(following - 1) == recurrence.latest_run(moment)


@given(recurrences, moments)
def test_consecutive_periods_have_no_gap_and_no_overlap(recurrence, moment):
    run = recurrence.next_run(moment)
    following = recurrence.next_run(run)
    assert recurrence.period(following)[0] == recurrence.period(run)[1] + 1


@given(recurrences, moments)
def test_a_run_starts_at_its_hour_within_a_day_of_the_end_of_its_period(recurrence, moment):
    run = recurrence.next_run(moment)
    assert run - (recurrence.period(run)[1] + 1) == recurrence.hour * HOUR
