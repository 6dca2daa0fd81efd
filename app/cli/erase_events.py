"""`tally events erase`: erase events permanently, after a preview of what would be erased."""

from __future__ import annotations

import sys

import click

from app.cli.confirm import can_ask, confirm
from app.cli.output import command, counted, say, services
from app.cli.personal_data import describe_reports, erase_person, parse_selection, value_options
from app.schemas.reports import source
from app.schemas.retention import ErasingSchema
from app.services.operations.retention import ErasurePlan
from app.services.people.principal import SYSTEM


@click.command()
@click.option("--customer", metavar="CODE", help="The customer of the events; required without --value.")
@click.option("--product", metavar="CODE", help="Only of this product.")
@click.option("--type", "types", multiple=True, metavar="CODE", help="Only of this type; repeatable.")
@click.option("--after", metavar="TIME", help="Only from this time on, by their timestamp.")
@click.option("--before", metavar="TIME", help="Only from before this time.")
@click.option("--batch", metavar="UUID", help="Only of this batch.")
@click.option(
    "--context",
    "item",
    metavar="TEXT",
    help="Only events with exactly this context item, such as a user's id: its value, not its name as in `list`.",
)
@value_options
@click.option("--delete-files", is_flag=True, help="Also delete the report files that contain some of them.")
@click.option("--yes", is_flag=True, help="Erase. Without this, only count what would be erased.")
@command
def erase(
    value: str | None,
    name: str | None,
    delete_files: bool,
    yes: bool,
    as_json: bool,
    types: tuple[str, ...],
    **wanted: object,
) -> None:
    """Erase events permanently; without --yes, only count what would be erased, and ask on a terminal (`tally`).

    With --value, erase a person's data: all that contains the value, across customers, including rejected events,
    refused requests and stored responses. The receipt is printed and kept in the audit log. `tally events hand-over`
    copies the data first.

    A TIME is a day (2026-11-23: its first moment), ISO 8601 (2026-11-23T10:57, UTC without a zone), milliseconds since
    1970, or an age (7d, 12h).

    Events that arrive meanwhile stay. Matching rejected events of the customer are erased as well. Report files are
    copies: those that contain some of the events are listed, and deleted with --delete-files; reports that are being
    written then begin again. Reports that run meanwhile may have fewer events than were stored when they started.
    """
    others = [name for name, given in (wanted | {"type": types}).items() if given and name != "customer"]
    if value is not None:
        if others:
            others = ["context" if name == "item" else name for name in others]
            raise click.UsageError(f"--value cannot be combined with --{others[0]}.")
        erase_person(
            parse_selection(value, name, wanted["customer"]), delete_files=delete_files, yes=yes, as_json=as_json
        )
        return
    if wanted["customer"] is None or name is not None:
        missing = "--customer, or --value for a person's data" if name is None else "--value with --item"
        raise click.UsageError(f"Missing option {missing}.")
    plan = services().retention.plan(ErasingSchema().check(wanted | {"types": list(types) or None}))
    if not yes and plan.events + plan.rejected_number and can_ask():
        click.echo(_summarize(plan, 0, yes=False, delete_files=delete_files), err=True)
        confirm("Erase them now?", yes=False)
        yes = True
    gone = _erase(plan, delete_files) if yes else 0
    result = {
        "events": plan.events,
        "rejected": plan.rejected_number,
        "erased": gone if yes else None,
        "reports": [source(report) for report in plan.reports],
        "files_deleted": yes and delete_files,
    }
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
            click.echo(f"Stopped: {counted(gone, 'event')} erased. Run it again for the rest.", err=True)
            raise
    return gone


def _summarize(plan: ErasurePlan, is_erased: int, *, yes: bool, delete_files: bool) -> str:
    if not plan.events and not plan.rejected_number:
        return "There are no such events."
    number, done = (is_erased, "erased") if yes else (plan.events, "would be erased")
    lines = [f"{counted(number, 'event')} {done}."]
    if plan.rejected_number:
        lines.append(f"{counted(plan.rejected_number, 'rejected event')} {done} as well.")
    if plan.reports:
        lines += describe_reports(plan.reports, "contained" if yes and delete_files else "contain")
        if yes and delete_files:
            lines.append("Their files are deleted; those that were being written begin again.")
        elif not delete_files:
            lines.append("Their files stay. To delete them too, add --delete-files.")
    if not yes:
        lines.append("Nothing is erased yet. To erase, run this again with --yes.")
    return "\n".join(lines)
