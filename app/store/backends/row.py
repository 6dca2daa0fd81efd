"""Types of an event row on its way into the table, and of blocks of rows on their way out."""

from __future__ import annotations

from collections.abc import Sequence

Context = Sequence[str | None]

# customer, product, type, version, timestamp, context, sequence, batch, received
Row = tuple[str, str, str, str | None, int, Context, int, str, int]

# Lines of a report, and the number of rows in them.
Block = tuple[bytes, int]
BLOCK_BYTES = 256 * 1024
