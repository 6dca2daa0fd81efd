"""Attempt at a report: plan it, write its parts, join them, and complete it if the attempt still holds the lease.

A report with few rows is written directly to its file. A longer report is split by time into parts, each written to a
file of its own. After a worker dies, the finished parts are reused. Several workers can write parts at the same time,
and a huge report can let smaller reports run between two parts. The joined parts have the same bytes regardless of
which worker wrote them. A worker that loses the lease stops and leaves no files behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import structlog

from app.exceptions import FileDamaged, FileMissing, RowTooWide
from app.exports import parquet
from app.exports.compression import compressor
from app.exports.file import ReportFile
from app.exports.layout import Layout
from app.exports.names import media_type
from app.services.reports import fair_queue, planning
from app.services.reports.destinations import Destinations
from app.services.reports.formats import Output, selection
from app.services.reports.heartbeat import Heartbeat, LeaseLost, never
from app.services.reports.part_writer import PartWriter, Written
from app.storage import Upload
from app.store.database import database, transaction
from app.store.models import Report, ReportPart
from app.store.reports import attempts, parts
from app.store.reports import reports as store

WAIT_SECONDS = 0.05  # poll interval for parts that other workers write
STEADY_SECONDS = 2.0  # minimum running time before an attempt lets smaller reports run first
SILENT_MS = 20_000  # a worker without a heartbeat for this long loses its lease
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


class Attempt:
    """Attempt of a worker at a report that it has claimed.

    Args:
        worker: the worker's name.
        is_stopping: returns whether the worker is shutting down.
    """

    def __init__(
        self, report: Report, worker: str, context: AttemptContext, is_stopping: Callable[[], bool] = never
    ) -> None:
        self._report = report
        self._context = context
        self._output = Output.of(report.output)
        self._target = context.destinations.place(report)
        self._part_writer = PartWriter(report, worker, context.destinations.own)
        self._began = time.monotonic()
        self._heartbeat = Heartbeat(self._note, seconds_left(report, context.limit_ms), is_stopping)

    def run(self) -> None:
        """Write the report's file and complete it.

        Raises:
            TimedOut, LeaseLost, ShutdownRequested, Preempted: the report is incomplete, either permanently or for now.
            Forbidden: its bucket is no longer allowed.
            Exception: any other failure.
        """
        # The operator may have removed the bucket from the list since the report was accepted.
        self._context.destinations.check(self._report.output or {})
        key = self._context.destinations.key(self._report)
        with self._heartbeat:
            if self._report.planned:
                self._go_on()
            else:
                self._plan()
            try:
                written = self._written(key)
            except RowTooWide:
                log.warning("report planned anew, a row is wider than what was seen", report=self._report.job)
                self._plan(anew=True)
                written = self._written(key)
            self._complete(key, written)

    def _plan(self, *, anew: bool = False) -> None:
        """Measure the report, and split it into parts if it is long. Later attempts reuse this plan.

        Args:
            anew: see `planning.plan_anew`.
        """
        report, make = self._report, planning.plan_anew if anew else planning.plan
        plan = make(selection(report), self._output.laid_out(Layout.from_json(report.layout)), self._output)
        self._heartbeat.check()
        report.total, report.width = plan.measure.total, plan.measure.width
        report.extra_rows, report.estimated_rows = plan.measure.extra_rows, plan.measure.total
        with transaction():
            parts.plan(report.job, plan.parts)
            found = {name: getattr(report, name) for name in ("total", "width", "extra_rows", "estimated_rows")}
            self._hold(**found, planned=True, writing=store.clock(), resumed_rows=0)
        report.planned = True

    def _go_on(self) -> None:
        """Resume a planned report. Its speed is computed only from rows written from now on."""
        self._hold(writing=store.clock(), resumed_rows=self._rows())

    def _hold(self, **values: object) -> None:
        if not self._note_report(**values):
            raise LeaseLost

    def _written(self, key: str) -> Written:
        if parts.of(self._report.job):
            self._write_parts()
            return self._join(key)
        begun = self._begin(key)
        return self._part_writer.write(selection(self._report), begun, self._heartbeat.check)

    def _write_parts(self) -> None:
        """Write open parts until all parts are written."""
        job = self._report.job
        self._call_help()
        while not parts.are_done(job):
            if self._part_writer.write_next(self._heartbeat.check):
                if self._gives_way():
                    raise Preempted
            else:
                parts.release_silent(job, SILENT_MS)
                self._heartbeat.wait(WAIT_SECONDS)

    def _call_help(self) -> None:
        if database.serves_many_workers and self._report.total > self._context.shard_rows:
            self._context.call(self._report.job, parts.open_number(self._report.job) - 1)

    def _gives_way(self) -> bool:
        steady = time.monotonic() - self._began > STEADY_SECONDS
        return steady and fair_queue.is_huge(self._report) and fair_queue.small_waits()

    def _join(self, key: str) -> Written:
        """Join all parts into the final file, streamed through this worker."""
        written = parts.of(self._report.job)
        if not written:
            raise LeaseLost  # the parts were deleted because the report ended
        upload = self._begin(key)
        try:
            with ReportFile(upload, compressor("none")) as file:
                self._put_together(written, file)
                file.close()
            self._heartbeat.check()
            etag = upload.commit()
        except BaseException as error:
            upload.abort()
            if isinstance(error, FileMissing):
                self._write_again(written)
            raise
        return Written(sum(part.rows for part in written), file.bytes, file.sha256, etag)

    def _put_together(self, written: Sequence[ReportPart], file: ReportFile) -> None:
        if not self._output.is_joined:
            for part in written:
                self._copy(part, file)
            return
        streams = (self._opened(part) for part in written)
        try:
            rows = parquet.join(streams, partial(self._add, file), Layout.from_json(self._report.layout))
        except (ValueError, OSError) as error:  # raised by Arrow; the storage raises its own errors
            raise FileDamaged(f"A part of the report cannot be read: {error}") from error
        if rows != (wanted := sum(part.rows for part in written)):
            raise FileDamaged(f"The report's parts have {rows} rows, not the {wanted} that were written.")

    def _begin(self, key: str) -> Upload:
        return self._target.create(key, media_type(self._report.output), self._heartbeat.check)

    def _copy(self, part: ReportPart, file: ReportFile) -> None:
        copied = 0
        with closing(self._opened(part)) as stream:
            while piece := stream.read(READ_BYTES):
                self._add(file, piece)
                copied += len(piece)
        if copied != part.bytes:
            raise FileDamaged(f"A part of the report has {copied} bytes, not the {part.bytes} that were written.")

    def _add(self, file: ReportFile, piece: bytes) -> None:
        file.add(piece)
        self._heartbeat.check()

    def _opened(self, part: ReportPart) -> BinaryIO:
        return self._context.destinations.own.open(part.file, self._heartbeat.check)

    def _write_again(self, written: Sequence[ReportPart]) -> None:
        """Reopen the parts whose files are missing or incomplete, so that the next attempt writes them."""
        for part in written:
            if self._context.destinations.own.size(part.file) != part.bytes:
                parts.write_again(part)

    def _complete(self, key: str, written: Written) -> None:
        finished = store.now()
        values = {"rows": written.rows, "total": written.rows, "bytes": written.bytes, "sha256": written.sha256}
        expires = finished + self._context.keep_ms
        values |= {"status": store.COMPLETE, "ended": finished, "expires": expires, "file": key}
        values["etag"] = written.etag
        with transaction():
            if done := self._note_report(**values):
                attempts.end(self._report.job, self._report.token, attempts.COMPLETE, finished, rows=written.rows)
        if not done:
            self._context.destinations.discard(self._report, key)
            raise LeaseLost
        log.info("report complete", report=self._report.job, rows=written.rows, bytes=written.bytes)

    def _note(self) -> bool:
        """Record a heartbeat and progress. Return whether the attempt still holds the lease."""
        return self._part_writer.note() and self._note_report(rows=self._rows(), total=self._report.total)

    def _rows(self) -> int | None:
        """Return the rows written by all workers. The number never decreases and never exceeds the total."""
        report = self._report
        if not report.planned:
            return report.rows
        written = max(report.rows or 0, parts.rows(report.job) or self._part_writer.rows)
        report.rows = written
        report.total = max(report.total, written)
        return report.rows

    def _note_report(self, **values: object) -> bool:
        return store.note(self._report.job, self._report.token, **values)


def seconds_left(report: Report, limit_ms: int) -> float:
    """Return the seconds until a report exceeds its time limit."""
    return (report.began + limit_ms - store.now()) / 1000
