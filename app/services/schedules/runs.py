"""Runs of schedules: starts each due report exactly once, even with several schedulers, and even if some die.

A process holds the schedule's claim while it starts a report, until the schedule's row records the report. A claim
whose holder died is settled by what the table of reports contains. Of several missed runs, only the latest is made up
for. It covers the period that it would have covered on time.

A report of "everything since the last one" begins after the last event of the previous report, in order of acceptance.
The outcome of the previous report does not matter: if it failed, it is retried for its own range.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import structlog

from app.exceptions import Forbidden, InputInvalid, ScheduleBusy, ScheduleUnknown, StoreUnavailable
from app.services.catalog.lookup import NOT_KNOWN
from app.services.people import accounts, audit
from app.services.people.principal import SYSTEM, Principal
from app.services.reports.service import Reports
from app.services.schedules.recurrence import Recurrence
from app.store.database import transaction
from app.store.models import Report, Schedule
from app.store.schedules import schedules as store
from app.support.clock import SKEW_MS, now

HOUR_MS = 3_600_000
PERIOD, SINCE_LAST = "period", "since_last"
ABANDONED_MS = 120_000  # a claim is normally held for milliseconds, and starting a report takes seconds at most

log = structlog.get_logger(__name__)


class ScheduleRuns:
    """Starts the reports of schedules."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def run(self, by: Principal, schedule: Schedule) -> Report:
        """Start a report now, even if the schedule is paused, without changing the time of the next run.

        Raises:
            ScheduleBusy: a report of the schedule is being started now.
            ScheduleUnknown: the schedule was removed in the meantime.
            Forbidden, InputInvalid, RateLimited: see `Reports.start`. Forbidden also if the owner no longer exists.
        """
        moment = now()
        self._reports.check_room(schedule.owner)
        taken = store.claim(schedule.id, secrets.token_hex(8), moment, None, due=None)
        if taken is None and store.by_id(schedule.id) is None:
            raise ScheduleUnknown(f"There is no recurring report {schedule.id} any more: somebody removed it.")
        if taken is None:
            raise ScheduleBusy(f"{schedule.name} is being started at this moment.")
        return self._start(taken, moment, by=by)

    def run_due(self) -> None:
        """Start the reports that are due. Only schedulers call it."""
        self._settle_abandoned()
        self._reset_distant_runs()
        moment = now()
        for schedule in store.due(moment):
            try:
                self._run_due(schedule, moment)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - log it in full; other schedules must not wait until this is fixed
                log.exception("recurring report not started, it will be tried again", schedule=schedule.id)

    def _run_due(self, schedule: Schedule, moment: int) -> None:
        following = recurrence(schedule).next_run(moment)
        taken = store.claim(schedule.id, secrets.token_hex(8), moment, following, due=schedule.next_run_at)
        if taken is None:  # another scheduler has claimed it
            return
        try:
            report = self._start(taken, recurrence(taken).latest_run(moment))
        except Forbidden as error:
            log.warning("recurring report paused", schedule=taken.id, reason=str(error))
        except InputInvalid as error:
            log.warning("recurring report not started", schedule=taken.id, reason=_explain(error))
        else:
            log.info("recurring report started", schedule=taken.id, report=report.job)

    def _start(self, taken: Schedule, at: int, *, by: Principal | None = None) -> Report:
        """Start the report of a claimed schedule for its period at a time, and release the claim."""
        try:
            filter: dict[str, object] = {"customer": taken.customer, "product": taken.product, "types": taken.types}
            if taken.mode == PERIOD:
                filter["start"], filter["end"] = recurrence(taken).period(at)
            after = taken.last_snapshot_max_id if taken.mode == SINCE_LAST else None
            report = self._reports.start(
                owner(taken), filter, taken.output, origin=taken.id, after=after, name=taken.name
            )
        except Forbidden as error:
            with transaction():
                _release(taken, ran=True, active=False, next_run_at=None, reason=str(error))
                note(SYSTEM, "paused", taken, {"reason": str(error)})
            raise
        except InputInvalid as error:
            public = without_suggestions(error)
            _release(taken, ran=True, reason=_explain(public))
            raise public from None
        except BaseException:
            _release(taken, ran=False)  # it is still due
            raise
        self._settle(taken, report, by=by)
        return report

    def _settle(self, taken: Schedule, report: Report, *, by: Principal | None = None) -> None:
        values = {"last_run_at": report.started_at, "last_report": report.job, "reason": None}
        with transaction():
            is_settled = _release(taken, ran=True, last_snapshot_max_id=report.snapshot_max_id, **values)
            if is_settled and by is not None:
                note(by, "run", taken, {"report": f"JOB-{report.job}"})
        if not is_settled:  # another process has claimed it, or the schedule was removed
            log.error("report cancelled, its schedule was taken over meanwhile", schedule=taken.id, report=report.job)
            self._reports.cancel(SYSTEM, report)

    def _reset_distant_runs(self) -> None:
        """Reset a next run that is more than a period away, because a scheduler with a fast clock has set it."""
        moment = now()
        for schedule in store.waiting(moment + HOUR_MS):
            # With a slightly slow clock, this must not schedule again the run that another scheduler has just started.
            latest, planned = recurrence(schedule).next_run(moment + SKEW_MS), schedule.next_run_at
            if planned is None or planned <= latest:
                continue
            if store.set_next_run(schedule.id, planned, recurrence(schedule).next_run(moment)):
                log.warning("next run of a recurring report was too far away", schedule=schedule.id)

    def _settle_abandoned(self) -> None:
        """Settle claims whose holders died: record the report if it was started, otherwise make it due again."""
        for schedule in store.abandoned(now() - ABANDONED_MS, now() + SKEW_MS):
            report = store.left_by(schedule)
            log.warning("a scheduler died starting a report", schedule=schedule.id, started=bool(report))
            if report:
                self._settle(schedule, report)
            else:
                _release(schedule, ran=False)


def note(by: Principal, act: str, schedule: Schedule, details: Mapping[str, object] | None = None) -> None:
    """Record an action on a schedule in the audit log."""
    named = f"recurring report {schedule.id}: {schedule.name}"
    audit.note(by, f"recurring report {act}", named, details, customer=schedule.customer)


def recurrence(schedule: Schedule) -> Recurrence:
    """Return the recurrence of a schedule."""
    return Recurrence(schedule.recurrence, schedule.hour)


def owner(schedule: Schedule) -> Principal:
    """Return the user as whom a schedule's reports are started, or raise Forbidden if the user is gone."""
    return accounts.owner(schedule.owner, schedule.owner_name)


def without_suggestions(error: InputInvalid) -> InputInvalid:
    """Return the error without suggested codes, because the owner may see more customers than the reader."""
    field_errors = [
        found.with_message("".join(found.message.partition(NOT_KNOWN)[:2]) + ".") if found.is_unknown else found
        for found in error.field_errors
    ]
    return InputInvalid(str(error), field_errors)


def _release(taken: Schedule, *, ran: bool, **values: Any) -> bool:
    return store.settle(taken.id, taken.claim or "", ran=ran, **values)


def _explain(error: InputInvalid) -> str:
    return " ".join(found.message for found in error.field_errors) or str(error)
