"""`tally backup`, `tally restore` and `tally verify`: back up, restore and check this installation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from flask import current_app

from app.cli.output import command, counted, say, services
from app.exceptions import BackupDamaged, SettingInvalid
from app.ops import preflight

FAILED = 1  # exit code if a verification finds a problem


@click.command()
@click.argument("place", required=False, metavar="[DIR|s3://BUCKET/PREFIX]")
@click.option("--with-files", is_flag=True, help="Include report files.")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then remove all but the newest N backups.")
@click.option("--list", "is_list", is_flag=True, help="List the backups in the place instead.")
@command
def backup(place: str | None, with_files: bool, keep: int | None, is_list: bool, as_json: bool) -> None:
    """Back up this installation while it runs, into a new folder in the place (default: BACKUP_URL).

    A backup has the events, catalog, users, reports and schedules, the spool of this machine, the settings of the
    environment and the secret key. Protect it as you protect the service: it contains passwords and keys.
    """
    place = place or current_app.config["SETTINGS"].backup_url
    if not place:
        raise SettingInvalid("Name a folder or s3://bucket/prefix, or set BACKUP_URL.")
    if is_list:
        found = services().backups.all(place)
        rows = [
            {
                "backup": one.address,
                "created": one.created_at,
                "events": one.manifest.events,
                "bytes": one.manifest.bytes,
            }
            for one in found
        ]
        lines = [f"{_time(one.created_at)}  {one.manifest.events:>12,} events  {one.address}" for one in found]
        say(rows, "\n".join(lines) or f"There is no backup in {place}.", json=as_json)
        return
    with show_progress("Backing up") as progress:
        made = services().backups.create(place, with_files=with_files, progress=progress)
    removed = services().backups.prune(place, keep) if keep else []
    result = {"backup": made.address, "created": made.created_at, "events": made.manifest.events}
    size = made.manifest.bytes
    words = f"{made.manifest.events:,} events backed up, {size:,} bytes: {made.address}"
    words += f"\nRemoved: {', '.join(removed)}." if removed else ""
    say(result | {"bytes": size, "hash": made.manifest.hash, "removed": removed}, words, json=as_json)


@click.command()
@click.argument("path", metavar="BACKUP")
@click.option("--replace", is_flag=True, help="Replace the data of this installation.")
@click.option("--yes", is_flag=True, help="Do not ask before data is replaced.")
@command
def restore(path: str, replace: bool, yes: bool, as_json: bool) -> None:
    """Restore a BACKUP: a folder or s3://bucket/prefix of a backup, or of several, of which the newest is restored.

    Stop Tally first. Without --replace the installation must be empty. The backup may come from SQLite or PostgreSQL,
    and is restored into the database of DATABASE_URL. Nothing changes unless the whole backup is readable.
    """
    if replace and not yes and services().restore.needs_replace():
        click.confirm("Replace all data of this installation?", abort=True, err=True)
    with _stopped(), show_progress("Restoring") as progress:
        done = services().restore.run(path, replace=replace, progress=progress)
    lines = [f"{done.events:,} events restored, as of {_time(done.created_at)}: {done.address}"]
    if done.reports:
        lines.append(f"{done.reports:,} report files restored.")
    if done.expired:
        lines.append(f"{done.expired:,} reports have no file any more, and are shown as expired.")
    result = {"backup": done.address, "created": done.created_at, "events": done.events, "reports": done.reports}
    say(result | {"expired": done.expired, "notes": done.notes}, "\n".join([*lines, *done.notes]), json=as_json)


@click.command()
@click.argument("path", required=False, metavar="[BACKUP]")
@click.option("--days", "has_days", is_flag=True, help="Print each customer, product and day.")
@click.option("--files", "read_files", is_flag=True, help="Read report files to their end, not only their size.")
@command
def verify(path: str | None, has_days: bool, read_files: bool, as_json: bool) -> None:
    """Verify a BACKUP, or without one the database of this installation; exit with 1 if there is a problem.

    A backup is read to its end, and each file compared with the manifest. A database is compared with its hourly
    counts, and reports with their files. Both print the number and a hash of the events of each customer, product and
    day: equal hashes mean equal events, on SQLite and on PostgreSQL.
    """
    with show_progress("Verifying") as progress:
        if path:
            found = services().verifier.backup(path, progress)
        else:
            found = services().verifier.database(read_files=read_files, progress=progress)
    days = [day._asdict() for day in found.days]
    result = {"subject": found.subject, "events": found.events, "hash": found.hash, "days": days}
    lines = [f"{found.subject}: {found.events:,} events, hash {found.hash}"]
    if has_days:
        lines += [f"  {d.customer}  {d.product}  {d.day}  {d.events:>12,}  {d.hash}" for d in found.days]
    else:
        lines.append(f"  {len(found.days):,} customers × products × days; --days prints them.")
    lines += [f"  checked: {one}" for one in found.checked]
    lines.append(f"{counted(len(found.problems), 'problem')}:" if found.problems else "No problems.")
    lines += [f"  {one}" for one in found.problems]
    say(result | {"problems": found.problems}, "\n".join(lines), json=as_json)
    raise SystemExit(FAILED if found.problems else 0)


@contextmanager
def _stopped() -> Iterator[None]:
    """Hold the lock on DATA_DIR, and write files with the modes that the service gives them."""
    before = os.umask(preflight.UMASK)
    try:
        lock = preflight.hold(current_app.config["SETTINGS"])
        try:
            yield
        except BackupDamaged as error:
            raise BackupDamaged("\n  ".join([str(error), *error.damage])) from None
        finally:
            os.close(lock)
    finally:
        os.umask(before)


@contextmanager
def show_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:

        def update(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield update


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
