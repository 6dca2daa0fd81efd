"""Times and durations as people write them in a command."""

from __future__ import annotations

import pytest

from app.schemas import times
from app.schemas.times import parse_duration, parse_time

FIRST = 1_793_491_200_000  # 2026-11-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-01", FIRST),
        ("2026-11-01T00:00", FIRST),
        ("2026-11-01 00:00:00", FIRST),
        ("2026-11-01T00:00:00Z", FIRST),
        ("2026-11-01T01:00:00+01:00", FIRST),
        ("2026-10-31T19:00-0500", FIRST),
        ("2026-11-01T00:00:00.25Z", FIRST + 250),
        ("1793491200000", FIRST),
        ("0", 0),
    ],
)
def test_a_time_is_a_day_iso_8601_or_milliseconds(text, time):
    assert parse_time(text) == time


def test_the_end_of_a_range_includes_its_day():
    assert parse_time("2026-11-01", last=True) == FIRST + 86_400_000 - 1
    assert parse_time("2026-11-01T00:00", last=True) == FIRST


@pytest.mark.parametrize(("text", "age"), [("30m", 1_800_000), ("12h", 43_200_000), ("7d", 604_800_000)])
def test_an_age_is_a_time_before_now(monkeypatch, text, age):
    monkeypatch.setattr(times, "now", lambda: FIRST)
    assert parse_time(text) == FIRST - age


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11", "2026-13-01", "2026-02-30", "01.11.2026", "7 d", "-7d", "1y"]
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text):
    with pytest.raises(ValueError, match="is not a"):
        parse_time(text)


@pytest.mark.parametrize("text", ["1969-12-31", "999999999999999", "9999-12-31T23:59:59-01:00", "99999w", "999999999w"])
def test_a_time_that_cannot_be_stored_is_refused(text):
    with pytest.raises(ValueError, match="between the years 1970 and 9999"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-1", "1 h", "1y", "9" * 10])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="a number of seconds"):
        parse_duration(text)
