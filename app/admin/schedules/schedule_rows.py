"""Display values of a recurring report: its state, its runs, the periods it missed, and its webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.blueprint import services
from app.admin.reports.report_rows import ENDED, State
from app.admin.reports.report_rows import ReportRow as ReportLine
from app.admin.reports.report_rows import report_row as report_line
from app.auth import caller
from app.exceptions import ReportUnknown
from app.schemas.schedules import covers, when

ACTIVE = State("Active", "check-circle", "good")
PAUSED = State("Paused", "pause-circle", "quiet")
STOPPED = State("Stopped", "exclamation-triangle", "warning")
OF_DELIVERY = {
    "waiting": State("Waiting", "hourglass", "quiet"),
    "delivered": State("Delivered", "check-circle", "good"),
    "given_up": State("Given up", "x-circle", "bad"),
}


@dataclass(frozen=True)
class ScheduleRow:
    """Recurring report, ready to be shown.

    Attributes:
        schedule: the database row.
        when, covers: in words.
        last: its last report, or None if there is none.
    """

    schedule: object
    state: State
    when: str
    covers: str
    last: ReportLine | None

    @property
    def moves(self) -> bool:
        """Return whether the state of the last report may change."""
        return self.last is not None and self.last.moves


@dataclass(frozen=True)
class DeliveryRow:
    """Webhook delivery, ready to be shown.

    Attributes:
        delivery: the database row.
        source: of its report.
        was: how the report ended.
        tries: all recorded attempts, oldest first.
    """

    delivery: object
    source: str
    was: State
    state: State
    tries: Sequence[object]


def schedule_row(schedule: object) -> ScheduleRow:
    """Return a recurring report, ready to be shown.

    Args:
        schedule: a row of the table of schedules.
    """
    return ScheduleRow(schedule, _state(schedule), when(schedule), covers(schedule), _last(schedule))


def delivery_rows(deliveries: Sequence[object]) -> list[DeliveryRow]:
    """Return webhook deliveries, ready to be shown.

    Args:
        deliveries: rows of the table of deliveries.
    """
    tries = services().webhooks.tries(deliveries)
    return [
        DeliveryRow(one, f"JOB-{one.report}", ENDED[one.status], OF_DELIVERY[one.state], tries[one.id])
        for one in deliveries
    ]


def gaps(reports: Sequence[object]) -> list[tuple[int, int]]:
    """Return the gaps between the periods of reports as start and end in milliseconds, latest first.

    Args:
        reports: rows of the table of reports; rows without a start or an end are ignored.
    """
    ends = sorted((one.start, one.end) for one in reports if one.start is not None and one.end is not None)
    pairs = zip(ends, ends[1:], strict=False)
    return [(before[1] + 1, after[0] - 1) for before, after in pairs if after[0] > before[1] + 1][::-1]


def _state(schedule: object) -> State:
    if schedule.active:
        return ACTIVE
    return STOPPED if schedule.reason else PAUSED


def _last(schedule: object) -> ReportLine | None:
    """Return the last report if the caller may see it, because the schedule may have had another customer before."""
    if schedule.last_report is None:
        return None
    try:
        return report_line(services().reports.get(caller(), f"JOB-{schedule.last_report}"))
    except ReportUnknown:
        return None
