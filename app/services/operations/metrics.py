"""Metrics of the service for monitoring, read from shared records so that every process returns the same values.

A web process does not know about other processes or workers. Each value therefore comes from the database or Redis at
that moment, and is omitted while they are unavailable. No metric names a customer.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.config import Settings
from app.exceptions import QueueUnavailable, StoreUnavailable
from app.redis.queue import ReportQueue
from app.services.events.spool import EventSpool
from app.services.operations.health import SILENT_SECONDS, Check, Health, existing
from app.services.operations.request_metrics import Kind, RequestMetrics, Times
from app.store.database import release
from app.store.events import hourly_counts, rejected
from app.store.operations import metrics as store
from app.support.clock import now
from app.support.timed_call import TimedCall
from app.support.ttl_cache import TTLCache

KEPT_SECONDS = 2.0
ANSWER_SECONDS = 3.0  # Prometheus gives up after ten


@dataclass(frozen=True)
class Recorded:
    """Metrics from the database."""

    accepted: int  # number of events ever accepted and counted. `uncounted` is an estimate of those not counted yet
    stored: int  # number of counted events that still exist
    uncounted: int
    lag: float  # seconds that the oldest uncounted event waits
    rejected: Mapping[tuple[str, str], int]  # number of events ever rejected, by field and fault
    dropped: int  # number of those dropped in addition
    kept: int  # number of rejected events that still exist
    reports: Mapping[str, int]  # number of reports by state
    wait: float  # seconds that the oldest report waits for a worker
    busy: int  # number of workers that write


@dataclass(frozen=True)
class AtWork:
    """Metrics from Redis."""

    workers: int  # number of workers with a recent heartbeat
    scheduler: float | None  # time of the last scheduler heartbeat, in seconds since 1970, or None: never, or long ago
    requests: Mapping[Kind, Times]  # answered requests, see `RequestMetrics`


@dataclass(frozen=True)
class Numbers:
    """All metrics."""

    checks: Sequence[Check]
    recorded: Recorded | None  # None if the database is unavailable or too slow
    at_work: AtWork | None  # None if Redis is unavailable
    spooled: int  # number of events in the spool of this machine
    disk_bytes: int  # of this machine
    free_bytes: int


class Metrics:
    """Metrics of the service, read at most once in two seconds by each process."""

    def __init__(
        self,
        settings: Settings,
        queue: ReportQueue,
        spool: EventSpool,
        health: Health,
        request_metrics: RequestMetrics,
    ) -> None:
        self._folder = settings.data_dir.absolute()
        self._queue = queue
        self._spool = spool
        self._health = health
        self._request_metrics = request_metrics
        self._recorded = TimedCall(_recorded, ANSWER_SECONDS, release)
        self._kept: TTLCache[Numbers] = TTLCache(KEPT_SECONDS)

    def numbers(self) -> Numbers:
        """Return metrics that are at most two seconds old."""
        return self._kept.get("all", self._look)

    def _look(self) -> Numbers:
        checks = self._health.glance()
        well = {check.name for check in checks if not check.problem}
        disk = shutil.disk_usage(existing(self._folder))
        recorded = at_work = None
        if "database" in well:
            with suppress(StoreUnavailable, TimeoutError):  # the database became unavailable after the check
                recorded = self._recorded.answer()
        if "redis" in well:
            with suppress(QueueUnavailable):
                seen, scheduler = self._queue.workers(), self._queue.scheduler_seen()
                workers = sum(_seconds_since(one.heartbeat_at) <= SILENT_SECONDS for one in seen)
                at_work = AtWork(workers, scheduler, self._request_metrics.all())
        return Numbers(checks, recorded, at_work, self._spool.waiting(), disk.total, disk.free)


def _recorded() -> Recorded:
    return Recorded(
        accepted=store.accepted(),
        stored=store.stored(),
        uncounted=hourly_counts.uncounted(),
        lag=_seconds_since(hourly_counts.uncounted_since()),
        rejected=store.rejected(),
        dropped=rejected.dropped(),
        kept=store.kept_rejected(),
        reports=store.by_state(),
        wait=store.waited() / 1000,
        busy=store.busy(),
    )


def _seconds_since(moment: float | None) -> float:
    return 0.0 if moment is None else max(0.0, (now() - moment) / 1000)
