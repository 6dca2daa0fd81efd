"""JSON Lines: an event per line, in the form of `GET /events`."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import msgspec

from app.event_columns import COLUMNS, CONTEXT_INDEX, StoredRow
from app.exports.blocks import Block, ended, of_pieces, steps

# Keys of a line in their order, which are those of `schemas.events.FullEvent`; a test ensures that. They are not the
# same class, because a context from the database is not parsed only to be written again.
Line = msgspec.defstruct("Line", list(COLUMNS))
OPTIONAL_INDEXES = [index for index, kind in enumerate(COLUMNS.values()) if kind == "text or null"]

_encode = msgspec.json.Encoder().encode_lines


def blocks(rows: Iterable[StoredRow]) -> Generator[Block]:
    """Yield a report's content in blocks, and close the rows when the iteration ends for any reason."""
    with ended(rows) as left:
        yield from of_pieces((_encode([_line(row) for row in step]), len(step)) for step in steps(left))


def _line(row: StoredRow) -> msgspec.Struct:
    values: list[object] = list(row)
    for index in OPTIONAL_INDEXES:
        if values[index] is None:
            values[index] = msgspec.UNSET
    context = values[CONTEXT_INDEX]
    if isinstance(context, str):
        values[CONTEXT_INDEX] = msgspec.Raw(context)
    return Line(*values)
