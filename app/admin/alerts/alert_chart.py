"""Chart of an alert: the number of events of each hour as bars, what is normal as a line across each, and the time
of the alert behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.admin.events.chart import Drawing, draw, y_of
from app.services.alerts.alerts import AlertChart
from app.services.events.volume import HOUR, Chart, Series, Span


@dataclass(frozen=True)
class Level:
    """Line across a step at the normal number of events: horizontally in percent, vertically in pixels."""

    x1: float
    x2: float
    y: float


@dataclass(frozen=True)
class AlertDrawing:
    """Layout of the chart of an alert.

    Attributes:
        normal: the lines at the normal numbers of events.
        left, width: the time of the alert, in percent.
        rows: hour, number seen and number expected (or None) of the table.
    """

    bars: Drawing
    normal: tuple[Level, ...]
    left: float
    width: float
    rows: tuple[tuple[int, int, float | None], ...]


def draw_alert(chart: AlertChart) -> AlertDrawing:
    """Return the layout of an alert's chart."""
    span = Span(chart.hours[0], chart.hours[-1] + HOUR, HOUR)
    volume = Chart(span, None, "", (Series(None, chart.seen),), [], 0, 0)
    expected = chart.expected or ()
    bars = draw(volume, at_least=max(expected, default=0.0))
    step = 100 / len(chart.hours)
    normal = tuple(
        Level(round(place * step, 3), round((place + 1) * step, 3), y_of(value, bars.most))
        for place, value in enumerate(expected)
    )
    left = _percent(span, chart.since_at)
    right = 100.0 if chart.until_at is None else _percent(span, chart.until_at)
    rows = tuple(zip(chart.hours, chart.seen, chart.expected or (None,) * len(chart.hours), strict=True))
    return AlertDrawing(bars, normal, left, round(right - left, 3), rows)


def _percent(span: Span, moment: int) -> float:
    """Return the place of a time in percent of the width, within the chart."""
    share = (moment - span.begin) / (span.end - span.begin)
    return round(100 * min(max(share, 0), 1), 3)
