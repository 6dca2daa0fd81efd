"""Whether everything that the service needs is there: told in words, with what to do.

`checks` is what readiness asks for. `glance` is for pages: the scheduler too, and kept for a moment, since many
operators keep a page open that asks every two seconds.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.exceptions import QueueUnavailable, StoreUnavailable
from app.queue import ReportQueue
from app.services.kept import Kept
from app.services.spooling import Spooling
from app.store.database import pending

SILENT_SECONDS = 60  # a worker says something every few seconds
SCHEDULER_SILENT_SECONDS = 30  # it says something every five
GLANCE_SECONDS = 2.0
MIN_FREE_BYTES = 256 * 1024 * 1024
STANDS_STILL = "Charts stand still, spooled events wait, nothing old is removed. Start one: flask --app wsgi scheduler."
UNTOLD = "Whether a {} is there cannot be told without Redis."


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        problem: what is wrong and what to do; None where it is well.
        note: what else is worth knowing of it, in a word or two.
    """

    name: str
    problem: str | None
    note: str = ""


class Health:
    """Looks at what this process depends on."""

    def __init__(self, settings: Settings, queue: ReportQueue, spooling: Spooling) -> None:
        self._settings = settings
        self._spooling = spooling
        self._queue = queue
        self._glances: Kept[list[Check]] = Kept(GLANCE_SECONDS)

    def checks(self) -> list[Check]:
        """Database, Redis, worker, disk and spool, each looked at now."""
        redis = self._redis()
        return [
            Check("database", self._database()),
            redis,
            self._worker(away=redis.problem is not None),
            self._disk(),
            self._spool(),
        ]

    def glance(self) -> list[Check]:
        """The same and the scheduler, as it was at most two seconds ago."""
        return self._glances.get("all", self._look)

    def _look(self) -> list[Check]:
        database, redis, worker, *rest = self.checks()
        return [database, redis, worker, self._scheduler(away=redis.problem is not None), *rest]

    def _database(self) -> str | None:
        try:
            missing = pending()
        except StoreUnavailable as error:
            return f"{error} Events are refused until it is back."
        return f"The database needs migrating. Run: flask --app wsgi db upgrade. ({missing[0]})" if missing else None

    def _redis(self) -> Check:
        try:
            self._queue.ping()
        except QueueUnavailable as error:
            return Check("redis", f"{error} Reports wait until it is back; events are not affected.")
        return Check("redis", None)

    def _worker(self, *, away: bool) -> Check:
        # Where Redis is known to be away it is not asked again: each question may wait for two seconds.
        try:
            heartbeats = [] if away else self._queue.heartbeats()
        except QueueUnavailable:
            away = True
        if away:
            return Check("worker", UNTOLD.format("worker"))
        living = sum(time.time() - beat <= SILENT_SECONDS for beat in heartbeats)
        if not living:
            return Check(
                "worker", "No worker has been heard from lately. Reports wait. Start one: python worker.py.", "none"
            )
        return Check("worker", None, f"{living}")

    def _scheduler(self, *, away: bool) -> Check:
        try:
            seen = None if away else self._queue.scheduler_seen()
        except QueueUnavailable:
            away = True
        if away:
            return Check("scheduler", UNTOLD.format("scheduler"))
        if seen is None or time.time() - seen > SCHEDULER_SILENT_SECONDS:
            return Check("scheduler", f"{_silence(seen)} {STANDS_STILL}")
        return Check("scheduler", None)

    def _spool(self) -> Check:
        waiting = self._spooling.waiting()
        if not waiting:
            return Check("spool", None, "empty")
        problem = f"{waiting} events wait in the spool. They are delivered as soon as the database is back."
        return Check("spool", problem, f"{waiting:,} events")

    def _disk(self) -> Check:
        folder = self._settings.data_dir.absolute()
        free = shutil.disk_usage(existing(folder)).free
        note = f"{free / 1e9:,.0f} GB free" if free >= 1e10 else f"{free / 1e9:,.1f} GB free"
        if free < MIN_FREE_BYTES:
            problem = f"The disk of {folder} has {free // 2**20} MB left. Make room, or move DATA_DIR."
            return Check("disk", problem, note)
        return Check("disk", None, note)


def _silence(seen: float | None) -> str:
    if seen is None:
        return "No scheduler has been heard from."
    return f"No scheduler has been heard from for {_long(time.time() - seen)}."


def _long(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{int(seconds)} seconds" if minutes == 0 else f"{minutes} minute{'s' if minutes > 1 else ''}"


def existing(folder: Path) -> Path:
    """A folder, or the nearest above it that is there."""
    return folder if folder.exists() else existing(folder.parent)
