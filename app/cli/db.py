"""`flask db`: upgrade the database to this version, or check whether it is up to date."""

from __future__ import annotations

import click

from app.cli.output import command, say
from app.store import database


@click.group()
def db() -> None:
    """The database: upgrade it, or check it."""


@db.command()
@command
def upgrade(as_json: bool) -> None:
    """Bring the database to this version."""
    applied = database.upgrade()
    words = f"Applied {', '.join(applied)}." if applied else "The database is up to date."
    say({"applied": applied}, words, json=as_json)


@db.command()
@command
def check(as_json: bool) -> None:
    """Exit with 1 if the database needs an upgrade, or is newer than this version."""
    database.refuse_newer()
    pending = database.pending()
    words = f"The database needs: {', '.join(pending)}." if pending else "The database is up to date."
    say({"pending": pending}, words, json=as_json)
    raise SystemExit(1 if pending else 0)
