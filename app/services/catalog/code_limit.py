"""Limit on the number of different codes (MAX_CODES).

It stops a client that sends new codes endlessly from affecting others. Events whose codes are known, from
earlier events or from the catalog, are always accepted.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from app.exceptions import BodyTooLarge, FieldError, StoreUnavailable
from app.schemas.events import MAX_EXPLAINED, Batch, Event, Rejected, encode_event, unexplained
from app.schemas.json import shown
from app.store.catalog import catalog as store
from app.store.database import release
from app.support.ttl_cache import TTLCache

KINDS = ("customer", "product", "type")
COUNTED_SECONDS = 1.0  # how long a count stays valid, unless the limit is near
NEAR = 1_000  # codes below the limit from which on each new code triggers a new count
MAX_LOOKED_UP = 120_000  # unknown codes of a request, because each is looked up in the database
MAX_REMEMBERED = 200_000  # codes of each kind that a process caches
WARNED_SHARE = 0.8  # share of the limit from which on operators are warned
WARNED_SECONDS = 15.0


class CodeLimit:
    """Limit on the number of codes in the events of a process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._known: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._number, self._counted_until = 0, 0.0
        self._admitting = threading.Lock()
        self._used: TTLCache[int] = TTLCache(WARNED_SECONDS)

    def checked(self, batch: Batch) -> Batch:
        """Return the batch with the events whose codes exceed the limit moved to its rejected events.

        Raise BodyTooLarge if it has more codes than are looked up for a request.
        """
        new = {
            "customer": {event.customer for event in batch.events} - self._known["customer"],
            "product": {event.product for event in batch.events} - self._known["product"],
            "type": {event.type for event in batch.events} - self._known["type"],
        }
        number = sum(map(len, new.values()))
        if not number:
            return batch
        if number > MAX_LOOKED_UP:
            raise BodyTooLarge(
                f"events has more than {MAX_LOOKED_UP:,} different customers, products and types; "
                "send them in several requests."
            )
        try:
            for kind, codes in new.items():
                known = store.known_among(kind, codes) if codes else set()
                codes -= known
                if len(self._known[kind]) > MAX_REMEMBERED:
                    self._known[kind] = set()
                self._known[kind] |= known
            return self._admitted(batch, new) if any(new.values()) else batch
        except StoreUnavailable:
            return batch  # the number is unknown, and the batch can still go to the spool
        finally:
            release()  # the request next waits for the writer, which may need a connection

    def warning(self) -> str | None:
        """Return a warning once 80 % of the limit is in use, otherwise None."""
        number = self._used.get("all", store.number_of_codes)
        if number < self.limit * WARNED_SHARE:
            return None
        then = "are rejected now" if number >= self.limit else "are rejected beyond it"
        return (
            f"Events have {number:,} of the {self.limit:,} different customers, products and types that MAX_CODES "
            f"allows. Events with a new one {then}. Erase events of codes that nobody needs, or raise MAX_CODES."
        )

    def _admitted(self, batch: Batch, new: dict[str, set[str]]) -> Batch:
        """Accept events in order while their new codes fit below the limit, and reject the others."""
        events: list[Event] = []
        places: list[int] = []
        rejected = list(batch.rejected)
        customers, products, types = new["customer"], new["product"], new["type"]
        with self._admitting:
            room = before = self._room()
            for event, place in zip(batch.events, batch.places, strict=True):
                if event.type in types or event.product in products or event.customer in customers:
                    fields = [kind for kind in KINDS if getattr(event, kind) in new[kind]]
                    if len(fields) > room:
                        rejected.append(self._refuse(event, place, fields, is_explained=len(rejected) < MAX_EXPLAINED))
                        continue
                    room -= len(fields)
                    for kind in fields:
                        new[kind].remove(getattr(event, kind))
                events.append(event)
                places.append(place)
            self._number += before - room
        return replace(batch, events=events, places=places, rejected=sorted(rejected, key=lambda one: one.place))

    def _room(self) -> int:
        """Return how many more codes fit. Codes admitted in the last second may not be in the database yet."""
        if time.monotonic() > self._counted_until:
            self._number, self._counted_until = 0, time.monotonic() + COUNTED_SECONDS
        if not self._number or 0 < self.limit - self._number <= NEAR:
            self._number = max(self._number, store.number_of_codes())
        return max(0, self.limit - self._number)

    def _refuse(self, event: Event, place: int, fields: list[str], *, is_explained: bool) -> Rejected:
        """Return an event as rejected because of its new codes in some fields."""
        if not is_explained:
            return unexplained(place, encode_event(event))
        why = (
            f"a new code, and events have as many as MAX_CODES allows ({self.limit:,}). "
            "Erase events of codes that nobody needs, or raise MAX_CODES."
        )
        codes = [(field, shown(getattr(event, field))) for field in fields]
        faults = [FieldError(f"events[{place - 1}].{field} is {code}, {why}", field=field) for field, code in codes]
        return Rejected(place, encode_event(event), faults)
