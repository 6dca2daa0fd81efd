"""A person's data: `tally events erase --value` and `tally events hand-over`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.confirm import can_ask, confirm
from app.cli.output import command, counted, say, services
from app.cli.output_file import PRIVATE, output_file
from app.cli.params import options
from app.schemas.reports import source
from app.schemas.retention import PersonalDataSchema
from app.services.operations.personal_data import PersonalDataMatches
from app.services.people.principal import SYSTEM
from app.store.models import Report

STANDARD_INPUT = "-"
FILES = {
    "deleted": "Report files deleted",
    "restarted": "Reports restarted without the events",
    "cancelled": "Reports cancelled, but not restarted",
    "kept": "Report files kept (delete them with --delete-files)",
    "in_buckets": "Report files left in buckets",
}


value_options = options(
    click.option(
        "--value", metavar="TEXT", help="A person's data: all that contains this value; - reads it from stdin."
    ),
    click.option(
        "--item", "name", metavar="NAME", help="With --value: only in the context item with this name in the catalog."
    ),
)


def parse_selection(value: str, name: str | None, customer: object) -> dict[str, Any]:
    """Return the validated options. The value `-` stands for the first line of standard input.

    Raises:
        InputInvalid: an option is invalid.
    """
    value = sys.stdin.readline().rstrip("\r\n") if value == STANDARD_INPUT else value
    return PersonalDataSchema().check({"value": value, "item": name, "customer": customer}, "The command")


def erase_person(wanted: Mapping[str, Any], *, delete_files: bool, yes: bool, as_json: bool) -> None:
    """Erase a person's data and print the receipt; without `yes`, print only what would be erased, or ask."""
    found = None if yes else services().personal_data.find(SYSTEM, wanted)
    if found is not None:
        lines = list(_describe(found, delete_files=delete_files))
        if found.is_empty or not can_ask():
            numbers = {"found": vars(found.total), "by_customer_and_product": found.numbers.rows()}
            lists = {"reports": [*map(source, found.reports)], "saved_views": [view.id for view in found.views]}
            say(numbers | lists, "\n".join(lines), json=as_json)
            return
        click.echo("\n".join(lines), err=True)
        confirm("Erase all of it now?", yes=False)
    gone: list[int] = []  # number of events of each step
    try:
        receipt, key = services().personal_data.erase(SYSTEM, wanted, delete_files=delete_files, progress=gone.append)
    except Exception:
        if any(gone):
            click.echo(f"Stopped: {counted(sum(gone), 'event')} erased. Run it again for the rest.", err=True)
        raise
    document = receipt.as_json()
    say(document | {"audit_entry": key}, "\n".join(_describe_receipt(document, key)), json=as_json)


@click.command("hand-over")
@value_options
@click.option("--customer", metavar="CODE", help="Only of this customer.")
@click.option(
    "--output",
    "target",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="The file to write; replaces an existing file. - is standard output.",
)
@command
def hand_over(value: str | None, name: str | None, customer: str | None, target: Path, as_json: bool) -> None:
    """Write a person's data as JSON Lines: all stored, rejected and refused events with a value."""
    if value is None:
        raise click.UsageError("Missing option --value.")
    found = services().personal_data.find(SYSTEM, parse_selection(value, name, customer))
    blocks = services().personal_data.hand_over(SYSTEM, found)
    if str(target) == STANDARD_INPUT:
        for block in blocks:
            sys.stdout.buffer.write(block)
        return
    with output_file(target, PRIVATE) as file:
        for block in blocks:
            file.write(block)
    say({"file": str(target)} | vars(found.total), f"Wrote {_numbers(vars(found.total))} to {target}.", json=as_json)


def describe_reports(reports: Sequence[Report], verb: str) -> list[str]:
    """Return lines about reports that contain, or contained, some of the events."""
    lines = [f"{counted(len(reports), 'report')} {verb} some of them:"]
    return lines + [f"  {source(one)} {one.customer} {one.product}, started by {one.account_name}" for one in reports]


def _describe(found: PersonalDataMatches, *, delete_files: bool) -> Iterator[str]:
    if found.is_empty:
        yield "Nothing contains this value."
        return
    yield f"{_numbers(vars(found.total))} would be erased:"
    yield from _describe_rows(found.numbers.rows())
    if found.reports:
        yield from describe_reports(found.reports, "contain")
        yield (
            "Their files are deleted." if delete_files else "Their files stay. To delete them too, add --delete-files."
        )
    if found.views:
        yield f"{counted(len(found.views), 'saved view')} with the value would be removed."
    yield "Nothing is erased yet. To erase, run this again with --yes."


def _describe_receipt(receipt: Mapping[str, Any], key: int) -> Iterator[str]:
    answers = counted(receipt["removed"]["stored_responses"], "stored response")
    yield f"{_numbers(receipt['removed'])} erased, and their contexts in {answers}."
    yield from _describe_rows(receipt["by_customer_and_product"])
    yield from (f"{FILES[name]}: {', '.join(names)}" for name, names in receipt["reports"].items() if names)
    if views := receipt["saved_views"]:
        yield f"Saved views removed: {', '.join(views)}"
    yield "What Tally cannot reach:"
    yield from (f"  {one}" for one in receipt["not_reached"])
    yield f"The receipt is entry {key} of the audit log."


def _describe_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield f"  {' '.join(filter(None, (row['customer'], row['product']))) or 'without a customer'}: {_numbers(row)}"


def _numbers(numbers: Mapping[str, Any]) -> str:
    refused = f"{counted(numbers['refused'], 'event')} in refused requests"
    return f"{counted(numbers['events'], 'event')}, {counted(numbers['rejected'], 'rejected event')}, {refused}"
