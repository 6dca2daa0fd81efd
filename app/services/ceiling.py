"""Limit on the number of different codes (MAX_CODES).

It stops a client that sends new codes endlessly from affecting others. Events whose codes are known, from
earlier events or from the catalog, are always accepted.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from app.exceptions import Fault, StoreUnavailable
from app.schemas.events import Batch, Event, Rejected, encode_event
from app.schemas.json import shown
from app.services.kept import Kept
from app.store import catalog as store
from app.store.database import release

KINDS = ("customer", "product", "type")
COUNTED_SECONDS = 1.0  # how long a count stays valid, unless the ceiling is near
NEAR = 1_000  # codes below the ceiling from which on each new code triggers a new count
MAX_REMEMBERED = 200_000  # codes of each kind that a process caches
WARNED_SHARE = 0.8  # share of the ceiling from which on operators are warned
WARNED_SECONDS = 15.0

Code = tuple[str, str]  # kind, code


class Ceiling:
    """Ceiling of codes for the events of one process.

    Args:
        limit: MAX_CODES.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._known: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._number, self._counted_until = 0, 0.0
        self._admitting = threading.Lock()
        self._used: Kept[int] = Kept(WARNED_SECONDS)

    def checked(self, batch: Batch) -> Batch:
        """Return the batch with the events whose codes exceed the ceiling moved to its rejected events."""
        known, events = self._known, batch.events
        new = {("customer", code) for code in {event.customer for event in events} - known["customer"]}
        new |= {("product", code) for code in {event.product for event in events} - known["product"]}
        new |= {("type", code) for code in {event.type for event in events} - known["type"]}
        if not new:
            return batch
        try:
            new -= self._looked_up(new)
            return self._admitted(batch, new) if new else batch
        except StoreUnavailable:
            return batch  # the number is unknown, and the batch can still go to the spool
        finally:
            release()  # the request next waits for the writer, which may need a connection

    def warning(self) -> str | None:
        """Return a warning once 80 % of the ceiling is in use, otherwise None."""
        number = self._used.get("all", store.number_of_codes)
        if number < self.limit * WARNED_SHARE:
            return None
        then = "are rejected now" if number >= self.limit else "are rejected beyond it"
        return (
            f"Events have {number:,} of the {self.limit:,} different customers, products and types that MAX_CODES "
            f"allows. Events with a new one {then}. Erase events of codes that nobody needs, or raise MAX_CODES."
        )

    def _looked_up(self, codes: set[Code]) -> set[Code]:
        """Return the codes that the database knows, and cache them."""
        found = set()
        for kind in KINDS:
            known = store.known_among(kind, [code for of, code in codes if of == kind])
            if len(self._known[kind]) > MAX_REMEMBERED:
                self._known[kind] = set()
            self._known[kind] |= known
            found |= {(kind, code) for code in known}
        return found

    def _admitted(self, batch: Batch, new: set[Code]) -> Batch:
        """Accept events in order while their new codes fit below the ceiling, and reject the others."""
        good, rejected = Batch([], []), list(batch.rejected)
        with self._admitting:
            room = before = self._room()
            for event, place in zip(batch.events, batch.places, strict=True):
                mine = {(kind, getattr(event, kind)) for kind in KINDS} & new
                if len(mine) > room:
                    rejected.append(Rejected(place, encode_event(event), self._faults(event, place, mine)))
                    continue
                room -= len(mine)
                new -= mine
                good.events.append(event)
                good.places.append(place)
            self._number += before - room
        return replace(good, rejected=sorted(rejected, key=lambda one: one.place))

    def _room(self) -> int:
        """Return how many more codes fit. Codes admitted in the last second may not be in the database yet."""
        if time.monotonic() > self._counted_until:
            self._number, self._counted_until = 0, time.monotonic() + COUNTED_SECONDS
        if not self._number or 0 < self.limit - self._number <= NEAR:
            self._number = max(self._number, store.number_of_codes())
        return max(0, self.limit - self._number)

    def _faults(self, event: Event, place: int, codes: set[Code]) -> list[Fault]:
        why = (
            f"a new code, and events have as many as MAX_CODES allows ({self.limit:,}). "
            "Erase events of codes that nobody needs, or raise MAX_CODES."
        )
        fields = [kind for kind in KINDS if (kind, getattr(event, kind)) in codes]
        return [
            Fault(f"events[{place - 1}].{field} is {shown(getattr(event, field))}, {why}", field=field)
            for field in fields
        ]
