"""The filter for events, and its SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from app.store.database import database

Position = tuple[int, int]  # timestamp, id: where a page ends
Condition = tuple[str, list[object]]  # SQL and its parameters


class NamedItem(NamedTuple):
    """Item of the contexts of a type: of one product, or of all products except some.

    Attributes:
        place: of the item, counted from 0.
        excluded: products that it is not of, if it has no product.
    """

    type: str
    place: int
    product: str | None = None
    excluded: tuple[str, ...] = ()

    def may_be_of(self, product: str) -> bool:
        """Return whether it is a place in the events of a product."""
        return product not in self.excluded if self.product is None else product == self.product


@dataclass(frozen=True)
class EventFilter:
    """Filter for events. None or empty means all.

    Attributes:
        start, end: milliseconds, both inclusive.
        snapshot_max_id: the last event id that can match.
        snapshot_min_id: the last event id before those that can match.
        customers: the customers that can match, such as those visible to the user.
        products: the products that can match.
        after: position of the last event of a page, to get the next page with older events.
        before: position of the first event of a page, to get the previous page; excludes `after`.
        batch: UUID of a request.
        item: a text that equals one of the context's items.
        places: the items of which one must equal `item`. None means any.
    """

    customer: str | None = None
    product: str | None = None
    types: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    snapshot_max_id: int | None = None
    snapshot_min_id: int | None = None
    customers: Sequence[str] | None = None
    after: Position | None = None
    before: Position | None = None
    batch: str | None = None
    item: str | None = None
    places: Sequence[NamedItem] | None = None
    products: Sequence[str] | None = None

    @property
    def first(self) -> int | None:
        """Return the earliest timestamp that can match."""
        times = [time for time in (self.start, self.before and self.before[0]) if time is not None]
        return max(times, default=None)

    @property
    def last(self) -> int | None:
        """Return the latest timestamp that can match."""
        times = [time for time in (self.end, self.after and self.after[0]) if time is not None]
        return min(times, default=None)

    @property
    def forward(self) -> bool:
        """Return whether to scan from the oldest event to the newest."""
        return self.before is not None

    @property
    def order(self) -> str:
        """Return the SQL of the scan order."""
        return "timestamp, id" if self.forward else "timestamp DESC, id DESC"

    @property
    def of_all_customers(self) -> bool:
        """Return whether it does not depend on the customer."""
        return self.customer is None and self.customers is None

    def codes(self) -> EventFilter:
        """Return the filter without its limits of time and position, for tables that have only the codes."""
        return EventFilter(self.customer, self.product, self.types, customers=self.customers, products=self.products)

    def between(self, start: int | None, end: int | None) -> Self:
        """Return the part in a time range, both ends inclusive; None means no further limit."""
        starts = [time for time in (self.start, start) if time is not None]
        ends = [time for time in (self.end, end) if time is not None]
        return replace(self, start=max(starts, default=None), end=min(ends, default=None))

    def where(self) -> Condition:
        """Return the SQL condition on the columns of `event`."""
        mark = database.param
        parts: list[str] = []
        values: list[object] = []
        equal = ((f"customer = {mark}", self.customer), (f"product = {mark}", self.product))
        several = (("customer", self.customers), ("product", self.products), ("type", self.types or None))
        # One bound per side: SQLite uses only the first of two for the index, and scans to the other.
        limits = (
            (f"timestamp >= {mark}", self.first),
            (f"timestamp <= {mark}", self.last),
            (f"id <= {mark}", self.snapshot_max_id),
            (f"id > {mark}", self.snapshot_min_id),
            (f"batch = {mark}", self.batch),
        )
        parts += [condition for condition, value in equal if value is not None]
        values += [value for _, value in equal if value is not None]
        for name, allowed in several:
            if allowed is not None:
                # With no values, select nothing, because PostgreSQL does not accept an empty list, unlike SQLite.
                parts.append(f"{name} IN ({', '.join([mark] * len(allowed))})" if allowed else "1 = 0")
                values += allowed
        parts += [condition for condition, value in limits if value is not None]
        values += [value for _, value in limits if value is not None]
        if self.item is not None:
            condition, more = self.has_item(self.item)
            parts.append(condition)
            values += more
        for sign, position in (("<", self.after), (">", self.before)):
            if position:
                parts.append(f"(timestamp, id) {sign} ({mark}, {mark})")
                values += position
        return " AND ".join(parts) or "TRUE", values

    def has_item(self, item: str) -> Condition:
        """Return the condition that one of the places has an item."""
        mark = database.param
        if self.places is None:
            condition = database.has_item()
            return condition, [item] * condition.count(mark)
        types: defaultdict[tuple[int, str | None, tuple[str, ...]], list[str]] = defaultdict(list)
        for place in self.places:
            types[place.place, place.product, place.excluded].append(place.type)
        parts: list[str] = []
        values: list[object] = []
        for (index, product, excluded), some in types.items():
            part = f"{database.context_item(index)} = {mark} AND type IN ({', '.join([mark] * len(some))})"
            products = list(excluded) if product is None else [product]
            if products:
                part += f" AND product {'NOT ' if product is None else ''}IN ({', '.join([mark] * len(products))})"
            parts.append(f"({part})")
            values += [item, *some, *products]
        return f"({' OR '.join(parts) or '1 = 0'})", values
