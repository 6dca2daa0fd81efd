"""Divide a report into parts by time, and write its rows to storage under a heartbeat.

Hourly counts are precise enough to divide it if the parts leave no trace in the file. In a compressed file they do,
because each part is compressed separately. Such parts are derived from counted rows, so that the same rows always
produce the same bytes. Rows are also counted for reports that continue an earlier report, because hourly counts cannot
cover those.

The attempt that holds the report writes, and so do its helpers. A thread beside the writer records progress and detects
when the writer must stop. It has its own connection, because the writer's connection is busy returning rows. When the
writer must stop, the thread also interrupts the writer's statement, because a database may sort for minutes before it
returns a row.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass

import structlog

from app.exceptions import StoreUnavailable
from app.exports.file import Compressor, ReportFile
from app.exports.layout import Layout
from app.services.reports.output import Format, blocks, format_of, selection
from app.storage import Storage, Upload
from app.store.database import drop_connection, interrupter, reading, release
from app.store.events import hourly_counts, select
from app.store.events.select import Measure, Selection
from app.store.models import Report, ReportPart
from app.store.queries import Codes
from app.store.reports import reports as store

PART_ROWS = 1_000_000  # takes a few seconds to write, which limits the work that is lost with a worker
WHOLE_ROWS = PART_ROWS * 5 // 4  # a slightly longer report is not split
HEARTBEAT_SECONDS = 0.5
REPLICA_SECONDS = 10.0  # how long a report waits for a replica to catch up
SILENT_MS = 20_000  # a worker without a heartbeat for this long loses its lease

Stretch = tuple[int | None, int | None]  # milliseconds, both inclusive; None means unbounded

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Plan:
    """Plan of a report.

    Attributes:
        measure: measurements of its rows. `total` may be an estimate.
        parts: time ranges in order, or empty if the report is written as a whole.
    """

    measure: Measure
    parts: Sequence[Stretch]


def make_plan(rows: Selection, layout: Layout, format: Format, *, trusting: bool = True) -> Plan:
    """Measure a report, and split it into parts if it is long.

    Args:
        trusting: whether to derive the width from the recorded widths of its types. The writer detects rows that exceed
            it; the report is then planned again without trusting, which reads every row.
    """
    size, whole = max(1, PART_ROWS // format.part_divisor), WHOLE_ROWS // format.part_divisor
    counted = _count(rows)
    cut: Sequence[Stretch]
    if counted.most <= whole:
        measure, cut = _measure(rows, layout, counted, trusting=trusting), []
    elif format.shows_parts or counted.newer > size or rows.snapshot_min_id is not None:
        measure, by_hour = select.survey(rows, layout)
        cut = select.stretches(rows, size, by_hour) if measure.total > whole else []
    else:
        measure = _measure(rows, layout, counted, trusting=trusting)
        cut = _without_gaps(select.stretches(rows, size, hourly_counts.by_hour(*_filter(rows))))
    if format.is_joined:  # its file is joined even from a single part
        return Plan(measure, cut or [(None, None)])
    return Plan(measure, cut if len(cut) > 1 else [])


@dataclass(frozen=True)
class _Counted:
    """Numbers of rows according to the hourly counts.

    Attributes:
        up_to: the id of the last counted event.
        newer: the maximum number of events that are not counted yet.
        about: the estimated number of counted events.
        most: the maximum number of events in total.
    """

    up_to: int
    newer: int
    about: int
    most: int


def _count(rows: Selection) -> _Counted:
    """Return the numbers of rows. If the watermark moves meanwhile, read them again, so that no event counts twice."""
    while True:
        up_to = hourly_counts.watermark()
        last = rows.snapshot_max_id or 0  # a report's selection has one
        newer = max(0, last - up_to)
        most, about = hourly_counts.number(*_filter(rows)) + newer, hourly_counts.estimate(*_filter(rows))
        if rows.snapshot_min_id is not None:
            most = min(most, max(0, last - rows.snapshot_min_id))
        if hourly_counts.watermark() == up_to:
            return _Counted(up_to, newer, about, most)


def _measure(rows: Selection, layout: Layout, counted: _Counted, *, trusting: bool) -> Measure:
    """Return the measurements of the rows, usually without reading each row. `total` is an estimate in that case."""
    if rows.snapshot_min_id is not None or not trusting:
        return select.measure(rows, layout)
    newer = select.number_of_newer(rows, counted.up_to, rows.snapshot_max_id or 0) if counted.newer else 0
    return select.shape(rows, layout, counted.about + newer) or select.measure(rows, layout)


def _filter(rows: Selection) -> tuple[Codes, Codes, Sequence[str], int | None, int | None]:
    return *rows.pair, rows.types, rows.start, rows.end


def _without_gaps(cut: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Return the same ranges without gaps and open at both ends, because a few rows anywhere may not be counted yet."""
    starts = [start for start, _ in cut[1:]]
    return list(zip([None, *starts], [*(start - 1 for start in starts), None], strict=True))


class TimedOut(Exception):
    """The report exceeded its time limit."""


class LeaseLost(Exception):
    """Another attempt holds the report, or the report has ended."""


class ShutdownRequested(Exception):
    """The worker must shut down."""


def never() -> bool:
    """Return False, for workers that never receive a shutdown request."""
    return False


def lease(report: Report) -> str:
    """Return the token of the attempt that holds a report. Raise LeaseLost if no attempt holds it."""
    if report.token is None:
        raise LeaseLost
    return report.token


def reading_report(report: Report, check: Callable[[], None]) -> AbstractContextManager[object]:
    """Return a context in which the rows of a report are read from the replica, unless its last attempt failed there
    or elsewhere.
    """
    return nullcontext() if report.stalled_attempts > 0 else reading(REPLICA_SECONDS, check)


class Heartbeat:
    """Context manager that sends heartbeats while it is open.

    Args:
        report: the report, whose time limit ends the writer.
        limit_ms: how long it may run since its first attempt began.
        note: records a heartbeat and progress, and returns False if the lease is lost.
        is_stopping: returns whether the worker is shutting down.
    """

    def __init__(
        self, report: Report, limit_ms: int, note: Callable[[], bool], is_stopping: Callable[[], bool] = never
    ) -> None:
        began = report.began_at or store.now()
        self._deadline = time.monotonic() + (began + limit_ms - store.now()) / 1000
        self._note = note
        self._is_stopping = is_stopping
        self._stop: type[Exception] | None = None  # why the writer must stop
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._interrupt = interrupter()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        if self._stop:
            drop_connection()  # the server may act late, and would then interrupt the next statement
        if error and self._stop and not isinstance(error, self._stop):
            raise self._stop from error  # an interrupted statement raises the driver's error

    def check(self) -> None:
        """Raise TimedOut, ShutdownRequested or LeaseLost if the writer must stop."""
        if self._stop:
            raise self._stop

    def wait(self, seconds: float) -> None:
        """Sleep, then raise like `check`."""
        time.sleep(seconds)
        self.check()

    def _run(self) -> None:
        while not self._done.wait(min(HEARTBEAT_SECONDS, max(0.01, self._deadline - time.monotonic()))):
            self._stop = self._beat()
            if self._stop:
                break
        # Interrupt the writer's statement repeatedly, because an interrupt between two statements has no effect.
        while not self._done.is_set():
            try:
                self._interrupt()
            except Exception as error:  # noqa: BLE001 - any driver's error; the writer detects the stop later by itself
                log.warning("a statement could not be ended", reason=str(error))
            self._done.wait(HEARTBEAT_SECONDS)

    def _beat(self) -> type[Exception] | None:
        if time.monotonic() >= self._deadline:
            return TimedOut
        if self._is_stopping():
            return ShutdownRequested
        try:
            return None if self._note() else LeaseLost
        except StoreUnavailable as error:  # a later heartbeat may succeed; otherwise the cleanup releases the attempt
            log.warning("progress not noted", reason=str(error))
            return None
        finally:
            release()


@dataclass(frozen=True)
class Written:
    """Result of writing a file. A part has no hash, because it is not needed. For the ETag, see `Upload.commit`."""

    rows: int
    bytes: int
    sha256: str | None
    etag: str | None


def write_file(
    upload: Upload,
    compressor: Compressor,
    fill: Callable[[ReportFile], None],
    check: Callable[[], None],
    *,
    is_part: bool = False,
) -> Written:
    """Write a file, which `fill` fills, and which appears only when it is complete. `check` raises if it must stop."""
    try:
        with ReportFile(upload.write, compressor, is_part=is_part) as file:
            fill(file)
            file.close()
        check()
        etag = upload.commit()
    except BaseException:
        upload.abort()
        raise
    return Written(file.rows, file.bytes, file.sha256, etag)


class PartWriter:
    """Writer of report files and parts for a named worker, one at a time. Another thread may read its progress."""

    def __init__(self, report: Report, worker: str, storage: Storage) -> None:
        self._report = report
        self._worker = worker
        self._storage = storage
        self._part: tuple[ReportPart, str] | None = None
        self._note_lock = threading.Lock()  # a heartbeat after the part is released would take the report for lost
        self._file: ReportFile | None = None

    @property
    def rows(self) -> int:
        """Return the number of rows written so far to the current file."""
        return self._file.rows if self._file else 0

    def note(self) -> bool:
        """Record a heartbeat on the part being written. Return False if another worker holds the part."""
        with self._note_lock:
            return self._part is None or store.note_part(*self._part, rows=self.rows)

    def write(
        self, rows: Selection, upload: Upload, check: Callable[[], None], part: ReportPart | None = None
    ) -> Written:
        """Write rows, or those of a part, to a new file. Raise RowTooWide if the report must be planned again."""
        format, layout = format_of(self._report.output), Layout.from_json(self._report.layout)

        def fill(file: ReportFile) -> None:
            self._file = file
            if (part is None or part.number == 0) and (head := format.head(layout, self._report.width or 0)):
                file.add(head)
            # Always close the rows before the next query, because an open result keeps the connection busy.
            with reading_report(self._report, check), closing(blocks(self._report, rows)) as made:
                for data, number in made:
                    file.add(data, number)
                    check()

        return write_file(upload, format.compressor(), fill, check, is_part=part is not None)

    def write_next(self, check: Callable[[], None]) -> bool:
        """Write the next open part. Return False if there is none."""
        token = secrets.token_hex(8)
        part = store.claim_part(self._report.job, token, self._worker)
        if part is None:
            return False
        self._file, self._part = None, (part, token)
        current = store.by_job(part.job) or self._report
        self._report.width = current.width  # the plan may have changed since the report was read
        try:
            self.write_part(part, token, check)
        except BaseException:
            with self._note_lock:
                self._part = None
            with suppress(StoreUnavailable):  # otherwise the part expires for lack of a heartbeat
                store.give_back_part(part, token)
            raise
        finally:
            self._file = None
        return True

    def write_part(self, part: ReportPart, token: str, check: Callable[[], None]) -> None:
        """Write a part that this worker has claimed with a token."""
        key = f"{part.job}.{token}.part"
        rows = selection(self._report).between(part.start, part.end)
        written = self.write(rows, self._storage.create(key, check=check), check, part)
        with self._note_lock:
            kept = store.note_part(part, token, rows=written.rows, bytes=written.bytes, file=key, done=True)
            self._part = None
        if kept:
            store.note_part_written(part.job)
        else:
            self._storage.discard(key)  # another worker had acquired the part
