"""Listing of stored events: pages of the newest events, search in their contexts, and single events with their batch.

Every method returns only events of customers that the caller may see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.event_columns import COLUMNS
from app.exceptions import EventUnknown, FieldError, Forbidden, InputInvalid
from app.schemas.events import FullEvent
from app.schemas.fields import CONTROL
from app.services.people.principal import Principal
from app.store.database import read
from app.store.events import batches, search, select
from app.store.events import pages as store
from app.store.events.filters import EventFilter as EventFilter
from app.store.events.filters import Position
from app.support.clock import now

LATEST = batches.LATEST  # events among which a batch of version 1.0 is found
CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")
MAX_TEXT = 200  # characters


@dataclass(frozen=True)
class Looked:
    """How far a search has read."""

    events: int | None  # the number of events read, or None if an index was used
    reached_at: int | None  # the time of the last event read, or None if there are no events beyond it


@dataclass(frozen=True)
class Page:
    """Page of events, newest first, with the cursors of the adjacent pages, if any."""

    events: list[FullEvent]
    next: str | None  # cursor of the page of older events
    previous: str | None = None  # cursor of the page of newer events
    keys: tuple[int, ...] = ()  # the ids of the events
    looked: Looked | None = None  # how far the search has read, or None if the page is no search result

    @property
    def entries(self) -> list[tuple[int, FullEvent]]:
        """Return each event with its id."""
        return list(zip(self.keys, self.events, strict=True))


def is_old_batch(batch: str) -> bool:
    """Return whether version 1.0 stored the batch, so that it is found only among the LATEST events."""
    return batches.time_of(batch) is None


class Listing:
    """Listing of the events that the caller may see. The ids of a batch's events are at most `reach` apart."""

    def __init__(self, reach: int) -> None:
        self._reach = reach

    def page(
        self,
        who: Principal,
        wanted: EventFilter,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        text: str | None = None,
    ) -> Page:
        """Return a page of the newest events.

        Args:
            after: `next` of the page of newer events.
            before: `previous` of the page of older events.
            text: text that a context item of each event must contain. For it, and for an item of the filter,
                `looked` of the page says how far the search has read.

        Raises:
            Forbidden: the caller may not see the customer.
            InputInvalid: `after` or `before` is not a cursor, or the text cannot be searched for.
        """
        if wanted.customer is not None and not who.sees(wanted.customer):
            raise Forbidden(f"You may not see data of the customer {wanted.customer}.")
        wanted = replace(
            wanted, customers=who.customers, after=_position("after", after), before=_position("before", before)
        )
        if text is None and wanted.item is None:
            return read(lambda: _page(wanted, store.positions(wanted, limit + 1), limit))
        if text is not None and (not 1 <= len(text) <= MAX_TEXT or CONTROL.search(text)):
            allowed = f"1 to {MAX_TEXT}, none of them a control character"
            fault = FieldError(f"text has {len(text)} characters; it must have {allowed}.")
            raise InputInvalid("The text cannot be searched for.", [fault])
        return read(lambda: _search(wanted, limit, text))

    def number(self, who: Principal, wanted: EventFilter) -> int:
        """Return the exact number of matching events that the caller may see. It reads each of them."""
        return select.count(replace(wanted, customers=who.customers))

    def arrivals(self, who: Principal, limit: int) -> list[tuple[int, FullEvent]]:
        """Return the most recently accepted events with their ids, newest first."""
        return [(row[-1], to_event(row)) for row in store.arrivals(limit, who.customers, now())]

    def one(self, who: Principal, key: int) -> FullEvent:
        """Return an event by its id. Raise EventUnknown if there is none, or the caller may not see it."""
        found = [to_event(row) for row in store.rows([key])]
        if not found or not who.sees(found[0].customer):
            raise EventUnknown(f"There is no event {key}, or it is not yours.")
        return found[0]

    def batch(self, who: Principal, key: int, event: FullEvent) -> list[tuple[int, FullEvent]]:
        """Return the events of the same request as a given event, with their ids, in their order."""
        found = store.batch(event.batch, key, self._reach)
        return [(row[-1], to_event(row)) for row in found if who.sees(row[0])]


def _page(wanted: EventFilter, positions: Sequence[Position], limit: int) -> Page:
    """Return the page for some positions. A position beyond the limit indicates that another page follows."""
    more = len(positions) > limit
    if wanted.forward:
        shown = positions[-limit:]
        return _shown(shown, next=bool(shown), previous=more)
    return _shown(positions[:limit], next=more, previous=wanted.after is not None)


def _search(wanted: EventFilter, limit: int, text: str | None) -> Page:
    found = search.search(wanted, limit + 1, text)
    page = _page(wanted, found.positions, limit)
    full = len(found.positions) > limit
    looked = Looked(found.looked, found.edge and found.edge[0])
    if full or found.edge is None:
        return replace(page, looked=looked)
    # The page is not full, so the next page continues where this search stopped.
    beyond = _cursor(found.edge)
    return (
        replace(page, looked=looked, previous=beyond) if wanted.forward else replace(page, looked=looked, next=beyond)
    )


def _shown(positions: Sequence[Position], *, next: bool, previous: bool) -> Page:
    rows = store.rows([key for _, key in positions])
    return Page(
        [to_event(row) for row in rows],
        _cursor(positions[-1]) if next and positions else None,
        _cursor(positions[0]) if previous and positions else None,
        tuple(row[-1] for row in rows),
    )


def _position(name: str, cursor: str | None) -> Position | None:
    if cursor is None:
        return None
    match = CURSOR.fullmatch(cursor)
    if not match:
        message = f'{name} is "{cursor[:60]}"; it must be the value of next in an earlier answer.'
        raise InputInvalid("A query parameter is wrong.", [FieldError(message)])
    return int(match[1]), int(match[2])


def _cursor(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


def to_event(row: tuple[Any, ...]) -> FullEvent:
    """Return the event in a row of the columns in `store.FULL`."""
    values = dict(zip(COLUMNS, row, strict=False))  # the id follows
    items = values["context"]
    values["context"] = msgspec.json.decode(items) if isinstance(items, str) else items
    values["batch"] = str(values["batch"])
    for name, kind in COLUMNS.items():
        if kind == "text or null" and values[name] is None:
            values[name] = msgspec.UNSET
    return FullEvent(**values)
