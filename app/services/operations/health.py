"""Health checks of everything that the service needs, with a description of each problem and its fix.

The service is ready as long as it accepts events into the database or the spool. A load balancer that removed it
because reports wait would make things worse. Other problems are reported without affecting readiness. The result of
`glance` is cached for a moment, because many operators have a page open that polls every two seconds. No check waits
for long, and a component that hangs is reported as unavailable.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.exceptions import QueueUnavailable, StorageFailed, StoreUnavailable
from app.redis.queue import ReportQueue
from app.services.alerts.channels import Channels
from app.services.events.spool import EventSpool
from app.services.operations.backup import Backups
from app.storage import Storage
from app.store.database import check_writable, pending, release
from app.support.timed_call import TimedCall
from app.support.ttl_cache import TTLCache

SILENT_SECONDS = 60  # a worker sends a heartbeat every few seconds
SCHEDULER_SILENT_SECONDS = 30  # it sends a heartbeat every five
GLANCE_SECONDS = 2.0
DATABASE_SECONDS = 3.0  # timeout of the query
STORAGE_SECONDS = 2.0
STORAGE_KEPT_SECONDS = 15.0  # each check is a request to the storage, which may cost money
OLD_INTERVALS = 2  # a backup of this age needs attention, because one has failed since
MIN_FREE_BYTES = 256 * 1024 * 1024

# docs/operations.md explains each message, which a test verifies.
SILENT = "The database does not answer."
AWAY = "{reason} Events are refused until it is back."
SPOOLING = "{reason} Events are kept in the spool until it is back."
UNMIGRATED = "The database needs migrating. Run: tally db upgrade. ({first})"
NO_REDIS = "{reason} Reports wait until it is back; events are not affected."
NO_WORKER = "No worker has been heard from lately. Reports wait. Start one: tally worker."
UNKNOWN = "Whether a {program} runs is unknown without Redis."
NO_SCHEDULER = (
    "No scheduler has been heard from{since}. Charts are not updated, spooled events wait, and nothing old is removed. "
    "Start one: tally scheduler."
)
UNUSABLE = "The storage of report files cannot be used."
NO_STORAGE = "{reason} Reports fail until that is fixed; events are not affected."
FULL = "The disk of {folder} has {megabytes} MB left. Make room, or move DATA_DIR."
NO_SPOOL = "The spool cannot be written: {reason}. Events are refused while the database is away."
NO_BACKUP = "There is no backup in {place} yet. If this persists, see “backup failed” in the scheduler's log."
OLD_BACKUP = (
    "The last backup is {hours} hours old, and BACKUP_EVERY is {every}. See “backup failed” in the scheduler's log."
)
NO_BACKUP_LIST = "The backups in {place} cannot be listed: {reason}"
SPOOLED = "{events} events wait in the spool. They are delivered as soon as the database is back."
FAILING_CHANNELS = "Alert channels did not accept the last message: {names}. Test them on the page Channels."


@dataclass(frozen=True)
class Check:
    """Result of a check."""

    name: str
    problem: str | None  # the problem and its fix, or None if the check passed
    note: str = ""  # further information in a few words
    stops_events: bool = False  # whether the problem prevents the service from accepting events
    plain: str | None = None  # the same for unknown callers, without addresses, buckets and folders

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.plain or self.problem)


class Health:
    """Health checks of this process's dependencies."""

    def __init__(
        self,
        settings: Settings,
        queue: ReportQueue,
        spool: EventSpool,
        storage: Storage,
        backups: Backups,
        channels: Channels,
    ) -> None:
        self._settings = settings
        self._event_spool = spool
        self._queue = queue
        self._backups = backups
        self._channels = TimedCall(channels.all, DATABASE_SECONDS, release)
        self._pending = TimedCall(_missing, DATABASE_SECONDS, release)
        self._storage_probe = TimedCall(storage.probe, STORAGE_SECONDS)
        self._storage_checks: TTLCache[Check] = TTLCache(STORAGE_KEPT_SECONDS)
        self._glances: TTLCache[list[Check]] = TTLCache(GLANCE_SECONDS)

    def checks(self) -> list[Check]:
        """Check the database, Redis, workers, scheduler, disk and spool now. The result for the storage is cached."""
        why_no_spool = self._event_spool.why_not() if self._settings.spool else None
        database = self._database(spools=self._settings.spool and why_no_spool is None)
        redis = self.redis()
        is_away = redis.problem is not None
        return [
            database,
            redis,
            self._worker(away=is_away),
            self._scheduler(away=is_away),
            self._storage_checks.get("storage", self._storage),
            self._disk(),
            self._spool(why_no_spool),
            *([self._backup()] if self._settings.backup_url else []),
            *(self._alert_channels() if database.problem is None else ()),
        ]

    def glance(self) -> list[Check]:
        """Return results that are at most two seconds old, or fifteen for the storage."""
        return self._glances.get("all", self.checks)

    def _database(self, *, spools: bool) -> Check:
        try:
            missing = self._pending.answer()
        except (StoreUnavailable, TimeoutError) as error:
            reason = error.plain if isinstance(error, StoreUnavailable) else SILENT  # unknown callers see it, too
            return Check("database", (SPOOLING if spools else AWAY).format(reason=reason), stops_events=not spools)
        if missing:
            return Check("database", UNMIGRATED.format(first=missing[0]), stops_events=True)
        return Check("database", None)

    def redis(self) -> Check:
        """Check Redis now."""
        try:
            self._queue.ping()
        except QueueUnavailable as error:
            return _redis_problem("redis", error)
        return Check("redis", None)

    def _worker(self, *, away: bool) -> Check:
        # If Redis is known to be unavailable, do not query it again, because each query may take two seconds.
        if away:
            return Check("worker", UNKNOWN.format(program="worker"))
        try:
            workers = self._queue.workers()
        except QueueUnavailable as error:
            return _redis_problem("worker", error)
        living = sum(time.time() - one.heartbeat_at / 1000 <= SILENT_SECONDS for one in workers)
        return Check("worker", None, f"{living}") if living else Check("worker", NO_WORKER, "none")

    def _scheduler(self, *, away: bool) -> Check:
        if away:
            return Check("scheduler", UNKNOWN.format(program="scheduler"))
        try:
            seen = self._queue.scheduler_seen()
        except QueueUnavailable as error:
            return _redis_problem("scheduler", error)
        if seen is None:
            return Check("scheduler", NO_SCHEDULER.format(since=""))
        seconds = time.time() - seen
        if seconds <= SCHEDULER_SILENT_SECONDS:
            return Check("scheduler", None)
        minutes = int(seconds // 60)
        silence = f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes else f"{int(seconds)} seconds"
        return Check("scheduler", NO_SCHEDULER.format(since=f" for {silence}"))

    def _storage(self) -> Check:
        try:
            self._storage_probe.answer()
        except StorageFailed as error:
            return Check("storage", NO_STORAGE.format(reason=error), plain=NO_STORAGE.format(reason=UNUSABLE))
        except TimeoutError:
            return Check("storage", NO_STORAGE.format(reason="The storage of report files does not answer."))
        return Check("storage", None)

    def _spool(self, why_not: str | None) -> Check:
        if why_not is not None:
            return Check("spool", NO_SPOOL.format(reason=why_not), "full or read-only")
        waiting = self._event_spool.waiting()
        if not waiting:
            return Check("spool", None, "empty")
        return Check("spool", SPOOLED.format(events=waiting), f"{waiting:,} events")

    def _backup(self) -> Check:
        status, place, every = self._backups.status(), self._settings.backup_url, self._settings.backup_every
        if status.problem:
            plain = NO_BACKUP_LIST.format(place="BACKUP_URL", reason="The place cannot be used.")
            return Check("backup", NO_BACKUP_LIST.format(place=place, reason=status.problem), plain=plain)
        if status.latest_at is None:
            return Check("backup", NO_BACKUP.format(place=place), plain=NO_BACKUP.format(place="BACKUP_URL"))
        is_old = status.hours >= OLD_INTERVALS * every
        return Check("backup", OLD_BACKUP.format(hours=status.hours, every=every) if is_old else None)

    def _alert_channels(self) -> list[Check]:
        """Return the check of the alert channels, if there are any."""
        try:
            channels = [one for one in self._channels.answer() if one.active]
        except (StoreUnavailable, TimeoutError):  # as the next check of the database will say
            return []
        failing = [one for one in channels if one.problem]
        if not failing:
            return [Check("channels", None, f"{len(channels)}")] if channels else []
        message = FAILING_CHANNELS.format(names=", ".join(one.name for one in failing))
        plain = FAILING_CHANNELS.format(names=f"{len(failing)} of {len(channels)}")
        return [Check("channels", message, f"{len(failing)} of {len(channels)} failing", plain=plain)]

    def _disk(self) -> Check:
        folder = self._settings.data_dir.absolute()
        free = shutil.disk_usage(existing(folder)).free
        note = f"{free / 1e9:,.0f} GB free" if free >= 1e10 else f"{free / 1e9:,.1f} GB free"
        if free < MIN_FREE_BYTES:
            megabytes = free // 2**20
            plain = FULL.format(folder="DATA_DIR", megabytes=megabytes)
            return Check("disk", FULL.format(folder=folder, megabytes=megabytes), note, plain=plain)
        return Check("disk", None, note)


def _redis_problem(name: str, error: QueueUnavailable) -> Check:
    return Check(name, NO_REDIS.format(reason=error), plain=NO_REDIS.format(reason=error.plain))


def _missing() -> list[str]:
    missing = pending()
    if not missing:
        check_writable()
    return missing


def existing(folder: Path) -> Path:
    """Return a folder, or its nearest existing parent."""
    return folder if folder.exists() else existing(folder.parent)
