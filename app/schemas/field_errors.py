"""Conversion of marshmallow's nested messages to a flat list of field errors with readable places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from app.exceptions import MALFORMED, MISSING, FieldError, InputInvalid


def load(schema: Schema, values: Mapping[str, object], what: str, then: str = "nothing was stored") -> dict[str, Any]:
    """Return the values that a schema has validated, or raise InputInvalid with all field errors.

    The error's sentence is `what`, its subject, and `then`, the consequence.
    """
    try:
        loaded: dict[str, Any] = schema.load(values)
    except ValidationError as error:
        raise to_input_error(list(flatten(error.messages, "")), what, then) from None
    return loaded


def to_input_error(
    field_errors: list[FieldError], what: str = "The request", then: str = "nothing was stored"
) -> InputInvalid:
    """Return the error that contains some field errors; see `load`."""
    count = f"{len(field_errors)} faults" if len(field_errors) != 1 else "a fault"
    return InputInvalid(f"{what} has {count}; {then}.", field_errors)


def flatten(messages: Mapping[str | int, Any] | Iterable[str], place: str) -> Iterator[FieldError]:
    """Yield the field errors in marshmallow's messages about the value at a place, such as `events[2]`."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            if key == "_schema":
                step = place
            elif isinstance(key, int):
                step = f"{place}[{key}]"
            else:
                step = f"{place}.{key}" if place else key
            yield from flatten(inner, step)
        return
    field = place.partition(".")[2].split("[")[0]  # `context` for `events[2].context[1]`
    for message in messages:
        code = MISSING if message.startswith("is missing") else MALFORMED
        yield FieldError(f"{place}{message}." if message[0] in ".[" else f"{place} {message}.", code, field)
