"""`tally events erase`: erase events permanently, after a preview of what would be erased."""

from __future__ import annotations

import sys

import click

from app.cli.confirm import can_ask, confirm
from app.cli.output import command, say, services
from app.schemas.reports import source
from app.schemas.retention import ErasingSchema
from app.services.operations.retention import ErasurePlan
from app.services.people.principal import SYSTEM


@click.command()
@click.option("--customer", required=True, metavar="CODE", help="The customer of the events.")
@click.option("--product", metavar="CODE", help="Only of this product.")
@click.option("--type", "types", multiple=True, metavar="CODE", help="Only of this type; repeatable.")
@click.option("--after", metavar="TIME", help="Only from this time on, by their timestamp.")
@click.option("--before", metavar="TIME", help="Only from before this time.")
@click.option("--batch", metavar="UUID", help="Only of this batch.")
@click.option(
    "--context", "item", metavar="TEXT", help="Only events with exactly this context item, such as a user's id."
)
@click.option("--delete-files", is_flag=True, help="Also delete the report files that contain some of them.")
@click.option("--yes", is_flag=True, help="Erase. Without this, only count what would be erased.")
@command
def erase(delete_files: bool, yes: bool, as_json: bool, types: tuple[str, ...], **wanted: object) -> None:
    """Erase events permanently; without --yes, only count what would be erased, and ask on a terminal (`tally`).

    A TIME is a day (2026-11-23: its first moment), ISO 8601 (2026-11-23T10:57, UTC without a zone), milliseconds since
    1970, or an age (7d, 12h).

    Events that arrive meanwhile stay. Matching rejected events of the customer are erased as well. Report files are
    copies: those that contain some of the events are listed, and deleted with --delete-files; reports that are being
    written then begin again. Reports that run meanwhile may have fewer events than were stored when they started.
    """
    plan = services().retention.plan(ErasingSchema().check(wanted | {"types": list(types) or None}))
    if not yes and plan.events + plan.rejected_number and can_ask():
        click.echo(_summarize(plan, 0, yes=False, delete_files=delete_files), err=True)
        confirm("Erase them now?", yes=False)
        yes = True
    gone = _erase(plan, delete_files) if yes else 0
    result: dict[str, object] = {
        "events": plan.events,
        "rejected": plan.rejected_number,
        "erased": gone if yes else None,
    }
    result |= {"reports": [source(report) for report in plan.reports], "files_deleted": yes and delete_files}
    say(result, _summarize(plan, gone, yes=yes, delete_files=delete_files), json=as_json)


def _erase(plan: ErasurePlan, delete_files: bool) -> int:
    """Erase the events with a progress bar on a terminal, and return their number."""
    gone = 0
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=plan.events, label="Erasing", file=sys.stderr, hidden=hidden) as bar:
        try:
            for number in services().retention.erase(SYSTEM, plan, delete_files=delete_files):
                gone += number
                bar.update(number)
        except Exception:
            click.echo(f"Stopped: {_counted(gone, 'event')} erased. Run it again for the rest.", err=True)
            raise
    return gone


def _summarize(plan: ErasurePlan, is_erased: int, *, yes: bool, delete_files: bool) -> str:
    if not plan.events and not plan.rejected_number:
        return "There are no such events."
    number, done = (is_erased, "erased") if yes else (plan.events, "would be erased")
    lines = [f"{_counted(number, 'event')} {done}."]
    if plan.rejected_number:
        lines.append(f"{_counted(plan.rejected_number, 'rejected event')} {done} as well.")
    if plan.reports:
        verb = "held" if yes and delete_files else "hold"
        lines.append(f"{_counted(len(plan.reports), 'report')} {verb} some of them:")
        lines += [
            f"  {source(one)} {one.customer} {one.product}, started by {one.account_name}" for one in plan.reports
        ]
        if yes and delete_files:
            lines.append("Their files are deleted; those that were being written begin again.")
        elif not delete_files:
            lines.append("Their files stay. To delete them too, add --delete-files.")
    if not yes:
        lines.append("Nothing is erased yet. To erase, run this again with --yes.")
    return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
