"""Search in the contexts of events: for a part of a text, or for an item that equals a value.

No index covers parts of texts, so a search for one reads a limited number of events. PostgreSQL has an index of the
first items. It says which ranges of pages may have a value, in no order, so periods are searched one after another,
each longer than the one before, and for a limited time. On SQLite an item is searched for as a text is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from app.store.database import database
from app.store.events import pages
from app.store.events.filters import EventFilter, Position
from app.store.events.hourly_counts import estimate_matching

LOOK = 20_000  # events that one search reads
LOOK_RARE = 50  # the same for rare types, where each event costs reading an hour of other events
LOOK_BEFORE_INDEX = 2_000  # events that are read before the index; more often than not they fill the page
LONGER = 16  # each period searched by index is so many times as long as the one before
MIN_PERIOD_MS = 1_000
MAX_TIME, MAX_ID = 253_402_300_799_999, 10**18 - 1  # the largest of a cursor
INDEX_SECONDS = 2.0


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        positions: the positions of the matching events, in page order (newest first).
        looked: number of events searched, or None if an index was used.
        edge: position up to which all events were searched, or None if no further events exist.
    """

    positions: list[Position]
    looked: int | None
    edge: Position | None


def search(wanted: EventFilter, limit: int, text: str | None = None) -> SearchResult:
    """Search the first events of a filter for those with its item, with a text in an item of their context, or both.

    The search for a text ignores the case of ASCII letters.

    Args:
        limit: number of events after which it may end.
    """
    plain = replace(wanted, item=None, places=None)
    by_index = text is None and wanted.batch is None and database.has_item_index()
    look = LOOK_BEFORE_INDEX if by_index else _events_to_read(plain)
    looked = pages.positions(plain, look)
    if not looked:
        return SearchResult([], 0, None)
    keys = {key for _, key in looked}
    if text is not None:
        keys = database.keys_with_text(list(keys), lowered(text))
    if wanted.item is not None:
        keys = _with_item(wanted, wanted.item, keys)
    first = [one for one in looked if one[1] in keys]
    if len(looked) < look:
        return SearchResult(first, len(looked), None)
    edge = looked[0] if wanted.forward else looked[-1]
    if len(first) >= limit or not by_index:
        return SearchResult(first, len(looked), edge)
    more, reached = _find_by_index(wanted, limit - len(first), edge, abs(looked[0][0] - looked[-1][0]))
    return SearchResult([*more[::-1], *first] if wanted.forward else [*first, *more], None, reached)


def _events_to_read(wanted: EventFilter) -> int:
    """Return the number of events that one search reads."""
    if not wanted.types:
        return LOOK
    # Fewer for rare types, because finding each event reads more other events.
    among = replace(wanted.codes(), types=())
    share = estimate_matching(replace(among, types=wanted.types), 0) / max(1, estimate_matching(among, 0))
    return max(LOOK_RARE, min(LOOK, round(LOOK * share)))


def _with_item(wanted: EventFilter, item: str, keys: set[int]) -> set[int]:
    chosen, value = database.keyed(list(keys))
    condition, more = wanted.has_item(item)
    found = database.execute_sql(f"SELECT id FROM event WHERE {chosen} AND {condition}", [value, *more])  # noqa: S608
    return {key for (key,) in found.fetchall()}


def _find_by_index(
    wanted: EventFilter, limit: int, position: Position, period: int
) -> tuple[list[Position], Position | None]:
    """Return the first positions beyond a position, in scan order, and up to where it searched, or None for all.

    Args:
        period: milliseconds; the first period searched is LONGER times as long.
    """
    found: list[Position] = []
    until = time.monotonic() + INDEX_SECONDS
    earliest, latest = wanted.start or 0, MAX_TIME if wanted.end is None else wanted.end
    while len(found) < limit:
        period = max(period, MIN_PERIOD_MS) * LONGER
        if wanted.forward:
            edge = position[0] + period
            is_last = edge >= latest
            part = replace(wanted.between(None, None if is_last else edge), before=position)
        else:
            edge = position[0] - period
            is_last = edge <= earliest
            part = replace(wanted.between(None if is_last else edge, None), after=position)
        condition, values = part.where()
        ends = f"ORDER BY {wanted.order} LIMIT {limit - len(found):d}"
        query = f"SELECT timestamp, id FROM event WHERE {condition} {ends}"  # noqa: S608
        rows = database.find_by_item(query, values, until - time.monotonic())
        if rows is None:
            return found, position
        found += rows
        if is_last:
            return found, None
        position = (edge, MAX_ID if wanted.forward else 0)
    return found, found[-1]


def lowered(text: str) -> str:
    """Return a text with its ASCII letters in lower case, because the databases differ for other letters."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
