"""URLs of the page Events with one more filter, for the codes and values in tables of events."""

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
    """URLs of lists of events that share a code or value with a listed event.

    Attributes:
        filters: the other filters, as URL arguments.
        names: the names of context items by product and type.
    """

    filters: Values
    names: Mapping[tuple[str, str], Sequence[str]]

    @cached_property
    def _page_url(self) -> str:
        return link_to("events")  # once, because a table has hundreds of links

    def to(self, **codes: str) -> str:
        """Return the URL of the events with a code, which replaces the filter of the same kind."""
        return f"{self._page_url}?{urlencode({**self.filters, **codes}, doseq=True)}"

    def to_item(self, event: FullEvent, place: int) -> str:
        """Return the URL of the events with a context item's value, under the item's name in the catalog."""
        names = self.names.get((event.product, event.type), ())
        rest = {name: value for name, value in self.filters.items() if name not in ("context", "value")}
        named = {"context": names[place]} if place < len(names) else {}
        return f"{self._page_url}?{urlencode({**rest, **named, 'value': event.context[place]}, doseq=True)}"


def event_links(events: Iterable[FullEvent], filters: Values | None = None) -> EventLinks:
    """Return the URLs for some events."""
    return EventLinks(filters or {}, services().catalog.item_names_by_type({(one.product, one.type) for one in events}))
