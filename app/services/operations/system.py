"""The installation as whoever runs it looks at it: who is at work, what goes next, what is set, which versions."""

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
from app.services.operations.scheduler import DAY_MS, KEY_DAYS
from app.services.people.principal import Principal
from app.store import database
from app.store.models import Report
from app.store.operations import system as store
from app.support.clock import now
from app.support.ttl_cache import TTLCache
from app.version import VERSION

KEPT_SECONDS = 2.0
MOST = store.MOST  # rows that are counted one by one
STARS = "••••••••"
# As far as the last @: what was written without % ends there for some libraries, and too many stars tell nothing.
PASSWORD = re.compile(r"(?<=://)([^/@?#:]*:).*(?=@)|(?i:(?<=password=))[^&]*")
# What the installation stands on, and what it can do without.
LIBRARIES = ("Flask", "granian", "marshmallow", "msgspec", "orjson", "peewee", "psycopg", "redis", "rq", "Jinja2")
EXTRAS = ("zstandard", "boto3", "pyarrow")


@dataclass(frozen=True)
class Worker:
    """A report worker.

    Attributes:
        seen: what Redis knows of it.
        is_silent: it has not been heard from for too long.
        report: what it is at; None: it waits for work, or that is not the asker's to see.
        is_busy: it is at a report.
        helps: it writes a part of a report that another worker holds.
    """

    seen: WorkerSeen
    is_silent: bool
    report: Report | None
    is_busy: bool
    helps: bool


@dataclass(frozen=True)
class Work:
    """Who is at work.

    Attributes:
        problem: why it cannot be told; then there is nothing else.
        waiting: reports that wait for a worker.
        calls: wakings that wait in the queue.
        scheduler: when one was last heard from, in milliseconds.
    """

    problem: str | None = None
    workers: Sequence[Worker] = ()
    waiting: int = 0
    calls: int = 0
    scheduler: int | None = None


@dataclass(frozen=True)
class Retention:
    """How long something is kept, and what of it goes next.

    Attributes:
        setting: which says so; empty: it is not for anybody to say.
        days: None: for good.
        number: how many there are; None: not told. More than MOST are not counted.
        oldest: milliseconds; None: there is none.
        going: how many go within a day.
    """

    what: str
    setting: str
    days: int | None
    number: int | None
    oldest: int | None
    going: int
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting in force.

    Attributes:
        value: as text, secrets starred.
        stands_for: what an empty value means; empty: nothing else.
        is_given: the environment has it; else it is the default.
    """

    name: str
    value: str
    stands_for: str
    is_given: bool


@dataclass(frozen=True)
class Room:
    """Bytes on this machine's disk, and what the installation's own things take."""

    folder: str
    total: int
    free: int
    database: int
    files: int


class System:
    """The installation, as one process sees it."""

    def __init__(self, settings: Settings, queue: ReportQueue) -> None:
        self._settings = settings
        self._queue = queue
        self._given = given()
        self._kept: TTLCache[Work] = TTLCache(KEPT_SECONDS)

    def work(self, who: Principal) -> Work:
        """Who is at work, as it was at most two seconds ago."""
        return self._kept.get(who.customers, lambda: self._work(who))

    def retention(self, who: Principal) -> list[Retention]:
        """What is kept for how long, and what of it goes next."""
        settings, moment = self._settings, now()
        customers = who.customers

        def edge(days: int) -> int:
            """Whatever is older goes within a day."""
            return moment - (days - 1) * DAY_MS

        days = settings.event_keep_days
        going = store.events_before(edge(days), customers) if days else 0
        number, size, first, files = store.files(customers, moment + DAY_MS)
        told = Retention("Events", "EVENT_KEEP_DAYS", days or None, None, store.oldest_hour(customers), going)
        lines = [told, Retention("Report files", "REPORT_KEEP_DAYS", settings.report_keep_days, number, None, files)]
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
        """The disk, and what takes how much of it."""
        folder = self._settings.data_dir.absolute()
        usage = shutil.disk_usage(existing(folder))
        return Room(str(folder), usage.total, usage.free, store.size(), store.files(who.customers, 0)[1])

    def settings(self) -> list[Setting]:
        """Every setting in force."""
        return [self._setting(one.name, secret=not one.repr) for one in fields(Settings)]

    def versions(self) -> list[tuple[str, str]]:
        """What runs, and what it stands on."""
        try:
            redis = self._queue.server()
        except QueueUnavailable:
            redis = "Redis cannot be reached"
        servers = [("Database", store.server()), ("Queue", redis)]
        libraries = [(name, _version(name)) for name in (*LIBRARIES, *EXTRAS)]
        return [("Tally", VERSION), ("Python", platform.python_version()), *servers, *libraries]

    def migrations(self) -> list[tuple[str, bool]]:
        """The migrations in order, and whether the database has each."""
        return database.migrations()

    def uncounted(self) -> int:
        """About how many events are not in the hourly counts yet."""
        return store.uncounted()

    def _work(self, who: Principal) -> Work:
        try:
            seen, calls = self._queue.workers(), self._queue.length()
            scheduler = self._queue.scheduler_seen()
        except QueueUnavailable as error:
            return Work(str(error))
        held = {report.worker: report for report in store.at_work()}
        helping = {worker for worker, _ in store.helping()}
        workers = [_worker(one, held.get(one.name), who, helps=one.name in helping) for one in seen]
        heard = None if scheduler is None else round(scheduler * 1000)
        return Work(None, workers, store.waiting(), calls, heard)

    def _setting(self, name: str, *, secret: bool) -> Setting:
        value = getattr(self._settings, name)
        stands_for = {
            "database_url": self._settings.database,
            "redis_url": self._settings.redis,
            "storage_url": self._settings.storage,
            "secret_key": f"the key in {self._settings.data_dir / 'secret.key'}",
            "public_url": self._settings.base_url,
            "web_processes": str(self._settings.web_process_count),
        }.get(name, "")
        text = STARS if secret and value else starred(_text(value))
        return Setting(name.upper(), text, "" if value else starred(stands_for), name.upper() in self._given)


def starred(text: str) -> str:
    """A URL without its password."""
    return PASSWORD.sub(lambda found: f"{found[1] or ''}{STARS}", text)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text.encode(errors="surrogateescape").decode(
        errors="replace"
    )  # a value in the environment may not be valid UTF-8


def _worker(seen: WorkerSeen, report: Report | None, who: Principal, *, helps: bool) -> Worker:
    shown = report if report and who.sees(report.customer) else None
    is_silent = now() - seen.heard > SILENT_SECONDS * 1000
    return Worker(seen, is_silent, shown, is_busy=report is not None or helps, helps=helps)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
