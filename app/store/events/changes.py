"""Events in the order of acceptance, for followers that keep a position and must miss none.

Ids become visible out of order, because a transaction with a low id may commit after one with a higher id. A follower
therefore reads only up to an id below which no event can appear (`Tip`), the rule of a report's snapshot, but without
blocking the transactions that insert events.

Reads go to the primary, never to a replica, which may be behind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from app.exceptions import StoreUnavailable
from app.store.backends.backend import Rows
from app.store.database import database
from app.store.events.filters import Condition, EventFilter
from app.store.events.pages import FULL

MAX_SCANNED = 20_000  # events that one call of `read` reads
SETTLE_SECONDS = 0.25  # how long to wait for transactions that may still add a lower id
LOOK_SECONDS = 0.02
MAX_LOOKS = 8  # the latest, whose codes are remembered for requests that missed them
PRINT_DIGITS = 8  # of a UUID, which begins with a time and ends with random digits

Code = tuple[str, str, str]  # customer, product, type


class Position(NamedTuple):
    """Place between two events in the order of acceptance.

    Attributes:
        key: the id of the last event before it; 0 at the beginning.
        erased: `ErasureTrace.erased` of the last erasure at that time that concerned the follower.
        print: the last digits of that event's batch, by which it differs from one with the same id in another
            database; empty if the event does not exist.
    """

    key: int
    erased: int
    print: str


class Stretch(NamedTuple):
    """Events after a position.

    Attributes:
        rows: the matching events in the order of acceptance, as rows of the columns in FULL.
        end: the id of the last event read.
        next: the position after the last event that the user may see, or None if there was none. It does not
            reveal how many events of other customers follow, unless there are more than MAX_SCANNED.
        is_whole: whether there were no more events up to the given id.
        is_same: whether the position belongs to this database as it is.
        has_lost: whether events after the position, of the filter's codes, have been erased.
    """

    rows: Rows
    end: int
    next: Position | None
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
        self._codes: deque[tuple[int, int, set[Code]]] = deque(
            maxlen=MAX_LOOKS
        )  # of the events after one id to another

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

    def has_none(self, wanted: EventFilter, after: int, until: int) -> bool:
        """Return whether it is certain that no event after one id and up to another, of `key`, matches.

        The codes of new events are read once for all requests that wait. Few of them have to look themselves.
        """
        with self._lock:
            last = self._codes[-1][1] if self._codes else after
            if self._key > last:
                if self._key - last > MAX_SCANNED:
                    self._codes.clear()
                    return False
                self._codes.append((last, self._key, _codes_between(last, self._key)))
            if not self._codes or after < self._codes[0][0] or until > self._codes[-1][1]:
                return False
            looks = [codes for _, end, codes in self._codes if end > after]
        return not any(_matches(wanted, code) for codes in looks for code in codes)

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
        self._codes.clear()


def _codes_between(after: int, until: int) -> set[Code]:
    query = f"SELECT DISTINCT customer, product, type FROM event WHERE id > {after:d} AND id <= {until:d}"  # noqa: S608
    return set(database.execute_sql(query).fetchall())


def _matches(wanted: EventFilter, code: Code) -> bool:
    customer, product, kind = code
    return (
        wanted.customer in (None, customer)
        and wanted.product in (None, product)
        and (not wanted.types or kind in wanted.types)
        and (wanted.customers is None or customer in wanted.customers)
    )


def position_at(wanted: EventFilter, key: int) -> Position:
    """Return the position after the event with an id."""
    where, values = _traces_of(wanted)
    query = f"SELECT coalesce(max(erased), 0) FROM erasure_trace WHERE {where}"  # noqa: S608
    return Position(key, database.fetch_int(query, values), _print(key))


def last_visible(customers: Sequence[str] | None, until: int) -> int:
    """Return the id of the last event up to an id that a user may see. It looks at MAX_SCANNED events at most."""
    if customers is None:
        return until
    mark = database.param
    latest = f"SELECT id, customer FROM event WHERE id <= {mark} ORDER BY id DESC LIMIT {MAX_SCANNED}"
    where, values = EventFilter(customers=customers).where()
    query = f"SELECT coalesce((SELECT max(id) FROM latest WHERE {where}), (SELECT min(id) FROM latest), 0)"  # noqa: S608
    return database.fetch_int(f"WITH latest AS MATERIALIZED ({latest}) {query}", [until, *values])


def read(wanted: EventFilter, begin: Position, until: int, limit: int, empty_until: int = 0) -> Stretch:
    """Return the first matching events after a position, up to an id. It looks at MAX_SCANNED events at most.

    Args:
        empty_until: an id up to which no event after the position matches.
    """
    mark = database.param
    start = max(begin.key, empty_until)
    after = f"SELECT id FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT 1 OFFSET {MAX_SCANNED - 1}"
    found = database.execute_sql(after, (start, until)).fetchone() if until > start else None
    end = found[0] if found else max(start, until)
    rows: Rows = []
    if end > start:
        # The inner query has its own limit, so that the planner reads a few events by id, not all of a customer.
        within = f"SELECT * FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT {MAX_SCANNED}"
        where, values = wanted.where()
        query = f"SELECT {FULL} FROM ({within}) AS event WHERE {where} ORDER BY id LIMIT {mark}"  # noqa: S608
        rows = database.execute_sql(query, [start, end, *values, limit]).fetchall()
    if len(rows) == limit:
        end = rows[-1][-1]
    is_whole = end >= until
    seen = last_visible(wanted.customers, end) if is_whole and end > begin.key else end
    erased, is_same, has_lost = _check(wanted, begin)  # afterwards, so that no erasure in between is missed
    next_ = Position(seen, erased, _print(seen)) if seen > begin.key else None
    return Stretch(rows, end, next_, is_whole, is_same, has_lost)


def _check(wanted: EventFilter, begin: Position) -> tuple[int, bool, bool]:
    """Return the last erasure of the filter's codes, whether the position is of this database, and what it has lost."""
    mark = database.param
    where, values = _traces_of(wanted)
    query = f"""
        SELECT erased, (SELECT batch FROM event WHERE id = {mark}),
            EXISTS (SELECT 1 FROM erasure_trace WHERE erased > {mark} AND max_id >= {mark}),
            EXISTS (SELECT 1 FROM erasure_trace WHERE erased > {mark} AND max_id > {mark} AND {where}),
            (SELECT coalesce(max(erased), 0) FROM erasure_trace WHERE {where})
        FROM counted"""  # noqa: S608
    given = (begin.key, begin.erased, begin.key, begin.erased, begin.key, *values, *values)
    total, batch, may_be_erased, has_lost, last = database.execute_sql(query, given).fetchone()
    is_there = str(batch).endswith(begin.print) if batch else bool(may_be_erased) or not begin.print
    return last, total >= begin.erased and is_there, bool(has_lost)


def _traces_of(wanted: EventFilter) -> Condition:
    return replace(wanted.codes(), types=()).where()


def _print(key: int) -> str:
    found = database.execute_sql(f"SELECT batch FROM event WHERE id = {database.param}", (key,)).fetchone()  # noqa: S608
    return str(found[0])[-PRINT_DIGITS:] if found else ""
