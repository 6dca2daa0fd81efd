"""Options of a report's file, shared by the commands; `OutputSchema` validates them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from app.cli.params import options

file_options = options(
    click.option("--format", help="csv (default), jsonl or parquet."),
    click.option("--delimiter", help="Character between columns; default |."),
    click.option("--layout", help="columns or positional."),
    click.option("--header/--no-header", default=None, help="Whether the first row has the column names."),
    click.option("--compression", help="none (default), gzip or zstd."),
    click.option(
        "--spreadsheet-safe", "spreadsheetSafe", is_flag=True, default=None, help="Escape formulas for spreadsheets."
    ),
)
NAMES = ("format", "delimiter", "layout", "header", "compression", "spreadsheetSafe")


def output_of(given: Mapping[str, object]) -> dict[str, object]:
    """Return the output that the options request, without options that were not set."""
    return {name: given[name] for name in NAMES if given[name] is not None}
