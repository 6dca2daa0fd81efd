"""`tally events import`: import events from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from app.cli.output import REFUSED, command, say, services, utc
from app.schemas.imports import CsvSchema
from app.schemas.reports import LAYOUTS
from app.services.events.import_formats import Csv
from app.services.events.importing import Progress, Source

STDIN = "-"


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--customer", metavar="CODE", help="CSV: the customer of the events.")
@click.option("--product", metavar="CODE", help="CSV: the product of the events.")
@click.option("--delimiter", default="|", show_default=True, help="CSV: between cells; tab for a tab.")
@click.option("--header", is_flag=True, help="CSV: skip the first row; a report's header is recognized without this.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="CSV without a header: its report's layout.")
@click.option("--again", is_flag=True, help="Import a file again that was already imported to its end.")
@command
def import_file(
    path: Path,
    customer: str | None,
    product: str | None,
    delimiter: str,
    header: bool,
    layout: str | None,
    again: bool,
    as_json: bool,
) -> None:
    """Import a FILE of events (- for standard input), plain or compressed by gzip or zstd.

    FILE is NDJSON, an event as JSON on each line, or with --customer and --product the CSV of a report. In the layout
    columns it must have the last column, extra, and the catalog must name each type's context items as it did when the
    report was made: that is their order.

    Invalid lines are kept among the rejected events and do not stop the import; it exits with 3 if there were any.
    To resume an interrupted import, run the same command again; nothing is stored twice. An import from standard input
    cannot be resumed. A file that was changed, or compressed again, counts as another file.
    """
    csv = _parse_csv_options(customer, product, delimiter, header, layout)
    is_file = str(path) != STDIN
    with path.open("rb") if is_file else nullcontext(sys.stdin.buffer) as file:
        # Every database accepts a name in this form.
        name = os.fsencode(path.name).decode(errors="replace") if is_file else "standard input"
        source = Source(file, name, csv, resumes=is_file)
        first, last = _watch(services().importing.run(source, again=again), file, path if is_file else None)
    result = {"file": source.name, "events": last.events, "rejected": last.rejected, "lines": last.line - 1}
    words = f"Imported {source.name}."
    if first.finished_at:
        result["imported_before"] = first.finished_at
        words = f"{source.name} was imported before, on {utc(first.finished_at)}; use --again to import it again."
    elif first.offset:
        result["resumed_at_line"] = first.line
        words += f" Resumed at line {first.line:,}, where it was interrupted."
    say(result, f"{words} {_counts(last)}", json=as_json)
    raise SystemExit(REFUSED if last.rejected else 0)


def _parse_csv_options(
    customer: str | None, product: str | None, delimiter: str, header: bool, layout: str | None
) -> Csv | None:
    if not (customer or product):
        if header or layout:
            name = "--header" if header else "--layout"
            raise click.UsageError(f"{name} is for CSV, which also needs --customer and --product.")
        return None
    if not (customer and product):
        raise click.UsageError("CSV needs both --customer and --product.")
    delimiter = "\t" if delimiter == "tab" else delimiter
    checked = CsvSchema().check({"customer": customer, "product": product, "delimiter": delimiter})
    return Csv(**checked, header=header, layout=layout)


def _watch(steps: Iterator[Progress], file: BinaryIO, path: Path | None) -> tuple[Progress, Progress]:
    """Run an import with a progress bar on a terminal, and return its progress at the beginning and at the end."""
    first = last = next(steps)
    size = path.stat().st_size if path and sys.stderr.isatty() else None
    with click.progressbar(length=size or 0, label="Importing", file=sys.stderr, hidden=size is None) as bar:
        try:
            for last in steps:  # noqa: B007 - it is used after the loop
                if size is not None:
                    bar.update(file.tell() - bar.pos)
        except Exception:
            click.echo(f"Stopped at line {last.line:,}. {_counts(last)}", err=True)
            raise
    return first, last


def _counts(progress: Progress) -> str:
    stored = f"{progress.events:,} {'event is' if progress.events == 1 else 'events are'} stored"
    if not progress.rejected:
        return f"{stored}."
    lines = "line is" if progress.rejected == 1 else "lines are"
    return f"{stored}, {progress.rejected:,} {lines} among the rejected events."
