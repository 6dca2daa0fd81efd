"""Backups: the database as of one moment, the secret key, the settings, the spool and, if asked for, report files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import structlog

from app.config import Settings, given
from app.exceptions import (
    BackupFailed,
    BackupRunning,
    FileMissing,
    SettingInvalid,
    StorageFailed,
    StoreUnavailable,
)
from app.services.operations.archive import (
    DAYS,
    FORMAT,
    REPORTS,
    SECRET,
    SETTINGS,
    SPOOL,
    TABLES,
    Archive,
    ArchiveWriter,
    Manifest,
    TableEntry,
    archive_names,
    created_at,
    encode_days,
)
from app.services.operations.event_digest import EVENT, EventDigest, event_table
from app.storage import Storage
from app.storage.archives import Place, open_place
from app.storage.spool import SpoolFiles
from app.store import database
from app.store.operations import transfer
from app.store.operations.table_rows import Lines, Table
from app.store.operations.transfer import Source
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, SKEW_MS, now
from app.support.timed_call import TimedCall
from app.support.ttl_cache import TTLCache
from app.version import VERSION

BEFORE_MIGRATION = "backups"  # folder in DATA_DIR, without BACKUP_URL
SESSION = "session"  # left out, because a restore would bring back sessions that have ended since
DEAD_MS = DAY_MS  # an incomplete archive of this age belongs to no running backup
FILE_BYTES = 1024 * 1024
RETRY_MS = 15 * MINUTE_MS  # after a failure
STATUS_SECONDS = 2.0  # how long a page waits for the place of backups
STATUS_KEPT_SECONDS = 30.0

Progress = Callable[[int, int], None]  # events done, and their total

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backup:
    """Complete backup."""

    address: str  # the place and the name
    created_at: int  # time of the snapshot in milliseconds
    manifest: Manifest


@dataclass(frozen=True)
class BackupStatus:
    """Automatic backups."""

    place: str  # BACKUP_URL; empty if there are no automatic backups
    latest_at: int | None = None  # when the last one was made, or None if there is none or it is unknown
    hours: int = 0  # its age
    problem: str | None = None  # why it is unknown, or None


class Backups:
    """Backups of this installation.

    Args:
        storage: the storage of report files.
    """

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings = settings
        self._storage = storage
        self._not_before = 0
        self._latest = TimedCall(lambda: self.latest(settings.backup_url), STATUS_SECONDS)
        self._status: TTLCache[BackupStatus] = TTLCache(STATUS_KEPT_SECONDS)

    def place(self, url: str) -> Place:
        """Return a place of backups; see `open_place`."""
        return open_place(url, self._settings.s3_endpoint_url)

    def create(self, url: str, *, with_files: bool = False, progress: Progress = lambda done, total: None) -> Backup:
        """Make a backup while the service runs.

        Everything that was confirmed before the call is in it. The spool is read before the database, because its
        events move into the database; an event in both is stored once.

        Args:
            url: the place: a folder, `file:///folder` or `s3://bucket/prefix`.

        Raises:
            BackupFailed: another backup is running, or there is no space.
            StorageFailed: the place cannot be written to.
            StoreUnavailable: the database cannot be read.
        """
        place, moment = self.place(url), now()
        writer = ArchiveWriter(place, moment)
        try:
            for name, data in spool_files(self._settings).contents():
                writer.add(SPOOL + name, [data])
            with transfer.snapshot(self._settings.database) as source:
                manifest = self._add_tables(writer, source, moment, progress, has_reports=with_files)
            writer.add(SECRET, [self._settings.secret().encode()])
            writer.add(SETTINGS, [_settings_file()])
            if with_files:
                self._add_reports(writer)
            writer.finish(manifest)
        except Exception:
            with suppress(StorageFailed):  # what is left is no backup, and is removed later
                writer.discard()
            raise
        return Backup(address(url, writer.name), moment, manifest)

    def before_migration(self) -> str | None:
        """Make a backup if the database has data and pending migrations, unless BACKUP_BEFORE_MIGRATION is off.

        Returns:
            Its address, or None if none was made.

        Raises:
            BackupFailed: the backup could not be made. The database is not migrated.
        """
        settings = self._settings
        if not settings.backup_before_migration or transfer.occupied(settings.database) is None:
            return None
        database.refuse_newer()
        if not (pending := database.pending()):
            return None
        url = settings.backup_url or str(settings.data_dir.absolute() / BEFORE_MIGRATION)
        try:
            made = self.create(url)
        except (BackupFailed, StorageFailed) as error:
            raise BackupFailed(
                f"The database needs migrating ({pending[0]}), and the backup before it failed: {error} "
                "Correct that, or set BACKUP_BEFORE_MIGRATION=off."
            ) from error
        log.info("backup made before a migration", backup=made.address, migration=pending[0])
        return made.address

    def latest(self, url: str) -> int | None:
        """Return when the latest complete backup in a place was made, in milliseconds, or None if there is none.

        Those of a clock that was wrong, dated in the future, do not count: backups would cease until then.
        """
        complete, _ = archive_names(self.place(url))
        return max((created_at(name) for name in complete if not _is_ahead(name)), default=None)

    def run_due(self) -> None:
        """Make a backup in BACKUP_URL if the last one is BACKUP_EVERY hours old, and remove all but BACKUP_KEEP.

        A failure is logged, and the backup is tried again later.
        """
        settings = self._settings
        if not settings.backup_url or 0 < self._not_before - now() <= RETRY_MS:
            return
        try:
            latest = self.latest(settings.backup_url)
            if latest is not None and now() - latest < settings.backup_every * HOUR_MS:
                return
            made = self.create(settings.backup_url)
            log.info("backup made", backup=made.address, events=made.manifest.events, bytes=made.manifest.bytes)
            self.prune(settings.backup_url, settings.backup_keep)
        except BackupRunning:
            return
        except (BackupFailed, StorageFailed, StoreUnavailable) as error:
            self._not_before = now() + RETRY_MS
            log.error("backup failed, it is tried again", minutes=RETRY_MS // MINUTE_MS, reason=str(error))

    def status(self) -> BackupStatus:
        """Return the last backup in BACKUP_URL, as of half a minute ago at most."""
        return self._status.get("status", self._find_status)

    def _find_status(self) -> BackupStatus:
        place = self._settings.backup_url
        if not place:
            return BackupStatus(place)
        try:
            latest = self._latest.answer()
        except (StorageFailed, TimeoutError, SettingInvalid) as error:
            return BackupStatus(place, problem=str(error) or "It does not answer.")
        return BackupStatus(place) if latest is None else BackupStatus(place, latest, (now() - latest) // HOUR_MS)

    def all(self, url: str) -> list[Backup]:
        """Return the complete backups in a place, oldest first."""
        place = self.place(url)
        found = []
        for name in archive_names(place)[0]:
            found.append(Backup(address(url, name), created_at(name), Archive(place, name).manifest))
        return found

    def prune(self, url: str, keep: int) -> list[str]:
        """Remove all but the newest complete backups, and what interrupted ones left a day ago or earlier.

        Backups dated in the future are removed first, because later ones are dated before them.

        Returns:
            The names of what was removed.
        """
        place = self.place(url)
        complete, incomplete = archive_names(place)
        complete.sort(key=lambda name: (not _is_ahead(name), name))
        dead = [name for name in incomplete if created_at(name) < now() - DEAD_MS]
        removed = complete[: max(0, len(complete) - keep)] + dead
        for name in removed:
            place.remove(name)
            log.info("backup removed", backup=name)
        return removed

    def _add_tables(
        self, writer: ArchiveWriter, source: Source, moment: int, progress: Progress, *, has_reports: bool
    ) -> Manifest:
        tables = {table.name: table for table in source.tables() if table.name != SESSION}
        digest, entries = EventDigest(event_table(tables.values())), {}
        total = source.count(EVENT)
        for name, table in tables.items():
            lines = source.lines(table)
            counter = _Counter(reported(digest.through(lines), total, progress) if name == EVENT else lines)
            writer.add(f"{TABLES}{name}.tsv", counter)
            entries[name] = TableEntry(table.names, counter.rows)
        writer.add(DAYS, [encode_days(digest.days())])
        return Manifest(
            format=FORMAT,
            tally=VERSION,
            database=source.server,
            created=moment,
            migrations=source.migrations(),
            events=digest.events,
            hash=digest.hash,
            tables=entries,
            sequences=source.sequences(),
            has_reports=has_reports,
            files=writer.files,  # to which those after the tables are added
        )

    def _add_reports(self, writer: ArchiveWriter) -> None:
        for key in sorted({key for key, _ in self._storage.contents()}):
            if self._storage.size(key) is None:  # it is still being written
                continue
            try:
                with closing(self._storage.open(key)) as stream:
                    writer.add(REPORTS + key, iter(lambda: stream.read(FILE_BYTES), b""))
            except FileMissing:  # it has expired in the meantime
                continue


def _is_ahead(name: str) -> bool:
    """Return whether a backup is dated in the future, by a clock that was wrong."""
    return created_at(name) > now() + SKEW_MS


def address(url: str, name: str) -> str:
    """Return the address of a backup in a place."""
    return f"{url.rstrip('/')}/{name}" if name else url


def spool_files(settings: Settings) -> SpoolFiles:
    """Return the spool of this machine."""
    return SpoolFiles(settings.data_dir.absolute() / "spool")


class _Counter:
    """Blocks of lines, whose rows are counted as they pass."""

    def __init__(self, blocks: Iterable[Lines]) -> None:
        self._blocks = blocks
        self.rows = 0

    def __iter__(self) -> Iterator[bytes]:
        for data, rows in self._blocks:
            self.rows += rows
            yield data


def reported(blocks: Iterable[Lines], total: int, progress: Progress, done: int = 0) -> Iterator[Lines]:
    """Yield the same blocks, and report the progress after each."""
    for data, rows in blocks:
        yield data, rows
        done += rows
        progress(done, total)


def _settings_file() -> bytes:
    """Return the settings of the environment in the syntax of a `.env` file."""
    lines = []
    for name in sorted(given()):
        value = os.environ[name].replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{value}'\n")
    return "".join(lines).encode(errors="surrogateescape")


def table_columns(table: Table, entry: TableEntry) -> Table:
    """Return a table with the columns that an archive has of it, in their order."""
    by_name = {column.name: column for column in table.columns}
    missing = [name for name in entry.columns if name not in by_name]
    if missing:
        raise BackupFailed(f"The table {table.name} has no column {missing[0]}, which the backup has.")
    return Table(table.name, tuple(by_name[name] for name in entry.columns))
