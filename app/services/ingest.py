"""Recording events: all of a request's or none, on disk before anyone is told so."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from app.schemas.events import Event, StoredEvent
from app.services.accounts import Principal
from app.services.catalog import Catalog
from app.services.clock import now
from app.store import catalog as seen
from app.store import events as store
from app.store.database import transaction
from app.store.models import Event as EventRow

REMEMBERED_TRIPLES = 100_000  # then the memory starts anew, as codes are free text and may never end


class Ingest:
    """The way in. One for a process; threads share it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: set[seen.Triple] = set()

    def record(self, events: Sequence[Event]) -> list[StoredEvent]:
        """Commit a request's events as one batch.

        Returns:
            The events as stored, in the order given, each with its sequence and the batch.

        Raises:
            InputInvalid: strict mode, and a code is not in the catalog.
            StoreUnavailable: the database is away; nothing was stored.
        """
        self._catalog.check(events)
        if not events:
            return []
        batch = str(uuid.uuid4())
        stored = [
            StoredEvent(e.customer, e.product, e.type, e.version, e.timestamp, e.context, place, batch)
            for place, e in enumerate(events, 1)
        ]
        self._commit(stored)
        return stored

    def count(self) -> int:
        """How many events are stored."""
        return store.count()

    def newest(self, who: Principal, limit: int) -> list[EventRow]:
        """The events accepted last that somebody may see, newest first."""
        return store.newest(limit, who.customers)

    def _commit(self, stored: Sequence[StoredEvent]) -> None:
        received = now()
        fresh = {(event.customer, event.product, event.type) for event in stored} - self._known
        with transaction():
            store.insert([_row(event, received) for event in stored])
            if fresh:
                seen.note_seen(fresh, received)
        self._remember(fresh)

    def _remember(self, fresh: set[seen.Triple]) -> None:
        """Only what is committed is known: an earlier word could outlive a rollback."""
        if not fresh:
            return
        # A new set each time: other threads may be reading the old one.
        self._known = fresh if len(self._known) > REMEMBERED_TRIPLES else self._known | fresh


def _row(event: StoredEvent, received: int) -> store.Row:
    e = event
    version = e.version if isinstance(e.version, str) else None  # absent is not the same as ""
    return (e.customer, e.product, e.type, version, e.timestamp, e.context, e.sequence, e.batch, received)
