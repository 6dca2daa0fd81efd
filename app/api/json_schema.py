"""JSON Schema of the protocol's field types, so that `/openapi.json` describes exactly what the schemas validate.

Rules that JSON Schema cannot express are stated in words: strings have no lone surrogates, and the body has no NUL.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from apispec.ext.marshmallow import MarshmallowPlugin, OpenAPIConverter
from marshmallow import Schema, fields

from app.schemas.events import EventList
from app.schemas.fields import (
    CONTROL,
    MAX_CODE,
    MAX_CONTEXT_ITEMS,
    MAX_CONTEXT_TEXT,
    MAX_OBJECT_NAME,
    MAX_TIME,
    MAX_TYPES,
    MAX_VERSION,
    OBJECT_NAME,
    Choice,
    Code,
    Codes,
    Context,
    Delimiter,
    Flag,
    ObjectName,
    Time,
    Version,
)
from app.schemas.reports import COMPRESSIONS, PARQUET, UNCOMPRESSED, OutputSchema, Text

JsonSchema = dict[str, object]


def digits_up_to(most: int) -> str:
    """Return the pattern of the numbers from 0 to `most`, written in at most as many digits."""
    text = str(most)
    smaller = [
        f"{text[:at]}[0-{int(digit) - 1}][0-9]{{{len(text) - at - 1}}}" for at, digit in enumerate(text) if digit > "0"
    ]
    return f"^({'|'.join([f'[0-9]{{1,{len(text) - 1}}}', *smaller, text])})$"


NO_NUL = r"^[^\x00]*$"
CODE: JsonSchema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_CODE,
    "pattern": f"^{CONTROL.pattern.replace('[', '[^', 1)}*$",
}
VERSION: JsonSchema = {"type": "string", "maxLength": MAX_VERSION, "pattern": NO_NUL}
TEXT: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": NO_NUL}
OBJECT: JsonSchema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_OBJECT_NAME,
    "pattern": f"^{OBJECT_NAME.pattern}$",
}
DELIMITER: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 1, "pattern": r'^[^"\r\n\x00]$'}
TIME: JsonSchema = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
TIME_OR_DIGITS: JsonSchema = {"oneOf": [TIME, {"type": "string", "pattern": digits_up_to(MAX_TIME)}]}
CONTEXT: JsonSchema = {
    "type": "array",
    "maxItems": MAX_CONTEXT_ITEMS,
    "items": {"type": ["string", "number", "boolean", "null"], "maxLength": MAX_CONTEXT_TEXT, "pattern": NO_NUL},
}

OF_FIELD: dict[type[fields.Field], Callable[[fields.Field], JsonSchema]] = {
    Code: lambda field: CODE,
    Codes: lambda field: {"type": "array", "maxItems": MAX_TYPES, "items": CODE},
    Version: lambda field: VERSION,
    Text: lambda field: TEXT,
    Delimiter: lambda field: DELIMITER,
    ObjectName: lambda field: OBJECT,
    Time: lambda field: TIME_OR_DIGITS if field.digits else TIME,
    Context: lambda field: CONTEXT,
    Choice: lambda field: {"type": "string", "enum": list(field.words)},
    Flag: lambda field: {"type": "boolean"},
}

COMPRESSED_TWICE: JsonSchema = {
    "required": ["format", "compression"],
    "properties": {
        "format": {"const": PARQUET},
        "compression": {"enum": [name for name in COMPRESSIONS if name != UNCOMPRESSED]},
    },
}
OF_SCHEMA: dict[type[Schema], JsonSchema] = {OutputSchema: {"not": COMPRESSED_TWICE}}


class Converter(OpenAPIConverter):
    """apispec's converter, with each schema's docstring as its description."""

    def init_attribute_functions(self) -> None:
        """Register the conversion of the protocol's field types; see apispec."""
        super().init_attribute_functions()
        self.attribute_functions.append(self.own2properties)

    def own2properties(self, field: fields.Field, **kwargs: object) -> JsonSchema:
        """Return the properties of a protocol field, or none for any other field."""
        if isinstance(field, EventList):
            return {
                "type": "array",
                "maxItems": field.parent.limit,
                "items": self.resolve_nested_schema(field.one),
            }
        of_field = OF_FIELD.get(type(field))
        return dict(of_field(field)) if of_field else {}

    def schema2jsonschema(self, schema: Schema) -> JsonSchema:
        """Return the JSON Schema of a marshmallow schema."""
        words = inspect.getdoc(schema).split("\n\n")[0].replace("\n", " ")
        return {"description": words} | super().schema2jsonschema(schema) | OF_SCHEMA.get(type(schema), {})


class Plugin(MarshmallowPlugin):
    """apispec's marshmallow plugin with the converter above."""

    Converter = Converter
