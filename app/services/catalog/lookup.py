"""Catalog: the known customers, products and event types, and the layout of each product's report file."""

from __future__ import annotations

import difflib
import re
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from app.exceptions import FieldError, InputInvalid, StoreUnavailable
from app.exports.layout import COLUMNS, EXTRA, POSITIONAL, Layout
from app.schemas.catalog import DROP, CatalogSchema, Entry, document
from app.schemas.events import MAX_EXPLAINED, Batch, Event, Rejected, encode_event, unexplained
from app.schemas.json import shown
from app.services.people.principal import SYSTEM, Principal
from app.store.catalog import catalog as store
from app.store.database import release
from app.store.events import select
from app.store.events.filters import EventFilter, NamedItem
from app.store.models import EventType
from app.store.queries import Codes

CODE_KINDS = tuple(store.CODE_KINDS)  # kinds of codes that `find_codes` can find
KEPT_SECONDS = 2.0  # cache lifetime
NAMED = 3  # maximum number of near codes in an error
COMPARED = 200  # number of codes compared for a suggestion, each taking up to a millisecond
NOT_KNOWN = ", which is not known"  # the suggestions follow
NAME_IT = "Name the item in the catalog, in the context of its type."
INDEX = re.compile(r"\[\d+\]$")  # at the end of a field's place
HINTS = 20  # unknown codes of a request that get suggestions, because a batch may contain 30,000


@dataclass(frozen=True)
class Vocabulary:
    """The catalog's codes, for strict mode."""

    customer: frozenset[str]
    product: frozenset[str]
    type: frozenset[str]


class Catalog:
    """Catalog of a process. In strict mode, an event's codes must be in it."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._vocabulary: tuple[float, Vocabulary] | None = None

    def checked(self, batch: Batch) -> Batch:
        """Return the batch with the events rejected whose codes are not in the catalog."""
        words = self.vocabulary()
        events: list[Event] = []
        places: list[int] = []
        rejected, hints = list(batch.rejected), dict[tuple[str, str], str]()
        for event, place in zip(batch.events, batch.places, strict=True):
            if event.type in words.type and event.product in words.product and event.customer in words.customer:
                events.append(event)
                places.append(place)
            elif len(rejected) < MAX_EXPLAINED:
                rejected.append(Rejected(place, encode_event(event), _unknown(event, place - 1, words, hints)))
            else:
                rejected.append(unexplained(place, encode_event(event)))
        return replace(batch, events=events, places=places, rejected=sorted(rejected, key=lambda one: one.place))

    def vocabulary(self) -> Vocabulary:
        """Return the catalog's codes, at most two seconds old, or the last known ones if the database is away."""
        kept = self._vocabulary
        if kept and kept[0] > time.monotonic():
            return kept[1]
        try:
            words = Vocabulary(
                frozenset(row.code for row in store.customers()),
                frozenset(row.code for row in store.products()),
                frozenset(row.code for row in store.types()),
            )
        except StoreUnavailable:
            if kept is None:
                raise
            return kept[1]
        finally:
            release()  # the request next waits for the writer, which may need a connection
        self._vocabulary = (time.monotonic() + KEPT_SECONDS, words)
        return words

    def check_known(
        self,
        who: Principal,
        customer: Codes | None,
        product: Codes | None,
        types: Sequence[str] | None = None,
        place: str = "filter.",
    ) -> None:
        """Reject a filter with codes that are neither in the catalog nor observed. Suggest only codes the user may see.

        The table of observed codes may lack recent events, so the events themselves decide for a customer and product.

        Args:
            customer: a customer that the caller may see, or several. None means all, as for the product and the types.
            place: prefix of field names in messages.

        Raises:
            InputInvalid: names the nearest known codes.
        """
        faults = []
        for at, code in _places(f"{place}customer", customer):
            if not store.customer_is_known(code) and not select.exist(code):
                hint = _hint(code, [one for one in store.known_customers() if who.sees(one)])
                faults.append(_not_known(at, code, hint))
        for at, code in _places(f"{place}product", product):
            if store.product_is_known(code, who.customers) or (customer and select.exist(customer, code)):
                continue
            # A user limited to customers gets only products that those customers use.
            known = store.known_products() if who.customers is None else store.seen_products(who.customers)
            faults.append(_not_known(at, code, _hint(code, known)))
        missing = set(types or ()) - store.known_types(types or (), who.customers)
        if missing and customer is not None and product is not None:
            missing = {code for code in missing if not select.exist(customer, product, code)}
        if missing:
            known = {kind for _, kind in store.seen_types(who.customers)}
            known |= {row.code for row in store.types()} if who.customers is None else set()
            for index, code in enumerate(types or ()):
                if code in missing:
                    hint = _hint(code, known) if len(faults) < HINTS else ""
                    faults.append(_not_known(f"{place}types[{index}]", code, hint))
        if faults:
            raise InputInvalid("The filter names something unknown.", faults)

    def layout(self, product: str, wanted: str | None) -> Layout:
        """Return the current layout of reports about a product: `columns`, `positional`, or None for its default.

        Raise InputInvalid if `columns` is requested, but the catalog has no columns for the product.
        """
        row = store.product(product)
        columns = tuple(row.columns) if row else ()
        if wanted == COLUMNS and not columns:
            message = f'output.layout is "columns", but the catalog has no columns for {product}; use "positional".'
            raise InputInvalid("The report cannot be laid out so.", [FieldError(message)])
        if wanted == POSITIONAL or not columns:
            return Layout(POSITIONAL)
        return self.naming(product)

    def naming(self, product: str) -> Layout:
        """Return a product's columns, if it has any, and the names of each type's context items."""
        row = store.product(product)
        columns, drops = (row.columns, row.extra == DROP) if row else ((), False)
        return columns_layout(product, columns, store.types(), drops_extras=drops)

    def put(self, body: bytes) -> dict[str, int]:
        """Import a catalog document and return its number of entries of each kind.

        Raise BodyMalformed or InputInvalid if it is no catalog document; then nothing was imported.
        """
        entries = CatalogSchema().load_body(body)
        store.put(entries)
        self.forget()
        return {kind: len(rows) for kind, rows in entries.items()}

    def items_without_column(self) -> list[str]:
        """Return each type with named items that a product with columns has none for: `PRODUCT TYPE: item, item`."""
        by_product: defaultdict[str, list[EventType]] = defaultdict(list)
        for one in store.types():
            by_product[one.product].append(one)
        found = []
        for row in store.products():
            layout = columns_layout(row.code, row.columns, by_product[row.code])
            for one in by_product[row.code]:
                names = layout.without_column(one.code)
                found += [f"{row.code} {one.code}: {', '.join(names)}"] if names else []
        return found

    def export(self, who: Principal = SYSTEM) -> dict[str, list[Entry]]:
        """Return the catalog as a document. Limited users get only the entries that occur with their customers."""
        customers, products, types = store.customers(), store.products(), store.types()
        if who.customers is not None:
            pairs = store.seen_types(who.customers)
            visible = {product for product, _ in pairs}
            customers = [row for row in customers if who.sees(row.code)]
            products = [row for row in products if row.code in visible]
            types = [row for row in types if (row.product, row.code) in pairs]
        return document(customers, products, types)

    def is_empty(self) -> bool:
        """Return whether the catalog has no entries."""
        return not (store.customers() or store.products() or store.types())

    def load_sample(self) -> None:
        """Import the sample catalog that comes with the service."""
        self.put(resources.files("app").joinpath("catalog.sample.json").read_bytes())

    def known(self, who: Principal = SYSTEM, limit: int | None = None) -> tuple[list[str], list[str]]:
        """Return the customers and products, in the catalog or observed, that a user may see, by code."""
        products = store.known_products(limit) if who.customers is None else store.seen_products(who.customers, limit)
        return sorted(store.known_customers(who.customers, limit))[:limit], sorted(products)[:limit]

    def types_seen(self, who: Principal, customer: str | None, product: str | None, limit: int) -> set[str]:
        """Return the event types that a user may see, up to a limit, optionally of a customer or product."""
        return store.types_with(customer, product, who.customers, limit)

    def find_codes(self, who: Principal, kind: str, text: str, limit: int) -> list[str]:
        """Return the first codes of one of CODE_KINDS that a user may see and that contain a text."""
        return store.find_codes(kind, text, who.customers, limit)

    def unknown_customers(self, codes: Sequence[str]) -> list[str]:
        """Return the given customers that occur neither in events nor in the catalog."""
        known = store.known_among("customer", codes)
        return [code for code in codes if code not in known]

    def types(self, who: Principal, limit: int) -> list[EventType]:
        """Return the catalog's types that a user may see, by product and code, up to a limit."""
        return store.types_of(who.customers, limit)

    def type_named(self, product: str, code: str) -> EventType | None:
        """Return the catalog's event type with a code, preferably of this product, otherwise of another product."""
        rows = [row for row in store.types() if row.code == code]
        return next((row for row in rows if row.product == product), rows[0] if rows else None)

    def item_names_by_type(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
        """Return the names of the context items of some pairs of product and type, as `type_named` chooses them."""
        chosen: dict[tuple[str, str], list[str]] = {}
        by_code: defaultdict[str, list[EventType]] = defaultdict(list)
        wanted = list(pairs)
        for row in store.types_among({code for _, code in wanted}):
            by_code[row.code].append(row)
        for product, code in wanted:
            same = by_code[code]
            entry = next((one for one in same if one.product == product), same[0] if same else None)
            chosen[product, code] = entry.context if entry else []
        return chosen

    def event_filter(self, who: Principal, given: Mapping[str, Any]) -> EventFilter:
        """Return the filter of events that `EventFilterSchema` has loaded.

        Raises:
            InputInvalid: the catalog has no context item of that name.
        """
        rest = {name: value for name, value in given.items() if name not in ("context", "value")}
        if "context" not in given:
            return EventFilter(**rest, item=given.get("value"))
        places = self.places(who, given["context"], given.get("product"), given.get("types") or ())
        return EventFilter(**rest | {"types": sorted({one.type for one in places})}, item=given["value"], places=places)

    def places(
        self,
        who: Principal,
        name: str,
        product: str | None = None,
        types: Sequence[str] = (),
        *,
        field: str = "context",
    ) -> list[NamedItem]:
        """Return the context items that the catalog gives a name, of the types of a product or of all.

        A type that the catalog has under an event's product takes precedence over the same type under other products.

        Args:
            field: the caller's field that contains the name.

        Raises:
            InputInvalid: no item has the name; names the nearest.
        """
        rows = store.types()
        by_code: defaultdict[str, list[EventType]] = defaultdict(list)
        for row in rows:
            if not types or row.code in types:
                by_code[row.code].append(row)
        found: list[NamedItem] = []
        for code, same in by_code.items():
            first, *others = same
            excluded = tuple(row.product for row in others)
            for row in same:
                if name in row.context:
                    index = row.context.index(name)
                    found.append(NamedItem(code, index, *((None, excluded) if row is first else (row.product,))))
        found = [place for place in found if product is None or place.may_be_of(product)]
        if not found:
            hint = _hint(name, self.item_names(who))
            message = f"{field} is {shown(name)}, which no event type of the filter has in the catalog{hint}. {NAME_IT}"
            raise InputInvalid("The filter names something unknown.", [FieldError(message, field=field)])
        return found

    def item_names(self, who: Principal) -> list[str]:
        """Return the names that the catalog gives context items of types that a user may see, in order."""
        seen = None if who.customers is None else store.seen_types(who.customers)
        visible = (row for row in store.types() if seen is None or (row.product, row.code) in seen)
        return sorted({name for row in visible for name in row.context})

    def forget(self) -> None:
        """Discard the cached codes, because the catalog was changed."""
        self._vocabulary = None


def columns_layout(
    product: str, columns: Sequence[str], types: Iterable[EventType], *, drops_extras: bool = False
) -> Layout:
    """Return the layout of a product's columns, which omits (`drops_extras`) items without their own column or not.

    A type that the catalog has under this product takes precedence over types of the same name under other products.
    """
    rows = sorted(types, key=lambda row: row.product == product)
    names = [name for name in columns if name != EXTRA]  # older catalogs list it explicitly
    names += [] if drops_extras else [EXTRA]
    return Layout(COLUMNS, tuple(names), {row.code: tuple(row.context) for row in rows})


def _unknown(event: Event, index: int, words: Vocabulary, hints: dict[tuple[str, str], str]) -> list[FieldError]:
    """Return the field errors of an event. `hints` caches the suggestions for each field's code."""
    faults = []
    for field in ("customer", "product", "type"):
        code, known = getattr(event, field), getattr(words, field)
        if code in known:
            continue
        if (field, code) not in hints:
            # Do not reveal customers, because anyone who can send an event sees this error.
            is_hinted = field != "customer" and len(hints) < HINTS
            hints[field, code] = _hint(code, known) if is_hinted else ""
        faults.append(_not_known(f"events[{index}].{field}", code, hints[field, code]))
    return faults


def _places(place: str, codes: Codes | None) -> list[tuple[str, str]]:
    """Return codes with their places in the request: a field for one code, or items of a list for several."""
    if codes is None or isinstance(codes, str):
        return [] if codes is None else [(place, codes)]
    return [(f"{place}s[{index}]", code) for index, code in enumerate(codes)]


def _not_known(place: str, code: str, hint: str) -> FieldError:
    field = INDEX.sub("", place.rpartition(".")[2])
    return FieldError(f"{place} is {shown(code)}{NOT_KNOWN}{hint}.", field=field, is_unknown=True)


def _hint(code: str, known: Iterable[str]) -> str:
    """Return a phrase with the nearest known codes. Of very many codes, only alphabetical neighbors are compared.

    The comparison ignores case, because wrong case is the most frequent mistake.
    """
    words = sorted((word.casefold(), word) for word in known)
    begin = max(0, min(bisect(words, (code.casefold(),)) - COMPARED // 2, len(words) - COMPARED))
    words = words[begin : begin + COMPARED]
    named: dict[str, list[str]] = defaultdict(list)
    for folded, word in words:
        named[folded].append(word)
    near = difflib.get_close_matches(code.casefold(), named, NAMED, cutoff=0.4) or list(named)[:NAMED]
    nearest = [word for folded in near for word in named[folded]][:NAMED]
    return f"; the nearest known: {', '.join(nearest)}" if nearest else "; none is known yet"
