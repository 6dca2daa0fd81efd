"""Conversion of records into events for both forms of an import file: NDJSON, and a report's CSV in either layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from app.exceptions import BodyMalformed, FieldError, InputInvalid
from app.exports import reading
from app.exports.layout import COLUMNS, COMMON, EXTRA, EXTRA_NAME, Layout
from app.exports.reading import Chunk, CsvRecords, Cut
from app.schemas import json
from app.schemas.batches import convert, split_body, split_values
from app.schemas.events import Batch, BrokenLine
from app.schemas.json import Number

RECORDS_AT_ONCE = 100  # records per step; if a record is invalid, the whole step takes the slow path
NAMED = re.compile(r"context[1-9][0-9]*")  # the items in the header of a positional file
DIGITS = re.compile(r"[0-9]{1,15}")
# A JSON number without an exponent, because a program that writes one has rounded the time, as spreadsheets do.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
WIDE = (b"\xff\xfe", b"\xfe\xff")  # byte order marks of UTF-16 and UTF-32
PARQUET = b"PAR1"  # the start of a Parquet file
Cells = list[str | None]
GOES_ON = (b"{", b"[", b",", b":")  # last characters of the first line of JSON that spans several lines


@dataclass(frozen=True)
class Csv:
    """Options for reading a CSV file, and the values that its rows lack."""

    customer: str
    product: str
    delimiter: str = "|"
    header: bool = False  # whether to skip the first row in any case; a report's own header is recognized anyway
    layout: str | None = None  # COLUMNS or POSITIONAL for a file without a report's header; None if it is unambiguous


INCOMPLETE = (
    "Its layout is columns, without the last column, extra: context items that have no column were left out. Without "
    "that column, only the layout positional can be imported."
)


class Form(Protocol):
    """Conversion of a file's records into events."""

    @property
    def cut(self) -> Cut:
        """Return the function that splits the content into records."""

    def begin(self, chunk: Chunk) -> Chunk:
        """Return the file's first chunk without records that are no events. Raise InputInvalid for another form."""

    def read(self, records: Sequence[bytes]) -> Batch:
        """Convert at most RECORDS_AT_ONCE non-blank records into events, with their places counted from 1."""


class LinesForm:
    """NDJSON file, with an event as JSON on each line."""

    cut = staticmethod(reading.lines)

    def begin(self, chunk: Chunk) -> Chunk:
        """See `Form`."""
        _check_encoding(chunk)
        filled = [record.strip() for record in chunk.records if record.strip()]
        is_request = False  # a body of `POST /events` that contains all events
        with suppress(BodyMalformed):
            first = json.parse(filled[0]) if filled else None
            is_request = isinstance(first, dict) and isinstance(first.get("events"), list)
        if filled and (filled[0].endswith(GOES_ON) or is_request):
            raise _other_form(
                "It is one JSON document, not NDJSON, which has an event on each line. Take it apart first: "
                "jq -c 'if type == \"array\" then .[] else (.events // [.])[] end' FILE > events.ndjson does."
            )
        is_array = bool(filled) and filled[0].startswith(b"[")  # the lines of an array may begin as objects do
        if not filled or (not is_array and any(record.startswith(b"{") for record in filled)):
            return chunk
        raise _other_form(
            f"It begins with {filled[0][:40].decode(errors='replace')!r}. NDJSON has an event, an object of JSON, on "
            "each line; a report's CSV takes a customer and a product, as its rows do not name them."
        )

    def read(self, records: Sequence[bytes]) -> Batch:
        """See `Form`."""
        return split_body(b"\n".join(records), RECORDS_AT_ONCE, lines=True)


class CsvForm:
    """CSV file of a report. `naming` determines how to read a row of the layout `columns`."""

    def __init__(self, csv: Csv, naming: Layout) -> None:
        self._csv = csv
        self._naming = naming
        self._by_name: Layout | None = None  # set when the start is read; None means positional
        self._records = CsvRecords(csv.delimiter)
        self.cut = self._records.cut

    def begin(self, chunk: Chunk) -> Chunk:
        """See `Form`."""
        _check_encoding(chunk)
        if not chunk.records:
            return chunk
        first = self._cells(chunk.records[0])
        if isinstance(first, list) and tuple(first[: len(COMMON)]) == COMMON:
            self._by_name = self._named_by(first[len(COMMON) :])
        else:
            self._by_name = self._named_without(first)
            if not self._csv.header:
                return chunk
        return Chunk(chunk.records[1:], chunk.lines[1], chunk.end)

    def read(self, records: Sequence[bytes]) -> Batch:
        """See `Form`."""
        rows: list[Sequence[object] | BrokenLine] = []  # the time, type and context items of each record
        for record in records:
            cells = self._cells(record)
            if self._by_name is None or isinstance(cells, BrokenLine):
                rows.append(cells)
                continue
            try:
                rows.append([*cells[: len(COMMON)], *_in_order(self._by_name, cells)])
            except ValueError as error:
                rows.append(_broken(record, error))
        events = convert([self._value(row, int) for row in rows])
        if events is not None:
            return Batch(events, range(1, len(events) + 1))
        return split_values([self._value(row, Number) for row in rows], RECORDS_AT_ONCE)

    def _named_by(self, header: Sequence[str | None]) -> Layout | None:
        """Return the layout that a report's header indicates, or None for positional."""
        if all(name and NAMED.fullmatch(name) for name in header):
            return None
        if header[-1] != EXTRA_NAME:
            raise _other_form(INCOMPLETE)
        shown = dict(zip(self._naming.header(0)[len(COMMON) :], self._naming.columns, strict=True))
        columns = [shown.get(name or "", name or "") for name in header[:-1]]
        return Layout(COLUMNS, (*columns, EXTRA), self._naming.contexts)

    def _named_without(self, first: Cells | BrokenLine) -> Layout | None:
        """Return the layout of a file without a report's header, or None for positional."""
        named = [column for column in self._naming.columns if column != EXTRA]
        if self._csv.layout is None:
            width = len(COMMON) + len(self._naming.columns)
            if named and isinstance(first, list) and len(first) == width:
                raise _other_form(
                    f"It may have either layout, as the catalog has columns for {self._csv.product} and no header says "
                    "which: say --layout columns or --layout positional."
                )
            return None
        if self._csv.layout != COLUMNS:
            return None
        if not named:
            raise _other_form(f"The catalog has no columns for {self._csv.product}, so its layout cannot be columns.")
        if not self._naming.keeps_extras:
            raise _other_form(INCOMPLETE)
        return self._naming

    def _cells(self, record: bytes) -> Cells | BrokenLine:
        try:
            return self._records.cells(record.decode())
        except ValueError as error:  # includes UnicodeDecodeError
            return _broken(record, error)

    def _value(
        self, cells: Sequence[object] | BrokenLine, number: Callable[[str], object]
    ) -> dict[str, object] | BrokenLine:
        """Return a row as parsed JSON would be. `number` converts a cell's text to a number."""
        if isinstance(cells, BrokenLine):
            return cells
        time, kind, *items = [*cells, None, None][: max(2, len(cells))]
        while items and items[-1] is None:  # rows are padded to the widest
            items.pop()
        if isinstance(time, str) and DIGITS.fullmatch(time):
            time = number(time)
        elif isinstance(time, str) and NUMBER.fullmatch(time):
            time = Number(time)
        return {
            "customer": self._csv.customer,
            "product": self._csv.product,
            "type": kind,
            "timestamp": time,
            "context": items,
        }


def _broken(record: bytes, error: ValueError) -> BrokenLine:
    return BrokenLine(record.decode(errors="backslashreplace").replace("\0", "\\0"), str(error), "CSV")


def _in_order(layout: Layout, cells: Cells) -> list[object]:
    """Return the context of a row with columns: the values under the names of its type, in order, and the extras.

    Raise ValueError if the row does not fit the columns, or has a value in a column that its type does not name.
    """
    columns = len(COMMON) + len(layout.columns)
    if len(cells) != columns:
        raise ValueError(f"it has {len(cells)} cells, and the file {columns} columns")
    kind = cells[1] or ""
    named = dict(zip(layout.columns, cells[len(COMMON) :], strict=True))
    cell = named.pop(EXTRA)
    try:
        extras = [] if cell is None else json.parse(cell.encode())
    except BodyMalformed:
        extras = None
    if not isinstance(extras, list):
        raise ValueError(f"{EXTRA_NAME} is no JSON array")
    kept, _ = layout.extras(kind)
    names = enumerate(layout.contexts.get(kind, ()))
    context: list[object] = [None if index in kept else named.pop(name) for index, name in names]
    if lost := [name for name, value in named.items() if value is not None]:
        raise ValueError(f"the catalog has no context item {lost[0]} for the type {kind}")
    for index, item in zip(kept, extras, strict=False):
        context[index] = item
    return context + extras[len(kept) :]


def _check_encoding(chunk: Chunk) -> None:
    begin = chunk.records[0][:4] if chunk.records else b""
    if begin == PARQUET:
        raise _other_form("It is a Parquet file. Import the same report in the format jsonl, or as CSV.")
    if begin.startswith(WIDE) or b"\0" in begin:
        raise _other_form("It is in UTF-16. Save it in UTF-8: iconv -f UTF-16 -t UTF-8 FILE does.")


def _other_form(message: str) -> InputInvalid:
    return InputInvalid("The file cannot be imported; nothing was stored.", [FieldError(message)])
