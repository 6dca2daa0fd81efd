"""From marshmallow's nested messages to a flat list of faults, each with its place in words that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from marshmallow import ValidationError

from app.exceptions import MALFORMED, MISSING, FieldError, InputInvalid


def validation_error(
    error: ValidationError, what: str = "The request", then: str = "nothing was stored"
) -> InputInvalid:
    """The domain's error for marshmallow's, to be raised.

    Args:
        what: what has the faults.
        then: what follows from them.
    """
    return to_input_error(list(flatten(error.messages, "")), what, then)


def to_input_error(
    field_errors: list[FieldError], what: str = "The request", then: str = "nothing was stored"
) -> InputInvalid:
    """The domain's error for faults, to be raised; see `validation_error`."""
    count = f"{len(field_errors)} faults" if len(field_errors) != 1 else "a fault"
    return InputInvalid(f"{what} has {count}; {then}.", field_errors)


def flatten(messages: object, place: str) -> Iterator[FieldError]:
    """The faults of marshmallow's messages about what stands at a place."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from flatten(inner, _step(place, key))
        return
    for message in messages:
        code = MISSING if message.startswith("is missing") else MALFORMED
        text = message if message.startswith(".") or message.startswith("[") else f" {message}"
        yield FieldError(f"{place}{text}.", code, _field(place))


def _field(place: str) -> str:
    """The field that a place is in: `timestamp` for `events[2].timestamp`, `context` for `events[2].context[1]`."""
    return place.split(".", 1)[1].split("[")[0] if "." in place else ""


def _step(place: str, key: object) -> str:
    if isinstance(key, int):
        return f"{place}[{key}]"
    if key == "_schema":
        return place
    return f"{place}.{key}" if place else str(key)
