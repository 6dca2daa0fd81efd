"""Schema of the catalog document that `catalog import` reads and `catalog export` writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from marshmallow import fields

from app.exceptions import FieldError
from app.schemas import json
from app.schemas.field_errors import load, to_input_error
from app.schemas.fields import Choice, Code, Described, Lenient

# How a report handles context items without a column: it writes them to a last column, or omits them.
EXTRAS = COLUMN, DROP = ("column", "drop")

Entry = dict[str, Any]  # entry of the document, parsed


class CodeRow(Protocol):
    """Row of a customer."""

    code: str
    description: str


class ProductRow(CodeRow, Protocol):
    """Row of a product."""

    columns: Any
    extra: str


class TypeRow(CodeRow, Protocol):
    """Row of an event type."""

    product: str
    context: Any


class Names(Described):
    """Names of columns or context items in order, without duplicates."""

    allowed = "an array of names, each once"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list):
            raise self.refuse(value, f"is {json.kind(value)}")
        for item in value:
            Code().deserialize(item)
        if len(set(value)) != len(value):
            raise self.refuse(value, "has a name twice")
        return value


class Description(Described):
    """Description for people."""

    allowed = "a string of at most 1,000 characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str) or len(value) > 1000:
            raise self.refuse(value)
        return value


class _EntrySchema(Lenient):
    code = Code(required=True)
    description = Description(load_default="")


class CustomerSchema(_EntrySchema):
    """Customer."""


class ProductSchema(_EntrySchema):
    """Product with the columns of its report files and the handling of context items without a column."""

    columns = Names(load_default=list)
    extra = Choice(EXTRAS, load_default=COLUMN)


class TypeSchema(_EntrySchema):
    """Event type of a product with the names of its context items."""

    product = Code(required=True)
    context = Names(load_default=list)


class CatalogSchema(Lenient):
    """Catalog document."""

    customers = fields.List(fields.Nested(CustomerSchema), load_default=list)
    products = fields.List(fields.Nested(ProductSchema), load_default=list)
    types = fields.List(fields.Nested(TypeSchema), load_default=list)

    def load_body(self, body: bytes) -> dict[str, list[Entry]]:
        """Return the document's three lists, or raise BodyMalformed or InputInvalid."""
        value = json.parse_clean(body)
        if not isinstance(value, dict):
            fault = FieldError(f"catalog is {json.kind(value)}; it must be an object.")
            raise to_input_error([fault], "The catalog")
        return load(self, value, "The catalog")


def document(
    customers: Iterable[CodeRow], products: Iterable[ProductRow], types: Iterable[TypeRow]
) -> dict[str, list[Entry]]:
    """Return the document for rows of the catalog's tables, with keys in the documented order."""
    return {
        "customers": [{"code": c.code, "description": c.description} for c in customers],
        "products": [
            {"code": p.code, "description": p.description, "columns": p.columns, "extra": p.extra} for p in products
        ],
        "types": [
            {"code": t.code, "description": t.description, "product": t.product, "context": t.context} for t in types
        ],
    }
