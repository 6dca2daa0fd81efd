"""JSON Lines: an event per line, in the form of `GET /events`."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from uuid import UUID

import msgspec

from app.exports.file import Block, closed_at_end, gather, steps
from app.exports.layout import Context

# customer, product, type, version, timestamp, context (a list or its JSON text), sequence, batch, received
FullRow = tuple[str, str, str, str | None, int, str | Context, int, str | UUID, int]


class Line(msgspec.Struct):
    """Keys of a line in their order, which are those of `schemas.events.FullEvent`; a test ensures that.

    They are repeated here because a context from the database is not parsed only to be written again.
    """

    customer: str
    product: str
    type: str
    version: str | msgspec.UnsetType
    timestamp: int
    context: msgspec.Raw | Context
    sequence: int
    batch: str | UUID
    received: int


def blocks(rows: Iterable[FullRow]) -> Generator[Block]:
    """Yield a report's content in blocks, and close the rows when the iteration ends for any reason."""
    encode = msgspec.json.Encoder().encode_lines
    with closed_at_end(rows) as left:
        yield from gather((encode([_line(row) for row in step]), len(step)) for step in steps(left))


def _line(row: FullRow) -> Line:
    customer, product, event_type, version, timestamp, context, sequence, batch, received = row
    sent = msgspec.UNSET if version is None else version
    items = msgspec.Raw(context) if isinstance(context, str) else context
    return Line(customer, product, event_type, sent, timestamp, items, sequence, batch, received)
