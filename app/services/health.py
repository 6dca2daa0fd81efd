"""Whether everything that the service needs is there: told in words, with what to do."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.exceptions import QueueUnavailable, StoreUnavailable
from app.queue import ReportQueue
from app.services.spooling import Spooling
from app.store.database import pending

SILENT_SECONDS = 60  # a worker says something every few seconds
MIN_FREE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Check:
    """One thing looked at; `problem` is None where it is well."""

    name: str
    problem: str | None


class Health:
    """Looks at what this process depends on."""

    def __init__(self, settings: Settings, queue: ReportQueue, spooling: Spooling) -> None:
        self._settings = settings
        self._spooling = spooling
        self._queue = queue

    def checks(self) -> list[Check]:
        """Database, Redis, worker, disk and spool, each looked at now."""
        return [
            Check("database", self._database()),
            Check("redis", self._redis()),
            Check("worker", self._worker()),
            Check("disk", self._disk()),
            Check("spool", self._spool()),
        ]

    def _database(self) -> str | None:
        try:
            missing = pending()
        except StoreUnavailable as error:
            return f"{error} Events are refused until it is back."
        return f"The database needs migrating. Run: flask --app wsgi db upgrade. ({missing[0]})" if missing else None

    def _redis(self) -> str | None:
        try:
            self._queue.ping()
        except QueueUnavailable as error:
            return f"{error} Reports wait until it is back; events are not affected."
        return None

    def _worker(self) -> str | None:
        try:
            heartbeats = self._queue.heartbeats()
        except QueueUnavailable:
            return "Whether a worker is there cannot be told without Redis."
        if not heartbeats or time.time() - max(heartbeats) > SILENT_SECONDS:
            return "No worker has been heard from lately. Reports wait. Start one: python worker.py."
        return None

    def _spool(self) -> str | None:
        waiting = self._spooling.waiting()
        if not waiting:
            return None
        return f"{waiting} events wait in the spool. They are delivered as soon as the database is back."

    def _disk(self) -> str | None:
        folder = self._settings.data_dir.absolute()
        free = shutil.disk_usage(_existing(folder)).free
        if free < MIN_FREE_BYTES:
            return f"The disk of {folder} has {free // 2**20} MB left. Make room, or move DATA_DIR."
        return None


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)
