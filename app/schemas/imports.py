"""What is said about a CSV file that is to be imported, as its rows do not say it themselves."""

from __future__ import annotations

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import Code, Delimiter


class CsvSchema(Schema):
    """Whose events a CSV file has, and how its cells are told apart."""

    customer = Code(required=True)
    product = Code(required=True)
    delimiter = Delimiter(required=True)

    def check(self, values: dict[str, str]) -> dict[str, str]:
        """The values, if they will do.

        Raises:
            InputInvalid: one will not.
        """
        try:
            return self.load(values)
        except ValidationError as error:
            raise validation_error(error, "The import") from None
