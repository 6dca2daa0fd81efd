"""Output of a report: the format, name and destination of its file, according to the `output` of its request.

Only this module combines the store's rows with the file formats. A new format is a class in FORMATS, with its writer in
`app/exports/`, and its name in `app/schemas/reports.py`.

The destination is Tally's own storage, or a bucket that the operator allows. Files delivered to a bucket belong to the
bucket's owner, so Tally never removes them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import structlog

from app.config import Settings
from app.event_columns import COLUMNS as EVENT_COLUMNS
from app.exceptions import Forbidden, StorageFailed
from app.exports import csv, jsonl, parquet
from app.exports.file import Block, Compressor, compressor
from app.exports.layout import COLUMNS, POSITIONAL, Layout, cells, items
from app.schemas.reports import DEFAULT_DELIMITER, UNCOMPRESSED, day
from app.storage import Storage, is_in_storage, open_bucket
from app.store.events import select
from app.store.models import Report
from app.store.reports import reports as store

COMPRESSIONS = {"gzip": (".gz", "application/gzip"), "zstd": (".zst", "application/zstd")}
# Control characters, characters with a meaning in paths or on Windows, and marks that reverse the text direction.
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
MAX_NAME_BYTES = 180  # of a product code, because a file name may have 255

log = structlog.get_logger(__name__)


Sample = tuple[list[str], list[Sequence[object]]]  # the columns and rows of a short file


class Format:
    """Format of a report's file, from the `output` of its request. None means that the request had none.

    Attributes:
        extension: of the file's name, such as `.csv.gz`.
        media_type: of the file, which is that of the compression if there is any.
        is_joined: whether joining the parts takes more than concatenating them.
        part_divisor: by how many times parts are smaller than usual, because the format is slower to write.
        has_layout: whether the file has the columns of a layout. Otherwise a requested layout is ignored.
    """

    extension: str
    media_type: str
    is_joined = False
    part_divisor = 1
    has_layout = True

    def __init__(self, output: Mapping[str, Any] | None) -> None:
        self._output = output or {}
        self._compression: str = self._output.get("compression", UNCOMPRESSED)
        if self._compression in COMPRESSIONS:
            extension, self.media_type = COMPRESSIONS[self._compression]
            self.extension += extension

    def effective_layout(self, layout: Layout) -> Layout:
        """Return the layout of the file. A format without columns contains events in full."""
        return layout if self.has_layout else Layout(POSITIONAL)

    def accepted_layout(self, layout: Layout) -> Layout:
        """Return the layout of a new report, for the layout that the catalog gives."""
        return layout

    @property
    def shows_parts(self) -> bool:
        """Return whether the file's bytes depend on where parts begin and end."""
        return self.is_joined or self._compression != UNCOMPRESSED

    def is_installed(self) -> bool:
        """Return whether this installation can write the format."""
        return True

    def compressor(self) -> Compressor:
        """Return the compressor of a part's bytes."""
        return compressor(self._compression)

    def columns(self, layout: Layout, width: int | None) -> list[str]:
        """Return the column names of a file. If the width is unknown (None), they end with the first item."""
        raise NotImplementedError

    def sample(self, rows: Sequence[Sequence[Any]], layout: Layout) -> Sample:
        """Return the columns and values of a file with only these rows."""
        raise NotImplementedError

    def head(self, layout: Layout, width: int) -> bytes:
        """Return the bytes before the first row."""
        return b""

    def blocks(self, rows: select.Selection, layout: Layout, width: int) -> Generator[Block]:
        """Yield the rows of a part as bytes, a few rows at a time."""
        raise NotImplementedError

    def join(self, parts: Iterable[BinaryIO], write: Callable[[bytes], object], layout: Layout) -> int:
        """Write the file from its parts if the format `is_joined`; see `parquet.join`."""
        raise NotImplementedError


class Csv(Format):
    """CSV with a delimiter, and optionally with a header and cells that no spreadsheet runs.

    The lead columns of a layout come after the type.
    """

    extension, media_type = ".csv", "text/csv"

    def __init__(self, output: Mapping[str, Any] | None) -> None:
        super().__init__(output)
        self._delimiter: str = self._output.get("delimiter", DEFAULT_DELIMITER)
        self._safe: bool = self._output.get("spreadsheetSafe", False)

    def columns(self, layout: Layout, width: int | None) -> list[str]:
        layout, lead = layout.led(), len(layout.lead)
        if width is None and layout.kind == POSITIONAL:
            return [*layout.header(lead + 1), "…"]
        return layout.header(lead + (width or 0))

    def sample(self, rows: Sequence[Sequence[Any]], layout: Layout) -> Sample:
        events = [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]
        contexts = [[*(event[name] for name in layout.lead), *items(event["context"])] for event in events]
        width, layout = max(map(len, contexts), default=len(layout.lead)), layout.led()
        fill, write = cells(layout, width), csv.cell_escaper(safe=self._safe)
        values: list[Sequence[object]] = [
            [event["timestamp"], *map(write, [event["type"], *fill(event["type"], context)])]
            for event, context in zip(events, contexts, strict=True)
        ]
        return [name or "" for name in map(write, layout.header(width))], values

    def head(self, layout: Layout, width: int) -> bytes:
        if not self._output.get("header"):
            return b""
        return csv.line_writer(self._delimiter, safe=self._safe)(self.columns(layout, width))

    def blocks(self, rows: select.Selection, layout: Layout, width: int) -> Generator[Block]:
        layout, width = layout.led(), width + len(layout.lead)
        made = select.csv_blocks(rows, layout, width, self._delimiter, safe=self._safe)
        if made is None:  # the database cannot write this CSV, so write the same bytes here
            made = csv.blocks(select.rows(rows, layout.lead), layout, width, self._delimiter, safe=self._safe)
        return made


class JsonLines(Format):
    """JSON Lines, with events in full."""

    extension, media_type = ".jsonl", "application/x-ndjson"
    has_layout = False

    def columns(self, layout: Layout, width: int | None) -> list[str]:
        return list(jsonl.Line.__struct_fields__)

    def sample(self, rows: Sequence[Sequence[Any]], layout: Layout) -> Sample:
        return self.columns(layout, None), [
            [items(value) if name == "context" else value for name, value in zip(EVENT_COLUMNS, row, strict=True)]
            for row in rows
        ]

    def blocks(self, rows: select.Selection, layout: Layout, width: int) -> Generator[Block]:
        return jsonl.blocks(select.full_rows(rows))


class Parquet(Format):
    """Parquet, whose columns are compressed inside the file."""

    extension, media_type = ".parquet", "application/vnd.apache.parquet"
    is_joined = True
    part_divisor = 4

    def accepted_layout(self, layout: Layout) -> Layout:
        """Add the whole context to columns, unless the catalog drops items without one."""
        return replace(layout, has_context=layout.kind == COLUMNS and layout.keeps_extras)

    def is_installed(self) -> bool:
        return parquet.is_installed()

    def compressor(self) -> Compressor:
        return compressor(UNCOMPRESSED)

    def columns(self, layout: Layout, width: int | None) -> list[str]:
        return parquet.names(layout)

    def sample(self, rows: Sequence[Sequence[Any]], layout: Layout) -> Sample:
        return parquet.names(layout), parquet.sample_rows(rows, layout)

    def blocks(self, rows: select.Selection, layout: Layout, width: int) -> Generator[Block]:
        return parquet.blocks(select.full_rows(rows), layout)

    def join(self, parts: Iterable[BinaryIO], write: Callable[[bytes], object], layout: Layout) -> int:
        return parquet.join(parts, write, layout)


FORMATS: dict[str, type[Format]] = {"csv": Csv, "jsonl": JsonLines, "parquet": Parquet}


def format_of(output: Mapping[str, Any] | None) -> Format:
    """Return the format that the `output` of a report's request asks for."""
    return FORMATS[(output or {}).get("format", "csv")](output)


def blocks(report: Report, rows: select.Selection) -> Generator[Block]:
    """Yield some rows of a planned report as bytes, a few rows at a time."""
    return format_of(report.output).blocks(rows, Layout.from_json(report.layout), report.width or 0)


def selection(report: Report) -> select.Selection:
    """Return the selection of a report's snapshot."""
    return select.Selection(
        None if report.customers else report.customer,
        None if report.products else report.product,
        report.types or (),
        report.start,
        report.end,
        report.snapshot_max_id,
        report.snapshot_min_id,
        customers=report.customers,
        products=report.products,
    )


def file_name(report: Report) -> str:
    """Return a download name such as `PORTFOLIO_2026-11-01_2026-11-30.csv.gz`, always with product and period.

    A period without an end ends on the day on which the report was started, because its events are of until then. One
    without a start is marked `until`, or `new` if the events are those accepted since the previous report.
    Forbidden characters are replaced. The name never looks like an option to a shell, and the file is not hidden.
    """
    plain = FORBIDDEN.sub("-", report.product).encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip()
    named = plain if plain and plain[0] not in "-." else f"_{plain}"
    first = "until" if report.snapshot_min_id is None else "new"
    first = first if report.start is None else day(report.start)
    last = day(report.started_at if report.end is None else report.end)
    return "_".join([named, first, last]) + format_of(report.output).extension


class Destinations:
    """Destinations of report files. Tally's own storage (`own`) also stores the parts."""

    def __init__(self, settings: Settings, own: Storage) -> None:
        self.own = own
        self._settings = settings
        self._buckets: dict[str, Storage] = {}

    def check(self, output: Mapping[str, Any]) -> None:
        """Raise Forbidden if the operator does not allow an output's bucket, or its key is reserved for Tally."""
        bucket = output.get("bucketName")
        if bucket is None:
            return
        allowed = self._settings.report_buckets
        if bucket not in allowed:
            what = f"allows only {', '.join(allowed)}" if allowed else "allows no buckets"
            raise Forbidden(f"output.bucketName: the operator of this service {what}.")
        if is_in_storage(self._settings.storage, bucket, output["bucketKey"]):
            raise Forbidden("output.bucketKey: the service stores its own report files under such names.")

    def place(self, report: Report) -> Storage:
        """Return the storage of a report's file, whether or not the file exists yet."""
        bucket = (report.output or {}).get("bucketName")
        if bucket is None:
            return self.own
        if bucket not in self._buckets:
            self._buckets[bucket] = open_bucket(bucket, self._settings.s3_endpoint_url, self._settings.s3_public_url)
        return self._buckets[bucket]

    def new_key(self, report: Report) -> str:
        """Return the name of an attempt's file, which is unique to the attempt in Tally's own storage."""
        output = report.output or {}
        return output.get("bucketKey") or f"{report.job}.{secrets.token_hex(8)}{format_of(output).extension}"

    def has(self, report: Report) -> bool:
        """Return whether a report's file still exists and was not replaced by another file of the same name."""
        place = self.place(report)
        if report.file is None or (place is not self.own and report.etag is None):
            return False  # without an ETag: delivered by a version that did not record the object's
        is_there = place.size(report.file) == report.bytes
        return is_there and (report.etag is None or place.is_same(report.file, report.etag))

    def discard(self, report: Report, key: str) -> None:
        """Remove a file in Tally's own storage. Delivered files stay, because others may write under their names."""
        if self.place(report) is self.own:
            self.own.discard(key)

    def discard_leftovers(self, job: str) -> None:
        """Remove the parts and partial files of a report that has ended. Its finished file stays.

        List the files before checking which are needed, so that no file created in between is removed. Use short
        storage timeouts, because users who cancel and the worker's next report wait for this method.
        """
        store.remove_parts_of_ended(job)
        storage = self.own.hurried()
        try:
            found = {key for key, _ in storage.contents(job)}
            if not store.running_among([job]):
                for key in found - store.files_in_use([job]):
                    storage.discard(key)
        except StorageFailed as error:
            log.warning("files not removed, the next sweep will", reason=str(error))
