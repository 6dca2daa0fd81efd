"""`tally db`: upgrade the database to this version, or check whether it is up to date."""

from __future__ import annotations

import click
from flask import current_app

from app.cli.output import command, say, services
from app.services.operations import bootstrap
from app.services.operations.system import starred
from app.services.people.principal import SYSTEM
from app.store import database


@click.group()
def db() -> None:
    """The database: list its migrations, show, upgrade, check or index it."""


@db.command("list")
@command
def list_migrations(as_json: bool) -> None:
    """List the migrations of this version, and whether the database has each."""
    found = services().system.migrations()
    lines = [f"{name}: {'applied' if is_applied else 'pending'}" for name, is_applied in found]
    say([{"name": name, "applied": is_applied} for name, is_applied in found], "\n".join(lines), json=as_json)


@db.command()
@command
def show(as_json: bool) -> None:
    """Show where the database is, without its password, its size, and how many migrations are pending."""
    migrations = services().system.migrations()
    pending = sum(not is_applied for _, is_applied in migrations)
    size = services().system.room(SYSTEM).database
    url = starred(current_app.config["SETTINGS"].database)
    words = f"{url}\n{size:,} bytes, {len(migrations)} migrations, {pending} of them pending"
    say({"url": url, "bytes": size, "migrations": len(migrations), "pending": pending}, words, json=as_json)


@db.command()
@command
def upgrade(as_json: bool) -> None:
    """Bring the database to this version, after a backup unless BACKUP_BEFORE_MIGRATION is off."""
    done = bootstrap.migrate(services())
    words = f"Applied {', '.join(done.applied)}." if done.applied else "The database is up to date."
    words += f" The backup from before is {done.backup}" if done.backup else ""
    say({"applied": done.applied, "backup": done.backup}, words, json=as_json)


@db.command()
@command
def index(as_json: bool) -> None:
    """Create the index of context values on PostgreSQL, if it is missing. Events are still accepted meanwhile.

    The scheduler creates it automatically unless the events take more than 4 GiB. It takes about 25 µs per event.
    """
    database.index_items()
    exists = database.has_item_index()
    words = "The index exists." if exists else "There is no index: SQLite has none, or another process creates it now."
    say({"indexed": exists}, words, json=as_json)


@db.command()
@command
def check(as_json: bool) -> None:
    """Exit with 1 if the database needs an upgrade, or is newer than this version."""
    database.refuse_newer()
    pending = database.pending()
    words = f"The database needs: {', '.join(pending)}." if pending else "The database is up to date."
    say({"pending": pending}, words, json=as_json)
    raise SystemExit(1 if pending else 0)
