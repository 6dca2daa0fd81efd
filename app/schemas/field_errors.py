"""Conversion of marshmallow's nested messages to a flat list of faults with readable places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from marshmallow import ValidationError

from app.exceptions import MALFORMED, MISSING, FieldError, InputInvalid


def validation_error(
    error: ValidationError, what: str = "The request", then: str = "nothing was stored"
) -> InputInvalid:
    """Return the domain error for a marshmallow error.

    Args:
        what: the subject that has the faults.
        then: the consequence.
    """
    return to_input_error(list(flatten(error.messages, "")), what, then)


def to_input_error(
    field_errors: list[FieldError], what: str = "The request", then: str = "nothing was stored"
) -> InputInvalid:
    """Return the domain error for faults; see `validation_error`."""
    count = f"{len(field_errors)} faults" if len(field_errors) != 1 else "a fault"
    return InputInvalid(f"{what} has {count}; {then}.", field_errors)


def flatten(messages: object, place: str) -> Iterator[FieldError]:
    """Yield the faults in marshmallow's messages about the value at a place."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from flatten(inner, _step(place, key))
        return
    for message in messages:
        code = MISSING if message.startswith("is missing") else MALFORMED
        text = message if message.startswith(".") or message.startswith("[") else f" {message}"
        yield FieldError(f"{place}{text}.", code, _field(place))


def _field(place: str) -> str:
    """Return the field of a place: `timestamp` for `events[2].timestamp`, `context` for `events[2].context[1]`."""
    return place.split(".", 1)[1].split("[")[0] if "." in place else ""


def _step(place: str, key: object) -> str:
    if isinstance(key, int):
        return f"{place}[{key}]"
    if key == "_schema":
        return place
    return f"{place}.{key}" if place else str(key)
