"""JSON as the protocol wants it (RFC 8259, UTF-8): strict where the standard library is lax, and exact about numbers.

A number is kept as the text that was sent, because an event's context keeps it so; `Number` says which ones they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.exceptions import BodyMalformed, Fault, InputInvalid

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SHOWN = 60  # characters of a wrong value that a message repeats


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number, as its text."""

    text: str


def parse(body: bytes) -> object:
    """Parse one JSON value: dict, list, str, bool, None and Number.

    Raises:
        BodyMalformed: it is not JSON in UTF-8, has NaN or Infinity, or is too deep.
    """
    try:
        text = body.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise BodyMalformed(f"The body is not UTF-8: byte {error.start + 1} does not belong there.") from None
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
    except RecursionError:
        raise BodyMalformed("The body is not acceptable JSON: it is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BodyMalformed(f"The body is not valid JSON: {error.msg} at {where}.") from None


def parse_clean(body: bytes) -> object:
    """Like `parse`, and refuses strings that cannot be kept.

    Raises:
        BodyMalformed: see `parse`.
        InputInvalid: a string has a NUL character or a lone surrogate.
    """
    value = parse(body)
    bad = unkeepable(value)
    if bad:
        raise InputInvalid("The body has text that cannot be kept.", [Fault(bad.strip(". ").capitalize() + ".")])
    return value


def unkeepable(value: object) -> str | None:
    """Say which string inside a parsed value no database can keep, and why; None where there is none."""
    for place, text in _strings(value):
        if "\0" in text:
            return f"{place} has a NUL character; text must not have one"
        if not _encodable(text):
            return f"{place} has a lone surrogate; text must be valid Unicode"
    return None


def shown(value: object) -> str:
    """A parsed value as a message repeats it: JSON, cut where it is long."""
    text = value.text if isinstance(value, Number) else json.dumps(value, default=lambda n: n.text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def kind(value: object) -> str:
    """The JSON type of a parsed value, in words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", Number: "a number"}
    return names.get(type(value), "null")


def _refuse_constant(name: str) -> None:
    raise BodyMalformed(f"The body is not valid JSON: {name} is not a JSON number.")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """Every string inside a value, keys too, with its place; without recursion, as nesting may be deep."""
    waiting = [("", value)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, str):
            yield place, item
        elif isinstance(item, dict):
            for key, inner in item.items():
                yield f"{place}.(a key)", key
                waiting.append((f"{place}.{key}", inner))
        elif isinstance(item, list):
            waiting.extend((f"{place}[{index}]", inner) for index, inner in enumerate(item))
