"""How a report is written: how many rows it has, about, and where its time is cut into parts.

What the hourly counts tell is enough where nobody can see it in the file. The parts of a compressed file show, as each
is compressed by itself: they follow from the rows alone, which are counted for that, so that the same rows always make
the same bytes. Rows are counted, too, where the counts cannot tell: of what came since another report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.exports.layout import Layout
from app.services.reports.formats import Output
from app.store.events import hourly_counts, select
from app.store.events.select import Measure, Selection

PART_ROWS = 1_000_000  # written within a few seconds: more is never lost with a worker
WHOLE_ROWS = PART_ROWS * 5 // 4  # what is little more is not cut
SLOWER = 4  # a format that is joined takes so many times as long to write: its parts are as much smaller

Stretch = tuple[int | None, int | None]  # milliseconds, both included; None: as far as the rows go


@dataclass(frozen=True)
class Plan:
    """How a report is written.

    Attributes:
        measure: what is known of its rows; `total` may be an estimate.
        parts: in order; none where it is written at once.
    """

    measure: Measure
    parts: Sequence[Stretch]


def plan(rows: Selection, layout: Layout, output: Output) -> Plan:
    """Measure a report, and split it into parts if it is long.

    Its width is usually derived from the recorded widths of its types. The writer detects rows that exceed it.
    """
    return _plan(rows, layout, output, trusting=True)


def plan_anew(rows: Selection, layout: Layout, output: Output) -> Plan:
    """Plan a report again whose rows exceed the planned width, this time by reading every row."""
    return _plan(rows, layout, output, trusting=False)


def _plan(rows: Selection, layout: Layout, output: Output, *, trusting: bool) -> Plan:
    slower = SLOWER if output.is_joined else 1
    size, whole = max(1, PART_ROWS // slower), WHOLE_ROWS // slower
    counted = _counted(rows)
    if counted.most <= whole:
        parts: Sequence[Stretch] = [(None, None)] if output.is_joined else []
        return Plan(_shape(rows, layout, counted, trusting=trusting), parts)
    if output.shows_parts or counted.newer > size or rows.snapshot_min_id is not None:
        measure, by_hour = select.survey(rows, layout)
        cut = select.stretches(rows, size, by_hour) if measure.total > whole else [(None, None)]
    else:
        measure, by_hour = _shape(rows, layout, counted, trusting=trusting), hourly_counts.by_hour(*_asked(rows))
        cut = _seamless(select.stretches(rows, size, by_hour))
    return Plan(measure, cut if len(cut) > 1 or output.is_joined else [])


@dataclass(frozen=True)
class _Counted:
    """What the hourly counts tell of some rows.

    Attributes:
        up_to: the last event that they have.
        newer: how many events, at most, they don't have.
        about: how many they have, about.
        most: how many there are, at most.
    """

    up_to: int
    newer: int
    about: int
    most: int


def _counted(rows: Selection) -> _Counted:
    """It is read again where the counts went on meanwhile: else what they took in would be told twice."""
    while True:
        up_to = hourly_counts.watermark()
        newer = max(0, rows.snapshot_max_id - up_to)
        most, about = hourly_counts.number(*_asked(rows)) + newer, hourly_counts.estimate(*_asked(rows))
        if rows.snapshot_min_id is not None:
            most = min(most, max(0, rows.snapshot_max_id - rows.snapshot_min_id))
        if hourly_counts.watermark() == up_to:
            return _Counted(up_to, newer, about, most)


def _shape(rows: Selection, layout: Layout, counted: _Counted, *, trusting: bool) -> Measure:
    """What has to be known of the rows, mostly without looking at each; `total` is about right then."""
    if rows.snapshot_min_id is not None or not trusting:
        return select.measure(rows, layout)
    newer = select.number_of_newer(replace(rows, snapshot_min_id=counted.up_to)) if counted.newer else 0
    return select.shape(rows, layout, counted.about + newer) or select.measure(rows, layout)


def _asked(rows: Selection) -> tuple:
    return rows.customer, rows.product, rows.types, rows.start, rows.end


def _seamless(cut: Sequence[tuple[int, int]]) -> list[Stretch]:
    """The same stretches without gaps, open at both ends: a few rows may not be counted yet, wherever they are."""
    starts = [start for start, _ in cut[1:]]
    return list(zip([None, *starts], [*(start - 1 for start in starts), None], strict=True))
