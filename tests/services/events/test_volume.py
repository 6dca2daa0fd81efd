"""The volume of events over a range in steps of minutes, hours or days, compared with the time before."""

from __future__ import annotations

import pytest

from app.exceptions import InputInvalid
from app.services.events import volume
from app.services.events.volume import DAY, HOUR, MINUTE, EventFilter, Span
from app.services.people.accounts import SYSTEM, Principal
from app.store.events import hourly_counts
from tests.support.client import FIRST, event

NOW = FIRST - FIRST % DAY + 10 * HOUR + 25 * MINUTE + 7_000
ANNA = Principal(1, "anna", "analyst", ("A",), "")


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> None:
    """Set the time to NOW."""
    monkeypatch.setattr(volume, "now", lambda: NOW)


def send(client, times, **changes) -> None:
    client.send(*[event(timestamp=time, **changes) for time in times])
    while hourly_counts.advance():
        pass


def test_a_named_range_ends_with_the_current_step():
    assert volume.preset("24h", NOW) == Span(NOW // HOUR * HOUR - 23 * HOUR, NOW // HOUR * HOUR + HOUR, HOUR)
    assert len(volume.preset("1h", NOW).steps) == 60
    assert volume.preset("30d", NOW).end == NOW // DAY * DAY + DAY


@pytest.mark.parametrize(
    ("length", "step"), [(0, MINUTE), (3 * HOUR, MINUTE), (3 * HOUR + 1, HOUR), (8 * DAY, HOUR), (366 * DAY, DAY)]
)
def test_a_custom_range_is_widened_to_whole_steps(length, step):
    span = volume.between(FIRST, FIRST + length)
    assert span.step == step
    assert span.begin % step == span.end % step == 0
    assert span.begin <= FIRST <= FIRST + length < span.end


@pytest.mark.parametrize("end", [FIRST - 1, FIRST + 366 * DAY + 1])
def test_a_range_that_is_invalid_or_too_long_is_rejected(end):
    with pytest.raises(InputInvalid):
        volume.between(FIRST, end)


def test_counts_by_step_are_split_by_type(services, nobody):
    send(nobody, [NOW, NOW - HOUR, NOW - HOUR, NOW - 30 * HOUR], type="X")
    send(nobody, [NOW - HOUR], type="Y")
    chart = services.volume.chart(SYSTEM, volume.preset("24h", NOW), "type")
    assert [(series.code, series.total) for series in chart.series] == [("X", 3), ("Y", 1)]
    assert chart.totals[-2:] == (3, 1)
    assert (chart.total, len(chart.totals)) == (4, 24)
    assert chart.active == [("PORTFOLIO", "X", 3), ("PORTFOLIO", "Y", 1)]


def test_a_chart_without_events_has_only_zeros(services):
    for name in volume.RANGES:
        chart = services.volume.chart(SYSTEM, volume.preset(name, NOW), "product")
        assert (chart.total, set(chart.totals), chart.change) == (0, {0}, None)


def test_at_most_five_codes_have_their_own_series(services, nobody):
    for number in range(8):
        send(nobody, [NOW - HOUR] * (number + 1), product=f"P{number}")
    chart = services.volume.chart(SYSTEM, volume.preset("24h", NOW), "product")
    assert [series.code for series in chart.series] == ["P7", "P6", "P5", "P4", "P3", None]
    assert (chart.series[-1].total, chart.total) == (1 + 2 + 3, 36)


def test_the_change_compares_complete_hours(services, nobody):
    send(nobody, [NOW - 2 * HOUR] * 15 + [NOW] * 50)  # the current hour has only begun
    send(nobody, [NOW - 26 * HOUR] * 10 + [NOW - 24 * HOUR] * 50)
    chart = services.volume.chart(SYSTEM, volume.preset("24h", NOW), "product")
    assert (chart.since, chart.before, chart.change) == (15, 10, 0.5)


def test_too_few_events_before_make_no_percentage(services, nobody):
    send(nobody, [NOW - 2 * HOUR] * 15 + [NOW - 26 * HOUR] * 9)
    chart = services.volume.chart(SYSTEM, volume.preset("24h", NOW), "product")
    assert (chart.since, chart.before, chart.change) == (15, 9, None)


def test_minutes_are_exact_and_the_hour_before_is_an_estimate(services, nobody):
    send(nobody, [NOW - 5 * MINUTE] * 3 + [NOW - 70 * MINUTE] * 4)
    nobody.send(event(timestamp=NOW - MINUTE))  # not in the hourly counts yet
    chart = services.volume.chart(SYSTEM, volume.preset("1h", NOW), "product")
    assert (chart.total, chart.totals[-6], chart.totals[-2]) == (4, 3, 1)
    assert (chart.since, chart.before) == (4, 2)  # half of the hour from 09:00 to 10:00


@pytest.mark.usefixtures("uncached")
def test_a_range_with_too_many_events_for_minutes_is_shortened_or_shown_by_hours(services, nobody, monkeypatch):
    send(nobody, [NOW - minute * MINUTE for minute in range(20)])
    monkeypatch.setattr(volume, "COUNTED_AT_ONCE", 10)
    span = volume.preset("1h", NOW)
    chart = services.volume.chart(SYSTEM, span, "product")
    assert (chart.wanted, chart.span.end, chart.span.step) == (span, span.end, MINUTE)
    assert 5 <= len(chart.span.steps) < 60
    monkeypatch.setattr(volume, "COUNTED_AT_ONCE", 1)
    chart = services.volume.chart(SYSTEM, span, "product")
    assert (chart.wanted, chart.span.step, chart.total) == (span, HOUR, 20)


def test_a_chart_has_only_visible_customers(services, nobody):
    send(nobody, [NOW - HOUR, NOW - 30 * MINUTE], customer="A", type="MINE")
    send(nobody, [NOW - HOUR, NOW - 30 * MINUTE], customer="B", type="THEIRS")
    for name in volume.RANGES:
        chart = services.volume.chart(ANNA, volume.preset(name, NOW), "type")
        assert {series.code for series in chart.series} == {"MINE"}
        assert {kind for _, kind, _ in chart.active} == {"MINE"}
    assert services.volume.estimate(ANNA, EventFilter()) == 2
    assert services.volume.estimate(ANNA, EventFilter(customer="B")) == 0
    assert services.volume.per_minute(ANNA) * 2 == services.volume.per_minute(SYSTEM) > 0


def test_equal_requests_for_a_chart_share_one_count(services, nobody, monkeypatch):
    span = volume.preset("24h", NOW)
    first = services.volume.chart(SYSTEM, span, "type")
    assert services.volume.chart(SYSTEM, span, "type") is first
    assert services.volume.chart(ANNA, span, "type") is not first
