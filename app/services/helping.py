"""A worker that helps another one with a long report: it writes parts that nobody writes, and nothing else.

Whether the report is complete is for the attempt that holds it to see. Who helps may stop at any time.
"""

from __future__ import annotations

import structlog

from app.services.attempt import Means, seconds_left
from app.services.pen import Pen
from app.services.pulse import Lost, Pulse, TimedOut
from app.services.turns import SMALL_ROWS
from app.store import reports as store

log = structlog.get_logger(__name__)


def help_with(job: str, worker: str, means: Means) -> None:
    """Write parts of a report as long as there are any, and no small report waits for a worker."""
    report = store.by_job(job)
    if report is None or report.status != store.RUNNING or not report.planned:
        return
    pen = Pen(report, worker, means.filing.own)
    try:
        with Pulse(pen.note, seconds_left(report, means.limit_ms)) as pulse:
            while pen.write_next(pulse.check):
                if store.small_waits(SMALL_ROWS):
                    means.call(job, 1)
                    return
    except (Lost, TimedOut):
        log.info("report needs no more help", report=job)
