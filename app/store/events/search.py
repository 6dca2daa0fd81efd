"""Text search in the contexts of events. No index covers the text, so a search reads a limited number of events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.store.database import database
from app.store.events import pages
from app.store.events.filters import EventFilter, Position
from app.store.events.hourly_counts import estimate_matching

LOOK = 20_000  # events that one search reads
LOOK_RARE = 50  # the same for rare types, where each event costs reading an hour of other events


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        positions: the positions of the matching events, in page order (newest first).
        looked: number of events searched.
        edge: position of the last event searched, or None if no further events exist.
    """

    positions: list[Position]
    looked: int
    edge: Position | None


def search(wanted: EventFilter, text: str) -> Found:
    """Search the first events of a filter for those with a text in an item of their context.

    The search ignores the case of ASCII letters.
    """
    look = LOOK
    if wanted.types:  # fewer for rare types, because finding each one reads more other events
        among = EventFilter(wanted.customer, wanted.product, customers=wanted.customers)
        share = estimate_matching(replace(among, types=wanted.types), 0) / max(1, estimate_matching(among, 0))
        look = max(LOOK_RARE, min(LOOK, round(LOOK * share)))
    looked = pages.positions(wanted, look)
    if not looked:
        return Found([], 0, None)
    keys = database.keys_with_text([key for _, key in looked], lowered(text))
    edge = looked[0] if wanted.forward else looked[-1]
    return Found([one for one in looked if one[1] in keys], len(looked), edge if len(looked) == look else None)


def lowered(text: str) -> str:
    """Return a text with its ASCII letters in lower case, because the databases differ for other letters."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
