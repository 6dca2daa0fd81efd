"""Field types of the protocol.

Each message states the value found and the values allowed; callers prepend the place.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from app.schemas.json import Number, kind, shown

MAX_TIME = 253_402_300_799_999  # the last millisecond of the year 9999
MAX_CODE = 128
MAX_VERSION = 64
MAX_CONTEXT_ITEMS = 100
MAX_OBJECT_NAME = 1_024  # bytes
MAX_CONTEXT_TEXT = 4_096
MAX_NAMED = 10  # invalid items of one context that an error names
MAX_TYPES = 1_000  # in a filter, because each becomes a query parameter and databases limit their number

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IN_NAME = r"[^/\x00-\x1f\x7f-\x9f]"
_FIRST_IN_NAME = r"[^./\x00-\x1f\x7f-\x9f]"
_STEP = rf"(?:{_FIRST_IN_NAME}|\.{_FIRST_IN_NAME}|\.\.{_IN_NAME}){_IN_NAME}*"  # not empty, "." or ".."
OBJECT_NAME = re.compile(rf"{_STEP}(?:/{_STEP})*")
DIGITS = re.compile(r"[0-9]{1,15}")


class Lenient(Schema):
    """Base schema that ignores unknown keys, because older and newer clients exist."""

    class Meta:
        unknown = EXCLUDE


class Described(fields.Field[Any]):
    """Field whose errors end with the allowed values, including the error for a missing value."""

    allowed: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.error_messages["required"] = f"is missing; it must be {self.allowed}"
        self.error_messages["null"] = f"is null; it must be {self.allowed}"

    def refuse(self, value: object, because: str | None = None) -> ValidationError:
        """Return the error for an invalid value."""
        return ValidationError(f"{because or f'is {shown(value)}'}; it must be {self.allowed}")


class Code(Described):
    """Customer, product or event type: 1 to 128 characters without control characters."""

    allowed = f"a string of 1 to {MAX_CODE} characters without control characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        if not 1 <= len(value) <= MAX_CODE:
            raise self.refuse(value, f"has {len(value)} characters")
        if CONTROL.search(value):
            raise self.refuse(value, "has a control character")
        return value


class Version(Described):
    """Version of the product that sent an event: at most 64 characters."""

    allowed = f"a string of at most {MAX_VERSION} characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        if len(value) > MAX_VERSION:
            raise self.refuse(value, f"has {len(value)} characters")
        return value


class Item(Described):
    """Text that equals one of the items of an event's context."""

    allowed = f"a string of at most {MAX_CONTEXT_TEXT:,} characters, without NUL"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str) or len(value) > MAX_CONTEXT_TEXT or "\0" in value:
            raise self.refuse(value)
        return value


class Batch(Described):
    """UUID of the batch in which a request's events were stored."""

    allowed = "the UUID of a batch"

    def _deserialize(self, value: str, attr: str | None, data: object, **kwargs: object) -> str:
        try:
            return str(uuid.UUID(value))
        except ValueError:
            raise self.refuse(value) from None


class Time(Described):
    """Whole milliseconds since 1970-01-01T00:00:00Z up to the year 9999, optionally also as a string of `digits`."""

    allowed = f"a whole number of milliseconds from 0 to {MAX_TIME}"

    def __init__(self, *, digits: bool = False, **kwargs: object) -> None:
        self.digits = digits
        if digits:
            self.allowed = f"{self.allowed}, or a string of its digits"
        super().__init__(**kwargs)

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> int:
        text = value.text if isinstance(value, Number) else None
        if self.digits and isinstance(value, str) and DIGITS.fullmatch(value):
            text = value
        time = None if text is None else whole(text)
        if time is None or not 0 <= time <= MAX_TIME:
            raise self.refuse(value)
        return time


class Whole(Described):
    """Whole number within bounds."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        self.bounds = (least, most)
        self.allowed = f"a whole number from {least:,} to {most:,}"
        super().__init__(**kwargs)

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.bounds[0] <= value <= self.bounds[1]:
            raise self.refuse(value)
        return value


class Context(Described):
    """Context of an event: at most 100 strings, numbers, booleans and nulls.

    Numbers and booleans are converted to their JSON text; null becomes None.
    """

    allowed = f"an array of at most {MAX_CONTEXT_ITEMS} strings, numbers, booleans or nulls"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str | None]:
        if not isinstance(value, list):
            raise self.refuse(value, f"is {kind(value)}")
        if len(value) > MAX_CONTEXT_ITEMS:
            raise self.refuse(value, f"has {len(value)} items")
        errors: dict[int, list[str]] = {}
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                errors[index] = [f"is {kind(item)}; it must be a string, number, boolean or null"]
            elif (length := len(item_text(item) or "")) > MAX_CONTEXT_TEXT:
                errors[index] = [f"has {length} characters; it must be a string of at most {MAX_CONTEXT_TEXT}"]
            if len(errors) == MAX_NAMED:
                break
        if errors:
            raise ValidationError(errors)
        return [item_text(item) for item in value]


class Choice(Described):
    """String from a fixed list."""

    def __init__(self, words: Sequence[str], **kwargs: object) -> None:
        self.words = tuple(words)
        self.allowed = " or ".join(f'"{word}"' for word in self.words)
        super().__init__(**kwargs)

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if value not in self.words:
            raise self.refuse(value)
        return value


class Flag(Described):
    """Boolean: true or false, without conversion of other values."""

    allowed = "true or false"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> bool:
        if not isinstance(value, bool):
            raise self.refuse(value)
        return value


class Delimiter(Described):
    """Character between the columns of a report file."""

    allowed = "one character other than a quote, a carriage return, a line feed or NUL"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str) or len(value) != 1 or value in '"\r\n\0':
            raise self.refuse(value)
        return value


class ObjectName(Described):
    """Name of an object that every S3-compatible store accepts."""

    allowed = (
        f"1 to {MAX_OBJECT_NAME:,} bytes in UTF-8 without control characters, "
        'and between its slashes something other than "." and ".."'
    )

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        count = len(value.encode())
        if not 1 <= count <= MAX_OBJECT_NAME:
            raise self.refuse(value, f"has {count} bytes")
        if not OBJECT_NAME.fullmatch(value):
            raise self.refuse(value)
        return value


class Codes(Described):
    """List of codes, which may be empty."""

    max_items = MAX_TYPES
    allowed = f"an array of at most {MAX_TYPES:,} event types"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list):
            raise self.refuse(value, f"is {kind(value)}")
        if len(value) > self.max_items:
            raise self.refuse(value, f"has {len(value)} items")
        one = Code()
        errors = {}
        for index, item in enumerate(value):
            try:
                one.deserialize(item)
            except ValidationError as error:
                errors[index] = error.messages
        if errors:
            raise ValidationError(errors)
        return value


def whole(text: str) -> int | None:
    """Return the value of a whole JSON number (1e3 and 5.0 are whole) from 0 to MAX_TIME, or None for other numbers."""
    if text.isdecimal() and len(text) <= 15:
        return int(text)
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's limit
        return None
    # Compare before expanding, because 1e999999999 would be a gigabyte of digits.
    if not 0 <= number <= MAX_TIME or number != number.to_integral_value():
        return None
    return int(number)


def item_text(item: Any) -> str | None:
    """Return a context item in its stored form: numbers and booleans as JSON text, other items unchanged."""
    if isinstance(item, Number):
        return item.text
    if isinstance(item, bool):
        return "true" if item else "false"
    text: str | None = item
    return text
