"""Schema of the options for importing a CSV file."""

from __future__ import annotations

from marshmallow import Schema

from app.schemas.field_errors import load
from app.schemas.fields import Code, Delimiter


class CsvSchema(Schema):
    """Customer and product of the events in a CSV file, and its delimiter."""

    customer = Code(required=True)
    product = Code(required=True)
    delimiter = Delimiter(required=True)

    def check(self, values: dict[str, str]) -> dict[str, str]:
        """Return the validated values, or raise InputInvalid."""
        return load(self, values, "The import")
