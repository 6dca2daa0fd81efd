"""The catalog's entries as people see them: what is in it, what was seen besides, how much each is used.

Who is limited to customers sees what those have to do with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.exceptions import CatalogUnknown
from app.schemas.catalog import COLUMN
from app.services.catalog.lookup import Catalog
from app.services.people.principal import Principal
from app.store.catalog import catalog as store
from app.store.events import usage
from app.store.events.usage import DAY_MS
from app.support.clock import now

CUSTOMERS, PRODUCTS, TYPES = KINDS = ("customers", "products", "types")
NAMES = {PRODUCTS: "columns", TYPES: "context"}  # what of an entry is a list of names
USED_DAYS = 7
SHOWN_DAYS = 30

Key = tuple[str, ...]  # (code,), of a type (product, code)


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
        """Which one of its kind it is."""
        return (self.product, self.code) if self.kind == TYPES else (self.code,)

    def has(self, word: str) -> bool:
        """Return whether the entry contains a word, ignoring case."""
        words = (self.code, self.product, self.description, *self.names)
        return any(word.casefold() in one.casefold() for one in words)

    @property
    def word(self) -> str:
        """What one of its kind is called."""
        return self.kind.removesuffix("s")

    @property
    def title(self) -> str:
        """It in words: `product PORTFOLIO`, `type OPENED of PORTFOLIO`."""
        of = f" of {self.product}" if self.product else ""
        return f"{self.word} {self.code}{of}"


@dataclass(frozen=True)
class Page:
    """Page of entries.

    Attributes:
        fitting: number of entries that match the search.
        number: number of all entries.
    """

    entries: Sequence[CatalogEntry]
    fitting: int
    number: int


@dataclass(frozen=True)
class Uses:
    """How an entry is used.

    Attributes:
        days: the last thirty days, each by its first millisecond, and how many events it had.
        seen: the (customer, product, type) triples that it was seen in.
    """

    days: Sequence[tuple[int, int]]
    seen: Sequence[store.Triple]


class CatalogListing:
    """The entries, for whoever may see them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def page(self, who: Principal, kind: str, find: str, begin: int, size: int) -> Page:
        """Return a page of the catalog's entries of a kind that a user may see, with their usage, ordered by code.

        Args:
            find: text that the entries contain, ignoring case.
            begin: number of entries to skip.
        """
        entries = self._all(who, kind)
        fitting = [one for one in entries if one.has(find)]
        shown = self._used(who, kind, fitting[begin : begin + size])
        return Page(shown, len(fitting), len(entries))

    def missing_page(self, who: Principal, find: str, begin: int, size: int) -> Page:
        """Return a page of the codes that were seen but are not in the catalog, ordered by kind and code.

        A type that the catalog has under another product is not missing, because events with it are accepted in both
        modes and the names of their context items are known.
        """
        found = self.missing(who, size, find, begin)
        shown = [one for kind in KINDS for one in self._used(who, kind, [one for one in found if one.kind == kind])]
        number = self.number_missing(who)
        return Page(shown, store.number_missing(who.customers, find) if find else number, number)

    def missing(self, who: Principal, limit: int | None = None, find: str = "", begin: int = 0) -> list[CatalogEntry]:
        """Return the first codes that were seen but are not in the catalog, without their usage."""
        found = store.missing(who.customers, find, limit, begin)
        extra = {PRODUCTS: COLUMN}
        return [
            CatalogEntry(kind, code, product, extra=extra.get(kind, ""), is_catalogued=False)
            for kind, product, code in found
        ]

    def number_missing(self, who: Principal) -> int:
        """Return the number of codes that were seen but are not in the catalog."""
        return store.number_missing(who.customers)

    def get(self, who: Principal, kind: str, key: Key) -> CatalogEntry:
        """One entry that somebody may see.

        Raises:
            CatalogUnknown: it is not in the catalog, or not theirs to see.
        """
        found = [one for one in self._all(who, kind) if one.key == key]
        if not found:
            raise CatalogUnknown(f"The catalog has no {kind.removesuffix('s')} {key[-1][:60]}.")
        return self._used(who, kind, found)[0]

    def uses(self, who: Principal, entry: CatalogEntry) -> Uses:
        """How an entry is used, by the customers that somebody may see."""
        code = {
            CUSTOMERS: (entry.code, None, None),
            PRODUCTS: (None, entry.code, None),
            TYPES: (None, entry.product, entry.code),
        }[entry.kind]
        seen = store.seen_with(code, who.customers)
        moment = now()
        today = moment - moment % DAY_MS
        first = today - (SHOWN_DAYS - 1) * DAY_MS
        found = usage.by_day(code, first, who.customers) if seen else {}
        return Uses([(day, found.get(day, 0)) for day in range(first, today + 1, DAY_MS)], seen)

    def _all(self, who: Principal, kind: str) -> list[CatalogEntry]:
        return [entry_of(kind, row) for row in self._catalog.export(who)[kind]]

    def _used(self, who: Principal, kind: str, entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
        codes = sorted({one.code for one in entries})
        found = usage.lately(kind, now(), USED_DAYS, codes, who.customers) if entries else {}
        numbers = [found.get(one.key, (0, 0)) for one in entries]
        return [replace(one, day=day, week=week) for one, (day, week) in zip(entries, numbers, strict=True)]


def entry_of(kind: str, row: Mapping[str, object]) -> CatalogEntry:
    """The entry of a row of the document."""
    names = tuple(row[NAMES[kind]]) if kind in NAMES else ()
    extra = row["extra"] if kind == PRODUCTS else ""
    return CatalogEntry(kind, row["code"], row.get("product", ""), row["description"], names, extra)


def row_of(entry: CatalogEntry) -> dict[str, object]:
    """An entry as the document has it."""
    row = {"code": entry.code, "description": entry.description}
    row |= {"product": entry.product} if entry.kind == TYPES else {}
    row |= {NAMES[entry.kind]: list(entry.names)} if entry.kind in NAMES else {}
    return row | ({"extra": entry.extra} if entry.kind == PRODUCTS else {})
