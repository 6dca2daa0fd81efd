"""Runner: claims the next report in the fair queue and handles the outcome of its attempt.

A failed attempt is retried after a delay that grows with each failure. If several consecutive attempts make no
progress, the report fails, and the reason of each attempt is on record.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import structlog

from app.exceptions import RowTooWide, StatementFailed, StoreUnavailable, TallyError
from app.redis.queue import ReportQueue
from app.services.reports import fair_queue
from app.services.reports.attempt import Attempt, AttemptContext, Preempted
from app.services.reports.cleanup import Cleanup
from app.services.reports.part_writer import Heartbeat, LeaseLost, PartWriter, ShutdownRequested, TimedOut, lease, never
from app.store.database import transaction
from app.store.models import Report
from app.store.reports import attempts, parts
from app.store.reports import reports as store

BACKOFF_MS = 1_000  # delay after the first failure; tripled after each further failure
MAX_REASON_LENGTH = 1000  # characters

log = structlog.get_logger(__name__)


class Runner:
    """Runner of report attempts in a worker process.

    Its methods take the worker's name, and a function that returns whether the worker is shutting down.
    """

    def __init__(self, context: AttemptContext, queue: ReportQueue, cleanup: Cleanup) -> None:
        self.context = context
        self._queue = queue
        self._cleanup = cleanup

    def work(self, worker: str, is_stopping: Callable[[], bool] = never) -> None:
        """Claim and attempt the next report in the fair queue, if any is due."""
        for report in fair_queue.due():
            if self.run(report.job, worker, is_stopping):
                return
        log.info("no report waits")

    def run(self, job: str, worker: str = "here", is_stopping: Callable[[], bool] = never) -> bool:
        """Attempt a report. Return False if it is not waiting for a worker."""
        report = self.claim(job, worker)
        if report is None:
            return False
        log.info("report started", report=job, attempt=report.attempt)
        try:
            Attempt(report, worker, self.context, is_stopping).run()
        except Preempted:
            self._requeue(report, "report preempted by smaller ones")
        except ShutdownRequested:  # the next worker resumes the same attempt
            parts.release_of(worker)
            self._requeue(report, "report handed back, its worker ends")
        except LeaseLost:
            self._lose(report)
        except TimedOut:
            self._time_out(report)
        except StatementFailed as error:
            self._fail(report, error)
        except StoreUnavailable as error:
            self._leave(report, error)
        except Exception as error:  # noqa: BLE001 - recorded in the row and the log
            self._fail(report, error)
        else:
            self.context.destinations.discard_leftovers(job)
        return True

    def claim(self, job: str, worker: str) -> Report | None:
        """Claim a report for an attempt, or return None if it is not waiting for a worker."""
        with transaction():
            moment, token = store.now(), secrets.token_hex(8)
            report = store.claim(job, token, moment, worker)
            if report is not None:
                attempts.begin(job, report.attempt, token, worker, moment)
        return report

    def help(self, job: str, worker: str, is_stopping: Callable[[], bool] = never) -> None:
        """Write parts of a report that another worker holds, until none is open or a report waits for a worker.

        Only the attempt that holds the report completes it, so this may stop at any time.
        """
        report = store.by_job(job)
        if store.some_wait():
            self._queue.call_help(job, 1)
            self.work(worker, is_stopping)
            return
        if report is None or report.status != store.RUNNING or not report.planned:
            return
        writer = PartWriter(report, worker, self.context.destinations.own)
        try:
            with Heartbeat(report, self.context.limit_ms, writer.note, is_stopping) as heartbeat:
                while writer.write_next(heartbeat.check):
                    if store.some_wait():
                        self._queue.call_help(job, 1)
                        return
        except (LeaseLost, TimedOut):
            log.info("report needs no more help", report=job)
        except RowTooWide:  # the attempt detects this, too, and plans the report again
            log.info("report is planned again", report=job)
        except ShutdownRequested:
            parts.release_of(worker)
            self._queue.call_help(job, 1)

    def worker_died(self, worker: str) -> None:
        """Release the reports of a dead worker and queue them at once."""
        for job in self._cleanup.release_worker(worker):
            self._queue.enqueue(job)

    def _requeue(self, report: Report, message: str) -> None:
        if store.give_back(report.job, lease(report), paused=True):
            log.info(message, report=report.job)
            self._queue.enqueue(report.job)

    def _lose(self, report: Report) -> None:
        log.warning("report lost to another attempt, or ended", report=report.job)
        attempts.end(report.job, lease(report), attempts.LOST, store.now(), reason="Another attempt took over.")
        if not store.running_among([report.job]):
            self.context.destinations.discard_leftovers(report.job)

    def _time_out(self, report: Report) -> None:
        seconds, token = self.context.limit_ms // 1000, lease(report)
        reason = f"It ran longer than {seconds} seconds. Narrow its time range, or raise REPORT_TIMEOUT_SECONDS."
        log.error("report timed out", report=report.job, seconds=seconds)
        with transaction():
            if store.note(report.job, token, status=store.TIMEOUT, ended_at=store.now(), reason=reason):
                attempts.end(report.job, token, attempts.TIMEOUT, store.now(), reason=reason, rows=report.rows)
        self.context.destinations.discard_leftovers(report.job)

    def _leave(self, report: Report, error: StoreUnavailable) -> None:
        """Release a report because the database became unavailable, without counting the attempt as stalled."""
        log.warning("report left, the database is away", report=report.job, reason=str(error))
        token = lease(report)
        attempts.end(report.job, token, attempts.LOST, store.now(), reason=str(error), rows=report.rows)
        store.give_back(report.job, token, next_attempt_at=store.clock() + BACKOFF_MS)

    def _fail(self, report: Report, error: Exception) -> None:
        """Schedule a retry, or fail the report after too many attempts without progress.

        If the database is unavailable, nothing can be recorded, so the cleanup releases the report later.
        """
        cause = {"reason": str(error)} if isinstance(error, TallyError) else {"exc_info": error}
        log.error("attempt failed", report=report.job, **cause)
        reason, token = f"{type(error).__name__}: {error}"[:MAX_REASON_LENGTH], lease(report)
        if self._cleanup.give_up(report, reason, attempts.FAILED):
            return
        current = store.by_job(report.job) or report
        stalled = current.stalled_attempts + 1
        pause = BACKOFF_MS * 3 ** max(0, stalled - 1)
        with transaction():
            attempts.end(report.job, token, attempts.FAILED, store.now(), reason=reason, rows=report.rows)
            given = store.give_back(report.job, token, stalled_attempts=stalled, next_attempt_at=store.clock() + pause)
        if given:
            log.warning("report will be tried again", report=report.job, milliseconds=pause)
