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
from typing import Any, BinaryIO

import structlog

from app.exceptions import FileDamaged, FileMissing, RowTooWide
from app.exports.file import ReportFile, Uncompressed
from app.exports.layout import Layout
from app.services.reports import fair_queue, planning
from app.services.reports.output import Destinations, format_of, selection
from app.services.reports.part_writer import Heartbeat, LeaseLost, PartWriter, Written, lease, never, write_file
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
                self._plan()
            try:
                written = self._write(key)
            except RowTooWide:
                log.warning("report planned again, a row is wider than recorded", report=self._report.job)
                self._plan(trusting=False)
                written = self._write(key)
            self._complete(key, written)

    def _plan(self, *, trusting: bool = True) -> None:
        """Measure the report, and split it into parts if it is long. Later attempts reuse this plan."""
        report = self._report
        layout = self._format.effective_layout(self._layout)
        plan = planning.plan(selection(report), layout, self._format, trusting=trusting)
        self._heartbeat.check()
        report.total, report.width = plan.measure.total, plan.measure.width
        report.extra_rows, report.estimated_rows = plan.measure.extra_rows, plan.measure.total
        measured = {name: getattr(report, name) for name in ("total", "width", "extra_rows", "estimated_rows")}
        with transaction():
            parts.plan(report.job, plan.parts)
            self._note_or_stop(**measured, planned=True, writing_began_at=store.clock(), resumed_rows=0)
        report.planned = True

    def _write(self, key: str) -> Written:
        if not parts.of(self._report.job):
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
            self._context.call(job, parts.open_number(job) - 1)
        while not parts.are_done(job):
            if self._part_writer.write_next(self._heartbeat.check):
                is_steady = time.monotonic() - self._began > STEADY_SECONDS
                if is_steady and fair_queue.is_huge(self._report) and fair_queue.small_waits():
                    raise Preempted
            else:
                parts.release_silent(job, SILENT_MS)
                self._heartbeat.wait(WAIT_SECONDS)

    def _join(self, key: str) -> Written:
        """Stream all parts through this worker into the final file."""
        written = parts.of(self._report.job)
        if not written:
            raise LeaseLost  # the parts were deleted because the report ended
        try:
            return write_file(
                self._create(key), Uncompressed(), partial(self._add_parts, written), self._heartbeat.check
            )
        except FileMissing:
            for part in written:  # the next attempt writes those that are missing or incomplete
                if part.file is None or self._context.destinations.own.size(part.file) != part.bytes:
                    parts.write_again(part)
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
                attempts.end(self._report.job, self._token, attempts.COMPLETE, finished, rows=written.rows)
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
            report.rows = max(report.rows or 0, parts.rows(report.job) or self._part_writer.rows)
            report.total = max(report.total or 0, report.rows)
        return report.rows

    def _note_or_stop(self, **values: Any) -> None:
        if not self._note(**values):
            raise LeaseLost

    def _note(self, **values: Any) -> bool:
        return store.note(self._report.job, self._token, **values)
