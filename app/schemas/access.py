"""What an ingest key is asked for with."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import Code, Codes


class KeySchema(Schema):
    """A key's name, and the customers and products that it is bound to; none: to all of them."""

    name = Code(required=True)
    customers = Codes(required=True)
    products = Codes(required=True)

    def check(self, name: str, customers: Sequence[str], products: Sequence[str]) -> None:
        """Refuse what cannot be a name or a code.

        Raises:
            InputInvalid: a fault for each.
        """
        try:
            self.load({"name": name, "customers": list(customers), "products": list(products)})
        except ValidationError as error:
            raise validation_error(error, "The key") from None
