"""`tally move`: move this installation from SQLite to PostgreSQL."""

from __future__ import annotations

import click
from flask import current_app

from app.cli.backup import show_progress
from app.cli.output import command, say, services


@click.command()
@click.option("--to", "target", metavar="URL", help="The new database: postgresql://user@host/name. It must be empty.")
@click.option("--cancel", is_flag=True, help="Undo: accept changes in the SQLite database again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command
def move(target: str | None, cancel: bool, yes: bool, as_json: bool) -> None:
    """Move this installation from SQLite to PostgreSQL.

    Tally may run. From the beginning of the move the SQLite database rejects changes: events wait in the spool, with
    SPOOL=on, or are answered 503. Pages can be read. To resume an interrupted move, run the same command again. The
    result is compared event by event. Then set DATABASE_URL and restart Tally, which delivers the spooled events.
    """
    if cancel == bool(target):
        raise click.UsageError("Use either --to URL or --cancel.")
    if cancel:
        services().move.cancel()
        say({"cancelled": True}, "The SQLite database accepts changes again.", json=as_json)
        return
    spools = current_app.config["SETTINGS"].spool
    if services().move.state() is None and not yes:
        hint = "Events wait in the spool" if spools else "SPOOL is off, so events are answered 503"
        click.confirm(f"Begin? {hint} until Tally runs with the new DATABASE_URL.", abort=True, err=True)
    with show_progress("Moving") as progress:
        moved = services().move.run(str(target), progress)
    lines = [f"{moved.events:,} events moved and compared, hash {moved.hash}."]
    if moved.resumed:
        lines.append(f"{moved.resumed:,} of them were copied before.")
    lines += [f"Now set DATABASE_URL to {moved.target}, and restart Tally on this machine."]
    result = {"target": moved.target, "events": moved.events, "hash": moved.hash, "resumed": moved.resumed}
    say(result, "\n".join(lines), json=as_json)
