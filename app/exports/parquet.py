"""Typed Parquet. A part of a report is an Arrow stream; the bytes of the joined file do not depend on its parts.

pyarrow takes tens of megabytes of a process's memory, so only writers of this format import it.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

from app.event_columns import StoredRow
from app.exports import arrow
from app.exports.blocks import Block, ended
from app.exports.layout import Layout

if TYPE_CHECKING:
    import pyarrow as pa

TextOf = Callable[[int], int]  # returns the number of bytes of text in a number of first rows

# Limits of a row group, which is in memory as a whole. It ends with the row that reaches either of them.
GROUP_ROWS = 32_768
GROUP_TEXT = 4 * 1024 * 1024  # bytes


def is_installed() -> bool:
    """Return whether this format can be written, which requires pyarrow, installed by the extra `parquet`."""
    return importlib.util.find_spec("pyarrow") is not None


def blocks(rows: Iterable[StoredRow], layout: Layout) -> Generator[Block]:
    """Yield a part's content: an Arrow stream, a record batch per block.

    The rows are closed when the iteration ends for any reason.
    """
    pa = arrow.library()
    gathered = bytearray()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    stream = pa.ipc.new_stream(_Sink(gathered.extend), arrow.schema(layout), options=options)
    with ended(rows) as left:
        for batch in arrow.batches(left, layout):
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
    arrow.library()
    import pyarrow.parquet as pq

    form, sink, rows = arrow.schema(layout), _Sink(write), 0
    writer = pq.ParquetWriter(sink, form, compression="zstd", compression_level=1, use_dictionary=_texts(form))
    try:
        for group in _row_groups(_read(parts, form)):
            writer.write_table(group, row_group_size=len(group))
            rows += len(group)
            del group  # free it before the next group is gathered
        writer.close()
    finally:
        sink.write = _nowhere  # an abandoned writer would otherwise write the end of the file
    return rows


class _Sink:
    """The file methods that pyarrow needs."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""


def _nowhere(data: bytes) -> None:
    """Discard the data."""


def _texts(form: pa.Schema) -> list[str]:
    """Return Parquet's paths of the text columns, whose values repeat often."""
    import pyarrow as pa

    texts = [field for field in form if pa.types.is_string(field.type) or pa.types.is_list(field.type)]
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in texts]


def _read(parts: Iterable[BinaryIO], form: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for number, part in enumerate(parts, 1):
        with closing(part):
            stream = pa.ipc.open_stream(part, options=pa.ipc.IpcReadOptions(use_threads=False))
            if stream.schema != form:
                raise ValueError(f"part {number} has the columns {stream.schema.names}, the file {form.names}")
            yield from stream


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in groups that depend only on the rows, not on their batches."""
    gathered, rows, text = [], 0, 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            text_of = _text_of_first(batch)
            full = bisect_left(range(1, batch.num_rows + 1), GROUP_TEXT - text, key=text_of) + 1
            taken = min(GROUP_ROWS - rows, full, batch.num_rows)
            gathered.append(batch[:taken])
            rows, text = rows + taken, text + text_of(taken)
            batch = batch[taken:]
            if rows == GROUP_ROWS or text >= GROUP_TEXT:
                yield _put_together(gathered)
                rows, text = 0, 0
    if gathered:
        yield _put_together(gathered)


def _put_together(batches: list[pa.RecordBatch]) -> pa.Table:
    """Return a table of the batches in contiguous memory, and clear the list to release them."""
    import pyarrow as pa

    table = pa.Table.from_batches(batches)
    batches.clear()
    return table.combine_chunks()


def _text_of_first(batch: pa.RecordBatch) -> TextOf:
    """Return a function that returns the number of bytes of text in a number of first rows."""
    import pyarrow as pa

    texts = [column for column in batch.columns if not pa.types.is_primitive(column.type)]  # neither times nor numbers
    columns = [_text_of(column) for column in texts]
    return lambda count: sum(text_of(count) for text_of in columns)


def _text_of(column: pa.Array) -> TextOf:
    """Return the same function for a column of texts, or of lists of texts.

    Arrow stores the end of each text, so a few lookups suffice; its own functions for that would load 8 MiB.
    """
    import pyarrow as pa

    if not len(column):
        return lambda count: 0
    ends = memoryview(column.buffers()[1]).cast("i")[column.offset :]
    if not pa.types.is_list(column.type):
        return lambda count: ends[count] - ends[0]
    text_of = _text_of(column.values)
    return lambda count: text_of(ends[count]) - text_of(ends[0])
