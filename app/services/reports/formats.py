"""Conversion of a report's rows to bytes. Only this module combines the store's rows with the file formats."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from app.exports import arrow, csv, jsonl, parquet
from app.exports.blocks import Block
from app.exports.compression import compressor
from app.exports.file import Compressor
from app.exports.layout import POSITIONAL, Layout
from app.schemas.reports import DEFAULT_DELIMITER
from app.store.events import select
from app.store.models import Report

CSV, JSONL, PARQUET = "csv", "jsonl", "parquet"


@dataclass(frozen=True)
class Output:
    """Requested file format, with defaults filled in."""

    format: str = CSV
    delimiter: str = DEFAULT_DELIMITER
    header: bool = False
    compression: str = "none"
    safe: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, object] | None) -> Output:
        """Return the output stored in a report's row."""
        known = {"format": "format", "delimiter": "delimiter", "header": "header", "compression": "compression"}
        known["spreadsheetSafe"] = "safe"
        return cls(**{known[key]: value for key, value in (asked or {}).items() if key in known})

    @property
    def is_joined(self) -> bool:
        """Return whether joining the parts takes more than concatenating them."""
        return self.format == PARQUET

    @property
    def shows_parts(self) -> bool:
        """Return whether the file's bytes depend on where parts begin and end."""
        return self.is_joined or self.compression != "none"

    def laid_out(self, layout: Layout) -> Layout:
        """Return the effective layout. JSON Lines contain events in full, so they ignore the requested layout."""
        return Layout(POSITIONAL) if self.format == JSONL else layout

    def compressor(self) -> Compressor:
        """Return the compressor of a part's bytes."""
        return compressor("none" if self.is_joined else self.compression)


def columns(layout: Layout, output: Output, width: int | None) -> list[str]:
    """Return the column names of a file.

    Args:
        width: number of items in the widest context. None means unknown, so the names end with the first item.
    """
    if output.format == JSONL:
        return list(jsonl.Line.__struct_fields__)
    if output.format == PARQUET:
        return arrow.names(layout)
    return [*layout.header(1), "…"] if width is None and layout.kind == POSITIONAL else layout.header(width or 0)


def selection(report: Report) -> select.Selection:
    """Return the selection of a report's snapshot."""
    return select.Selection(
        report.customer,
        report.product,
        report.types or (),
        report.start,
        report.end,
        report.snapshot_max_id,
        report.snapshot_min_id,
    )


def head(report: Report, output: Output) -> bytes:
    """Return the bytes before the first row."""
    if output.format != CSV or not output.header:
        return b""
    return csv.line_writer(output.delimiter, safe=output.safe)(Layout.from_json(report.layout).header(report.width))


def blocks(report: Report, output: Output, rows: select.Selection) -> Generator[Block]:
    """Yield the rows of a part as bytes, a few rows at a time."""
    layout = Layout.from_json(report.layout)
    if output.format == JSONL:
        return jsonl.blocks(select.full_rows(rows))
    if output.format == PARQUET:
        return parquet.blocks(select.full_rows(rows), layout)
    made = select.csv_blocks(rows, layout, report.width, output.delimiter, safe=output.safe)
    if made is None:  # the database cannot write this CSV, so write the same bytes here
        made = csv.blocks(select.rows(rows), layout, report.width, output.delimiter, safe=output.safe)
    return made
