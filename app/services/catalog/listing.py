"""Listing of the catalog: its entries, observed codes that it lacks, and how much each is used.

Users who are limited to customers see only entries that occur with those customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.exceptions import CatalogUnknown
from app.schemas.catalog import COLUMN, Entry
from app.services.catalog.lookup import Catalog
from app.services.people.principal import Principal
from app.store.catalog import catalog as store
from app.store.events import hourly_counts
from app.support.clock import DAY_MS, now

CUSTOMERS, PRODUCTS, TYPES = KINDS = ("customers", "products", "types")
NAMES = {PRODUCTS: "columns", TYPES: "context"}  # the attribute of an entry that is a list of names
USED_DAYS = 7
SHOWN_DAYS = 30

Key = tuple[str, ...]  # (code,), or (product, code) for a type


@dataclass(frozen=True)
class CatalogEntry:
    """Customer, product or event type.

    Attributes:
        kind: one of KINDS.
        product: the product of a type; empty for the others.
        names: the columns of a product, or the context items of a type.
        extra: how a product's reports handle items without a column; empty for the others.
        day, week: number of events in the last 24 hours and in the last seven days.
        is_catalogued: False if it was seen but is not in the catalog.
    """

    kind: str
    code: str
    product: str = ""
    description: str = ""
    names: tuple[str, ...] = ()
    extra: str = ""
    day: int = 0
    week: int = 0
    is_catalogued: bool = True

    @property
    def key(self) -> Key:
        """Return the key, which is unique within the kind."""
        return (self.product, self.code) if self.kind == TYPES else (self.code,)

    @property
    def word(self) -> str:
        """Return the singular name of the kind."""
        return self.kind.removesuffix("s")

    @property
    def title(self) -> str:
        """Return the entry in words: `product PORTFOLIO`, `type OPENED of PORTFOLIO`."""
        of = f" of {self.product}" if self.product else ""
        return f"{self.word} {self.code}{of}"


@dataclass(frozen=True)
class Page:
    """Page of entries."""

    entries: Sequence[CatalogEntry]
    fitting: int  # number of entries that match the search
    number: int  # number of all entries


@dataclass(frozen=True)
class Uses:
    """Usage of an entry."""

    days: Sequence[tuple[int, int]]  # each of the last thirty days as its first millisecond and its number of events
    seen: Sequence[store.Triple]  # the (customer, product, type) triples in which it was observed


class CatalogListing:
    """Catalog entries that the caller may see."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def page(self, who: Principal, kind: str, find: str, begin: int, size: int) -> Page:
        """Return a page of the entries that contain a text, ignoring case, with their usage, ordered by code."""
        entries = self._all(who, kind)
        word = find.casefold()
        texts = [(one, (one.code, one.product, one.description, *one.names)) for one in entries]
        fitting = [one for one, several in texts if any(word in text.casefold() for text in several)]
        shown = self._used(who, kind, fitting[begin : begin + size])
        return Page(shown, len(fitting), len(entries))

    def missing_page(self, who: Principal, find: str, begin: int, size: int) -> Page:
        """Return a page of the codes that were seen but are not in the catalog, ordered by kind and code.

        A type that the catalog has under another product is not missing, because events with it are accepted in both
        modes and the names of their context items are known.
        """
        found = self.missing(who, size, find, begin)
        shown = [one for kind in KINDS for one in self._used(who, kind, [one for one in found if one.kind == kind])]
        number = store.number_missing(who.customers)
        return Page(shown, store.number_missing(who.customers, find) if find else number, number)

    def missing(self, who: Principal, limit: int | None = None, find: str = "", begin: int = 0) -> list[CatalogEntry]:
        """Return the first codes that were seen but are not in the catalog, without their usage."""
        return [
            CatalogEntry(kind, code, product, extra=COLUMN if kind == PRODUCTS else "", is_catalogued=False)
            for kind, product, code in store.missing(who.customers, find, limit, begin)
        ]

    def number_missing(self, who: Principal) -> int:
        """Return the number of codes that were seen but are not in the catalog."""
        return store.number_missing(who.customers)

    def get(self, who: Principal, kind: str, key: Key) -> CatalogEntry:
        """Return an entry. Raise CatalogUnknown if there is none, or the caller may not see it."""
        found = [one for one in self._all(who, kind) if one.key == key]
        if not found:
            raise CatalogUnknown(f"The catalog has no {kind.removesuffix('s')} {key[-1][:60]}.")
        return self._used(who, kind, found)[0]

    def uses(self, who: Principal, entry: CatalogEntry) -> Uses:
        """Return how an entry is used by the customers that the caller may see."""
        code = {
            CUSTOMERS: (entry.code, None, None),
            PRODUCTS: (None, entry.code, None),
            TYPES: (None, entry.product, entry.code),
        }[entry.kind]
        seen = store.seen_with(code, who.customers)
        moment = now()
        today = moment - moment % DAY_MS
        first = today - (SHOWN_DAYS - 1) * DAY_MS
        found = hourly_counts.by_day(code, first, who.customers) if seen else {}
        return Uses([(day, found.get(day, 0)) for day in range(first, today + 1, DAY_MS)], seen)

    def _all(self, who: Principal, kind: str) -> list[CatalogEntry]:
        return [entry_of(kind, row) for row in self._catalog.export(who)[kind]]

    def _used(self, who: Principal, kind: str, entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
        codes = sorted({one.code for one in entries})
        found = hourly_counts.lately(kind, now(), USED_DAYS, codes, who.customers) if entries else {}
        numbers = [found.get(one.key, (0, 0)) for one in entries]
        return [replace(one, day=day, week=week) for one, (day, week) in zip(entries, numbers, strict=True)]


def entry_of(kind: str, row: Entry) -> CatalogEntry:
    """Return the entry of a row of the catalog document."""
    names = tuple(row[NAMES[kind]]) if kind in NAMES else ()
    extra = row["extra"] if kind == PRODUCTS else ""
    return CatalogEntry(kind, row["code"], row.get("product", ""), row["description"], names, extra)


def row_of(entry: CatalogEntry) -> Entry:
    """Return an entry as a row of the catalog document."""
    row: Entry = {"code": entry.code, "description": entry.description}
    row |= {"product": entry.product} if entry.kind == TYPES else {}
    row |= {NAMES[entry.kind]: list(entry.names)} if entry.kind in NAMES else {}
    return row | ({"extra": entry.extra} if entry.kind == PRODUCTS else {})
