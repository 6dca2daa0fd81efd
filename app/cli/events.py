"""`flask events`: count, import, resend and erase events."""

from __future__ import annotations

import uuid

import click

from app.cli.erase_events import erase
from app.cli.import_events import import_file
from app.cli.output import REFUSED, command, say, services

MAX_PRINTED = 10  # rejected events whose reasons are printed


@click.group()
def events() -> None:
    """Events: count, import from a file, resend rejected ones, erase."""


events.add_command(import_file)
events.add_command(erase)


@events.command()
@command
def count(as_json: bool) -> None:
    """Count the stored events."""
    number = services().ingest.count()
    say({"events": number}, str(number), json=as_json)


class Key(click.ParamType[int | str]):
    """Parameter type: the id of a rejected event, or the UUID of a refused request."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the id as an integer, or the UUID in its stored form."""
        if value.isascii() and value.isdigit() and 1 <= int(value) < 2**63:
            return int(value)
        try:
            return str(uuid.UUID(value))
        except ValueError:
            self.fail(f"{value!r} is neither the id of a rejected event nor the UUID of a refused request.", param, ctx)


@events.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=Key())
@click.option("--all", "everything", is_flag=True, help="All rejected events and refused requests.")
@command
def resend(ids: tuple[int | str, ...], everything: bool, as_json: bool) -> None:
    """Send rejected events again unchanged. Events that are now valid are stored and leave the rejected events.

    ID is the number of a rejected event, or the UUID of a refused request. A request is stored as one batch, with its
    valid events, or not at all; for an event that arrived in a request, the whole request is sent. Exits with 3 if
    some are still rejected.
    """
    if bool(ids) == everything:
        raise click.UsageError("Give the ids of rejected events, or --all.")
    sent, refused = 0, []
    for outcome in services().resend.send_as_they_are(None if everything else dict.fromkeys(ids)):
        if outcome.reasons:
            refused.append(outcome)
        else:
            sent += outcome.events
    for outcome in refused[:MAX_PRINTED]:
        click.echo(f"{outcome.id}: {' '.join(outcome.reasons)}", err=True)
    left = sum(outcome.events for outcome in refused)
    say({"sent": sent, "refused": left}, f"Sent {sent}; {left} are still rejected.", json=as_json)
    raise SystemExit(REFUSED if refused else 0)
