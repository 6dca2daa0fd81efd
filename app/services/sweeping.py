"""Sets right what nobody else will: silent attempts, reports queued nowhere, and files that nobody owns any more.

Safe when several run it at once: each step is a conditional UPDATE, or harmless when done twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from app.queue import ReportQueue
from app.services.attempt import SILENT_MS
from app.services.clock import now
from app.services.filing import Filing
from app.store import attempts, parts
from app.store import reports as store
from app.store.models import Report

UUID_LENGTH = 36
YOUNG_MS = 60_000  # a file's owner may not have noted it yet

log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps.

    Args:
        limit_ms: how long a report may run.
        attempts_most: how many attempts in a row may get no further.
    """

    def __init__(self, queue: ReportQueue, filing: Filing, limit_ms: int, most: int) -> None:
        self._queue = queue
        self._filing = filing
        self._storage = filing.own
        self._limit_ms = limit_ms
        self._most = most

    def sweep(self) -> None:
        """Do all of it.

        Raises:
            QueueUnavailable: Redis is away, and reports wait; everything else is done.
        """
        self._end_overdue()
        for report in store.silent(SILENT_MS):
            self.release(report, "Its worker was not heard from any more.")
        for report in store.expired(now()):
            self.remove_file(report)
        self.remove_unowned()
        self.wake()

    def wake(self) -> None:
        """Queue what may be tried now and is queued nowhere."""
        for job in self._queue.missing([report.job for report in store.due()]):
            self._queue.enqueue(job)

    def release(self, report: Report, reason: str) -> None:
        """Let a report wait again whose attempt is dead; where too many have died in a row, it has failed."""
        if not store.release(report.job, report.token):
            return
        attempts.end(report.job, report.token, attempts.LOST, now(), reason=reason, rows=report.rows)
        log.warning("report released", report=report.job, reason=reason)
        if report.stalled + 1 >= self._most:
            self.give_up(report, reason)

    def release_worker(self, worker: str) -> list[str]:
        """The same for all that a dead worker was at; the reports' UUIDs."""
        parts.release_of(worker)
        held = store.held_by(worker)
        for report in held:
            self.release(report, "Its worker died: it was killed, or used more memory than there is.")
        return [report.job for report in held]

    def give_up(self, report: Report, reason: str) -> None:
        """End a report that gets no further, unless another attempt has it by now."""
        times = "1 attempt" if self._most == 1 else f"{self._most} attempts in a row"
        told = f"{times} got no further. The last one: {reason}"
        if store.fail(report.job, report.token, told, now()):
            log.error("report failed", report=report.job, reason=told)
            self.tidy(report.job)

    def tidy(self, job: str) -> None:
        """Remove all that a report left beside its file, once it has ended."""
        keep = store.files_in_use([job])
        parts.forget(job)
        for key, _ in self._storage.contents():
            if key.startswith(job) and key not in keep:
                self._storage.discard(key)

    def remove_file(self, report: Report) -> None:
        """Remove a report's file; its row stays and says so."""
        self._filing.place(report).discard(report.file)
        store.mark_removed(report.job)

    def remove_unowned(self) -> None:
        """Remove what no report has: what was being written when its writer died, and nobody went on with."""
        old = [key for key, since in self._storage.contents() if since < time.time() * 1000 - YOUNG_MS]
        jobs = {key[:UUID_LENGTH] for key in old}
        owned = store.files_in_use(list(jobs)) | parts.files(list(jobs))
        running = store.running_among(list(jobs))
        for key in self._loose(old, owned, running):
            log.warning("file removed, no report has it", file=key)
            self._storage.discard(key)

    def _loose(self, keys: Iterable[str], owned: set[str], running: set[str]) -> list[str]:
        return [key for key in keys if key not in owned and key[:UUID_LENGTH] not in running]

    def _end_overdue(self) -> None:
        seconds = self._limit_ms // 1000
        for report in store.overdue(self._limit_ms + SILENT_MS):
            if store.end(report.job, store.TIMEOUT, f"It ran longer than {seconds} seconds.", now()):
                attempts.end_all(report.job, attempts.TIMEOUT, now())
                log.error("report timed out", report=report.job)
                self.tidy(report.job)
