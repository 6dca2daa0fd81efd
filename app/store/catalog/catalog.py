"""Queries about the catalog and the observed codes: known customers, products and types, and codes seen in events.

Lists are sorted here and not by the database, because databases differ in their collation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter

from peewee import SQL, Expression, ModelSelect, fn

from app.store.database import database
from app.store.models import Counted, Customer, Event, EventType, ObservedCode, Product, Table
from app.store.queries import Codes, among, equal, execute, fetch, fetch_column, fetch_int, find_one, of_codes

MISSING_KINDS = ("customers", "products", "types")
CODE_KINDS: dict[str, type[Table]] = {"customer": Customer, "product": Product, "type": EventType}
AT_ONCE = 1_000  # rows of up to five parameters per statement; SQLite allows 32,766 parameters
# Plain SQL, because Peewee takes several times as long as the database to build a statement with so many values.
NOTE = """
    INSERT INTO observed_code (customer, product, type, first_observed_at, width) VALUES {values}
    ON CONFLICT (customer, product, type) DO UPDATE SET is_erased = false,
        width = CASE WHEN observed_code.width < excluded.width THEN excluded.width ELSE observed_code.width END
    WHERE observed_code.width < excluded.width OR observed_code.is_erased"""
Customers = Sequence[str] | None  # only codes of these customers; None means all
Triple = tuple[str, str, str]  # customer, product, type
Sighting = tuple[str, str, str, int]  # the same, and the number of context items of the event


def note_seen(sightings: Iterable[Sighting], now: int) -> None:
    """Record that events had these customers, products and types together, and the widths of their contexts.

    Rows are always written in the same order, so that concurrent transactions with the same codes do not deadlock.
    """
    each = groupby(sorted(sightings), itemgetter(0, 1, 2))
    rows = ((*triple, now, max(width for *_, width in same)) for triple, same in each)
    while some := list(islice(rows, AT_ONCE)):
        database.execute_sql(NOTE.format(values=", ".join([_marks(5)] * len(some))), list(chain.from_iterable(some)))


def widths(customer: Codes, product: Codes, types: Sequence[str] = ()) -> dict[str, int]:
    """Return the maximum context width of each type of customers and products, optionally only of some types."""
    query = ObservedCode.select(ObservedCode.type, fn.max(ObservedCode.width)).group_by(ObservedCode.type)
    query = of_codes(of_codes(query, ObservedCode.customer, customer), ObservedCode.product, product)
    return dict(fetch(among(query, ObservedCode.type, types or None)))


def seen(customers: Customers = None) -> list[Triple]:
    """Return all observed codes in order, optionally only of some customers."""
    return seen_with((None, None, None), customers)


def seen_products(customers: Customers = None, limit: int | None = None) -> set[str]:
    """Return the products seen, by code and up to an optional limit, optionally only of some customers."""
    query = _select_seen(customers, ObservedCode.product).distinct()
    return set(fetch_column(query.order_by(ObservedCode.product).limit(limit)))


def seen_types(customers: Customers = None) -> set[tuple[str, str]]:
    """Return the pairs of product and type seen together, optionally only of some customers."""
    return set(fetch(_select_seen(customers, ObservedCode.product, ObservedCode.type).distinct()))


def seen_with(code: tuple[str | None, str | None, str | None], customers: Customers = None) -> list[Triple]:
    """Return the codes seen with a customer, product and type (None means any), optionally only of some customers."""
    columns = (ObservedCode.customer, ObservedCode.product, ObservedCode.type)
    return sorted(fetch(equal(_select_seen(customers, *columns), *zip(columns, code, strict=True))))


def customer_is_known(code: str) -> bool:
    is_noted = _exists(Customer, Customer.code == code) or _exists(ObservedCode, ObservedCode.customer == code)
    return is_noted or _exists(Event, Event.customer == code)


def product_is_known(code: str, customers: Customers = None) -> bool:
    """Return whether a product is in the catalog or was ever seen, optionally with some customers."""
    noted = ObservedCode.product == code
    uncounted = Event.id > fetch_int(Counted.select(Counted.up_to))  # counting records the codes of all earlier events
    new = (Event.product == code) & uncounted
    if customers is not None:
        noted, new = noted & ObservedCode.customer.in_(list(customers)), new & Event.customer.in_(list(customers))
    return _exists(Product, Product.code == code) or _exists(ObservedCode, noted) or _exists(Event, new)


def known_among(kind: str, codes: Iterable[str]) -> set[str]:
    """Return those of the given codes that occur in events or in the catalog.

    Args:
        kind: `customer`, `product` or `type`.
    """
    entry = CODE_KINDS[kind]._meta.table_name
    known: set[str] = set()
    asked = sorted(codes)
    for begin in range(0, len(asked), AT_ONCE):
        some = asked[begin : begin + AT_ONCE]
        seen = f"SELECT {kind} FROM observed_code WHERE {kind} IN {_marks(len(some))} AND NOT is_erased"  # noqa: S608
        query = f"{seen} UNION SELECT code FROM {entry} WHERE code IN {_marks(len(some))}"
        known.update(code for (code,) in database.execute_sql(query, some * 2).fetchall())
    return known


def known_types(types: Sequence[str], customers: Customers = None) -> set[str]:
    """Return those of the given types that are in the catalog or were seen, optionally with some customers."""
    if not types:
        return set()
    seen = ObservedCode.select(ObservedCode.type).distinct().where(ObservedCode.type.in_(list(types)))
    catalogued = EventType.select(EventType.code).where(EventType.code.in_(list(types)))
    known = {*fetch_column(among(seen, ObservedCode.customer, customers)), *fetch_column(catalogued)}
    left = [code for code in types if code not in known]
    if not left:
        return known
    uncounted = Event.id > fetch_int(Counted.select(Counted.up_to))
    new = Event.select(Event.type).distinct().where(uncounted, Event.type.in_(left))
    return known | set(fetch_column(among(new, Event.customer, customers)))


def number_of_codes() -> int:
    """Return the total number of different customers, products and types in events."""
    # Count distinct rows, because PostgreSQL sorts for count(DISTINCT …), which takes ten times as long.
    each = (
        ObservedCode.select(field).where(~ObservedCode.is_erased).distinct()
        for field in (ObservedCode.customer, ObservedCode.product, ObservedCode.type)
    )
    return sum(codes.count() for codes in each)


def known_customers(customers: Customers = None, limit: int | None = None) -> set[str]:
    """Return the codes of the customers in the catalog and of those seen, optionally only of some.

    Args:
        limit: maximum number from each source, in the order of the codes.
    """
    catalogued = among(Customer.select(Customer.code), Customer.code, customers).order_by(Customer.code).limit(limit)
    seen = _select_seen(customers, ObservedCode.customer).distinct().order_by(ObservedCode.customer).limit(limit)
    return {*fetch_column(catalogued), *fetch_column(seen)}


def known_products(limit: int | None = None) -> set[str]:
    """Return the codes of the products in the catalog and of those seen, by code and up to a limit for each."""
    catalogued = Product.select(Product.code).order_by(Product.code).limit(limit)
    return {*fetch_column(catalogued), *seen_products(limit=limit)}


def types_with(
    customer: str | None, product: str | None, customers: Customers = None, limit: int | None = None
) -> set[str]:
    """Return the types seen with a customer and product (None means any), by code and up to a limit."""
    query = _select_seen(customers, ObservedCode.type).distinct().order_by(ObservedCode.type).limit(limit)
    return set(fetch_column(equal(query, (ObservedCode.customer, customer), (ObservedCode.product, product))))


def find_codes(kind: str, text: str, customers: Customers, limit: int) -> list[str]:
    """Return the first codes that contain a text, ignoring case, those that begin with it first.

    Args:
        kind: `customer`, `product` or `type`.
        customers: return only these customers, or codes seen with them. None means all codes, including unused ones in
            the catalog.
    """
    mark, several = database.param, [] if customers is None else list(customers)
    like, word = f"LIKE {mark} ESCAPE '~'", re.sub("([%_~])", r"~\1", text.lower())
    among = "" if customers is None else f" AND {{}} IN ({', '.join([mark] * len(several)) or 'NULL'})"
    seen = f"SELECT {kind} AS code FROM observed_code WHERE NOT is_erased AND lower({kind}) {like}"  # noqa: S608
    parts, values = [seen + among.format("customer")], [f"%{word}%", *several]
    if customers is None or kind == "customer":
        entry = CODE_KINDS[kind]._meta.table_name
        parts.append(f"SELECT code FROM {entry} WHERE lower(code) {like}" + among.format("code"))  # noqa: S608
        values *= 2
    order = f"CASE WHEN lower(code) {like} THEN 0 ELSE 1 END, code LIMIT {limit:d}"
    query = f"SELECT code FROM ({' UNION '.join(parts)}) AS matches ORDER BY {order}"  # noqa: S608
    return [code for (code,) in database.execute_sql(query, [*values, f"{word}%"]).fetchall()]


def types_of(customers: Customers, limit: int) -> list[EventType]:
    """Return the catalog's first types by product and code, optionally only those that some customers had."""
    query = EventType.select().order_by(EventType.product, EventType.code).limit(limit)
    if customers is not None:
        seen = _select_seen(customers, SQL("1"))
        seen = seen.where(ObservedCode.product == EventType.product, ObservedCode.type == EventType.code)
        query = query.where(fn.EXISTS(seen))
    return list(query)


def missing(
    customers: Customers, find: str = "", limit: int | None = None, offset: int = 0
) -> list[tuple[str, str, str]]:
    """Return the codes that were seen but are not in the catalog as (kind, product, code), by kind and code.

    Only types have a product.

    Args:
        customers: only codes seen with these customers. None means all.
        find: text that the code or product contains, ignoring case.
    """
    query, values = _missing(customers, find)
    page = "" if limit is None else f" LIMIT {limit:d} OFFSET {offset:d}"
    found = database.execute_sql(f"SELECT kind, product, code {query} ORDER BY kind, product, code{page}", values)
    return [(MISSING_KINDS[kind], product, code) for kind, product, code in found.fetchall()]


def number_missing(customers: Customers, find: str = "") -> int:
    """Return the number of codes that were seen but are not in the catalog."""
    query, values = _missing(customers, find)
    return database.fetch_int(f"SELECT count(*) {query}", values)


def _missing(customers: Customers, find: str) -> tuple[str, list[str]]:
    mark, several = database.param, [] if customers is None else list(customers)
    among = f"customer IN ({', '.join([mark] * len(several))})" if several else "1 = 0"
    visible = "NOT is_erased" if customers is None else f"NOT is_erased AND {among}"
    kinds = ((0, "''", "customer", "customer"), (1, "''", "product", "product"), (2, "product", "type", "event_type"))
    parts = [
        f"SELECT {kind} AS kind, {product} AS product, {code} AS code FROM observed_code WHERE {visible} "  # noqa: S608
        f"AND NOT EXISTS (SELECT 1 FROM {table} AS entry WHERE entry.code = observed_code.{code})"
        for kind, product, code, table in kinds
    ]
    like = f"LIKE {mark} ESCAPE '~'"
    fits = f" WHERE lower(code) {like} OR lower(product) {like}" if find else ""
    word = re.sub("([%_~])", r"~\1", find.lower())
    return f"FROM ({' UNION '.join(parts)}) AS missing{fits}", [*several * 3, *([f"%{word}%"] * 2 if find else [])]


def customers() -> list[Customer]:
    """Return the catalog's customers by code."""
    return sorted(Customer.select(), key=lambda entry: entry.code)


def products() -> list[Product]:
    """Return the catalog's products by code."""
    return sorted(Product.select(), key=lambda entry: entry.code)


def types() -> list[EventType]:
    """Return the catalog's event types by product and code."""
    return sorted(EventType.select(), key=lambda entry: (entry.product, entry.code))


def types_among(codes: Collection[str]) -> list[EventType]:
    """Return the catalog's event types that have one of the codes, ordered by product and code."""
    query = EventType.select().where(EventType.code.in_(list(codes)))
    return sorted(query, key=lambda entry: (entry.product, entry.code))


def product(code: str) -> Product | None:
    return find_one(Product, "code", code)


def put(document: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Store a catalog document: add new codes, update known codes, and remove none."""
    with database.atomic():
        _upsert(Customer, ["code"], document["customers"])
        _upsert(Product, ["code"], document["products"])
        _upsert(EventType, ["code", "product"], document["types"])


def remove_customer(code: str) -> bool:
    """Remove a customer from the catalog, and return whether it existed."""
    return execute(Customer.delete().where(Customer.code == code)) == 1


def remove_product(code: str) -> bool:
    """Remove a product from the catalog but not its types, and return whether it existed."""
    return execute(Product.delete().where(Product.code == code)) == 1


def remove_types(product: str, code: str | None = None) -> int:
    """Remove one type of a product, or all of them if `code` is None, and return how many existed."""
    query = EventType.delete().where(EventType.product == product)
    return execute(query if code is None else query.where(EventType.code == code))


def _upsert(model: type[Table], key: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    for row in rows:
        rest = [name for name in row if name not in key]
        execute(model.insert(**row).on_conflict(conflict_target=key, preserve=rest))


def _marks(number: int) -> str:
    return f"({', '.join([database.param] * number)})"


def _exists(model: type[Table], condition: Expression) -> bool:
    return model.select().where(condition).exists()


def _select_seen(customers: Customers, *columns: object) -> ModelSelect[ObservedCode]:
    """Select the codes that still have events or had them recently, optionally only of some customers."""
    return among(ObservedCode.select(*columns).where(~ObservedCode.is_erased), ObservedCode.customer, customers)
