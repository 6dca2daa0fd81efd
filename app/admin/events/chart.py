"""Layout of a bar chart: the position and height of each bar, as numbers that SVG accepts directly.

Horizontal values are shares of the width, so that a chart fits any screen. Vertical values are pixels, so that text
is never stretched. CSS classes define the colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask

from app.admin.template_filters import number, utc_day
from app.admin.zones import at, zone_name
from app.services.events.volume import DAY, HOUR, MINUTE, Chart, Span

HEIGHT = 200  # pixels available to the bars
TOP = 24  # pixels above the bars, for the number of the selected bar
BAR_SHARE = 0.84  # share of a step's width that its bar occupies
MAX_LABELS = 8  # labels below the bars
LINES = 4  # lines behind the bars, without the base line
EDGE_PERCENT = 5  # percent of the width at either edge within which labels stay inside the chart
STRIDES = {MINUTE: (1, 2, 5, 10, 15, 30, 60), HOUR: (1, 2, 3, 6, 12, 24), DAY: (1, 2, 5, 7, 14, 30, 60, 90)}
UNITS = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


@dataclass(frozen=True)
class Segment:
    """Part of a bar that belongs to one series, with its position."""

    place: int
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """Bar of a step that has events.

    Attributes:
        x, width: of the bar, in percent.
        left, step: start and width of the bar's step, in percent.
        words: its time and number of events.
        parts: the number of each series.
        begin, end: milliseconds, both included.
    """

    x: float
    width: float
    left: float
    step: float
    segments: tuple[Segment, ...]
    words: str
    parts: tuple[str, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Mark:
    """Label beside the bars: its position is in percent horizontally, or in pixels vertically."""

    at: float
    text: str

    @property
    def anchor(self) -> str:
        """Return the text anchor that keeps a horizontal label inside the chart."""
        if self.at < EDGE_PERCENT:
            return "start"
        return "end" if self.at > 100 - EDGE_PERCENT else "middle"


@dataclass(frozen=True)
class Drawing:
    """Chart layout, ready to be drawn.

    Attributes:
        levels: the lines behind the bars, from the bottom up.
        times: the labels below the bars.
        most: the number at the top line.
    """

    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    times: tuple[Mark, ...]
    unit: str
    most: int
    height: int = HEIGHT
    top: int = TOP

    @property
    def margin(self) -> int:
        """Return the width in pixels of the longest number beside the lines."""
        return 8 * max(len(level.text) for level in self.levels) + 12


def register(app: Flask) -> None:
    app.add_template_filter(step_words)
    app.add_template_filter(span_words)


def draw(chart: Chart, at_least: float = 0) -> Drawing:
    """Return the layout of a chart, on which the number `at_least` has its place, too."""
    highest = max(*chart.totals, math.ceil(at_least))
    step = nice(highest / LINES)
    most = step * max(1, -(-highest // step))
    levels = [Mark(y_of(level, most), number(level)) for level in range(0, most + 1, step)]
    bars = [_bar(chart, place, most) for place, total in enumerate(chart.totals) if total]
    return Drawing(tuple(bars), tuple(levels), tuple(_times(chart.span)), UNITS[chart.span.step], most)


def nice(value: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … that is not below the value."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


def step_words(begin: int, step: int) -> str:
    """Return the time of a step: 23 Nov 2026 for a day in UTC, otherwise 23 Nov, 14:00–15:00 Europe/Berlin."""
    if step == DAY:
        return f"{utc_day(begin)} UTC"
    first, last = at(begin), at(begin + step)
    return f"{first.day} {first:%b}, {first:%H:%M}–{last:%H:%M} {zone_name()}"


def span_words(span: Span) -> str:
    """Return a range: 22 Nov 2026, 16:00 to 23 Nov 2026, 16:00 UTC; for days, the first and the last day."""
    if span.step == DAY:
        return f"days of UTC, {utc_day(span.begin)} to {utc_day(span.end - DAY)}"
    first, last = (f"{time.day} {time:%b} {time.year}, {time:%H:%M}" for time in (at(span.begin), at(span.end)))
    return f"{first} to {last} {zone_name()}"


def _bar(chart: Chart, place: int, most: int) -> Bar:
    width = 100 / len(chart.span.steps)
    begin, total = chart.span.steps[place], chart.totals[place]
    numbers = [series.numbers[place] for series in chart.series]
    names = ["others" if series.code is None else series.code for series in chart.series]
    parts = [f"{name} {number(count)}" for name, count in zip(names, numbers, strict=True) if count]
    return Bar(
        x=round(place * width + width * (1 - BAR_SHARE) / 2, 3),
        width=round(width * BAR_SHARE, 3),
        left=round(place * width, 3),
        step=round(width, 3),
        segments=tuple(_segments(numbers, most)),
        words=f"{step_words(begin, chart.span.step)}: {number(total)} {'event' if total == 1 else 'events'}",
        parts=tuple(parts) if len(chart.series) > 1 else (),
        begin=begin,
        end=begin + chart.span.step - 1,
    )


def _segments(numbers: Sequence[int], most: int) -> list[Segment]:
    """Return the segments of a bar from the bottom up, each at least 1 pixel high, so that small counts are visible."""
    segments, below = [], 0
    for place, count in enumerate(numbers):
        if count:
            bottom, top = y_of(below, most), y_of(below + count, most)
            height = max(1.0, bottom - top)
            segments.append(Segment(place, round(bottom - height, 1), round(height, 1)))
        below += count
    return segments


def y_of(level: float, most: int) -> float:
    """Return the vertical place of a number."""
    return round(TOP + HEIGHT * (1 - level / most), 1)


def _times(span: Span) -> list[Mark]:
    """Return the labels of the steps at round times of the zone."""
    count, strides = len(span.steps), STRIDES[span.step]
    width = 100 / count
    stride = next((stride for stride in strides if count <= stride * MAX_LABELS), strides[-1])
    marks = []
    for place, begin in enumerate(span.steps):
        time = at(begin)
        unit = {MINUTE: time.minute, HOUR: time.hour, DAY: begin // DAY}[span.step]
        if unit % stride:
            continue
        if span.step == DAY:
            text = utc_day(begin).rpartition(" ")[0]
        else:
            text = f"{time.day} {time:%b}" if span.step == HOUR and stride == 24 else f"{time:%H:%M}"
        marks.append(Mark(round(place * width + width / 2, 3), text))
    return marks
