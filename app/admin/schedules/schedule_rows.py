"""Display values of a recurring report: its state, its runs, and the periods it missed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.blueprint import services
from app.admin.reports.report_rows import ReportRow, report_row
from app.admin.states import SCHEDULE, State
from app.auth import caller
from app.exceptions import ReportUnknown
from app.schemas.schedules import covers, when
from app.services.rows import Report, Schedule


@dataclass(frozen=True)
class ScheduleRow:
    """Recurring report, ready to be shown.

    Attributes:
        schedule: the database row.
        when, covers: in words.
        last: its last report, or None if there is none.
    """

    schedule: Schedule
    state: State
    when: str
    covers: str
    last: ReportRow | None

    @property
    def moves(self) -> bool:
        """Return whether the state of the last report may change."""
        return self.last is not None and self.last.moves


def schedule_row(schedule: Schedule) -> ScheduleRow:
    inactive = "stopped" if schedule.reason else "paused"
    state = SCHEDULE["active" if schedule.active else inactive]
    return ScheduleRow(schedule, state, when(schedule), covers(schedule), _last_report(schedule))


def gaps(reports: Sequence[Report]) -> list[tuple[int, int]]:
    """Return the gaps between the periods of reports as start and end in milliseconds, latest first.

    Reports without a start or an end are ignored.
    """
    periods = sorted((one.start, one.end) for one in reports if one.start is not None and one.end is not None)
    found = [(before[1] + 1, after[0] - 1) for before, after in itertools.pairwise(periods) if after[0] > before[1] + 1]
    return found[::-1]


def _last_report(schedule: Schedule) -> ReportRow | None:
    """Return the last report if the caller may see it, because the schedule may have had another customer before."""
    if schedule.last_report is None:
        return None
    try:
        return report_row(services().reports.get(caller(), f"JOB-{schedule.last_report}"))
    except ReportUnknown:
        return None
