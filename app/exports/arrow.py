"""Events as Arrow's record batches: typed columns, on their way into Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

from app.exports.blocks import BLOCK_BYTES, steps
from app.exports.cells import Context, cells, items
from app.layout import COLUMNS, COMMON, Layout

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[int, str, str | Context]  # timestamp, type, context: a list or its JSON text
Columns = tuple[list[int], list[str], list[Context]]

ROW_BYTES = 16  # of a row beside its context's text, about


def library() -> ModuleType:
    """pyarrow, loaded when it is first asked for.

    It is told to take its memory from the system: a pool of its own keeps 25 MiB more.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa

    return pa


def schema(layout: Layout) -> pa.Schema:
    """The columns: timestamp, type, then a text for each of the catalog's, or the context as a list of texts."""
    pa = library()
    timestamp, kind = COMMON
    fields = [
        pa.field(timestamp, pa.timestamp("ms", "UTC"), nullable=False),
        pa.field(kind, pa.string(), nullable=False),
    ]
    if layout.kind == COLUMNS:
        return pa.schema([*fields, *(pa.field(_unique(name, layout), pa.string()) for name in layout.columns)])
    return pa.schema([*fields, pa.field("context", pa.list_(pa.string()), nullable=False)])


def batches(rows: Iterator[Row], layout: Layout) -> Iterator[pa.RecordBatch]:
    """The rows in batches, each of about a block's size."""
    pa = library()
    form = schema(layout)
    fill = cells(layout, 0) if layout.kind == COLUMNS else None
    for timestamps, types, contexts in _gathered(rows):
        columns = zip(*map(fill, types, contexts), strict=True) if fill else [contexts]
        yield pa.RecordBatch.from_arrays([timestamps, types, *columns], schema=form)


def _unique(column: str, layout: Layout) -> str:
    """A catalog's column under a name that no other has: it names none twice, but may name one as ours are."""
    name, number = column, 1
    while column in COMMON and name in (*COMMON, *layout.columns):
        number += 1
        name = f"{column}_{number}"
    return name


def _gathered(rows: Iterator[Row]) -> Iterator[Columns]:
    gathered, size = ([], [], []), 0
    for step in steps(rows):
        timestamps, types, contexts = zip(*step, strict=True)
        parsed = list(map(items, contexts))
        for column, values in zip(gathered, (timestamps, types, parsed), strict=True):
            column.extend(values)
        size += len(step) * ROW_BYTES + _characters(parsed)
        if size >= BLOCK_BYTES:
            yield gathered
            gathered, size = ([], [], []), 0
    if gathered[0]:
        yield gathered


def _characters(contexts: Iterable[Context]) -> int:
    return len("".join(filter(None, chain.from_iterable(contexts))))
