"""Which events are to be erased, as somebody names them at a terminal."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import DIGITS, MAX_CONTEXT_TEXT, MAX_TIME, Code, Codes, Described

DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)?Z?")


class Moment(Described):
    """A day, which means its first moment, a time, both in UTC, or milliseconds; as milliseconds."""

    allowed = "a day such as 2026-11-23, a time such as 2026-11-23T10:57 (UTC), or milliseconds since 1970"

    def _deserialize(self, value: str, attr: str | None, data: object, **kwargs: object) -> int:
        if DIGITS.fullmatch(value) and int(value) <= MAX_TIME:
            return int(value)
        try:
            if not DATE.fullmatch(value):
                raise ValueError
            moment = datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=UTC)
        except ValueError:
            raise self.refuse(value) from None
        time = round(moment.timestamp() * 1000)
        if time < 0:
            raise self.refuse(value)
        return time


class Batch(Described):
    """The UUID of a request's events."""

    allowed = "the UUID of a batch"

    def _deserialize(self, value: str, attr: str | None, data: object, **kwargs: object) -> str:
        try:
            return str(uuid.UUID(value))
        except ValueError:
            raise self.refuse(value) from None


class Item(Described):
    """A text that an event's context has as one of its items."""

    allowed = f"a string of at most {MAX_CONTEXT_TEXT:,} characters, without NUL"

    def _deserialize(self, value: str, attr: str | None, data: object, **kwargs: object) -> str:
        if len(value) > MAX_CONTEXT_TEXT or "\0" in value:
            raise self.refuse(value)
        return value


class ErasingSchema(Schema):
    """Which events: all that fit whatever is named."""

    customer = Code(required=True)
    product = Code()
    types = Codes()
    after = Moment()
    before = Moment()
    batch = Batch()
    item = Item()

    def check(self, wanted: Mapping[str, object]) -> dict[str, object]:
        """What was named, checked; None is not named.

        Raises:
            InputInvalid: a fault for each that will not do.
        """
        try:
            checked = self.load({name: value for name, value in wanted.items() if value is not None})
            after, before = checked.get("after"), checked.get("before")
            if after is not None and before is not None and before <= after:
                raise ValidationError({"before": ["is not later than after; no event could fit"]})
        except ValidationError as error:
            raise validation_error(error, "The command", "nothing was erased") from None
        return checked
