"""Display values of a recurring report: its state, its runs, the periods it missed, and its webhooks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.blueprint import services
from app.admin.reports.report_rows import ENDED, ReportRow, State, report_row
from app.auth import caller
from app.exceptions import ReportUnknown
from app.schemas.schedules import covers, when
from app.services.rows import Delivery, DeliveryTry, Report, Schedule

ACTIVE = State("Active", "check-circle", "good")
PAUSED = State("Paused", "pause-circle", "quiet")
STOPPED = State("Stopped", "exclamation-triangle", "warning")
DELIVERY_STATES = {
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

    schedule: Schedule
    state: State
    when: str
    covers: str
    last: ReportRow | None

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

    delivery: Delivery
    source: str
    was: State
    state: State
    tries: Sequence[DeliveryTry]


def schedule_row(schedule: Schedule) -> ScheduleRow:
    inactive = STOPPED if schedule.reason else PAUSED
    return ScheduleRow(
        schedule, ACTIVE if schedule.active else inactive, when(schedule), covers(schedule), _last_report(schedule)
    )


def delivery_rows(deliveries: Sequence[Delivery]) -> list[DeliveryRow]:
    tries = services().webhooks.tries(deliveries)
    return [
        DeliveryRow(one, f"JOB-{one.report}", ENDED[one.status], DELIVERY_STATES[one.state], tries[one.id])
        for one in deliveries
    ]


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
