"""Runner: claims the next report in the fair queue and handles the outcome of its attempt.

A failed attempt is retried after a delay that grows with each failure. If several consecutive attempts make no
progress, the report fails, and the reason of each attempt is on record.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import structlog

from app.exceptions import QueueUnavailable, StatementFailed, StoreUnavailable, TallyError
from app.redis.queue import ReportQueue
from app.services.reports import fair_queue
from app.services.reports.attempt import Attempt, AttemptContext, Preempted
from app.services.reports.cleanup import Cleanup
from app.services.reports.heartbeat import LeaseLost, ShutdownRequested, TimedOut, never
from app.services.reports.helper import help_with
from app.store.database import transaction
from app.store.models import Report
from app.store.reports import attempts, parts
from app.store.reports import reports as store

BACK_OFF_MS = 1_000  # delay after the first failure; tripled after each further failure
LONGEST_REASON = 1000  # characters

log = structlog.get_logger(__name__)


class Runner:
    """Runner of report attempts in a worker process.

    Its methods take the worker's name, and a function that returns whether the worker is shutting down.

    Args:
        context: returns the context of the attempts at a report.
    """

    def __init__(self, context: Callable[[Report], AttemptContext], queue: ReportQueue, cleanup: Cleanup) -> None:
        self._context = context
        self._queue = queue
        self._cleanup = cleanup

    def work(self, worker: str, is_stopping: Callable[[], bool] = never) -> None:
        """Claim and attempt the next report in the fair queue, if any is due."""
        for report in fair_queue.due():
            if self.run(report.job, worker, is_stopping):
                return
        log.info("no report waits")

    def help(self, job: str, worker: str, is_stopping: Callable[[], bool] = never) -> None:
        """Write parts of a report that another worker holds. Reports that wait for a worker have priority."""
        report = store.by_job(job)
        if store.some_wait():
            self._queue.call_help(job, 1)
            self.work(worker, is_stopping)
        elif report is not None:
            help_with(job, worker, self._context(report), is_stopping)

    def run(self, job: str, worker: str = "here", is_stopping: Callable[[], bool] = never) -> bool:
        """Attempt a report. Return False if it is not waiting for a worker."""
        report = self._claim(job, worker)
        if report is None:
            return False
        log.info("report started", report=job, attempt=report.attempt)
        try:
            Attempt(report, worker, self._context(report), is_stopping).run()
        except StatementFailed as error:
            self._ended_badly(report, error)
        except StoreUnavailable as error:
            self._leave(report, error)
        except Exception as error:  # noqa: BLE001 - recorded in the row and the log; its type decides what follows
            self._ended_badly(report, error)
        else:
            self._cleanup.remove_expired(report.job)
        return True

    def _claim(self, job: str, worker: str) -> Report | None:
        with transaction():
            moment = store.now()
            report = store.claim(job, secrets.token_hex(8), moment, worker)
            if report is not None:
                attempts.begin(job, report.attempt, report.token, worker, moment)
        return report

    def _ended_badly(self, report: Report, error: Exception) -> None:
        if isinstance(error, Preempted):
            self._pause(report)
        elif isinstance(error, ShutdownRequested):
            self._hand_back(report)
        elif isinstance(error, LeaseLost):
            self._lose(report)
        elif isinstance(error, TimedOut):
            self._time_out(report)
        else:
            told = {"reason": str(error)} if isinstance(error, TallyError) else {"exc_info": error}
            log.error("attempt failed", report=report.job, **told)
            self._try_later(report, f"{type(error).__name__}: {error}"[:LONGEST_REASON])

    def _leave(self, report: Report, error: StoreUnavailable) -> None:
        """Release a report because the database became unavailable, without counting the attempt as stalled."""
        log.warning("report left, the database is away", report=report.job, reason=str(error))
        attempts.end(report.job, report.token, attempts.LOST, store.now(), reason=str(error), rows=report.rows)
        store.give_back(report.job, report.token, not_before=store.clock() + BACK_OFF_MS)

    def _pause(self, report: Report) -> None:
        if store.give_back(report.job, report.token, paused=True):
            log.info("report gives way to smaller ones", report=report.job)
            self._queue.enqueue(report.job)

    def _hand_back(self, report: Report) -> None:
        """Release a report because the worker shuts down. The next worker resumes the same attempt."""
        parts.release_of(report.worker)
        if store.give_back(report.job, report.token, paused=True):
            log.info("report handed back, its worker ends", report=report.job)
            self._queue.enqueue(report.job)

    def _lose(self, report: Report) -> None:
        log.warning("report lost to another attempt, or ended", report=report.job)
        attempts.end(report.job, report.token, attempts.LOST, store.now(), reason="Another attempt took over.")
        if store.by_job(report.job).status != store.RUNNING:
            self._cleanup.remove_expired(report.job)

    def _time_out(self, report: Report) -> None:
        seconds = self._context(report).limit_ms // 1000
        reason = f"It ran longer than {seconds} seconds. Narrow its time range, or raise REPORT_TIMEOUT_SECONDS."
        log.error("report timed out", report=report.job, seconds=seconds)
        with transaction():
            if store.note(report.job, report.token, status=store.TIMEOUT, ended=store.now(), reason=reason):
                attempts.end(report.job, report.token, attempts.TIMEOUT, store.now(), reason=reason, rows=report.rows)
        self._cleanup.remove_expired(report.job)

    def _try_later(self, report: Report, reason: str) -> None:
        """Schedule a retry.

        If the database is unavailable, nothing can be recorded, so the cleanup releases the report later.
        """
        if self._cleanup.give_up(report, reason, attempts.FAILED):
            return
        stalled = store.by_job(report.job).stalled_attempts + 1
        pause = BACK_OFF_MS * 3 ** max(0, stalled - 1)
        with transaction():
            attempts.end(report.job, report.token, attempts.FAILED, store.now(), reason=reason, rows=report.rows)
            given = store.give_back(
                report.job, report.token, stalled_attempts=stalled, not_before=store.clock() + pause
            )
        if given:
            log.warning("report will be tried again", report=report.job, milliseconds=pause)

    def worker_died(self, worker: str) -> None:
        """Release the reports of a dead worker and queue them at once."""
        for job in self._cleanup.release_worker(worker):
            try:
                self._queue.enqueue(job)
            except QueueUnavailable:  # the cleanup queues them
                return
