"""Addresses of the page Events with one more filter, for the codes and values in tables of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from app.admin.blueprint import services
from app.admin.pages import Values, link_to
from app.schemas.events import FullEvent


@dataclass(frozen=True)
class EventLinks:
    """Addresses of the events that share something with a listed event.

    Attributes:
        kept: the other filters that stay, as URL arguments.
        names: the names of context items by product and type.
    """

    kept: Values
    names: Mapping[tuple[str, str], Sequence[str]]

    @cached_property
    def _page(self) -> str:
        return link_to("events")  # once, because a table has hundreds of links

    def to(self, **codes: str) -> str:
        """Return the address of the events with a code, which replaces another one of its kind."""
        return f"{self._page}?{urlencode({**self.kept, **codes}, doseq=True)}"

    def to_item(self, event: FullEvent, place: int) -> str:
        """Return the address of the events with an item of an event's context, under its name in the catalog."""
        names = self.names.get((event.product, event.type), ())
        rest = {name: value for name, value in self.kept.items() if name not in ("context", "value")}
        named = {"context": names[place]} if place < len(names) else {}
        return f"{self._page}?{urlencode({**rest, **named, 'value': event.context[place]}, doseq=True)}"


def links_of(events: Iterable[FullEvent], kept: Values | None = None) -> EventLinks:
    """Return the addresses for some events."""
    return EventLinks(kept or {}, services().catalog.names_of({(one.product, one.type) for one in events}))
