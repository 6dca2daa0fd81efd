"""JSON Schema of the protocol's field types, so that `/openapi.json` describes exactly what the schemas validate.

Rules that JSON Schema cannot express are stated in words: strings have no lone surrogates, and the body has no NUL.
"""

from __future__ import annotations

import inspect
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from app.api.openapi.operations import JsonObject
from app.schemas import fields as own
from app.schemas.events import BatchSchema, EventList
from app.schemas.reports import COMPRESSIONS, PARQUET, UNCOMPRESSED, OutputSchema, Text

Field = fields.Field[Any]
NO_NUL = r"^[^\x00]*$"


def digits_up_to(maximum: int) -> str:
    """Return the pattern of the numbers from 0 to `maximum`, written in at maximum as many digits."""
    text = str(maximum)
    smaller = [
        f"{text[:at]}[0-{int(digit) - 1}][0-9]{{{len(text) - at - 1}}}" for at, digit in enumerate(text) if digit > "0"
    ]
    return f"^({'|'.join([f'[0-9]{{1,{len(text) - 1}}}', *smaller, text])})$"


def _text(shortest: int, longest: int, pattern: str) -> JsonObject:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": pattern}


CODE = _text(1, own.MAX_CODE, f"^{own.CONTROL.pattern.replace('[', '[^', 1)}*$")
TIME: JsonObject = {"type": "integer", "minimum": 0, "maximum": own.MAX_TIME}
ITEM = {"type": ["string", "number", "boolean", "null"], "maxLength": own.MAX_CONTEXT_TEXT, "pattern": NO_NUL}
OF_FIELD: dict[type[Field], JsonObject] = {
    own.Code: CODE,
    own.Codes: {"type": "array", "maxItems": own.MAX_TYPES, "items": CODE},
    own.Version: {"type": "string", "maxLength": own.MAX_VERSION, "pattern": NO_NUL},
    Text: _text(1, 1024, NO_NUL),
    own.Delimiter: _text(1, 1, r'^[^"\r\n\x00]$'),
    own.ObjectName: _text(1, own.MAX_OBJECT_NAME, f"^{own.OBJECT_NAME.pattern}$"),
    own.Context: {"type": "array", "maxItems": own.MAX_CONTEXT_ITEMS, "items": ITEM},
    own.Flag: {"type": "boolean"},
    own.Batch: {"type": "string", "format": "uuid"},
}
COMPRESSED_TWICE: JsonObject = {
    "required": ["format", "compression"],
    "properties": {
        "format": {"const": PARQUET},
        "compression": {"enum": [name for name in COMPRESSIONS if name != UNCOMPRESSED]},
    },
}


class Converter(OpenAPIConverter):
    """apispec's converter, with each schema's docstring as its description."""

    def init_attribute_functions(self) -> None:
        """Register the conversion of the protocol's field types; see apispec."""
        super().init_attribute_functions()
        self.attribute_functions.append(self.own2properties)

    def own2properties(self, field: Field, **_: object) -> JsonObject:
        """Return the properties of a protocol field, or none for any other field."""
        match field:
            case EventList(parent=BatchSchema() as batch):
                return {"type": "array", "maxItems": batch.limit, "items": self.resolve_nested_schema(field.one)}
            case own.Time(digits=True):
                return {"oneOf": [TIME, {"type": "string", "pattern": digits_up_to(own.MAX_TIME)}]}
            case own.Time():
                return dict(TIME)
            case own.Choice():
                return {"type": "string", "enum": list(field.words)}
        return dict(OF_FIELD.get(type(field), {}))

    def schema2jsonschema(self, schema: Schema) -> JsonObject:
        """Return the JSON Schema of a marshmallow schema."""
        words = (inspect.getdoc(schema) or "").split("\n\n")[0].replace("\n", " ")
        described: JsonObject = {"description": words} | super().schema2jsonschema(schema)
        return described | {"not": COMPRESSED_TWICE} if type(schema) is OutputSchema else described


class Plugin(MarshmallowPlugin):
    """apispec's marshmallow plugin with the converter above."""

    Converter = Converter
