"""Events in the order of acceptance, for followers that keep a position and must miss none.

Ids become visible out of order, because a transaction with a low id may commit after one with a higher id. A follower
therefore reads only up to an id below which no event can appear (`Tip`), the rule of a report's snapshot, but without
blocking the transactions that insert events.

Reads go to the primary, never to a replica, which may be behind.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import NamedTuple

from app.exceptions import StoreUnavailable
from app.store.backends.backend import Rows
from app.store.database import database
from app.store.events.filters import EventFilter
from app.store.events.pages import FULL

MAX_SCANNED = 20_000  # events that one call of `read` looks at
SETTLE_SECONDS = 0.25  # how long to wait for transactions that may still add a lower id
LOOK_SECONDS = 0.02
PRINT_DIGITS = 8  # of a random UUID


class Position(NamedTuple):
    """Place between two events in the order of acceptance.

    Attributes:
        key: the id of the last event before it; 0 at the beginning.
        erased: how many events had been erased when it was reached.
        print: the first digits of that event's batch, by which it differs from one with the same id in another
            database; empty if the event does not exist.
    """

    key: int
    erased: int
    print: str


class Stretch(NamedTuple):
    """Events after a position.

    Attributes:
        rows: the matching events in the order of acceptance, as rows of the columns in FULL.
        end: the position after the last event that was looked at.
        is_whole: whether there were no more events up to the given id.
        is_same: whether the position belongs to this database as it is.
        has_lost: whether events after the position, of the filter's codes, have been erased.
    """

    rows: Rows
    end: Position
    is_whole: bool
    is_same: bool
    has_lost: bool


class Tip:
    """The id up to which events may be read, shared by all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._problem: StoreUnavailable | None = None
        self._key = 0
        self._next, self._waited_for = 0, set[str]()  # the next id, and the transactions that must end first

    def key(self, max_age: float) -> int:
        """Return the id as of a moment at most `max_age` seconds ago. Only one thread at a time asks the database.

        Raises:
            StoreUnavailable: the database does not respond.
        """
        since = time.monotonic() - max_age
        with self._lock:
            if self._looked_at <= since:
                self._looked_at, self._problem = time.monotonic(), None
                try:
                    self._look()
                except StoreUnavailable as error:
                    self._problem = error
                    self._restart()  # what is known may be wrong after a failover
            if self._problem:
                raise self._problem
            return self._key

    def _look(self) -> None:
        """Advance to the newest event, or as far as the transactions that insert events end in time."""
        deadline, target = time.monotonic() + SETTLE_SECONDS, None
        while True:
            newest, inserting = database.inserting()
            if newest < self._key:  # it was erased, or the database is another one
                self._restart()
            self._waited_for &= inserting
            if not self._waited_for:
                self._key = self._next
                self._next, self._waited_for = newest, set(inserting)
                if not inserting:
                    self._key = newest
            target = newest if target is None else target
            if self._key >= target or time.monotonic() >= deadline:
                return
            time.sleep(LOOK_SECONDS)

    def _restart(self) -> None:
        self._key, self._next, self._waited_for = 0, 0, set()


def erased() -> int:
    """Return how many events have been erased."""
    return database.fetch_int("SELECT erased FROM counted")


def position_at(key: int) -> Position:
    """Return the position after the event with an id."""
    number = erased()
    return Position(key, number, _print(key))


def read(wanted: EventFilter, begin: Position, until: int, limit: int) -> Stretch:
    """Return the first matching events after a position, up to an id. It looks at MAX_SCANNED events at most."""
    mark = database.param
    after = f"SELECT id FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT 1 OFFSET {MAX_SCANNED - 1}"
    found = database.execute_sql(after, (begin.key, until)).fetchone() if until > begin.key else None
    end = found[0] if found else max(begin.key, until)
    rows: Rows = []
    if end > begin.key:
        where, values = wanted.where()
        # The inner query has its own limit, so that the planner reads a few events by id, not all of a customer.
        within = f"SELECT * FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT {MAX_SCANNED}"
        query = f"SELECT {FULL} FROM ({within}) AS event WHERE {where} ORDER BY id LIMIT {mark}"  # noqa: S608
        rows = database.execute_sql(query, [begin.key, end, *values, limit]).fetchall()
        if len(rows) == limit:
            end = rows[-1][-1]
    return _checked(wanted, begin, rows, end, end >= until)


def _checked(wanted: EventFilter, begin: Position, rows: Rows, end: int, is_whole: bool) -> Stretch:  # noqa: FBT001
    """Return a stretch. What was erased is looked up after the events are read, so none is missed in between."""
    mark = database.param
    where, values = replace(wanted.codes(), types=()).where()
    trace = f"EXISTS (SELECT 1 FROM erasure_trace WHERE erased > {mark} AND max_id"
    query = (
        f"SELECT erased, (SELECT batch FROM event WHERE id = {mark}), "
        f"{trace} >= {mark}), {trace} > {mark} AND {where}) FROM counted"
    )
    given = (begin.key, begin.erased, begin.key, begin.erased, begin.key, *values)
    number, batch, may_be_erased, has_lost = database.execute_sql(query, given).fetchone()
    is_there = str(batch).startswith(begin.print) if batch else bool(may_be_erased) or not begin.print
    is_same = number >= begin.erased and is_there
    return Stretch(rows, Position(end, number, _print(end)), is_whole, is_same, bool(has_lost))


def _print(key: int) -> str:
    found = database.execute_sql(f"SELECT batch FROM event WHERE id = {database.param}", (key,)).fetchone()  # noqa: S608
    return str(found[0])[:PRINT_DIGITS] if found else ""
