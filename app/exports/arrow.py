"""Events as Arrow record batches with typed columns, for Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

from app.exports.blocks import BLOCK_BYTES, steps
from app.exports.cells import Context, cells, items
from app.exports.jsonl import FullRow
from app.exports.layout import COLUMNS, COMMON, EXTRA, Layout

if TYPE_CHECKING:
    import pyarrow as pa

Columns = list[list]  # of some rows, in the order of FullRow
# Further fields of an event, in columns after those of its timestamp, type and context.
REST = ("customer", "product", "version", "sequence", "batch", "received")
ROW_COLUMNS, CONTEXT = 9, 5  # number of columns in a FullRow, and the index of the context

ROW_BYTES = 128  # approximate size of a row without its context's text


def library() -> ModuleType:
    """Return pyarrow, which is imported on first use.

    It uses the system's memory allocator, because its own pool keeps 25 MiB more.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa

    return pa


def names(layout: Layout) -> list[str]:
    """Return the columns: timestamp, type, context, the further fields of an event, and finally the extras.

    The context fills one column for each catalog column, or a single list. Many readers treat names that differ only in
    case as equal, so the names differ in more than case.
    """
    if layout.kind != COLUMNS:
        return [*COMMON, "context", *REST]
    filled = layout.names((*COMMON, *REST), str.casefold)
    extras = [filled.pop(layout.columns.index(EXTRA))] if EXTRA in layout.columns else []
    return [*COMMON, *filled, *REST, *extras]


def schema(layout: Layout) -> pa.Schema:
    """Return the columns with their types. The columns of the context are text."""
    pa = library()
    moment, text = pa.timestamp("ms", "UTC"), pa.string()
    found = [pa.field(name, text) for name in names(layout)]
    kinds = dict.fromkeys((*COMMON, *REST), text) | {"timestamp": moment, "received": moment, "sequence": pa.int32()}
    kinds |= {"context": pa.list_(text)} if layout.kind != COLUMNS else {}
    return pa.schema(
        [pa.field(one.name, kinds[one.name], one.name == "version") if one.name in kinds else one for one in found]
    )


def batches(rows: Iterator[FullRow], layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches, each of about a block's size."""
    pa = library()
    form = schema(layout)
    fill = cells(layout, 0) if layout.kind == COLUMNS else None
    place = layout.columns.index(EXTRA) if EXTRA in layout.columns else None
    for customers, products, types, versions, timestamps, contexts, sequences, batches, received in _gathered(rows):
        columns = list(zip(*map(fill, types, contexts), strict=True)) if fill else [contexts]
        extras = [] if place is None else [columns.pop(place)]
        rest = [customers, products, versions, sequences, list(map(str, batches)), received]
        yield pa.RecordBatch.from_arrays([timestamps, types, *columns, *rest, *extras], schema=form)


def _gathered(rows: Iterator[FullRow]) -> Iterator[Columns]:
    gathered, size = [[] for _ in range(ROW_COLUMNS)], 0
    for step in steps(rows):
        for column, values in zip(gathered, zip(*step, strict=True), strict=True):
            column.extend(values)
        contexts = gathered[CONTEXT]
        contexts[-len(step) :] = map(items, contexts[-len(step) :])
        size += len(step) * ROW_BYTES + _characters(contexts[-len(step) :])
        if size >= BLOCK_BYTES:
            yield gathered
            gathered, size = [[] for _ in range(ROW_COLUMNS)], 0
    if gathered[0]:
        yield gathered


def _characters(contexts: Iterable[Context]) -> int:
    return len("".join(filter(None, chain.from_iterable(contexts))))
