"""Whether everything that the service needs is there: told in words, with what to do.

The service is ready as long as it accepts events, into the database or into the spool: a load balancer that took it
away because reports wait would make things worse. What else is wrong is told all the same. `glance` is kept for a
moment, since many operators keep a page open that asks every two seconds. Nothing in here waits for long: what hangs is
told as what is away.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.exceptions import QueueUnavailable, StorageFailed, StoreUnavailable
from app.queue import ReportQueue
from app.services.asking import Asking
from app.services.kept import Kept
from app.services.spooling import Spooling
from app.storage import Storage
from app.store.database import check_writable, pending

SILENT_SECONDS = 60  # a worker says something every few seconds
SCHEDULER_SILENT_SECONDS = 30  # it says something every five
GLANCE_SECONDS = 2.0
DATABASE_SECONDS = 3.0  # for its answer
STORAGE_SECONDS = 2.0
STORAGE_KEPT_SECONDS = 15.0  # each look is a request to the store, which may be paid for
MIN_FREE_BYTES = 256 * 1024 * 1024

# Each message is explained in docs/operations.md; a test holds the two together.
SILENT = "The database does not answer."
AWAY = "{reason} Events are refused until it is back."
ASIDE = "{reason} Events are kept in the spool until it is back."
UNMIGRATED = "The database needs migrating. Run: flask --app wsgi db upgrade. ({first})"
NO_REDIS = "{reason} Reports wait until it is back; events are not affected."
NO_WORKER = "No worker has been heard from lately. Reports wait. Start one: python worker.py."
UNTOLD = "Whether a {program} is there cannot be told without Redis."
NO_SCHEDULER = (
    "No scheduler has been heard from{since}. Charts stand still, spooled events wait, nothing old is removed. "
    "Start one: flask --app wsgi scheduler."
)
UNUSABLE = "The storage of report files cannot be used."
NO_STORAGE = "{reason} Reports fail until that is mended; events are not affected."
FULL = "The disk of {folder} has {megabytes} MB left. Make room, or move DATA_DIR."
NO_SPOOL = "The spool cannot be written: {reason}. Events are refused while the database is away."
SPOOLED = "{events} events wait in the spool. They are delivered as soon as the database is back."
MESSAGES = (
    AWAY,
    ASIDE,
    UNMIGRATED,
    NO_REDIS,
    NO_WORKER,
    UNTOLD,
    NO_SCHEDULER,
    NO_STORAGE,
    FULL,
    NO_SPOOL,
    SPOOLED,
)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        problem: what is wrong and what to do; None where it is well.
        plain: the same for whoever is not known: no address, bucket or folder.
        note: what else is worth knowing of it, in a word or two.
        stops_events: whether none is accepted because of it.
    """

    name: str
    problem: str | None
    note: str = ""
    stops_events: bool = False
    plain: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.plain or self.problem)


class Health:
    """Looks at what this process depends on."""

    def __init__(self, settings: Settings, queue: ReportQueue, spooling: Spooling, storage: Storage) -> None:
        self._settings = settings
        self._spooling = spooling
        self._queue = queue
        self._pending = Asking(_missing, DATABASE_SECONDS)
        self._storage_probe = Asking(storage.probe, STORAGE_SECONDS)
        self._storage_checks: Kept[Check] = Kept(STORAGE_KEPT_SECONDS)
        self._glances: Kept[list[Check]] = Kept(GLANCE_SECONDS)

    def checks(self) -> list[Check]:
        """Database, Redis, worker, scheduler, storage, disk and spool, each looked at now; the storage, lately."""
        why_no_spool = self._spooling.why_not() if self._settings.spool else None
        redis = self.redis()
        is_away = redis.problem is not None
        storage = self._storage_checks.get("storage", self._storage)
        return [
            self._database(spools=self._settings.spool and why_no_spool is None),
            redis,
            self._worker(away=is_away),
            self._scheduler(away=is_away),
            storage,
            self._disk(),
            self._spool(why_no_spool),
        ]

    def glance(self) -> list[Check]:
        """The same, as it was at most two seconds ago; the storage, fifteen."""
        return self._glances.get("all", self.checks)

    def _database(self, *, spools: bool) -> Check:
        try:
            missing = self._pending.answer()
        except (StoreUnavailable, TimeoutError) as error:
            reason = error.plain if isinstance(error, StoreUnavailable) else SILENT  # anybody may ask
            return Check("database", (ASIDE if spools else AWAY).format(reason=reason), stops_events=not spools)
        if missing:
            return Check("database", UNMIGRATED.format(first=missing[0]), stops_events=True)
        return Check("database", None)

    def redis(self) -> Check:
        """Redis, looked at now."""
        try:
            self._queue.ping()
        except QueueUnavailable as error:
            return _redis_problem("redis", error)
        return Check("redis", None)

    def _worker(self, *, away: bool) -> Check:
        # Where Redis is known to be away it is not asked again: each question may wait for two seconds.
        if away:
            return Check("worker", UNTOLD.format(program="worker"))
        try:
            heartbeats = self._queue.heartbeats()
        except QueueUnavailable as error:
            return _redis_problem("worker", error)
        living = sum(time.time() - beat <= SILENT_SECONDS for beat in heartbeats)
        if not living:
            return Check("worker", NO_WORKER, "none")
        return Check("worker", None, f"{living}")

    def _scheduler(self, *, away: bool) -> Check:
        if away:
            return Check("scheduler", UNTOLD.format(program="scheduler"))
        try:
            seen = self._queue.scheduler_seen()
        except QueueUnavailable as error:
            return _redis_problem("scheduler", error)
        if seen is None or time.time() - seen > SCHEDULER_SILENT_SECONDS:
            return Check("scheduler", NO_SCHEDULER.format(since=_silence(seen)))
        return Check("scheduler", None)

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
        waiting = self._spooling.waiting()
        if not waiting:
            return Check("spool", None, "empty")
        return Check("spool", SPOOLED.format(events=waiting), f"{waiting:,} events")

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


def _silence(seen: float | None) -> str:
    return "" if seen is None else f" for {_long(time.time() - seen)}"


def _long(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{int(seconds)} seconds" if minutes == 0 else f"{minutes} minute{'s' if minutes > 1 else ''}"


def existing(folder: Path) -> Path:
    """A folder, or the nearest above it that is there."""
    return folder if folder.exists() else existing(folder.parent)
