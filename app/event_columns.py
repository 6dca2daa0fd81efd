"""The columns of a stored event, for everything that writes, reads or exports whole events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

Kind = Literal["text", "text or null", "time", "number", "context", "uuid"]
Context = Sequence[str | None]

# Values of an event on its way into the database, in the order of COLUMNS.
EventRow = tuple[str, str, str, str | None, int, Context, int, str, int]

# The same as the drivers return them: the context is a list or JSON text, and the batch a UUID.
StoredRow = tuple[str, str, str, str | None, int, str | list[str | None], int, str | UUID, int]

# In the order of a response of `GET /events`. Times are milliseconds since 1970.
COLUMNS: dict[str, Kind] = {
    "customer": "text",
    "product": "text",
    "type": "text",
    "version": "text or null",
    "timestamp": "time",
    "context": "context",
    "sequence": "number",
    "batch": "uuid",
    "received": "time",
}
NAMES = ", ".join(COLUMNS)  # for SQL
CONTEXT_INDEX = list(COLUMNS).index("context")
