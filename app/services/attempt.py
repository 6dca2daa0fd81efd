"""One attempt at a report: claim it, stream its rows into a file, and complete it if it is still ours.

A second thread writes the progress, because the database connection of the first is busy giving rows. Whoever finds
that the row is no longer this attempt's stops and leaves nothing behind.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import structlog

from app.exceptions import StoreUnavailable
from app.exports import csv
from app.exports.file import ReportFile
from app.layout import Layout
from app.schemas.reports import DEFAULT_DELIMITER
from app.services.clock import now
from app.storage.local import LocalStorage
from app.store import events
from app.store import reports as store
from app.store.database import release
from app.store.models import Report

PULSE_SECONDS = 0.5
CHECK_EVERY_ROWS = 1024

log = structlog.get_logger(__name__)


class TimedOut(Exception):
    """The report runs longer than it may."""


class Lost(Exception):
    """The report is another attempt's now, or was ended."""


def run_attempt(job: str, storage: LocalStorage, limit_seconds: int, keep_ms: int) -> None:
    """Write a report's file, if it waits for a worker.

    Whatever goes wrong ends the report FAILED with the reason on its row, and is raised for the worker's log. Only
    when the database is away the report keeps running: the sweeper starts another attempt when it is back.
    """
    token = secrets.token_hex(8)
    report = store.claim(job, token, now())
    if report is None:
        log.info("report not taken, it does not wait", report=job)
        return
    log.info("report started", report=job, attempt=report.attempt)
    try:
        _produce(report, token, storage, limit_seconds, keep_ms)
    except Lost:
        log.warning("report lost to another attempt", report=job)
    except TimedOut:
        reason = f"It ran longer than {limit_seconds} seconds. Narrow its time range, or raise REPORT_TIMEOUT_SECONDS."
        store.note(job, token, status=store.TIMEOUT, ended=now(), reason=reason)
        log.error("report timed out", report=job, seconds=limit_seconds)
    except StoreUnavailable:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:1000]
        log.error("report failed", report=job, reason=reason)
        store.note(job, token, status=store.FAILED, ended=now(), reason=reason)
        raise


def _produce(report: Report, token: str, storage: LocalStorage, limit_seconds: int, keep_ms: int) -> None:
    key = f"{report.job}.{token}.csv"
    upload = storage.create(key)
    file = ReportFile(upload)
    try:
        with _pulse(report.job, token, file, limit_seconds) as check:
            measure = _write(report, token, file, check)
        upload.commit()
    except BaseException:
        upload.abort()
        raise
    finished = now()
    if not store.note(
        report.job,
        token,
        status=store.COMPLETE,
        ended=finished,
        touched=finished,
        rows=file.rows,
        total=file.rows,
        extra_rows=measure.extra_rows,
        file=key,
        bytes=file.bytes,
        sha256=file.sha256,
        expires=finished + keep_ms,
    ):
        storage.delete(key)
        raise Lost
    log.info("report complete", report=report.job, rows=file.rows, bytes=file.bytes)


def _write(report: Report, token: str, file: ReportFile, check: Check) -> events.Measure:
    """Stream the snapshot's rows into the file; what was measured of them before."""
    layout = Layout.from_json(report.layout)
    selection = events.Selection(
        report.customer, report.product, report.types or (), report.start, report.end, report.cut
    )
    measure = events.measure(selection, layout)
    check()
    store.note(report.job, token, total=measure.total)
    output = report.output or {}
    delimiter = output.get("delimiter", DEFAULT_DELIMITER)
    if output.get("header"):
        file.head(csv.line_writer(delimiter)(layout.header(measure.width)))
    # Closed however it ends, before the row is written to: rows under way keep the connection, and would block it.
    with closing(_lines(selection, layout, measure.width, delimiter)) as lines:
        for line in lines:
            file.row(line)
            if file.rows % CHECK_EVERY_ROWS == 0:
                check()
    file.flush()
    check()
    return measure


def _lines(selection: events.Selection, layout: Layout, width: int, delimiter: str) -> Generator[bytes]:
    """The database's own CSV where it can write it, else ours: the bytes are the same."""
    lines = events.csv_lines(selection, layout, width, delimiter)
    return csv.lines(events.rows(selection), layout, width, delimiter) if lines is None else lines


class Check:
    """Raises in the writing thread what the pulse found."""

    def __init__(self) -> None:
        self.found: type[Exception] | None = None

    def __call__(self) -> None:
        """Raise TimedOut or Lost where it is time to stop."""
        if self.found:
            raise self.found


@contextmanager
def _pulse(job: str, token: str, file: ReportFile, limit_seconds: int) -> Iterator[Check]:
    """Note progress on the row while the body runs, and watch whether to stop."""
    check, done = Check(), threading.Event()
    deadline = time.monotonic() + limit_seconds

    def beat() -> None:
        while not done.wait(min(PULSE_SECONDS, max(0.01, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                check.found = TimedOut
                return
            try:
                if not store.note(job, token, touched=now(), rows=file.rows):
                    check.found = Lost
                    return
            except StoreUnavailable as error:  # the next beat may reach it; if none does, the sweeper gives us up
                log.warning("progress not noted", report=job, reason=str(error))
            finally:
                release()

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        done.set()
        thread.join()
