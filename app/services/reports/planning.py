"""Plan of a report: its approximate number of rows, and the time ranges of its parts.

Hourly counts are precise enough if the split leaves no trace in the file. In a compressed file it does, because each
part is compressed separately. Such parts are derived from counted rows, so that the same rows always produce the same
bytes. Rows are also counted for reports that continue an earlier report, because hourly counts cannot cover those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.exports.layout import Layout
from app.services.reports.formats import Output
from app.store.events import hourly_counts, select
from app.store.events.select import Measure, Selection

PART_ROWS = 1_000_000  # takes a few seconds to write, which limits the work that is lost with a worker
WHOLE_ROWS = PART_ROWS * 5 // 4  # a slightly longer report is not split
SLOWER = 4  # factor by which joined formats are slower to write, so their parts are smaller

Stretch = tuple[int | None, int | None]  # milliseconds, both inclusive; None means unbounded


@dataclass(frozen=True)
class Plan:
    """Plan of a report.

    Attributes:
        measure: measurements of its rows. `total` may be an estimate.
        parts: time ranges in order, or empty if the report is written as a whole.
    """

    measure: Measure
    parts: Sequence[Stretch]


def plan(rows: Selection, layout: Layout, output: Output) -> Plan:
    """Measure a report, and split it into parts if it is long.

    The width is usually derived from the recorded widths of its types. The writer detects rows that exceed it.
    """
    return _plan(rows, layout, output, trusting=True)


def plan_anew(rows: Selection, layout: Layout, output: Output) -> Plan:
    """Plan a report again because rows exceed the planned width. This plan reads every row."""
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
    """Numbers of rows according to the hourly counts.

    Attributes:
        up_to: the id of the last counted event.
        newer: the maximum number of events that are not counted yet.
        about: the estimated number of counted events.
        most: the maximum number of events in total.
    """

    up_to: int
    newer: int
    about: int
    most: int


def _counted(rows: Selection) -> _Counted:
    """Return the numbers of rows.

    Read them again if the watermark moved, because events would be counted twice otherwise.
    """
    while True:
        up_to = hourly_counts.watermark()
        newer = max(0, rows.snapshot_max_id - up_to)
        most, about = hourly_counts.number(*_asked(rows)) + newer, hourly_counts.estimate(*_asked(rows))
        if rows.snapshot_min_id is not None:
            most = min(most, max(0, rows.snapshot_max_id - rows.snapshot_min_id))
        if hourly_counts.watermark() == up_to:
            return _Counted(up_to, newer, about, most)


def _shape(rows: Selection, layout: Layout, counted: _Counted, *, trusting: bool) -> Measure:
    """Return the measurements of the rows, usually without reading each row. `total` is an estimate in that case."""
    if rows.snapshot_min_id is not None or not trusting:
        return select.measure(rows, layout)
    newer = select.number_of_newer(rows, counted.up_to, rows.snapshot_max_id) if counted.newer else 0
    return select.shape(rows, layout, counted.about + newer) or select.measure(rows, layout)


def _asked(rows: Selection) -> tuple:
    return rows.customer, rows.product, rows.types, rows.start, rows.end


def _seamless(cut: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Return the same ranges without gaps and open at both ends, because a few rows anywhere may not be counted yet."""
    starts = [start for start, _ in cut[1:]]
    return list(zip([None, *starts], [*(start - 1 for start in starts), None], strict=True))
