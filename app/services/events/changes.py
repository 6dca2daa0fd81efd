"""Following events: every event once, in the order of acceptance, for a consumer that keeps its cursor."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import NamedTuple

from app.exceptions import ChangesLost, FieldError, Forbidden, InputInvalid
from app.schemas.events import FullEvent
from app.services.catalog.lookup import Catalog
from app.services.events.listing import to_event
from app.services.people.principal import Principal
from app.store.database import release
from app.store.events import changes as store
from app.store.events.changes import Position, Tip
from app.store.events.filters import EventFilter

CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9a-f]{0,8})")
NOW = "now"
TICK_SECONDS = 0.5  # how often a process looks for new events while requests wait
BEGIN_AGAIN = "Begin again without after, which reads every stored event, or with after=now."


class Changes(NamedTuple):
    """Events in the order of acceptance, and the cursor of those that follow."""

    events: list[FullEvent]
    next: str


class ChangesFeed:
    """Feed of the events that the caller may see.

    Args:
        catalog: checks the codes of a filter.
        max_waiters: how many requests of this process may wait at once.
    """

    def __init__(self, catalog: Catalog, max_waiters: int) -> None:
        self._catalog = catalog
        self._tip = Tip()
        self._free = threading.Semaphore(max_waiters)

    def read(
        self,
        who: Principal,
        wanted: EventFilter,
        limit: int,
        after: str | None = None,
        wait_seconds: float = 0,
        stopping: threading.Event | None = None,
    ) -> Changes:
        """Return the matching events after a cursor.

        Args:
            limit: maximum number of events.
            after: `next` of an earlier call, NOW for the end, or None for the beginning.
            wait_seconds: how long to wait for an event. If too many requests wait already, this one does not.
            stopping: set when the process stops, which ends the wait.

        Raises:
            Forbidden: the caller may not see the customer.
            InputInvalid: `after` is not a cursor, or a code of the first request is not known.
            ChangesLost: the events that follow the cursor cannot all be read.
        """
        if wanted.customer is not None and not who.sees(wanted.customer):
            raise Forbidden(f"You may not see data of the customer {wanted.customer}.")
        position = None
        if after is not None and after != NOW:
            found = CURSOR.fullmatch(after)
            if not found:
                fault = f'after is "{after[:60]}"; it must be the value of next in an earlier answer, or {NOW}.'
                raise InputInvalid("A query parameter is wrong.", [FieldError(fault)])
            position = Position(int(found[1]), int(found[2]), found[3])
        else:  # otherwise the first request has already checked it
            self._catalog.check_known(who, wanted.customer, wanted.product, wanted.types or None, place="")
        wanted = replace(wanted, customers=who.customers)
        if not wait_seconds or not self._free.acquire(blocking=False):
            start = position or self._start(wanted, after)
            return _page(self._step(wanted, start, limit, self._tip.key(0)), start)
        try:
            start, deadline = position or self._start(wanted, after), time.monotonic() + wait_seconds
            return self._wait(wanted, limit, start, deadline, stopping or threading.Event())
        finally:
            self._free.release()

    def _start(self, wanted: EventFilter, after: str | None) -> Position:
        key = store.last_visible(wanted.customers, self._tip.key(0)) if after == NOW else 0
        return store.position_at(wanted, key)

    def _wait(
        self, wanted: EventFilter, limit: int, next_: Position, deadline: float, stopping: threading.Event
    ) -> Changes:
        """Return as soon as there is an event, or more to look at than one request may."""
        stretch = self._step(wanted, next_, limit, self._tip.key(TICK_SECONDS))
        looked_until = stretch.end
        while True:
            has_time = time.monotonic() < deadline and not stopping.is_set()
            if stretch.rows or not stretch.is_whole or not has_time:
                return _page(stretch, next_)
            next_ = stretch.next or next_
            while has_time:
                release()  # others need the connection
                stopping.wait(max(0.0, min(deadline - time.monotonic(), TICK_SECONDS)))
                has_time = time.monotonic() < deadline and not stopping.is_set()
                until = self._tip.key(TICK_SECONDS)
                if until > looked_until and not self._tip.has_none(wanted, looked_until, until):
                    break
                looked_until = max(looked_until, until)
            stretch = self._step(wanted, next_, limit, until, looked_until)
            looked_until = stretch.end

    def _step(
        self, wanted: EventFilter, position: Position, limit: int, until: int, empty_until: int = 0
    ) -> store.Stretch:
        stretch = store.read(wanted, position, until, limit, empty_until)
        if not stretch.is_same:
            raise ChangesLost(
                "The database is not the one that this cursor is from: it was restored from a backup or replaced, or "
                f"it lost its last events in a failover. {BEGIN_AGAIN}"
            )
        if stretch.has_lost:
            resumed = _cursor(store.position_at(wanted, position.key))
            raise ChangesLost(
                "Events after this cursor were erased before they were read, by their age or on request. To go on with "
                f"those that remain, send after={resumed}."
            )
        return stretch


def _page(stretch: store.Stretch, begin: Position) -> Changes:
    return Changes([to_event(row) for row in stretch.rows], _cursor(stretch.next or begin))


def _cursor(position: Position) -> str:
    return f"{position.key}-{position.erased}-{position.print}"
