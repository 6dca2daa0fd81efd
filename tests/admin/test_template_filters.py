"""Template filters for times, numbers and sizes."""

from __future__ import annotations

import pytest

from app.admin import template_filters

DAY = 86_400_000
NOVEMBER = 1_793_491_200_000  # 2026-11-01T00:00:00Z


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (None, None, "All time"),
        (NOVEMBER, None, "Since 1 Nov 2026 UTC"),
        (None, NOVEMBER - 1, "Until 31 Oct 2026 UTC"),
        (NOVEMBER, NOVEMBER + DAY - 1, "1 Nov 2026 UTC"),
        (NOVEMBER, NOVEMBER + 30 * DAY - 1, "1–30 Nov 2026 UTC"),
        (NOVEMBER, NOVEMBER + 33 * DAY - 1, "1 Nov – 3 Dec 2026 UTC"),
        (NOVEMBER, NOVEMBER + 63 * DAY - 1, "1 Nov 2026 – 2 Jan 2027 UTC"),
        (NOVEMBER + 60_000, NOVEMBER + DAY + 1, "1 Nov 2026, 00:01 – 2 Nov 2026, 00:00:00.001 UTC"),
    ],
)
def test_a_range_is_shown_with_its_zone_and_without_redundant_parts(start, end, text):
    assert template_filters.period(start, end) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (400, "0.4 s"),
        (9_949, "9 s"),
        (60_000, "1 min"),
        (12_000, "12 s"),
        (72_000, "1 min 12 s"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_durations_are_shown_in_words(milliseconds, text):
    assert template_filters.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (0, "just now"),
        (1_000, "1 second ago"),
        (120_000, "2 minutes ago"),
        (3 * DAY, "3 days ago"),
        (-7 * DAY, "in 7 days"),
    ],
)
def test_ages_are_shown_in_words(monkeypatch, age, text):
    monkeypatch.setattr(template_filters, "now", lambda: NOVEMBER)
    assert template_filters.ago(NOVEMBER - age) == text


def test_sizes_and_numbers_are_shortened():
    assert [template_filters.size(n) for n in (0, 812, 3_100, 12_400_000, 1_234_500_000, 69_616_800_000)] == [
        "0 bytes",
        "812 bytes",
        "3.1 kB",
        "12.4 MB",
        "1,234.5 MB",
        "69.6 GB",
    ]
    assert template_filters.number(1_284_000) == "1,284,000"


def test_ordinals_have_their_suffix():
    ordinals = [template_filters.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 111)]
    assert ordinals == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th"]


def test_a_context_is_truncated_to_one_line():
    assert template_filters.context_line(["a", None]) == {"items": ["a", None], "more": 0}
    cut = template_filters.context_line(["x" * 500, "b", "c"])
    assert cut == {"items": ["x" * 160 + "…"], "more": 2}
