"""Runner: claims the next report in the fair queue, attempts it, and handles the outcome.

An attempt writes a report with few rows directly to its file. It splits a longer report by time into parts, each
written to a file of its own. After a worker dies, the finished parts are reused. Several workers can write parts at the
same time, and a huge report can let smaller reports run between two parts. The joined parts have the same bytes
regardless of which worker wrote them. A worker that loses the lease stops and leaves no files behind.

A failed attempt is retried after a delay that grows with each failure. If several consecutive attempts make no
progress, the report fails, and the reason of each attempt is on record.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import structlog

from app.exceptions import FileDamaged, FileMissing, RowTooWide, StatementFailed, StoreUnavailable, TallyError
from app.exports.file import ReportFile, Uncompressed
from app.exports.layout import Layout
from app.redis.queue import ReportQueue
from app.services.reports import fair_queue
from app.services.reports.cleanup import Cleanup
from app.services.reports.output import Destinations, format_of, selection
from app.services.reports.part_writer import (
    SILENT_MS,
    Heartbeat,
    LeaseLost,
    PartWriter,
    ShutdownRequested,
    TimedOut,
    Written,
    lease,
    make_plan,
    never,
    reading_report,
    write_file,
)
from app.storage import Upload
from app.store.database import database, transaction
from app.store.models import Report, ReportPart
from app.store.reports import reports as store
from app.store.reports.reports import Outcome

BACKOFF_MS = 1_000  # delay after the first failure; tripled after each further failure
MAX_BACKOFF_MS = 60_000
MAX_REASON_LENGTH = 1000  # characters
WAIT_SECONDS = 0.05  # poll interval for parts that other workers write
STEADY_SECONDS = 2.0  # minimum running time before an attempt lets smaller reports run first
READ_BYTES = 256 * 1024  # per read; several attempts may run at the same time

log = structlog.get_logger(__name__)


class Preempted(Exception):
    """Smaller reports are waiting and run first."""


@dataclass(frozen=True)
class AttemptContext:
    """Dependencies and limits of an attempt.

    Attributes:
        destinations: the destinations of parts and of the report's file.
        limit_ms: how long the report may run.
        keep_ms: how long its file is kept.
        shard_rows: the number of rows above which other workers are called to help.
        call: calls the given number of workers to help with a report.
    """

    destinations: Destinations
    limit_ms: int
    keep_ms: int
    shard_rows: int
    call: Callable[[str, int], None]


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
            store.release_parts_of(worker)
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
                store.begin_attempt(job, report.attempt, token, worker, moment)
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
            store.release_parts_of(worker)
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
        store.end_attempt(report.job, lease(report), Outcome.LOST, store.now(), reason="Another attempt took over.")
        if not store.running_among([report.job]):
            self.context.destinations.discard_leftovers(report.job)

    def _time_out(self, report: Report) -> None:
        seconds, token = self.context.limit_ms // 1000, lease(report)
        reason = f"It ran longer than {seconds} seconds. Narrow its time range, or raise REPORT_TIMEOUT_SECONDS."
        log.error("report timed out", report=report.job, seconds=seconds)
        with transaction():
            if store.note(report.job, token, status=store.TIMEOUT, ended_at=store.now(), reason=reason):
                store.end_attempt(report.job, token, Outcome.TIMEOUT, store.now(), reason=reason, rows=report.rows)
        self.context.destinations.discard_leftovers(report.job)

    def _leave(self, report: Report, error: StoreUnavailable) -> None:
        """Release a report because the database became unavailable, without counting the attempt as stalled."""
        log.warning("report left, the database is away", report=report.job, reason=str(error))
        token = lease(report)
        store.end_attempt(report.job, token, Outcome.LOST, store.now(), reason=str(error), rows=report.rows)
        store.give_back(report.job, token, next_attempt_at=store.clock() + BACKOFF_MS)

    def _fail(self, report: Report, error: Exception) -> None:
        """Schedule a retry, or fail the report after too many attempts without progress.

        If the database is unavailable, nothing can be recorded, so the cleanup releases the report later.
        """
        cause = {"reason": str(error)} if isinstance(error, TallyError) else {"exc_info": error}
        log.error("attempt failed", report=report.job, **cause)
        reason, token = f"{type(error).__name__}: {error}"[:MAX_REASON_LENGTH], lease(report)
        if self._cleanup.give_up(report, reason, Outcome.FAILED):
            return
        current = store.by_job(report.job) or report
        stalled = current.stalled_attempts + 1
        pause = min(MAX_BACKOFF_MS, BACKOFF_MS * 3 ** max(0, stalled - 1))
        with transaction():
            store.end_attempt(report.job, token, Outcome.FAILED, store.now(), reason=reason, rows=report.rows)
            given = store.give_back(report.job, token, stalled_attempts=stalled, next_attempt_at=store.clock() + pause)
        if given:
            log.warning("report will be tried again", report=report.job, milliseconds=pause)


class Attempt:
    """Attempt of a worker, given by name, at a report that it has claimed."""

    def __init__(
        self, report: Report, worker: str, context: AttemptContext, is_stopping: Callable[[], bool] = never
    ) -> None:
        self._report = report
        self._token = lease(report)
        self._context = context
        self._format = format_of(report.output)
        self._layout = Layout.from_json(report.layout)
        self._part_writer = PartWriter(report, worker, context.destinations.own)
        self._began = time.monotonic()
        self._heartbeat = Heartbeat(report, context.limit_ms, self._note_progress, is_stopping)

    def run(self) -> None:
        """Write the report's file and complete it.

        Raises:
            TimedOut, LeaseLost, ShutdownRequested, Preempted: the report is incomplete, either permanently or for now.
            Forbidden: its bucket is no longer allowed.
        """
        # The operator may have removed the bucket from the list since the report was accepted.
        self._context.destinations.check(self._report.output or {})
        key = self._context.destinations.new_key(self._report)
        with self._heartbeat:
            if self._report.planned:  # its speed is computed only from rows written from now on
                self._note_or_stop(writing_began_at=store.clock(), resumed_rows=self._rows())
            else:
                self.plan()
            try:
                written = self._write(key)
            except RowTooWide:
                log.warning("report planned again, a row is wider than recorded", report=self._report.job)
                self.plan(trusting=False)
                written = self._write(key)
            self._complete(key, written)

    def plan(self, *, trusting: bool = True) -> None:
        """Measure the report, and split it into parts if it is long. Later attempts reuse this plan."""
        report = self._report
        layout = self._format.effective_layout(self._layout)
        with reading_report(report, self._heartbeat.check):
            plan = make_plan(selection(report), layout, self._format, trusting=trusting)
        self._heartbeat.check()
        report.total, report.width = plan.measure.total, plan.measure.width
        report.extra_rows, report.estimated_rows = plan.measure.extra_rows, plan.measure.total
        measured = {name: getattr(report, name) for name in ("total", "width", "extra_rows", "estimated_rows")}
        with transaction():
            store.plan_parts(report.job, plan.parts)
            self._note_or_stop(**measured, planned=True, writing_began_at=store.clock(), resumed_rows=0)
        report.planned = True

    def _write(self, key: str) -> Written:
        if not store.parts(self._report.job):
            return self._part_writer.write(selection(self._report), self._create(key), self._heartbeat.check)
        self._write_parts()
        return self._join(key)

    def _create(self, key: str) -> Upload:
        place = self._context.destinations.place(self._report)
        return place.create(key, self._format.media_type, self._heartbeat.check)

    def _write_parts(self) -> None:
        """Write open parts until all parts are written."""
        job = self._report.job
        if database.serves_many_workers and (self._report.total or 0) > self._context.shard_rows:
            self._context.call(job, store.count_open_parts(job) - 1)
        while not store.parts_are_done(job):
            if self._part_writer.write_next(self._heartbeat.check):
                is_steady = time.monotonic() - self._began > STEADY_SECONDS
                if is_steady and fair_queue.is_huge(self._report) and fair_queue.small_waits():
                    raise Preempted
            else:
                store.release_silent_parts(job, SILENT_MS)
                self._heartbeat.wait(WAIT_SECONDS)

    def _join(self, key: str) -> Written:
        """Stream all parts through this worker into the final file."""
        written = store.parts(self._report.job)
        if not written:
            raise LeaseLost  # the parts were deleted because the report ended
        try:
            return write_file(
                self._create(key), Uncompressed(), partial(self._add_parts, written), self._heartbeat.check
            )
        except FileMissing:
            size = self._context.destinations.own.size
            bad = [part for part in written if part.file is None or size(part.file) != part.bytes]
            for part in bad or written:  # the next attempt writes them again: all if none is evidently bad
                store.write_part_again(part)
            raise

    def _add_parts(self, written: Sequence[ReportPart], file: ReportFile) -> None:
        file.rows = sum(part.rows for part in written)
        if not self._format.is_joined:
            for part in written:
                self._copy(part, file)
            return
        streams = (self._open(part) for part in written)
        try:
            rows = self._format.join(streams, partial(self._add, file), self._layout)
        except (ValueError, OSError) as error:  # raised by Arrow; the storage raises its own errors
            raise FileDamaged(f"A part of the report cannot be read: {error}") from error
        if rows != file.rows:
            raise FileDamaged(f"The report's parts have {rows} rows, not the {file.rows} that were written.")

    def _copy(self, part: ReportPart, file: ReportFile) -> None:
        copied = 0
        with closing(self._open(part)) as stream:
            while piece := stream.read(READ_BYTES):
                self._add(file, piece)
                copied += len(piece)
        if copied != part.bytes:
            raise FileDamaged(f"A part of the report has {copied} bytes, not the {part.bytes} that were written.")

    def _add(self, file: ReportFile, piece: bytes) -> None:
        file.add(piece)
        self._heartbeat.check()

    def _open(self, part: ReportPart) -> BinaryIO:
        if part.file is None:
            raise FileMissing("A part of the report cannot be read: it is missing.")
        return self._context.destinations.own.open(part.file, self._heartbeat.check)

    def _complete(self, key: str, written: Written) -> None:
        finished = store.now()
        values = {"rows": written.rows, "total": written.rows, "bytes": written.bytes, "sha256": written.sha256}
        values |= {"status": store.COMPLETE, "ended_at": finished, "expires_at": finished + self._context.keep_ms}
        with transaction():
            is_held = self._note(**values, file=key, etag=written.etag)
            if is_held:
                store.end_attempt(self._report.job, self._token, Outcome.COMPLETE, finished, rows=written.rows)
        if not is_held:
            self._context.destinations.discard(self._report, key)
            raise LeaseLost
        log.info("report complete", report=self._report.job, rows=written.rows, bytes=written.bytes)

    def _note_progress(self) -> bool:
        """Record a heartbeat and progress. Return whether the attempt still holds the lease."""
        return self._part_writer.note() and self._note(rows=self._rows(), total=self._report.total)

    def _rows(self) -> int | None:
        """Return the rows written by all workers. The number never decreases and never exceeds the total."""
        report = self._report
        if report.planned:
            report.rows = max(report.rows or 0, store.part_rows(report.job) or self._part_writer.rows)
            report.total = max(report.total or 0, report.rows)
        return report.rows

    def _note_or_stop(self, **values: Any) -> None:
        if not self._note(**values):
            raise LeaseLost

    def _note(self, **values: Any) -> bool:
        return store.note(self._report.job, self._token, **values)
