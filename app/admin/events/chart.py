"""A chart of bars as a page draws it: where each bar stands and how high, in numbers that SVG takes as they are.

Across, everything is a share of the width, so that a chart fits a phone and a wall; down, it is pixels, so that words
in it are never stretched. Classes give the colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask

from app.admin.template_filters import number, utc_day
from app.admin.zones import at, zone_name
from app.services.events.volume import DAY, HOUR, MINUTE, Chart, Series, Span

HEIGHT = 200  # pixels that the bars may fill
TOP = 24  # pixels above them, where the number of the bar that is looked at stands
FILLED = 0.84  # of a step's width is its bar
MOST_MARKS = 8  # words below the bars
LEVELS = 4  # lines behind them, the ground apart
EDGE = 5  # percent of the width within which words stay on their side
STRIDES = {MINUTE: (1, 2, 5, 10, 15, 30, 60), HOUR: (1, 2, 3, 6, 12, 24), DAY: (1, 2, 5, 7, 14, 30, 60, 90)}
UNITS = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


@dataclass(frozen=True)
class Segment:
    """A part of a bar: which series it is of, and where."""

    place: int
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """A step that had events.

    Attributes:
        x, width: of the bar, in percent; `left`, `step`: of the room that it has.
        words: its time and number, `parts` the number of each series.
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
    """Words beside the bars: across in percent, or down in pixels."""

    at: float
    text: str

    @property
    def anchor(self) -> str:
        """On which side of their place words across stand, so that none leave the chart."""
        if self.at < EDGE:
            return "start"
        return "end" if self.at > 100 - EDGE else "middle"


@dataclass(frozen=True)
class Drawing:
    """A chart, ready to be drawn.

    Attributes:
        levels: the lines behind the bars, from the ground up.
        times: the words below them.
    """

    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    times: tuple[Mark, ...]
    unit: str
    height: int = HEIGHT
    top: int = TOP

    @property
    def margin(self) -> int:
        """Pixels that the longest number beside the lines takes."""
        return 8 * max(len(level.text) for level in self.levels) + 12


def register(app: Flask) -> None:
    """Give templates the name of a step."""
    app.add_template_filter(step_words)
    app.add_template_filter(span_words)


def draw(chart: Chart) -> Drawing:
    """Lay a chart out."""
    step = nice(max(chart.totals) / LEVELS)
    most = step * max(1, -(-max(chart.totals) // step))
    levels = [Mark(_y(level, most), number(level)) for level in range(0, most + 1, step)]
    bars = [_bar(chart, place, most) for place, total in enumerate(chart.totals) if total]
    return Drawing(tuple(bars), tuple(levels), tuple(_times(chart.span)), UNITS[chart.span.step])


def nice(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is not smaller."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


def step_words(begin: int, step: int) -> str:
    """When a step is: 23 Nov 2026 for a day, 23 Nov, 14:00–15:00 Europe/Berlin else. Days are UTC's."""
    if step == DAY:
        return f"{utc_day(begin)} UTC"
    first, last = at(begin), at(begin + step)
    return f"{first.day} {first:%b}, {first:%H:%M}–{last:%H:%M} {zone_name()}"


def span_words(span: Span) -> str:
    """When a range is: 22 Nov 2026, 16:00 to 23 Nov 2026, 16:00 UTC; of days, the first and the last."""
    if span.step == DAY:
        return f"days of UTC, {utc_day(span.begin)} to {utc_day(span.end - DAY)}"
    first, last = (f"{time.day} {time:%b} {time.year}, {time:%H:%M}" for time in (at(span.begin), at(span.end)))
    return f"{first} to {last} {zone_name()}"


def _bar(chart: Chart, place: int, most: int) -> Bar:
    width = 100 / len(chart.span.steps)
    begin = chart.span.steps[place]
    total = chart.totals[place]
    words = f"{step_words(begin, chart.span.step)}: {number(total)} {'event' if total == 1 else 'events'}"
    parts = [f"{_name(one)} {number(one.numbers[place])}" for one in chart.series if one.numbers[place]]
    return Bar(
        round(place * width + width * (1 - FILLED) / 2, 3),
        round(width * FILLED, 3),
        round(place * width, 3),
        round(width, 3),
        tuple(_segments([one.numbers[place] for one in chart.series], most)),
        words,
        tuple(parts) if len(chart.series) > 1 else (),
        begin,
        begin + chart.span.step - 1,
    )


def _segments(numbers: Sequence[int], most: int) -> list[Segment]:
    """One upon the other, the first at the ground; what is there is seen, however little it is."""
    segments, below = [], 0
    for place, count in enumerate(numbers):
        if count:
            bottom, top = _y(below, most), _y(below + count, most)
            height = max(1.0, bottom - top)
            segments.append(Segment(place, round(bottom - height, 1), round(height, 1)))
        below += count
    return segments


def _y(level: float, most: int) -> float:
    return round(TOP + HEIGHT * (1 - level / most), 1)


def _name(series: Series) -> str:
    return "others" if series.code is None else series.code


def _times(span: Span) -> list[Mark]:
    """The steps that have words below them, at round times of the zone."""
    count = len(span.steps)
    stride = next((one for one in STRIDES[span.step] if count <= one * MOST_MARKS), STRIDES[span.step][-1])
    width = 100 / count
    return [
        Mark(round(place * width + width / 2, 3), _mark(begin, span.step, stride))
        for place, begin in enumerate(span.steps)
        if _is_round(begin, span.step, stride)
    ]


def _is_round(begin: int, step: int, stride: int) -> bool:
    if step == DAY:
        return begin // DAY % stride == 0
    return (at(begin).hour if step == HOUR else at(begin).minute) % stride == 0


def _mark(begin: int, step: int, stride: int) -> str:
    if step == DAY:
        return utc_day(begin).rpartition(" ")[0]
    time = at(begin)
    return f"{time.day} {time:%b}" if step == HOUR and stride == 24 else f"{time:%H:%M}"
