"""A worker that helps another one with a long report: it writes parts that nobody writes, and nothing else.

Whether the report is complete is for the attempt that holds it to see. Who helps may stop at any time, and does so as
soon as a report waits that nobody holds.
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


def help_with(job: str, worker: str, means: AttemptContext, is_stopping: Callable[[], bool] = never) -> None:
    """Write parts of a report as long as there are any, and no report waits for a worker."""
    report = store.by_job(job)
    if report is None or report.status != store.RUNNING or not report.planned:
        return
    pen = PartWriter(report, worker, means.destinations.own)
    try:
        with Heartbeat(pen.note, seconds_left(report, means.limit_ms), is_stopping) as pulse:
            while pen.write_next(pulse.check):
                if store.some_wait():
                    means.call(job, 1)
                    return
    except (LeaseLost, TimedOut):
        log.info("report needs no more help", report=job)
    except RowTooWide:  # the attempt detects this, too, and plans the report again
        log.info("report has to be planned anew", report=job)
    except ShutdownRequested:
        parts.release_of(worker)
        means.call(job, 1)
