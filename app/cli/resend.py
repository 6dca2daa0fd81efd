"""`flask events resend`: rejected events on their way in again, as they are."""

from __future__ import annotations

import click

from app.cli.output import as_json, command, say, services

REFUSED = 3  # the exit code where some event is refused: 1 is a failure, 2 a wrong call
TOLD = 10  # refused events whose reasons are printed


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1, 2**63 - 1))
@click.option("--all", "everything", is_flag=True, help="All rejected events.")
@as_json
@command
def resend(ids: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Send rejected events again as they are; those that pass now are stored, and are no rejected events any more.

    Exits with 3 where some are still refused.
    """
    if bool(ids) == everything:
        raise click.UsageError("Name the rejected events by their ids, or take --all.")
    sent, refused = 0, []
    for outcome in services().resending.send_as_they_are(None if everything else dict.fromkeys(ids)):
        if outcome.reasons:
            refused.append(outcome)
        else:
            sent += 1
    for outcome in refused[:TOLD]:
        click.echo(f"{outcome.id}: {' '.join(outcome.reasons)}", err=True)
    say({"sent": sent, "refused": len(refused)}, f"Sent {sent}; {len(refused)} are still refused.", json=as_json)
    raise SystemExit(REFUSED if refused else 0)
