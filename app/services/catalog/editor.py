"""Changes to the catalog: add, change or remove an entry, adopt observed codes, import a document.

All customers share the catalog: a product's columns apply to every customer's reports. Users who are limited to
customers therefore cannot change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from app.exceptions import CatalogUnknown, FieldError, Forbidden, InputInvalid
from app.schemas.catalog import CatalogSchema
from app.schemas.json import shown
from app.services.catalog.listing import (
    CUSTOMERS,
    KINDS,
    PRODUCTS,
    TYPES,
    CatalogEntry,
    CatalogListing,
    Key,
    entry_of,
    row_of,
)
from app.services.catalog.lookup import Catalog, columns_layout
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.catalog import catalog as store
from app.store.database import transaction

ADOPTED_AT_ONCE = 1_000  # codes per transaction


@dataclass(frozen=True)
class Loss:
    """Consequences of removing an entry.

    Attributes:
        columns: by product, the columns that nothing fills any more, or that are no longer columns.
    """

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    types: Sequence[str] = ()  # the codes of a product's types, which stay unless they are removed with it
    is_refused: bool = False  # whether events with the code are rejected from then on


@dataclass(frozen=True)
class Changes:
    """Changes by a document, as titles of entries. `same` is the number of unchanged entries."""

    added: Sequence[str]
    changed: Sequence[str]
    same: int


class CatalogEditor:
    """Editor of the catalog. Its changes raise Forbidden if the caller may not change the catalog."""

    def __init__(self, catalog: Catalog, entries: CatalogListing) -> None:
        self._catalog = catalog
        self._entries = entries

    def may_change(self, who: Principal) -> bool:
        """Return whether a user may change the catalog."""
        return who.may("catalog") and who.customers is None

    def allow(self, who: Principal) -> None:
        """Raise Forbidden unless a user may change the catalog."""
        if not self.may_change(who):
            raise Forbidden("Only operators and administrators who see every customer may change the catalog.")

    def products(self, limit: int) -> list[str]:
        """Return the possible product codes of a type, in the catalog or observed, up to a limit."""
        return sorted(store.known_products(limit))[:limit]

    def add(self, who: Principal, kind: str, values: Mapping[str, object]) -> CatalogEntry:
        """Add an entry, given as in the catalog document. Raise InputInvalid if it is invalid or exists."""

        def check_new(entry: CatalogEntry) -> None:
            if entry.key in {entry_of(kind, row).key for row in self._catalog.export()[kind]}:
                of = f" under {entry.product}" if entry.product else ""
                message = f"{kind}[0].code is {shown(entry.code)}, which the catalog has already{of}."
                raise InputInvalid("The catalog has it already.", [FieldError(message, field="code")])

        return self._write(who, kind, values, check_new)

    def change(self, who: Principal, kind: str, values: Mapping[str, object]) -> CatalogEntry:
        """Change an entry. Reports that were started before keep their columns.

        Raise InputInvalid if a value is invalid, and CatalogUnknown if the entry does not exist.
        """
        return self._write(who, kind, values, lambda entry: self._entries.get(who, kind, entry.key))

    def adopt(self, who: Principal, wanted: Sequence[tuple[str, Key]] | None) -> list[CatalogEntry]:
        """Add observed codes to the catalog, and skip codes that it already has or that were never observed.

        Args:
            wanted: the kind and key of each code. None means the first `ADOPTED_AT_ONCE`.
        """
        self.allow(who)
        found = self._entries.missing(who, ADOPTED_AT_ONCE if wanted is None else None)
        found = [one for one in found if wanted is None or (one.kind, one.key) in wanted]
        document = {kind: [row_of(one) for one in found if one.kind == kind] for kind in KINDS}
        with transaction():
            self._catalog.put(orjson.dumps(document))
            for one in found:
                audit.note(who, "catalog changed", one.title, {"change": "added as it was seen"})
        return found

    def loss(self, entry: CatalogEntry) -> Loss:
        """Return the consequences of removing an entry."""
        rows = store.types()
        left = [row for row in rows if entry.kind != TYPES or (row.product, row.code) != entry.key]
        is_refused = self._catalog.strict and (entry.kind != TYPES or all(row.code != entry.code for row in left))
        if entry.kind == PRODUCTS:
            types = [row.code for row in rows if row.product == entry.code]
            return Loss({entry.code: entry.names} if entry.names else {}, types, is_refused)
        columns: dict[str, list[str]] = {}
        for row in store.products() if entry.kind == TYPES else ():
            before, after = (columns_layout(row.code, row.columns, types) for types in (rows, left))
            emptied = [
                name
                for name in row.columns
                if before.place(entry.code, name) is not None and after.place(entry.code, name) is None
            ]
            columns |= {row.code: emptied} if emptied else {}
        return Loss(columns, (), is_refused)

    def remove(self, who: Principal, entry: CatalogEntry, *, with_types: bool = False) -> None:
        """Remove an entry, and on request a product's types, but no events. Raise CatalogUnknown if it is gone."""
        self.allow(who)
        with transaction():
            if entry.kind == CUSTOMERS:
                is_gone = store.remove_customer(entry.code)
            elif entry.kind == PRODUCTS:
                is_gone = store.remove_product(entry.code)
            else:
                is_gone = store.remove_types(*entry.key) > 0
            if not is_gone:
                raise CatalogUnknown(f"The {entry.title} is not in the catalog any more: somebody removed it.")
            if entry.kind == PRODUCTS and with_types:
                store.remove_types(entry.code)
            details = {**row_of(entry), **({"with": "its types"} if with_types else {})}
            audit.note(who, "catalog removed", entry.title, details)
        self._catalog.forget()

    def preview(self, body: bytes) -> Changes:
        """Return what a document would change. Raise BodyMalformed or InputInvalid if it is none."""
        entries, catalog = CatalogSchema().load_body(body), self._catalog.export()
        added, changed, same = {}, {}, 0
        for kind in KINDS:
            known = {one.key: one for one in (entry_of(kind, row) for row in catalog[kind])}
            for one in (entry_of(kind, row) for row in entries[kind]):
                if one.key not in known:
                    added[kind, one.key] = one.title
                elif one != known[one.key]:
                    changed[kind, one.key] = one.title
                else:
                    same += 1
        return Changes(list(added.values()), list(changed.values()), same)

    def put(self, who: Principal, body: bytes) -> Changes:
        """Import a document: add new codes and update known ones, and remove none. Raise the errors of `preview`."""
        self.allow(who)
        with transaction():
            changes = self.preview(body)
            self._catalog.put(body)
            details = {"added": changes.added, "changed": changes.changed, "same": changes.same}
            audit.note(who, "catalog imported", "", details)
        return changes

    def _write(
        self,
        who: Principal,
        kind: str,
        values: Mapping[str, object],
        check: Callable[[CatalogEntry], CatalogEntry | None],
    ) -> CatalogEntry:
        self.allow(who)
        body = orjson.dumps({kind: [values]})
        entry = entry_of(kind, CatalogSchema().load_body(body)[kind][0])
        with transaction():
            before = check(entry)
            self._catalog.put(body)
            details = row_of(entry)
            if before is None:
                details["change"] = "added"
            else:
                changed = {name: value for name, value in row_of(before).items() if value != details[name]}
                details |= {f"{name} before": value for name, value in changed.items()}
            audit.note(who, "catalog changed", entry.title, details)
        return entry
