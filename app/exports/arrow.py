"""Events as Arrow record batches with typed columns, for Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.event_columns import COLUMNS as EVENT_COLUMNS
from app.event_columns import CONTEXT_INDEX, Context, StoredRow
from app.exports.blocks import BLOCK_BYTES, steps
from app.exports.cells import cells, items
from app.exports.layout import COLUMNS, COMMON, EXTRA, Layout

if TYPE_CHECKING:
    import pyarrow as pa

Columns = list[list[Any]]  # of some rows, in the order of EVENT_COLUMNS
# Further fields of an event, in columns after those of its timestamp, type and context.
REST = tuple(name for name in EVENT_COLUMNS if name not in (*COMMON, "context"))

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
    types = {"time": moment, "number": pa.int32(), "context": pa.list_(text)}
    kinds = {name: EVENT_COLUMNS[name] for name in (*COMMON, *REST)}
    kinds |= {} if layout.kind == COLUMNS else {"context": EVENT_COLUMNS["context"]}
    return pa.schema(
        [
            pa.field(name, types.get(kinds[name], text), kinds[name] == "text or null")
            if name in kinds
            else pa.field(name, text)
            for name in names(layout)
        ]
    )


def batches(rows: Iterator[StoredRow], layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches, each of about a block's size."""
    pa = library()
    form = schema(layout)
    fill = cells(layout, 0) if layout.kind == COLUMNS else None
    place = layout.columns.index(EXTRA) if EXTRA in layout.columns else None
    for gathered in _gathered(rows):
        values = dict(zip(EVENT_COLUMNS, gathered, strict=True))
        types, contexts = values["type"], values["context"]
        columns = list(zip(*map(fill, types, contexts), strict=True)) if fill else [contexts]
        extras = [] if place is None else [columns.pop(place)]
        rest = [list(map(str, values[name])) if EVENT_COLUMNS[name] == "uuid" else values[name] for name in REST]
        yield pa.RecordBatch.from_arrays([values["timestamp"], types, *columns, *rest, *extras], schema=form)


def _gathered(rows: Iterator[StoredRow]) -> Iterator[Columns]:
    gathered, size = [[] for _ in EVENT_COLUMNS], 0
    for step in steps(rows):
        for column, values in zip(gathered, zip(*step, strict=True), strict=True):
            column.extend(values)
        contexts = gathered[CONTEXT_INDEX]
        contexts[-len(step) :] = map(items, contexts[-len(step) :])
        size += len(step) * ROW_BYTES + _characters(contexts[-len(step) :])
        if size >= BLOCK_BYTES:
            yield gathered
            gathered, size = [[] for _ in EVENT_COLUMNS], 0
    if gathered[0]:
        yield gathered


def _characters(contexts: Iterable[Context]) -> int:
    return len("".join(filter(None, chain.from_iterable(contexts))))
