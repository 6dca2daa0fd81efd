"""What is normal for a series, learnt from its past: rates per hour of the week, and how long a silence may be."""

from __future__ import annotations

import math

import pytest

from app.services.alerts.normal import WEEK_MS, Hour, Normal, hour_of_week, learn
from app.support.clock import DAY_MS, HOUR_MS

END = 1_790_553_600_000  # 2026-09-28T00:00:00Z, a Monday


def hours(number, *, weeks: int = 4) -> list[Hour]:
    """Return hours with evenly spread events: `number(week, hour of the week)`."""
    found = []
    for hour in range(END - weeks * WEEK_MS, END, HOUR_MS):
        week, of_week = divmod(hour - END + weeks * WEEK_MS, WEEK_MS)
        events = number(week, of_week // HOUR_MS)
        if events:
            found.append(Hour(hour, events, hour, hour + HOUR_MS - 1))
    return found


def learnt(number, *, weeks: int = 4) -> Normal:
    return learn(hours(number, weeks=weeks), END - weeks * WEEK_MS, END)


def test_a_week_begins_on_monday_in_utc():
    assert [hour_of_week(END + hours * HOUR_MS) for hours in (0, 25, 167, 168)] == [0, 25, 167, 0]


def test_the_rate_of_an_hour_is_the_middle_of_four_weeks():
    normal = learnt(lambda week, hour: (100, 120, 10_000, 0)[week] if hour == 5 else 50)
    assert normal.rate(END + 5 * HOUR_MS) == 110
    assert normal.rate(END + 6 * HOUR_MS) == 50


def test_one_week_of_outage_changes_neither_the_rates_nor_the_limit():
    whole = learnt(lambda week, hour: 50)
    holed = learnt(lambda week, hour: 0 if week == 2 and hour < 100 else 50)
    assert list(holed.rates) == list(whole.rates)
    assert holed.silence_limit == pytest.approx(whole.silence_limit, rel=0.01)


def test_a_silence_that_has_not_ended_does_not_make_itself_normal():
    """There was a holiday a week ago, so the outage would be half of the middle of four weeks."""
    normal = learnt(lambda week, hour: 0 if week >= 3 and hour >= 163 else 50, weeks=5)
    assert {normal.rate(END - hours * HOUR_MS) for hours in range(1, 6)} == {50}


def test_hours_without_traffic_count_nothing_in_a_silence():
    normal = learnt(lambda week, hour: 60 if hour % 24 >= 12 else 0)
    assert normal.expected(END, END + 12 * HOUR_MS) == 0
    assert normal.expected(END, END + 13 * HOUR_MS) == 60
    assert normal.expected(END + 12 * HOUR_MS, END + 12 * HOUR_MS + HOUR_MS // 4) == 15
    assert normal.expected(END, END + WEEK_MS) == 60 * 12 * 7


def test_the_rates_of_few_events_are_averaged_over_neighbouring_hours():
    normal = learnt(lambda week, hour: 1 if hour % 24 == week else 0)
    assert normal.expected(END, END + WEEK_MS) == pytest.approx(7, rel=0.2)
    assert max(normal.rates) < 0.1


def test_events_once_a_day_need_a_silence_of_days():
    limit = learnt(lambda week, hour: 1 if hour % 24 == (5 * hour // 24 + 7 * week) % 24 else 0).silence_limit
    assert 4 < limit < 15


def test_a_regular_job_has_a_lower_limit_than_independent_events():
    normal = learnt(lambda week, hour: 1 if hour % 24 == 3 else 0)
    chance = math.log(normal.statistics.weekly * 13) + 4
    assert normal.statistics.burstiness < 1
    assert 3 <= normal.silence_limit < chance


def test_events_that_come_in_bursts_at_other_hours_each_week_have_a_higher_limit():
    def bursts(week, hour):
        return 300 if hour % 24 == (7 * week + 11 * (hour // 24)) % 24 else 0

    normal = learn(hours(bursts), END - 4 * WEEK_MS, END)
    assert normal.expected(END, END + WEEK_MS) == pytest.approx(2100, rel=0.3)
    assert normal.statistics.burstiness > 1.2
    assert normal.silence_limit > 300


@pytest.mark.parametrize(("days", "weeks"), [(6, 0), (7, 1), (13, 1), (20, 2), (60, 4)])
def test_only_whole_weeks_are_learnt_from(days, weeks):
    past = hours(lambda week, hour: 50, weeks=9)
    normal = learn(past, END - days * DAY_MS, END)
    assert normal.statistics.weeks == weeks
    assert normal.is_known == (weeks > 0)


def test_the_volume_is_compared_over_as_many_hours_as_have_enough_events():
    assert learnt(lambda week, hour: 200).window(END) == 1
    assert learnt(lambda week, hour: 40).window(END) == 3
    assert learnt(lambda week, hour: 5).window(END) == 24
    assert learnt(lambda week, hour: 1).window(END) is None


def test_what_was_learnt_is_stored_in_full():
    normal = learnt(lambda week, hour: 50 + hour)
    again = Normal.load(*normal.dump())
    assert again.statistics == normal.statistics
    assert list(again.rates) == list(normal.rates)
