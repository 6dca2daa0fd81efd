"""Schema of the request for an ingest key."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import Code, Codes


class KeySchema(Schema):
    """Name of a key, and the customers and products that it is limited to. An empty list means all."""

    name = Code(required=True)
    customers = Codes(required=True)
    products = Codes(required=True)

    def check(self, name: str, customers: Sequence[str], products: Sequence[str]) -> None:
        """Reject values that are not valid names or codes.

        Raises:
            InputInvalid: contains one fault per invalid value.
        """
        try:
            self.load({"name": name, "customers": list(customers), "products": list(products)})
        except ValidationError as error:
            raise validation_error(error, "The key") from None
