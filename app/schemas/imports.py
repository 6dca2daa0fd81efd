"""Schema of the options for importing a CSV file."""

from __future__ import annotations

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import Code, Delimiter


class CsvSchema(Schema):
    """Customer and product of the events in a CSV file, and its delimiter."""

    customer = Code(required=True)
    product = Code(required=True)
    delimiter = Delimiter(required=True)

    def check(self, values: dict[str, str]) -> dict[str, str]:
        """Return the validated values.

        Raises:
            InputInvalid: a value is invalid.
        """
        try:
            return self.load(values)
        except ValidationError as error:
            raise validation_error(error, "The import") from None
