"""`flask events resend`: resend rejected events and refused requests, unchanged."""

from __future__ import annotations

import uuid

import click

from app.cli.output import as_json, command, say, services

REFUSED = 3  # exit code if an event is rejected; 1 is a failure, 2 a usage error
TOLD = 10  # rejected events whose reasons are printed


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


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=Key())
@click.option("--all", "everything", is_flag=True, help="All rejected events and refused requests.")
@as_json
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
    for outcome in refused[:TOLD]:
        click.echo(f"{outcome.id}: {' '.join(outcome.reasons)}", err=True)
    left = sum(outcome.events for outcome in refused)
    say({"sent": sent, "refused": left}, f"Sent {sent}; {left} are still rejected.", json=as_json)
    raise SystemExit(REFUSED if refused else 0)
