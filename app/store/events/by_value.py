"""All events of a filter with an item, however many events there are and wherever they are.

Unlike `search`, this reads every event, in the order of acceptance and a few at a time. No step keeps a snapshot for
long or takes a lock that a writer waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from app.store.database import database
from app.store.events import hourly_counts
from app.store.events.filters import EventFilter

STEP = 50_000  # ids that one query reads
KEYS_AT_ONCE = 10_000


class Match(NamedTuple):
    """Event that matches, without its content."""

    customer: str
    product: str
    timestamp: int
    id: int
    received: int
    batch: str
    sequence: int


def settled() -> int:
    """Return the id of the last event that was accepted before this call, or of a later one."""
    return database.settled_cut(hourly_counts.PATIENCE_MS)


def matches(wanted: EventFilter, last: int) -> Iterator[tuple[int, list[Match]]]:
    """Yield the matching events with ids up to `last`: after each step the last id read, and the events found."""
    read = database.fetch_int("SELECT coalesce(min(id), 1) FROM event") - 1
    while read < last:
        step = replace(wanted, snapshot_min_id=read, snapshot_max_id=min(last, read + STEP))
        condition, values = step.where()
        columns = ", ".join(Match._fields)
        query = f"SELECT {columns} FROM event WHERE {condition} ORDER BY id"  # noqa: S608
        found = [Match(*row)._replace(batch=str(row[5])) for row in database.execute_sql(query, values).fetchall()]
        read += STEP
        yield min(read, last), found


def has_any(keys: Sequence[int], selection: EventFilter) -> bool:
    """Return whether a report's selection contains any of some events."""
    condition, values = selection.where()
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        chosen, value = database.keyed(list(keys[begin : begin + KEYS_AT_ONCE]))
        query = f"SELECT 1 FROM event WHERE {chosen} AND {condition} LIMIT 1"  # noqa: S608
        if database.execute_sql(query, [value, *values]).fetchone():
            return True
    return False
