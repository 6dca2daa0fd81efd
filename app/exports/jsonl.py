"""JSON Lines: one event a line, as `GET /events` answers it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from uuid import UUID

import msgspec

from app.exports.blocks import Block, ended, of_pieces, steps
from app.exports.cells import Context

# customer, product, type, version, timestamp, context (a list or its JSON text), sequence, batch, received
FullRow = tuple[str, str, str, str | None, int, str | Context, int, str | UUID, int]


class Line(msgspec.Struct):
    """A line's keys in their order; they are those of `schemas.events.FullEvent`, and a test says so.

    It stands here once more because what is read from the database is not parsed only to be written again.
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
    """A report's content; the rows are closed when it ends, however it does."""
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
