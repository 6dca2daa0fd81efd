"""Recovery of lost attempts and unqueued reports, and removal of expired and orphaned files.

Several processes may run it at the same time, because each step is a conditional UPDATE or is harmless when repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from app.exceptions import StorageFailed
from app.redis.queue import ReportQueue
from app.services.reports.output import Destinations
from app.services.reports.part_writer import SILENT_MS, lease
from app.store.database import transaction
from app.store.models import Report
from app.store.reports import reports as store
from app.store.reports.reports import Outcome

UUID_LENGTH = 36
YOUNG_MS = 60_000  # the owner of a newer file may not have recorded it yet

log = structlog.get_logger(__name__)


class Cleanup:
    """Cleanup of reports, their attempts and their files.

    Args:
        limit_ms: how long a report may run.
        max_stalled: how many consecutive attempts may make no progress before the report fails.
    """

    def __init__(self, queue: ReportQueue, destinations: Destinations, limit_ms: int, max_stalled: int) -> None:
        self._queue = queue
        self._destinations = destinations
        self._limit_ms = limit_ms
        self._max_stalled = max_stalled

    def clean_up(self) -> None:
        """Run all cleanup steps. Afterwards, raise QueueUnavailable if due reports could not be queued."""
        store.remove_parts_of_ended()  # a worker may have died between completing a report and deleting its parts
        self._end_overdue()
        for report in store.silent(SILENT_MS):
            self.release(report, "Its worker was not heard from any more.")
        for report in store.expired(store.now()):
            self._try(partial(self.remove_file, report))
        self._try(self._remove_unowned)
        self.wake()

    def wake(self) -> None:
        """Queue the reports that are due but not in the queue."""
        for job in self._queue.missing([report.job for report in store.due()]):
            self._queue.enqueue(job)

    def release(self, report: Report, reason: str) -> None:
        """Release a report whose attempt is dead, or fail it if too many consecutive attempts made no progress."""
        if self.give_up(report, reason):
            return
        token = lease(report)
        with transaction():
            if store.release(report.job, token):
                store.end_attempt(report.job, token, Outcome.LOST, store.now(), reason=reason, rows=report.rows)
        log.warning("attempt given up", report=report.job, reason=reason)

    def release_worker(self, worker: str) -> list[str]:
        """Release all reports and parts that a dead worker held, and return the UUIDs of the reports."""
        store.release_parts_of(worker)
        held = store.held_by(worker)
        for report in held:
            self.release(report, "Its worker died: it was killed, or used more memory than there is.")
        return [report.job for report in held]

    def give_up(self, report: Report, reason: str, outcome: str = Outcome.LOST) -> bool:
        """Fail a report if this attempt and the previous ones made no progress. Return whether the report failed."""
        times = "1 attempt" if self._max_stalled == 1 else f"{self._max_stalled} attempts in a row"
        message, token = f"{times} got no further. The last one: {reason}", lease(report)
        with transaction():
            if not store.fail(report.job, token, self._max_stalled - 1, message, store.now()):
                return False
            store.end_attempt(report.job, token, outcome, store.now(), reason=reason, rows=report.rows)
        log.error("report failed", report=report.job, reason=message)
        self._destinations.discard_leftovers(report.job)
        return True

    def remove_file(self, report: Report) -> None:
        """Remove a report's file and mark the report's row accordingly."""
        if report.file:
            self._destinations.discard(report, report.file)
        store.mark_removed(report.job)

    def _remove_unowned(self) -> None:
        """Remove files that belong to no report, such as the partial file of a writer that died."""
        before, storage = store.now() - YOUNG_MS, self._destinations.own
        old = [key for key, since in storage.contents() if since < before]
        jobs = list({key[:UUID_LENGTH] for key in old})
        running = store.running_among(jobs)  # query this first: a report that completes now is in the next result
        owned = store.files_in_use(jobs)
        for key in old:
            if key not in owned and key[:UUID_LENGTH] not in running:
                log.warning("file removed, no report has it", file=key)
                storage.discard(key)

    def _try(self, step: Callable[[], None]) -> None:
        """Run a step and log a storage failure, so that the other steps still run. The next cleanup retries it."""
        try:
            step()
        except StorageFailed as error:
            log.warning("files not removed, the next sweep will", reason=str(error))

    def _end_overdue(self) -> None:
        seconds = self._limit_ms // 1000
        for report in store.overdue(self._limit_ms + SILENT_MS):
            with transaction():
                ended = store.end(report.job, store.TIMEOUT, f"It ran longer than {seconds} seconds.", store.now())
                if ended:
                    store.end_attempts(report.job, Outcome.TIMEOUT, store.now())
            if ended:
                log.error("report timed out", report=report.job)
                self._destinations.discard_leftovers(report.job)
