"""System information for operators: workers, retention, disk space, settings and versions."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version

from app.config import Settings, given
from app.exceptions import QueueUnavailable
from app.redis.queue import ReportQueue, WorkerSeen
from app.services.operations.health import SILENT_SECONDS, existing
from app.services.operations.scheduler import KEY_DAYS
from app.services.people.principal import Principal
from app.store import database
from app.store.events import hourly_counts
from app.store.models import Report
from app.store.operations import system as store
from app.support.clock import DAY_MS, now
from app.support.ttl_cache import TTLCache
from app.version import VERSION

KEPT_SECONDS = 2.0
MOST = store.MAX_COUNTED  # maximum number of rows that are counted exactly
STARS = "••••••••"
# Mask up to the last @, because some libraries read an unescaped password up to there.
PASSWORD = re.compile(r"(?<=://)([^/@?#:]*:).*(?=@)|(?i:(?<=password=))[^&]*")
LIBRARIES = ("Flask", "granian", "marshmallow", "msgspec", "orjson", "peewee", "psycopg", "redis", "rq", "Jinja2")
OPTIONAL_LIBRARIES = ("zstandard", "boto3", "pyarrow", "authlib")


@dataclass(frozen=True)
class Worker:
    """Report worker."""

    seen: WorkerSeen  # what Redis knows about the worker
    is_silent: bool  # whether it has not sent a heartbeat for too long
    report: Report | None  # its report, or None if it is idle or the caller may not see the report
    is_busy: bool  # whether it runs a report or helps with a report
    helps: bool  # whether it writes a part of a report that another worker holds


@dataclass(frozen=True)
class Work:
    """Workers and waiting work."""

    problem: str | None = None  # why this information is unavailable; the rest is then empty
    workers: Sequence[Worker] = ()
    waiting: int = 0  # number of reports that wait for a worker
    calls: int = 0  # number of wake-ups that wait in the queue
    scheduler_heartbeat_at: int | None = None  # time of the last scheduler heartbeat, in milliseconds


@dataclass(frozen=True)
class Retention:
    """Retention of a kind of data, and what expires next."""

    what: str
    setting: str  # the setting that defines it; empty if it is fixed
    days: int | None  # None means forever
    number: int | None  # number of stored items, or None if it is not reported. At most MOST are counted
    oldest_at: int | None  # time of the oldest item in milliseconds, or None if there is none
    going: int  # number of items that expire within a day
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """Effective setting."""

    name: str
    value: str  # the value as text, with secrets masked
    stands_for: str  # the value used if the setting is empty; empty if there is none
    is_given: bool  # whether the environment sets it; otherwise it is the default


@dataclass(frozen=True)
class Room:
    """Disk space of this machine in bytes, and the space that the installation uses."""

    folder: str
    total: int
    free: int
    database: int
    files: int


class System:
    """System information from the view of a process."""

    def __init__(self, settings: Settings, queue: ReportQueue) -> None:
        self._settings = settings
        self._queue = queue
        self._given = given()
        self._kept: TTLCache[Work] = TTLCache(KEPT_SECONDS)

    def work(self, who: Principal) -> Work:
        """Return workers and waiting work, at most two seconds old."""
        return self._kept.get(who.customers, lambda: self._work(who))

    def retention(self, who: Principal) -> list[Retention]:
        """Return the retention of each kind of data, and what expires next."""
        settings, moment = self._settings, now()
        customers = who.customers

        def edge(days: int) -> int:
            """Return the time before which items expire within a day."""
            return moment - (days - 1) * DAY_MS

        days = settings.event_keep_days
        going = hourly_counts.number_before(edge(days), customers) if days else 0
        number, size, first, files = store.files(customers, moment + DAY_MS)
        events = Retention("Events", "EVENT_KEEP_DAYS", days or None, None, hourly_counts.oldest_hour(customers), going)
        lines = [events, Retention("Report files", "REPORT_KEEP_DAYS", settings.report_keep_days, number, None, files)]
        kept = settings.rejected_keep_days
        rejected = store.rejected(customers, edge(kept))
        most = f"at most {settings.rejected_max:,}, and {settings.rejected_max_bytes:,} bytes"
        lines.append(Retention("Rejected events", "REJECTED_KEEP_DAYS", kept, *rejected, most))
        if customers is None:
            kept = settings.audit_keep_days
            lines.append(Retention("Idempotency keys", "", KEY_DAYS, *store.keys(edge(KEY_DAYS))))
            lines.append(Retention("Audit log", "AUDIT_KEEP_DAYS", kept, *store.audited(edge(kept))))
        return lines

    def room(self, who: Principal) -> Room:
        """Return the disk space and how it is used."""
        folder = self._settings.data_dir.absolute()
        usage = shutil.disk_usage(existing(folder))
        return Room(str(folder), usage.total, usage.free, store.size(), store.files(who.customers, 0)[1])

    def settings(self) -> list[Setting]:
        """Return all effective settings."""
        settings, effective = self._settings, []
        defaults = {
            "database_url": settings.database,
            "redis_url": settings.redis,
            "storage_url": settings.storage,
            "secret_key": f"the key in {settings.data_dir / 'secret.key'}",
            "public_url": settings.base_url,
            "web_processes": str(settings.web_process_count),
        }
        for one in fields(Settings):
            name, value = one.name, getattr(settings, one.name)
            if isinstance(value, bool):
                text = "on" if value else "off"
            else:
                text = ", ".join(value) if isinstance(value, tuple) else str(value)
            text = text.encode(errors="surrogateescape").decode(errors="replace")  # the environment may not be UTF-8
            text = STARS if value and not one.repr else starred(text)
            stands_for = "" if value else starred(defaults.get(name, ""))
            effective.append(Setting(name.upper(), text, stands_for, name.upper() in self._given))
        return effective

    def versions(self) -> list[tuple[str, str]]:
        """Return the versions of Tally, the servers and the libraries."""
        try:
            redis = self._queue.server()
        except QueueUnavailable:
            redis = "Redis cannot be reached"
        found = [("Tally", VERSION), ("Python", platform.python_version())]
        found += [("Database", store.server()), ("Queue", redis)]
        for name in (*LIBRARIES, *OPTIONAL_LIBRARIES):
            try:
                found.append((name, version(name)))
            except PackageNotFoundError:
                found.append((name, "not installed"))
        return found

    def migrations(self) -> list[tuple[str, bool]]:
        """Return the migrations in order, and whether each has been applied to the database."""
        return database.migrations()

    def _work(self, who: Principal) -> Work:
        try:
            seen, calls = self._queue.workers(), self._queue.length()
            scheduler = self._queue.scheduler_seen()
        except QueueUnavailable as error:
            return Work(str(error))
        held = {report.worker: report for report in store.at_work()}
        helping = {worker for worker, _ in store.helping()}
        workers = []
        for one in seen:
            report, helps = held.get(one.name), one.name in helping
            is_silent = now() - one.heartbeat_at > SILENT_SECONDS * 1000
            shown = report if report and who.sees(*report.all_customers) else None
            workers.append(Worker(one, is_silent, shown, report is not None or helps, helps))
        heard = None if scheduler is None else round(scheduler * 1000)
        return Work(None, workers, store.waiting(), calls, heard)


def starred(text: str) -> str:
    """Return a URL with its password masked."""
    return PASSWORD.sub(lambda found: f"{found[1] or ''}{STARS}", text)
