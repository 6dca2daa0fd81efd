"""JSON Lines: an event per line, in the form of `GET /events`."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from uuid import UUID

import msgspec

from app.exports.blocks import Block, ended, of_pieces, steps
from app.exports.cells import Context

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


_encode = msgspec.json.Encoder().encode_lines


def blocks(rows: Iterable[FullRow]) -> Generator[Block]:
    """Yield a report's content in blocks, and close the rows when the iteration ends for any reason."""
    with ended(rows) as left:
        yield from of_pieces((_encode([_line(*row) for row in step]), len(step)) for step in steps(left))


def _line(
    customer: str,
    product: str,
    event_type: str,
    version: str | None,
    timestamp: int,
    context: str | Context,
    sequence: int,
    batch: str | UUID,
    received: int,
) -> Line:
    given = msgspec.UNSET if version is None else version
    items = msgspec.Raw(context) if isinstance(context, str) else context
    return Line(customer, product, event_type, given, timestamp, items, sequence, batch, received)
