"""JSON Lines: an event per line, in the form of `GET /events`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import msgspec

from app.event_columns import COLUMNS, CONTEXT_INDEX, StoredRow
from app.exports.file import Block, closed_at_end, gather, steps

# Keys of a line in their order, which are those of `schemas.events.FullEvent`; a test ensures that. They are not the
# same class, because a context from the database is not parsed only to be written again.
Line = msgspec.defstruct("Line", list(COLUMNS))

_encode = msgspec.json.Encoder().encode_lines


def blocks(rows: Iterable[StoredRow]) -> Generator[Block]:
    """Yield a report's content in blocks, and close the rows when the iteration ends for any reason."""
    with closed_at_end(rows) as left:
        yield from gather((_encode(_to_lines(step)), len(step)) for step in steps(left))


def _to_lines(rows: Sequence[StoredRow]) -> list[msgspec.Struct]:
    lines = [Line(*row) for row in rows]
    for name, kind in COLUMNS.items():
        if kind == "text or null":
            for line in lines:
                if getattr(line, name) is None:
                    setattr(line, name, msgspec.UNSET)
        elif kind == "context" and isinstance(rows[0][CONTEXT_INDEX], str):
            for line in lines:
                setattr(line, name, msgspec.Raw(getattr(line, name)))
    return lines
