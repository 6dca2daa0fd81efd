"""The service in numbers, for monitoring: what is on record, so that it is true whichever process is asked.

A web process knows nothing of its neighbours, nor of workers. So each number is asked of the database or of Redis at
that moment, and is left out where they are away. Customers are in none of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.config import Settings
from app.exceptions import QueueUnavailable, StoreUnavailable
from app.redis.queue import ReportQueue
from app.services.events.spool import EventSpool
from app.services.operations.health import SILENT_SECONDS, Check, Health, existing
from app.services.operations.request_metrics import Kind, RequestMetrics, Times
from app.store.database import release
from app.store.events import rejected
from app.store.operations import metrics as store
from app.store.operations import system
from app.support.clock import now
from app.support.timed_call import TimedCall
from app.support.ttl_cache import TTLCache

KEPT_SECONDS = 2.0
ANSWER_SECONDS = 3.0  # Prometheus gives up after ten


@dataclass(frozen=True)
class Recorded:
    """What the database has on record.

    Attributes:
        accepted: events ever; of those `stored` are there still, and `uncounted`, about, come on top of both.
        lag: seconds that the oldest uncounted event waits.
        rejected: events ever, by field and fault; `dropped` come on top, and `kept` are there still.
        reports: their number by state.
        wait: seconds that the oldest report waits for a worker.
        busy: workers that write.
    """

    accepted: int
    stored: int
    uncounted: int
    lag: float
    rejected: Mapping[tuple[str, str], int]
    dropped: int
    kept: int
    reports: Mapping[str, int]
    wait: float
    busy: int


@dataclass(frozen=True)
class AtWork:
    """What Redis knows.

    Attributes:
        workers: that were heard from lately.
        scheduler: when one was last heard from, in seconds since 1970; None: never, or long ago.
        requests: those answered, see `RequestMetrics`.
    """

    workers: int
    scheduler: float | None
    requests: Mapping[Kind, Times]


@dataclass(frozen=True)
class Numbers:
    """All of it.

    Attributes:
        checks: what the service needs, and whether it is well.
        recorded: None: the database is away, or too slow.
        at_work: None: Redis is away.
        spooled: events that wait on this machine.
        disk_bytes, free_bytes: of this machine.
    """

    checks: Sequence[Check]
    recorded: Recorded | None
    at_work: AtWork | None
    spooled: int
    disk_bytes: int
    free_bytes: int


class Metrics:
    """Numbers of the service, each set made at most once in two seconds by this process."""

    def __init__(
        self,
        settings: Settings,
        queue: ReportQueue,
        spooling: EventSpool,
        health: Health,
        request_metrics: RequestMetrics,
    ) -> None:
        self._folder = settings.data_dir.absolute()
        self._queue = queue
        self._spool = spooling
        self._health = health
        self._meter = request_metrics
        self._recorded = TimedCall(_recorded, ANSWER_SECONDS, release)
        self._kept: TTLCache[Numbers] = TTLCache(KEPT_SECONDS)

    def numbers(self) -> Numbers:
        """The numbers, as they were at most two seconds ago."""
        return self._kept.get("all", self._look)

    def _look(self) -> Numbers:
        checks = self._health.glance()
        well = {check.name for check in checks if not check.problem}
        disk = shutil.disk_usage(existing(self._folder))
        recorded = self._ask_database() if "database" in well else None
        at_work = self._ask_redis() if "redis" in well else None
        return Numbers(checks, recorded, at_work, self._spool.waiting(), disk.total, disk.free)

    def _ask_database(self) -> Recorded | None:
        try:
            return self._recorded.answer()
        except (StoreUnavailable, TimeoutError):  # it went away since the check
            return None

    def _ask_redis(self) -> AtWork | None:
        try:
            beats, scheduler, requests = self._queue.heartbeats(), self._queue.scheduler_seen(), self._meter.all()
        except QueueUnavailable:
            return None
        return AtWork(sum(_seconds_since(beat * 1000) <= SILENT_SECONDS for beat in beats), scheduler, requests)


def _recorded() -> Recorded:
    return Recorded(
        accepted=store.accepted(),
        stored=store.stored(),
        uncounted=system.uncounted(),
        lag=_seconds_since(store.uncounted_since()),
        rejected=store.rejected(),
        dropped=rejected.dropped(),
        kept=store.kept_rejected(),
        reports=store.by_state(),
        wait=store.waited() / 1000,
        busy=store.busy(),
    )


def _seconds_since(moment: float | None) -> float:
    return 0.0 if moment is None else max(0.0, (now() - moment) / 1000)
