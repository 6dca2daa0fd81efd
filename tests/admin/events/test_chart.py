"""Layout of bar charts and their labels."""

from __future__ import annotations

import pytest

from app.admin.events import chart as module
from app.admin.events.chart import draw, nice, span_words, step_words
from app.services.events.volume import DAY, HOUR, MINUTE, Chart, Series, Span
from tests.support.client import FIRST

TOP = FIRST - FIRST % DAY  # 2026-10-26T00:00:00Z


def chart(*series: tuple[int, ...], step: int = HOUR, begin: int = TOP) -> Chart:
    span = Span(begin, begin + len(series[0]) * step, step)
    all_series = tuple(Series(f"S{place}", numbers) for place, numbers in enumerate(series))
    return Chart(span, None, "product", all_series, [], 0, 0)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 1), (0.3, 1), (1, 1), (3, 5), (5, 5), (5.1, 10), (47, 50), (999, 1_000), (1e9, 10**9)]
)
def test_lines_are_at_round_numbers(value, expected):
    assert nice(value) == expected


@pytest.mark.parametrize("highest", [1, 2, 3, 7, 10, 99, 100, 101, 12_345, 10**9 + 1])
def test_every_bar_fits_under_the_highest_line(highest):
    drawing = draw(chart((highest, 0, 1)))
    assert [level.text for level in drawing.levels][0] == "0"
    assert int(drawing.levels[-1].text.replace(",", "")) >= highest
    assert 2 <= len(drawing.levels) <= module.LINES + 1
    heights = [sum(segment.height for segment in bar.segments) for bar in drawing.bars]
    assert all(0 < height <= module.HEIGHT + 0.1 for height in heights)
    assert drawing.levels[0].at == module.TOP + module.HEIGHT


def test_a_bar_is_at_its_time_and_links_to_its_events():
    drawing = draw(chart((0, 5, 0, 10)))
    first, second = drawing.bars
    assert (first.left, first.step, second.left) == (25, 25, 75)
    assert (first.begin, first.end) == (TOP + HOUR, TOP + 2 * HOUR - 1)
    assert first.x > first.left
    assert first.x + first.width < first.left + first.step
    assert first.words == "26 Oct, 01:00–02:00 UTC: 5 events"


def test_series_are_stacked():
    bar = draw(chart((6,), (4,))).bars[0]
    ground = module.TOP + module.HEIGHT
    lower, upper = bar.segments
    assert lower.y + lower.height == pytest.approx(ground, abs=0.11)
    assert upper.y + upper.height == pytest.approx(lower.y, abs=0.11)
    assert bar.parts == ("S0 6", "S1 4")


def test_small_numbers_are_visible_beside_large_numbers():
    drawing = draw(chart((1_000_000, 1)))
    assert drawing.bars[1].segments[0].height == 1


def test_a_chart_of_one_series_does_not_list_its_parts():
    assert draw(chart((6,))).bars[0].parts == ()


@pytest.mark.parametrize(
    ("step", "count", "expected"),
    [
        (MINUTE, 60, ["00:00", "00:10", "00:20", "00:30", "00:40", "00:50"]),
        (MINUTE, 5, ["00:00", "00:01", "00:02", "00:03", "00:04"]),
        (HOUR, 24, ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]),
        (HOUR, 168, ["26 Oct", "27 Oct", "28 Oct", "29 Oct", "30 Oct", "31 Oct", "1 Nov"]),
        (DAY, 7, ["26 Oct", "27 Oct", "28 Oct", "29 Oct", "30 Oct", "31 Oct", "1 Nov"]),
    ],
)
def test_time_labels_are_at_round_times(step, count, expected):
    assert [time.text for time in draw(chart((1,) * count, step=step)).times] == expected


@pytest.mark.parametrize(("step", "count"), [(MINUTE, 181), (HOUR, 193), (DAY, 367), (DAY, 1), (MINUTE, 1)])
def test_the_number_of_time_labels_is_limited_and_labels_stay_inside_the_chart(step, count):
    times = draw(chart((1,) * count, step=step)).times
    assert len(times) <= module.MAX_LABELS + 1
    for time in times:
        assert time.anchor == ("start" if time.at < 5 else "end" if time.at > 95 else "middle")


def test_times_are_in_the_chosen_zone_and_days_in_utc(app):
    with app.test_request_context("/admin/", headers={"Cookie": "zone=Asia/Kolkata"}):
        assert step_words(TOP, HOUR) == "26 Oct, 05:30–06:30 Asia/Kolkata"
        assert step_words(TOP, DAY) == "26 Oct 2026 UTC"
        assert span_words(Span(TOP, TOP + 2 * HOUR, HOUR)) == "26 Oct 2026, 05:30 to 26 Oct 2026, 07:30 Asia/Kolkata"
        assert span_words(Span(TOP, TOP + 2 * DAY, DAY)) == "days of UTC, 26 Oct 2026 to 27 Oct 2026"
        times = [time.text for time in draw(chart((1,) * 24)).times]
        assert times == ["06:30", "09:30", "12:30", "15:30", "18:30", "21:30", "00:30", "03:30"]


def test_a_chart_without_events_has_no_bars():
    drawing = draw(chart((0, 0)))
    assert (drawing.bars, [level.text for level in drawing.levels]) == ((), ["0", "1"])
