"""JSON as the protocol wants it (RFC 8259, UTF-8): strict where the standard library is lax, and exact about numbers.

A number is kept as the text that was sent, because an event's context keeps it so; `Number` says which ones they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import orjson

from app.exceptions import BodyMalformed, Fault, InputInvalid

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SHOWN = 60  # characters of a wrong value that a message repeats
MAX_DEPTH = 200  # of arrays and objects: Python's own limit depends on how deep the caller stands, orjson's is 254
TOO_DEEP = "The body is not acceptable JSON: it is nested too deeply."

Trail = tuple["Trail", str | int] | None  # where a value stands: where its container stands, and its key or index


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
        value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
    except RecursionError:
        raise BodyMalformed(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BodyMalformed(f"The body is not valid JSON: {error.msg} at {where}.") from None
    if _is_deep(value):
        raise BodyMalformed(TOO_DEEP)
    return value


def parse_clean(body: bytes) -> object:
    """Like `parse`, and refuses strings that cannot be kept.

    Raises:
        BodyMalformed: see `parse`.
        InputInvalid: a string has a NUL character or a lone surrogate.
    """
    value = parse(body)
    bad = unkeepable(value)
    if bad:
        raise InputInvalid("The body has text that cannot be kept.", [Fault(f"{bad.strip('. ')}.")])
    return value


def unkeepable(value: object) -> str | None:
    """Say which string inside a parsed value no database can keep, and why; None where there is none."""
    for trail, text in _strings(value):
        if "\0" in text:
            return f"{_place(trail)} has a NUL character; text must not have one"
        if not _encodable(text):
            return f"{_place(trail)} has a lone surrogate; text must be valid Unicode"
    return None


def shown(value: object) -> str:
    """A parsed value as a message repeats it: JSON, cut where it is long; arrays and objects by their type."""
    if isinstance(value, dict | list):
        return kind(value)
    text = value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def text(value: object, *, indented: bool = False) -> str:
    """A parsed value as JSON again, its numbers as they were sent; indented where it can be."""
    options = orjson.OPT_PASSTHROUGH_DATACLASS | (orjson.OPT_INDENT_2 if indented else 0)
    try:
        return orjson.dumps(value, _fragment, options).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, or deeper than orjson goes
        return _escaped(value)


def kind(value: object) -> str:
    """The JSON type of a parsed value, in words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", Number: "a number"}
    return names.get(type(value), "null")


def _escaped(value: object) -> str:
    """Like `text`, all beyond ASCII escaped; as deep as `parse` allows."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join([f"{json.dumps(key)}:{_escaped(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_escaped(inner) for inner in value]) + "]"
    return json.dumps(value)


def _fragment(number: Number) -> orjson.Fragment:
    return orjson.Fragment(number.text)


def _refuse_constant(name: str) -> None:
    raise BodyMalformed(f"The body is not valid JSON: {name} is not a JSON number.")


def _is_deep(value: object) -> bool:
    level = [[value]]
    for _ in range(MAX_DEPTH + 1):
        items = chain.from_iterable(item.values() if isinstance(item, dict) else item for item in level)
        level = [item for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _strings(value: object) -> Iterator[tuple[Trail, str]]:
    """Every string inside a value, keys too, with its place; without recursion, as nesting may be deep.

    A place is put into words only when it is told: a long key over a long array would be repeated for each item.
    """
    waiting: list[tuple[Trail, object]] = [(None, value)]
    while waiting:
        trail, item = waiting.pop()
        if isinstance(item, str):
            yield trail, item
        elif isinstance(item, dict):
            yield from (((trail, "(a key)"), key) for key in item)
        for step, inner in _inside(item):
            if isinstance(inner, str):  # at once: millions of them must not wait in a list
                yield (trail, step), inner
            elif isinstance(inner, dict | list):
                waiting.append(((trail, step), inner))


def _inside(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _place(trail: Trail) -> str:
    """A trail in words, such as `.output.bucketKey` or `.context[2]`."""
    steps = []
    while trail:
        trail, step = trail
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:SHOWN]}")
    return "".join(reversed(steps))
