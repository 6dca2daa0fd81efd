"""Finding the events of a batch by its id, without an index, because each index slows down every insert.

An id contains the time at which the batch was received, as its events do. Events are stored roughly in the order of
receipt. The scheduler therefore records between which times each SPAN of ids was received, and only the few spans that
include the time are read. The order does not have to be exact: events that waited on local disk widen their spans.
"""

from __future__ import annotations

import uuid

from peewee import SQL, fn

from app.store.database import database
from app.store.events import hourly_counts
from app.store.events.filters import EventFilter, Position
from app.store.models import Event, ReceivedRange
from app.store.queries import execute, fetch, fetch_int

SPAN = 10_000  # ids; migration 0012 uses the same number
SPANS_AT_ONCE = 20
LATEST = 200_000  # ids among which a batch of version 1.0 is found


def time_of(batch: str) -> int | None:
    """Return the time in a batch's id, in milliseconds, or None if an earlier version assigned it."""
    found = uuid.UUID(batch)
    return found.int >> 80 if found.version == 7 else None


def record_ranges() -> None:
    """Record the times of receipt of the counted events. No new event can get an id among them."""
    end = hourly_counts.watermark() // SPAN
    while (begin := _first_unrecorded()) is not None and begin < end:
        until = min(end, begin + SPANS_AT_ONCE)
        span = (Event.id - 1) / SPAN
        query = Event.select(span, fn.min(Event.received), fn.max(Event.received))
        query = query.where(Event.id > begin * SPAN, Event.id <= until * SPAN).group_by(SQL("1"))
        rows = [dict(zip(("span", "first_at", "last_at"), row, strict=True)) for row in fetch(query)]
        if rows:  # otherwise they have been erased meanwhile
            execute(ReceivedRange.insert_many(rows).on_conflict_ignore())


def _first_unrecorded() -> int | None:
    """Return the number of the first span that has events and no record, or None if there is none."""
    newest = fetch_int(ReceivedRange.select(fn.coalesce(fn.max(ReceivedRange.span), -1)))
    query = Event.select(Event.id).where(Event.id > (newest + 1) * SPAN).order_by(Event.id).limit(1)
    key = query.scalar()
    return None if key is None else (key - 1) // SPAN


def positions(wanted: EventFilter, limit: int) -> list[Position]:
    """Return the first positions of a filter with a batch, in scan order.

    A batch with an id of an earlier version is found only if it is among the latest events.
    """
    condition, values = wanted.where()
    found: set[Position] = set()  # because a span that is recorded meanwhile is read twice
    for after, until in _spans(str(wanted.batch)):
        # Selected by id and batch alone, so that the planner does not scan the other index.
        part, more = EventFilter(batch=wanted.batch, snapshot_min_id=after, snapshot_max_id=until).where()
        query = (
            f"WITH batch_events AS MATERIALIZED (SELECT * FROM event WHERE {part}) "  # noqa: S608
            f"SELECT timestamp, id FROM batch_events WHERE {condition} ORDER BY {wanted.order} LIMIT {limit:d}"
        )
        found.update(database.execute_sql(query, [*more, *values]).fetchall())
    return sorted(found, reverse=not wanted.forward)[:limit]


def _spans(batch: str) -> list[tuple[int, int | None]]:
    """Return the ids among which a batch's events can be: (after, until).

    All ids without a record are among them, of which there are millions while many events arrive.
    """
    at = time_of(batch)
    if at is None:
        return [(fetch_int(Event.select(fn.max(Event.id))) - LATEST, None)]
    recorded = fetch_int(ReceivedRange.select(fn.coalesce(fn.max(ReceivedRange.span), -1))) + 1
    query = ReceivedRange.select(ReceivedRange.span).where(ReceivedRange.first_at <= at, ReceivedRange.last_at >= at)
    spans = [number for (number,) in fetch(query.order_by(ReceivedRange.span))]
    joined: list[tuple[int, int | None]] = [(number * SPAN, (number + 1) * SPAN) for number in spans]
    return [*joined, (recorded * SPAN, None)]
