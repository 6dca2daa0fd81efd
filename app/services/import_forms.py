"""The two forms of a file of events, and how its records become events: NDJSON, and a report's positional CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.exceptions import Fault, InputInvalid
from app.exports import reading
from app.exports.reading import Chunk, CsvRecords, Cut
from app.layout import COMMON
from app.schemas.events import Batch, BatchSchema, BrokenLine, convert
from app.schemas.json import Number

LOOKED_AT = 100  # records: where one is invalid, so many take the slow road
NAMED = re.compile(r"context[1-9][0-9]*")  # the items in the header of a positional file
DIGITS = re.compile(r"[0-9]{1,15}")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")  # JSON's


@dataclass(frozen=True)
class Csv:
    """How a CSV file is read, and what its rows do not say.

    Attributes:
        header: whether its first row is left out, whatever it has; our own headers are known without.
    """

    customer: str
    product: str
    delimiter: str = "|"
    header: bool = False


class Form(Protocol):
    """How a file's records become events.

    Attributes:
        cut: how they are told apart.
    """

    cut: Cut

    def begin(self, chunk: Chunk) -> Chunk:
        """The file's first chunk, without what is no event.

        Raises:
            InputInvalid: the file has another form.
        """

    def read(self, records: Sequence[bytes]) -> Batch:
        """At most LOOKED_AT records, none of them blank, as events; their places are counted from 1."""


def form_of(csv: Csv | None) -> Form:
    """The form of a file that is CSV, or else NDJSON."""
    return CsvForm(csv) if csv else LinesForm()


class LinesForm:
    """An event as JSON on each line."""

    cut = staticmethod(reading.lines)

    def __init__(self) -> None:
        self._schema = BatchSchema(LOOKED_AT)

    def begin(self, chunk: Chunk) -> Chunk:
        """See `Form`."""
        filled = [record.strip() for record in chunk.records if record.strip()]
        is_array = bool(filled) and filled[0].startswith(b"[")  # whose lines may well begin as objects do
        if not filled or (not is_array and any(record.startswith(b"{") for record in filled)):
            return chunk
        raise _other_form(
            f"It begins with {filled[0][:40].decode(errors='replace')!r}. NDJSON has an event, an object of JSON, on "
            "each line; a report's CSV takes a customer and a product, as its rows do not name them."
        )

    def read(self, records: Sequence[bytes]) -> Batch:
        """See `Form`."""
        return self._schema.split_body(b"\n".join(records), lines=True)


class CsvForm:
    """The file of a report with the layout `positional`."""

    def __init__(self, csv: Csv) -> None:
        self._csv = csv
        self._records = CsvRecords(csv.delimiter)
        self._schema = BatchSchema(LOOKED_AT)
        self.cut = self._records.cut

    def begin(self, chunk: Chunk) -> Chunk:
        """See `Form`."""
        if not chunk.records:
            return chunk
        first = self._cells(chunk.records[0])
        is_ours = isinstance(first, list) and tuple(first[: len(COMMON)]) == COMMON
        if is_ours and not all(name and NAMED.fullmatch(name) for name in first[len(COMMON) :]):
            raise _other_form(
                "Its header has names of the catalog, so its layout is columns: that leaves out items without a column "
                "and does not say in which order an event had the others. Only the layout positional can be imported."
            )
        if not (is_ours or self._csv.header):
            return chunk
        return Chunk(chunk.records[1:], chunk.lines[1], chunk.end)

    def read(self, records: Sequence[bytes]) -> Batch:
        """See `Form`."""
        rows = [self._cells(record) for record in records]
        events = convert([self._value(row, int) for row in rows])
        if events is not None:
            return Batch(events, range(1, len(events) + 1))
        return self._schema.split_values([self._value(row, Number) for row in rows])

    def _cells(self, record: bytes) -> list[str | None] | BrokenLine:
        try:
            return self._records.cells(record.decode())
        except ValueError as error:  # a UnicodeDecodeError is one, too
            return BrokenLine(record.decode(errors="backslashreplace").replace("\0", "\\0"), str(error), "CSV")

    def _value(self, cells: list[str | None] | BrokenLine, number: Callable) -> dict[str, object] | BrokenLine:
        """A row as JSON would be parsed; `number` makes a number of its text."""
        if isinstance(cells, BrokenLine):
            return cells
        time, kind, *items = [*cells, None, None][: max(2, len(cells))]
        while items and items[-1] is None:  # rows are padded to the widest
            items.pop()
        return {
            "customer": self._csv.customer,
            "product": self._csv.product,
            "type": kind,
            "timestamp": _time(time, number),
            "context": items,
        }


def _time(cell: str | None, number: Callable) -> object:
    if cell and DIGITS.fullmatch(cell):
        return number(cell)
    return Number(cell) if cell and NUMBER.fullmatch(cell) else cell


def _other_form(message: str) -> InputInvalid:
    return InputInvalid("The file cannot be imported; nothing was stored.", [Fault(message)])
