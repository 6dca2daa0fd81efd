"""Text in the contexts of events: no index knows it, so a search looks at a bounded number of events at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.store.database import database
from app.store.events import pages
from app.store.events.charts import VolumeFilter, estimate
from app.store.events.pages import EventFilter, Position

LOOK = 20_000  # events that one search looks at
LOOK_RARE = 50  # the same where each costs the reading of an hour of others


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        positions: where the text is, in a page's order; the page's own first.
        looked: how many events it looked at.
        edge: the position of the last one it looked at; None where there are no others behind it.
    """

    positions: list[Position]
    looked: int
    edge: Position | None


def search(wanted: EventFilter, text: str) -> Found:
    """The events with a text in an item of their context, among the first so many that are wanted.

    Small and capital letters of ASCII are the same.
    """
    look = _look(wanted)
    looked = pages.positions(wanted, look)
    if not looked:
        return Found([], 0, None)
    keys = database.keys_with_text([key for _, key in looked], lowered(text))
    edge = looked[0] if wanted.forward else looked[-1]
    return Found([one for one in looked if one[1] in keys], len(looked), edge if len(looked) == look else None)


def _look(wanted: EventFilter) -> int:
    """How many events to look at: of types that are rare among the others fewer, as more have to be read for each."""
    if not wanted.types:
        return LOOK
    among = VolumeFilter(wanted.customers, wanted.customer, wanted.product)
    share = estimate(replace(among, types=wanted.types), 0) / max(1, estimate(among, 0))
    return max(LOOK_RARE, min(LOOK, round(LOOK * share)))


def lowered(text: str) -> str:
    """A text in small letters, as far as both databases agree which those are."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
