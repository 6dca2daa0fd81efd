"""Restore of a backup: new tables are built beside the old ones, verified, and then take their place at once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from app.config import Settings
from app.exceptions import BackupDamaged, BackupFailed
from app.services.operations.archive import REPORTS, SECRET, SETTINGS, SPOOL, Archive, find_archive
from app.services.operations.backup import Backups, Progress, address, reported, spool_files, table_columns
from app.services.operations.event_digest import EVENT, differences
from app.services.operations.verify import digest_of
from app.services.people import audit
from app.services.people.principal import SYSTEM
from app.services.reports.output import Destinations
from app.storage import private_files, write_all
from app.store import database
from app.store.operations import transfer
from app.store.reports import reports as reports_store

MARKER = "restore-unfinished"  # file in DATA_DIR while a restore changes the installation


@dataclass(frozen=True)
class Restored:
    """Result of a restore."""

    address: str  # the backup
    created_at: int  # time of its snapshot in milliseconds
    events: int  # number of restored events
    reports: int  # number of report files that were restored
    expired: int  # number of reports whose file is not there
    notes: list[str] = field(default_factory=list)  # sentences about what the operator still has to do


class Restore:
    """Restore of this installation."""

    def __init__(self, settings: Settings, backups: Backups, destinations: Destinations) -> None:
        self._settings = settings
        self._backups = backups
        self._destinations = destinations
        self._marker = settings.data_dir.absolute() / MARKER

    def run(self, url: str, *, replace: bool = False, progress: Progress = lambda done, total: None) -> Restored:
        """Restore a backup. Stop Tally first, and hold the lock on DATA_DIR.

        Args:
            url: the backup, or a place, whose newest complete backup is restored.
            replace: replace the data of this installation, if there is any.

        Raises:
            BackupDamaged: the backup is damaged; nothing is changed.
            BackupFailed: the installation has data, or the backup is of a newer version; nothing is changed.
        """
        archive = find_archive(self._backups.place(url), url)
        self._check(archive, replace=replace)
        database.disconnect()
        for name in archive.all_names:
            archive.check(name)
        small = {name: archive.content(name) for name in (SECRET, SETTINGS, *archive.names(SPOOL))}
        label = address(url, archive.name)
        with closing(transfer.target(self._settings.database)) as target:
            try:
                self._load(archive, target, progress)
            except Exception:
                target.discard()
                raise
            private_files.write(self._marker, f"{label}\n".encode())
            for name in archive.names(REPORTS):
                upload = self._destinations.own.create(name.removeprefix(REPORTS))
                write_all(upload, archive.blocks(name))
            notes = self._restore_small(small)
            target.replace()
        database.upgrade()
        own = self._destinations.own
        missing = [one for one in reports_store.with_files() if self._destinations.place(one) is own]
        missing = [one for one in missing if not self._destinations.has(one)]
        for report in missing:
            reports_store.mark_removed(report.job)  # so that its links say that the file has expired
        audit.note(SYSTEM, "backup restored", label)
        database.disconnect()
        private_files.remove(self._marker)
        created, events = archive.manifest.created, archive.manifest.events
        return Restored(label, created, events, len(archive.names(REPORTS)), len(missing), notes)

    def needs_replace(self) -> bool:
        """Return whether the installation has data."""
        return transfer.occupied(self._settings.database) is not None

    def refuse_unfinished(self) -> None:
        """Raise BackupFailed if a restore was interrupted after it had begun to change the installation."""
        if self._marker.exists():
            backup = self._marker.read_text().strip()
            raise BackupFailed(f"A restore of {backup} was interrupted. Run it again: tally restore {backup}")

    def _check(self, archive: Archive, *, replace: bool) -> None:
        unknown = [name for name in archive.manifest.migrations if name not in transfer.known_migrations()]
        if unknown:
            raise BackupFailed(
                f"The backup is of a newer version of Tally ({archive.manifest.tally}): its database has the migration "
                f"{unknown[-1]}. Install that version, or a newer one."
            )
        if replace or self._marker.exists():  # what an interrupted restore left is replaced
            return
        if table := transfer.occupied(self._settings.database):
            raise BackupFailed(
                f"This installation has data (table {table}), and nothing was changed. "
                "To replace it with the backup, add --replace."
            )

    def _load(self, archive: Archive, target: transfer.Target, progress: Progress) -> None:
        """Build the new tables, and compare their events with the backup's."""
        manifest = archive.manifest
        target.prepare(manifest.migrations)
        with target.reading() as empty:
            tables = {table.name: table for table in empty.tables()}
        for name, entry in manifest.tables.items():
            if name not in tables:
                raise BackupFailed(f"This version of Tally has no table {name}, which the backup has.")
            lines = archive.lines(name)
            table = table_columns(tables[name], entry)
            if name == EVENT:
                lines = reported(lines, manifest.events, progress)
            try:
                target.write(table, lines)
            except ValueError as error:
                raise BackupDamaged(f"tables/{name}.tsv.zst: {error}.") from None
        target.finish(manifest.sequences)
        with target.reading() as source:
            found = digest_of(source)
        problems = differences(archive.days(), found.days())
        if problems:
            raise BackupDamaged("The restored events differ from the backup; nothing was changed.", problems)

    def _restore_small(self, small: dict[str, bytes]) -> list[str]:
        """Restore the spool, the key and the settings, and return what the operator still has to do."""
        notes, folder = [], self._settings.data_dir.absolute()
        for name, data in small.items():
            if name.startswith(SPOOL):
                spool_files(self._settings).restore(name.removeprefix(SPOOL), data)
        if self._settings.secret_key and self._settings.secret_key.encode() != small[SECRET]:
            private_files.write(folder / "secret.key.restored", small[SECRET])
            notes.append(
                "SECRET_KEY differs from the backup's, so links and webhook secrets of the backup are invalid. "
                f"The backup's key is in {folder / 'secret.key.restored'}."
            )
        elif not self._settings.secret_key:
            private_files.write(folder / "secret.key", small[SECRET])
        private_files.write(folder / "settings.restored.env", small[SETTINGS])
        notes.append(f"The settings of the backup are in {folder / 'settings.restored.env'}. Compare them with yours.")
        return notes
