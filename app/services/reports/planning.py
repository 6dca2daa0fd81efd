"""Plan of a report: its approximate number of rows, and the time ranges of its parts.

Hourly counts are precise enough if the split leaves no trace in the file. In a compressed file it does, because each
part is compressed separately. Such parts are derived from counted rows, so that the same rows always produce the same
bytes. Rows are also counted for reports that continue an earlier report, because hourly counts cannot cover those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.exports.layout import Layout
from app.services.reports.output import Format
from app.store.events import hourly_counts, select
from app.store.events.select import Measure, Selection

PART_ROWS = 1_000_000  # takes a few seconds to write, which limits the work that is lost with a worker
WHOLE_ROWS = PART_ROWS * 5 // 4  # a slightly longer report is not split

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


def plan(rows: Selection, layout: Layout, format: Format, *, trusting: bool = True) -> Plan:
    """Measure a report, and split it into parts if it is long.

    Args:
        trusting: whether to derive the width from the recorded widths of its types. The writer detects rows that exceed
            it; the report is then planned again without trusting, which reads every row.
    """
    size, whole = max(1, PART_ROWS // format.part_divisor), WHOLE_ROWS // format.part_divisor
    counted = _count(rows)
    cut: Sequence[Stretch]
    if counted.most <= whole:
        measure, cut = _measure(rows, layout, counted, trusting=trusting), []
    elif format.shows_parts or counted.newer > size or rows.snapshot_min_id is not None:
        measure, by_hour = select.survey(rows, layout)
        cut = select.stretches(rows, size, by_hour) if measure.total > whole else []
    else:
        measure = _measure(rows, layout, counted, trusting=trusting)
        cut = _without_gaps(select.stretches(rows, size, hourly_counts.by_hour(*_filter(rows))))
    if format.is_joined:  # its file is joined even from a single part
        return Plan(measure, cut or [(None, None)])
    return Plan(measure, cut if len(cut) > 1 else [])


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


def _count(rows: Selection) -> _Counted:
    """Return the numbers of rows. If the watermark moves meanwhile, read them again, so that no event counts twice."""
    while True:
        up_to = hourly_counts.watermark()
        last = rows.snapshot_max_id or 0  # a report's selection has one
        newer = max(0, last - up_to)
        most, about = hourly_counts.number(*_filter(rows)) + newer, hourly_counts.estimate(*_filter(rows))
        if rows.snapshot_min_id is not None:
            most = min(most, max(0, last - rows.snapshot_min_id))
        if hourly_counts.watermark() == up_to:
            return _Counted(up_to, newer, about, most)


def _measure(rows: Selection, layout: Layout, counted: _Counted, *, trusting: bool) -> Measure:
    """Return the measurements of the rows, usually without reading each row. `total` is an estimate in that case."""
    if rows.snapshot_min_id is not None or not trusting:
        return select.measure(rows, layout)
    newer = select.number_of_newer(rows, counted.up_to, rows.snapshot_max_id or 0) if counted.newer else 0
    return select.shape(rows, layout, counted.about + newer) or select.measure(rows, layout)


def _filter(rows: Selection) -> tuple[str, str, Sequence[str], int | None, int | None]:
    return rows.customer, rows.product, rows.types, rows.start, rows.end


def _without_gaps(cut: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Return the same ranges without gaps and open at both ends, because a few rows anywhere may not be counted yet."""
    starts = [start for start, _ in cut[1:]]
    return list(zip([None, *starts], [*(start - 1 for start in starts), None], strict=True))
