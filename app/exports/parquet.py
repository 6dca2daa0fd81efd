"""Typed Parquet. A part of a report is an Arrow stream; the bytes of the joined file do not depend on its parts.

pyarrow takes tens of megabytes of a process's memory, so it is imported only where this format is written.
"""

from __future__ import annotations

import importlib.util
import os
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from app.event_columns import COLUMNS as EVENT_COLUMNS
from app.event_columns import CONTEXT_INDEX, StoredRow
from app.exports.file import BLOCK_BYTES, Block, closed_at_end, steps
from app.exports.layout import COLUMNS, COMMON, EXTRA, Layout, cells, items

if TYPE_CHECKING:
    import pyarrow as pa

# Further fields of an event, in columns after those of its timestamp, type and context.
REST = tuple(name for name in EVENT_COLUMNS if name not in (*COMMON, "context"))
ROW_BYTES = 128  # approximate size of a row without its context's text
# Limits of a row group, which is in memory as a whole. It ends with the row that reaches either of them.
GROUP_ROWS = 32_768
GROUP_TEXT = 4 * 1024 * 1024  # bytes


def is_installed() -> bool:
    """Return whether this format can be written, which requires pyarrow, installed by the extra `parquet`."""
    return importlib.util.find_spec("pyarrow") is not None


def names(layout: Layout) -> list[str]:
    """Return the columns: timestamp, type, context, the further fields of an event, then the extras.

    The context fills one column for each catalog column, or a single list. In the first case, a list with the whole
    context comes last if the layout has it. Many readers treat names that differ only in case as equal, so the names
    differ in more than case.
    """
    if layout.kind != COLUMNS:
        return [*COMMON, "context", *REST]
    filled = layout.names((*COMMON, *REST), str.casefold)
    extras = [filled.pop(layout.columns.index(EXTRA))] if EXTRA in layout.columns else []
    return [*COMMON, *filled, *REST, *extras, *([_context_name(filled)] if layout.has_context else [])]


def schema(layout: Layout) -> pa.Schema:
    """Return the columns with their types. The columns of the context are text."""
    pa = _import_pyarrow()
    moment, text = pa.timestamp("ms", "UTC"), pa.string()
    types = {"time": moment, "number": pa.int32(), "context": pa.list_(text)}
    kinds = {name: EVENT_COLUMNS[name] for name in (*COMMON, *REST)}
    found = names(layout)
    if layout.kind != COLUMNS:
        kinds["context"] = EVENT_COLUMNS["context"]
    elif layout.has_context:
        kinds[found[-1]] = EVENT_COLUMNS["context"]
    # The columns of the catalog may be null.
    columns = [(name, kinds.get(name, "text or null")) for name in found]
    return pa.schema([pa.field(name, types.get(kind, text), kind == "text or null") for name, kind in columns])


def blocks(rows: Iterable[StoredRow], layout: Layout) -> Generator[Block]:
    """Yield a part's content, an Arrow stream with a record batch per block, and close the rows at the end."""
    pa = _import_pyarrow()
    gathered = bytearray()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    stream = pa.ipc.new_stream(_Sink(gathered.extend), schema(layout), options=options)
    with closed_at_end(rows) as left:
        for batch in _record_batches(left, layout):
            stream.write_batch(batch)
            yield bytes(gathered), batch.num_rows
            gathered.clear()
    stream.close()
    yield bytes(gathered), 0


def join(parts: Iterable[BinaryIO], write: Callable[[bytes], object], layout: Layout) -> int:
    """Write a Parquet file from its parts, in order, and close each part after its last row.

    Returns:
        The number of rows. Compare it with the expected number, because a part that is cut between two batches looks
        complete.

    Raises:
        ValueError: a part is not an Arrow stream, or has another layout.
    """
    pa = _import_pyarrow()
    import pyarrow.parquet as pq

    form, sink, rows = schema(layout), _Sink(write), 0
    dictionaries = [field.name for field in form if pa.types.is_string(field.type)]  # their values repeat often
    dictionaries += [f"{field.name}.list.element" for field in form if pa.types.is_list(field.type)]
    writer = pq.ParquetWriter(sink, form, compression="zstd", compression_level=1, use_dictionary=dictionaries)
    try:
        for group in _row_groups(_read(parts, form)):
            writer.write_table(group, row_group_size=len(group))
            rows += len(group)
            del group  # free it before the next group is gathered
        writer.close()
    finally:
        sink.write = lambda data: None  # an abandoned writer would otherwise write the end of the file
    return rows


def _import_pyarrow() -> Any:  # noqa: ANN401 - it publishes no types
    """Import pyarrow with the system's memory allocator, because its own pool keeps 25 MiB more."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa

    return pa


class _Sink:
    """The file methods that pyarrow needs."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""


def _record_batches(rows: Iterator[StoredRow], layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches, each of about a block's size."""
    pa = _import_pyarrow()
    form = schema(layout)
    fill = _filler(layout)
    for gathered in _columns(rows):
        yield pa.RecordBatch.from_arrays(fill(gathered), schema=form)


def sample_rows(rows: Iterable[Any], layout: Layout) -> list[Sequence[object]]:
    """Return some rows as the file has them, without pyarrow."""
    fill = _filler(layout)
    return [row for gathered in _columns(iter(rows)) for row in zip(*fill(gathered), strict=True)]


def _filler(layout: Layout) -> Callable[[list[list[Any]]], list[Sequence[Any]]]:
    """Return a function that returns the columns of the file for values by column, in the order of EVENT_COLUMNS."""
    fill_cells = cells(layout, 0) if layout.kind == COLUMNS else None
    extra = layout.columns.index(EXTRA) if EXTRA in layout.columns else None

    def fill(gathered: list[list[Any]]) -> list[Sequence[Any]]:
        values = dict(zip(EVENT_COLUMNS, gathered, strict=True))
        types, contexts = values["type"], values["context"]
        columns = list(zip(*map(fill_cells, types, contexts), strict=True)) if fill_cells else [contexts]
        last = [] if extra is None else [columns.pop(extra)]
        last += [contexts] if layout.has_context else []
        rest = [list(map(str, values[name])) if EVENT_COLUMNS[name] == "uuid" else values[name] for name in REST]
        return [values["timestamp"], types, *columns, *rest, *last]

    return fill


def _context_name(filled: Sequence[str]) -> str:
    """Return the name of the column with the whole context, with a number if the catalog has taken it."""
    taken, name, number = {name.casefold() for name in filled}, "context", 1
    while name in taken:
        number += 1
        name = f"context_{number}"
    return name


def _columns(rows: Iterator[StoredRow]) -> Iterator[list[list[Any]]]:
    """Yield the values of some rows by column, in the order of EVENT_COLUMNS."""
    gathered: list[list[Any]] = [[] for _ in EVENT_COLUMNS]
    size = 0
    for step in steps(rows):
        for column, values in zip(gathered, zip(*step, strict=True), strict=True):
            column.extend(values)
        contexts = list(map(items, gathered[CONTEXT_INDEX][-len(step) :]))
        gathered[CONTEXT_INDEX][-len(step) :] = contexts
        size += len(step) * ROW_BYTES + len("".join(filter(None, chain.from_iterable(contexts))))
        if size >= BLOCK_BYTES:
            yield gathered
            gathered, size = [[] for _ in EVENT_COLUMNS], 0
    if gathered[0]:
        yield gathered


def _read(parts: Iterable[BinaryIO], form: pa.Schema) -> Iterator[pa.RecordBatch]:
    pa = _import_pyarrow()
    for number, part in enumerate(parts, 1):
        with closing(part):
            stream = pa.ipc.open_stream(part, options=pa.ipc.IpcReadOptions(use_threads=False))
            if stream.schema != form:
                raise ValueError(f"part {number} has the columns {stream.schema.names}, the file {form.names}")
            yield from stream


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in groups that depend only on the rows, not on their batches."""
    gathered: list[pa.RecordBatch] = []
    rows = text = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            text_of = _text_counter(batch)
            full = bisect_left(range(1, batch.num_rows + 1), GROUP_TEXT - text, key=text_of) + 1
            taken = min(GROUP_ROWS - rows, full, batch.num_rows)
            gathered.append(batch[:taken])
            rows, text = rows + taken, text + text_of(taken)
            batch = batch[taken:]
            if rows == GROUP_ROWS or text >= GROUP_TEXT:
                yield _combine(gathered)
                rows = text = 0
    if gathered:
        yield _combine(gathered)


def _combine(batches: list[pa.RecordBatch]) -> pa.Table:
    """Return a table of the batches in contiguous memory, and clear the list to release them."""
    table = _import_pyarrow().Table.from_batches(batches)
    batches.clear()
    return table.combine_chunks()


def _text_counter(batch: pa.RecordBatch) -> Callable[[int], int]:
    """Return a function that returns the number of bytes of text in a number of first rows."""
    is_primitive = _import_pyarrow().types.is_primitive  # neither times nor numbers are text
    counters = [_column_text_counter(column) for column in batch.columns if not is_primitive(column.type)]
    return lambda count: sum(text_of(count) for text_of in counters)


def _column_text_counter(column: pa.Array) -> Callable[[int], int]:
    """Return the same function for a column of texts, or of lists of texts.

    Arrow stores the end of each text, so a few lookups suffice; its own functions for that would load 8 MiB.
    """
    if not len(column):
        return lambda count: 0
    ends = memoryview(column.buffers()[1]).cast("i")[column.offset :]
    if not _import_pyarrow().types.is_list(column.type):
        return lambda count: ends[count] - ends[0]
    text_of = _column_text_counter(column.values)
    return lambda count: text_of(ends[count]) - text_of(ends[0])
