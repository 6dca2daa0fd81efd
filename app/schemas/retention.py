"""Schemas of erasures: the options of the command, and the selection of a person's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validates_schema

from app.schemas.field_errors import load
from app.schemas.fields import MAX_CONTEXT_TEXT, Batch, Code, Codes, Described, Item
from app.schemas.times import TIME, parse_time


class Moment(Described):
    """Time as people write it (see `times`); a day means its first moment. It is loaded as milliseconds."""

    allowed = TIME

    def _deserialize(self, value: str, attr: str | None, data: object, **kwargs: object) -> int:
        try:
            return parse_time(value)
        except ValueError:
            raise self.refuse(value) from None


class ErasingSchema(Schema):
    """Filter for the events to erase: those that match all given options."""

    customer = Code(required=True)
    product = Code()
    types = Codes()
    after = Moment()
    before = Moment()
    batch = Batch()
    item = Item()

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated options (None means not given), or raise InputInvalid."""
        given = {name: value for name, value in wanted.items() if value is not None}
        return load(self, given, "The command", "nothing was erased")

    @validates_schema
    def check_order(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject a period that no event can be in."""
        after, before = data.get("after"), data.get("before")
        if after is not None and before is not None and before <= after:
            raise ValidationError({"before": ["is not later than after; no event could fit"]})


class PersonId(Item):
    """Text that identifies a person in the context of events. It must not be empty."""

    allowed = f"a string of 1 to {MAX_CONTEXT_TEXT:,} characters, without NUL"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if value == "":
            raise self.refuse(value)
        return super()._deserialize(value, attr, data, **kwargs)


class PersonalDataSchema(Schema):
    """Selection of a person's data: all that contains a value, optionally only in one item of the catalog."""

    value = PersonId(required=True)
    item = Code()
    customer = Code()

    def check(self, wanted: Mapping[str, object], what: str) -> dict[str, Any]:
        """Return the validated fields (None means not given), or raise InputInvalid about `what`."""
        given = {name: value for name, value in wanted.items() if value is not None}
        return load(self, given, what, "nothing was searched or erased")
