"""Reading events back: pages of the newest first, a search in their contexts, one with its batch.

Everybody sees the events of their own customers only, whatever they ask.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from app.exceptions import EventUnknown, FieldError, Forbidden, InputInvalid
from app.schemas.events import FullEvent
from app.schemas.fields import CONTROL
from app.services.people.principal import Principal
from app.store.events import pages as store
from app.store.events import search
from app.store.events.pages import EventFilter
from app.support.clock import now

CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")
MAX_TEXT = 200  # characters that are searched for


@dataclass(frozen=True)
class Looked:
    """How far a search looked.

    Attributes:
        time: of the last event it looked at; None where there is none behind it.
    """

    events: int
    time: int | None


@dataclass(frozen=True)
class Page:
    """Some events, newest first, and the cursors of the pages beside it, where there are any.

    Attributes:
        keys: the ids of the events.
        next: of the page of older events.
        previous: of the page of newer ones.
        looked: only of a search.
    """

    events: list[FullEvent]
    next: str | None
    previous: str | None = None
    keys: tuple[int, ...] = ()
    looked: Looked | None = None

    @property
    def entries(self) -> list[tuple[int, FullEvent]]:
        """Each event with its id."""
        return list(zip(self.keys, self.events, strict=True))


class Listing:
    """The events, for whoever may see them.

    Args:
        reach: how far the ids of a batch's events can be from each other.
    """

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
        """A page of the newest events.

        Args:
            after: `next` of the page before.
            before: `previous` of the page behind it.
            text: what an item of each event's context has; how far was looked for it is on the page.

        Raises:
            Forbidden: the customer is not the caller's.
            InputInvalid: `after` or `before` is not a cursor, or the text cannot be searched for.
        """
        if wanted.customer is not None and not who.sees(wanted.customer):
            raise Forbidden(f"You may not see data of the customer {wanted.customer}.")
        wanted = replace(
            wanted, customers=who.customers, after=_position("after", after), before=_position("before", before)
        )
        if text is not None:
            return _search(wanted, limit, _searchable(text))
        return _page(wanted, store.positions(wanted, limit + 1), limit)

    def arrivals(self, who: Principal, limit: int) -> list[tuple[int, FullEvent]]:
        """The events accepted last, each with its id, newest first."""
        return [(row[-1], _event(row)) for row in store.arrivals(limit, who.customers, now())]

    def one(self, who: Principal, key: int) -> FullEvent:
        """An event by its id.

        Raises:
            EventUnknown: there is none, or it is not the caller's.
        """
        found = [_event(row) for row in store.rows([key])]
        if not found or not who.sees(found[0].customer):
            raise EventUnknown(f"There is no event {key}, or it is not yours.")
        return found[0]

    def batch(self, who: Principal, key: int, event: FullEvent) -> list[tuple[int, FullEvent]]:
        """The events that came in one request with one of them, each with its id, in their order."""
        found = store.batch(event.batch, key, self._reach)
        return [(row[-1], _event(row)) for row in found if who.sees(row[0])]


def _page(wanted: EventFilter, positions: Sequence[store.Position], limit: int) -> Page:
    """The page of some positions, of which one more than it holds says that there is another behind it."""
    more = len(positions) > limit
    if wanted.forward:
        shown = positions[-limit:]
        return _shown(shown, next=bool(shown), previous=more)
    return _shown(positions[:limit], next=more, previous=wanted.after is not None)


def _search(wanted: EventFilter, limit: int, text: str) -> Page:
    found = search.search(wanted, text)
    page = _page(wanted, found.positions, limit)
    full = len(found.positions) > limit
    looked = Looked(found.looked, found.edge and found.edge[0])
    if full or found.edge is None:
        return replace(page, looked=looked)
    # Less than a page where it looked: the next one goes on from there.
    beyond = {"previous" if wanted.forward else "next": _cursor(found.edge)}
    return replace(page, looked=looked, **beyond)


def _shown(positions: Sequence[store.Position], *, next: bool, previous: bool) -> Page:
    rows = store.rows([key for _, key in positions])
    return Page(
        [_event(row) for row in rows],
        _cursor(positions[-1]) if next and positions else None,
        _cursor(positions[0]) if previous and positions else None,
        tuple(row[-1] for row in rows),
    )


def _searchable(text: str) -> str:
    if not 1 <= len(text) <= MAX_TEXT or CONTROL.search(text):
        raise InputInvalid(
            "The text cannot be searched for.",
            [
                FieldError(
                    f"text has {len(text)} characters; it must have 1 to {MAX_TEXT}, none of them a control character."
                )
            ],
        )
    return text


def _position(name: str, cursor: str | None) -> store.Position | None:
    if cursor is None:
        return None
    match = CURSOR.fullmatch(cursor)
    if not match:
        message = f'{name} is "{cursor[:60]}"; it must be the value of next in an earlier answer.'
        raise InputInvalid("A query parameter is wrong.", [FieldError(message)])
    return int(match[1]), int(match[2])


def _cursor(position: store.Position) -> str:
    return f"{position[0]}-{position[1]}"


def _event(row: tuple) -> FullEvent:
    customer, product, kind, version, timestamp, context, sequence, batch, received, _ = row
    items = msgspec.json.decode(context) if isinstance(context, str) else context
    given = msgspec.UNSET if version is None else version
    return FullEvent(customer, product, kind, given, timestamp, items, sequence, str(batch), received)
