"""Verification of a backup, and of the running installation."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from app.config import Settings
from app.exceptions import BackupDamaged
from app.services.operations.archive import PACKED, TABLES, Archive, find_archive
from app.services.operations.backup import Backups, Progress, address, reported
from app.services.operations.event_digest import EVENT, Day, EventDigest, differences, event_table
from app.storage import Storage
from app.storage.archives import Hashing
from app.store.operations import consistency, transfer
from app.store.operations.consistency import ReportFile, differing_hours, report_files
from app.store.operations.table_rows import Column, Table
from app.store.operations.transfer import Source

MAX_PROBLEMS = 100  # of one kind that are listed


@dataclass(frozen=True)
class Verification:
    """Result of a verification."""

    subject: str  # what was verified
    events: int  # number of events
    hash: str  # hash of all events; see `event_digest`
    days: list[Day]  # number and hash of the events of each customer, product and day
    problems: list[str] = field(default_factory=list)  # a sentence for each problem
    checked: list[str] = field(default_factory=list)  # what was checked, in a few words each


class Verifier:
    """Verification of backups and of this installation.

    Args:
        storage: the storage of report files.
    """

    def __init__(self, settings: Settings, backups: Backups, storage: Storage) -> None:
        self._settings = settings
        self._backups = backups
        self._storage = storage

    def backup(self, url: str, progress: Progress = lambda done, total: None) -> Verification:
        """Read a whole backup, and compare it with its manifest.

        Args:
            url: the backup, or a place, whose newest complete backup is verified.

        Raises:
            BackupFailed: there is no backup.
        """
        archive = find_archive(self._backups.place(url), url)
        manifest = archive.manifest
        events = Table(EVENT, tuple(Column(name, "text") for name in manifest.tables[EVENT].columns))
        digest, problems = EventDigest(events), []
        for name in archive.all_names:
            try:
                _read(archive, name, digest, progress)
            except BackupDamaged as error:
                problems.append(str(error))
            except (ValueError, IndexError):
                try:
                    archive.check(name)
                    problems.append(f"{name}{PACKED}: its lines are not rows of the table.")
                except BackupDamaged as error:
                    problems.append(str(error))
        missing = [f"{TABLES}{name}.tsv{PACKED}" for name in manifest.tables]
        problems += [f"{name}: the file is not listed." for name in missing if name not in manifest.files]
        if not problems:
            problems += differences(archive.days(), digest.days())
        checked = [f"{len(manifest.files):,} files, {manifest.bytes:,} bytes"]
        return Verification(address(url, archive.name), digest.events, digest.hash, digest.days(), problems, checked)

    def database(self, *, read_files: bool = False, progress: Progress = lambda done, total: None) -> Verification:
        """Read the whole database as of one moment, and compare hourly counts, daily counts and report files with it.

        Args:
            read_files: read each report file to its end and compare its hash, instead of only its size.
        """
        with transfer.reading(self._settings.database) as source:
            digest = digest_of(source, progress)
            hours, files = differing_hours(source), report_files(source)
            days, customer_days = consistency.differing_days(source), consistency.differing_customer_days(source)
            subject = source.server
        problems = [
            f"{hour.customer} {hour.product} {hour.type}, the hour from "
            f"{datetime.fromtimestamp(hour.hour / 1000, UTC):%Y-%m-%d %H:%M} UTC: "
            f"{hour.counted:,} events counted, {hour.found:,} stored."
            for hour in hours[:MAX_PROBLEMS]
        ]
        if len(hours) > MAX_PROBLEMS:
            problems.append(f"{len(hours) - MAX_PROBLEMS:,} more hourly counts differ.")
        problems += _day_problems(days or [], "daily count")
        problems += _day_problems(customer_days or [], "daily customer count")
        own = [file for file in files if "bucketName" not in orjson.loads(file.output or "{}")]
        for file in own:
            if problem := self._file_problem(file, read=read_files):
                problems.append(problem)
        checked = ["hourly counts against events"]
        checked += ["daily counts against hourly counts"] if days is not None else []
        checked += ["daily customer counts against hourly counts"] if customer_days is not None else []
        checked.append(f"{len(own):,} report files against their rows")
        return Verification(subject, digest.events, digest.hash, digest.days(), problems, checked)

    def _file_problem(self, file: ReportFile, *, read: bool) -> str | None:
        size = self._storage.size(file.file)
        if size is None:
            return f"Report JOB-{file.job}: its file {file.file} is missing."
        name = f"Report JOB-{file.job}: its file {file.file}"
        if size != file.bytes:
            return f"{name} has {size:,} bytes instead of {file.bytes:,}."
        if read and file.sha256 is not None:
            with closing(Hashing(self._storage.open(file.file))) as stream:
                return None if stream.finish() == file.sha256 else f"{name} has another SHA-256 than its row."
        return None


def digest_of(source: Source, progress: Progress = lambda done, total: None) -> EventDigest:
    """Return the digest of all events of a source."""
    table = event_table(source.tables())
    digest = EventDigest(table)
    for data, _ in reported(source.lines(table), source.count(EVENT), progress):
        digest.add(data)
    return digest


def _read(archive: Archive, name: str, digest: EventDigest, progress: Progress) -> None:
    """Read a file to its end, which checks it, and the number of its rows if it is a table."""
    if not name.startswith(TABLES):
        for _ in archive.blocks(name):
            pass
        return
    table = name.removeprefix(TABLES).removesuffix(".tsv")
    entry = archive.manifest.tables.get(table)
    expected, rows = (entry.rows if entry else 0), 0
    for data, number in archive.lines(table):
        rows += number
        if table == EVENT:
            digest.add(data)
            progress(rows, archive.manifest.events)
    if rows != expected:
        raise BackupDamaged(f"{name}{PACKED}: it has {rows:,} rows instead of {expected:,}.")


def _day_problems(days: list[consistency.Day], kind: str) -> list[str]:
    problems = [
        f"{' '.join(day.codes)}, {datetime.fromtimestamp(day.day / 1000, UTC):%Y-%m-%d}: "
        f"the {kind} differs from the hourly counts."
        for day in days[:MAX_PROBLEMS]
    ]
    return problems + ([f"{len(days) - MAX_PROBLEMS:,} more {kind}s differ."] if len(days) > MAX_PROBLEMS else [])
