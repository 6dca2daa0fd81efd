"""Queries about the catalog: what is known of customers, products and types, and what was merely seen.

Lists are sorted here and not by the database: databases differ in which letter comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from peewee import Model

from app.store.database import database
from app.store.models import Customer, EventType, Product, Seen

Triple = tuple[str, str, str]  # customer, product, type


def note_seen(triples: Iterable[Triple], now: int) -> None:
    """Remember that events had these customers, products and types together.

    In one order always, so that two transactions with the same news wait for each other instead of for ever.
    """
    rows = [(*triple, now) for triple in sorted(triples)]
    fields = [Seen.customer, Seen.product, Seen.type, Seen.since]
    Seen.insert_many(rows, fields).on_conflict_ignore().execute()


def seen() -> list[Triple]:
    """All that was seen, by code."""
    return sorted(Seen.select(Seen.customer, Seen.product, Seen.type).tuples())


def customer_is_known(code: str) -> bool:
    """Whether a customer is in the catalog or was seen."""
    return _exists(Customer, Customer.code == code) or _exists(Seen, Seen.customer == code)


def product_is_known(code: str) -> bool:
    """Whether a product is in the catalog or was seen."""
    return _exists(Product, Product.code == code) or _exists(Seen, Seen.product == code)


def known_customers() -> set[str]:
    """The codes of the customers in the catalog and of those seen."""
    return _codes(Customer.select(Customer.code)) | _codes(Seen.select(Seen.customer).distinct())


def known_products() -> set[str]:
    """The codes of the products in the catalog and of those seen."""
    return _codes(Product.select(Product.code)) | _codes(Seen.select(Seen.product).distinct())


def customers() -> list[Customer]:
    """The catalog's customers, by code."""
    return sorted(Customer.select(), key=lambda one: one.code)


def products() -> list[Product]:
    """The catalog's products, by code."""
    return sorted(Product.select(), key=lambda one: one.code)


def types() -> list[EventType]:
    """The catalog's event types, by product and code."""
    return sorted(EventType.select(), key=lambda one: (one.product, one.code))


def product(code: str) -> Product | None:
    """The catalog's product of that code."""
    return Product.get_or_none(Product.code == code)


def put(document: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Write a catalog document: new codes are added, known ones take its values, none is removed."""
    with database.atomic():
        _upsert(Customer, ["code"], document["customers"])
        _upsert(Product, ["code"], document["products"])
        _upsert(EventType, ["code", "product"], document["types"])


def _upsert(model: type[Model], key: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    for row in rows:
        rest = [name for name in row if name not in key]
        model.insert(**row).on_conflict(conflict_target=key, preserve=rest).execute()


def _exists(model: type, condition: object) -> bool:
    return model.select().where(condition).exists()


def _codes(query: object) -> set[str]:
    return {code for (code,) in query.tuples()}
