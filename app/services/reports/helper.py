"""Helper for long reports: writes open parts of a report that another worker holds.

Only the attempt that holds the report completes it. A helper may stop at any time, and stops as soon as a report waits
for a worker.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.exceptions import RowTooWide
from app.services.reports.attempt import AttemptContext, seconds_left
from app.services.reports.heartbeat import Heartbeat, LeaseLost, ShutdownRequested, TimedOut, never
from app.services.reports.part_writer import PartWriter
from app.store.reports import parts
from app.store.reports import reports as store

log = structlog.get_logger(__name__)


def help_with(job: str, worker: str, context: AttemptContext, is_stopping: Callable[[], bool] = never) -> None:
    """Write parts of a report until none is open or a report waits for a worker."""
    report = store.by_job(job)
    if report is None or report.status != store.RUNNING or not report.planned:
        return
    writer = PartWriter(report, worker, context.destinations.own)
    try:
        with Heartbeat(writer.note, seconds_left(report, context.limit_ms), is_stopping) as heartbeat:
            while writer.write_next(heartbeat.check):
                if store.some_wait():
                    context.call(job, 1)
                    return
    except (LeaseLost, TimedOut):
        log.info("report needs no more help", report=job)
    except RowTooWide:  # the attempt detects this, too, and plans the report again
        log.info("report has to be planned anew", report=job)
    except ShutdownRequested:
        parts.release_of(worker)
        context.call(job, 1)
