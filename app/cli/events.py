"""`flask events`: count, import, resend and erase events."""

from __future__ import annotations

import click

from app.cli.erase_events import erase
from app.cli.import_events import import_file
from app.cli.output import as_json, command, say, services
from app.cli.resend_events import resend


@click.group()
def events() -> None:
    """Events: count, import from a file, resend rejected ones, erase."""


events.add_command(import_file)
events.add_command(resend)
events.add_command(erase)


@events.command()
@as_json
@command
def count(as_json: bool) -> None:
    """Count the stored events."""
    number = services().ingest.count()
    say({"events": number}, str(number), json=as_json)
