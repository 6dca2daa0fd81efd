"""Strict JSON parsing (RFC 8259, UTF-8), stricter than the standard library and exact about numbers.

A number keeps the text that was sent, because an event's context stores it so. `Number` marks such values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

import msgspec
import orjson

from app.exceptions import BodyMalformed, BodyTooLarge, FieldError, InputInvalid

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SHOWN = 60  # characters of an invalid value that a message repeats
MAX_DEPTH = 200  # of arrays and objects; Python's limit depends on the caller's stack depth, orjson's is 254
MAX_VALUES = 500_000  # of one parsed text, because each takes a hundred bytes but may be sent in two
CHECKED_BYTES = 10_000  # bytes of a rejected text that are checked for excessive depth
TOO_DEEP = "The body is not acceptable JSON: it is nested too deeply."

Trail = tuple["Trail", str | int] | None  # place of a value: the place of its container, and its key or index


class Number(msgspec.Struct, frozen=True):
    """JSON number as its text."""

    text: str


def parse(body: bytes, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES) -> object:
    """Parse one JSON value into dict, list, str, bool, None and Number.

    Raises:
        BodyMalformed: the text is not JSON in UTF-8, contains NaN or Infinity, or is nested beyond `depth`.
        BodyTooLarge: it has more than `values` values, which is detected before any is created.
    """
    check_values(body, values)
    return _decoded(_DECODER, body, depth)


def keys(body: bytes, *, levels: int = 1, values: int = MAX_VALUES) -> list[str]:
    """Return the keys of an object in order, including duplicates, with nested ones as `outer.inner`."""
    check_values(body, values)
    return list(_keys(_decoded(_MEMBERS_DECODER, body, MAX_DEPTH), "", levels))


def check_values(body: bytes, most: int, *, lines: bool = False) -> None:
    """Raise BodyTooLarge for a text with too many values, judged by its punctuation alone.

    If it begins with more brackets than may be nested, raise BodyMalformed. With `lines`, each line is a separate text.
    """
    marks = b",[{\n" if lines else b",[{"
    if len(body) > most and _count(body, marks) > most and _count_outside_strings(body, marks, most) > most:
        brackets = (mark for mark in _STRING.sub(b"", body[:CHECKED_BYTES]) if mark in b"[]{}")
        steps = (1 if mark in b"[{" else -1 for mark in brackets)
        if max(accumulate(steps), default=0) > MAX_DEPTH:
            raise BodyMalformed(TOO_DEEP)
        raise BodyTooLarge(f"The body has more than {most:,} values; send them in several requests.")


def parse_clean(body: bytes, *, values: int = MAX_VALUES) -> object:
    """Parse like `parse`, and raise InputInvalid if a string has a NUL character or a lone surrogate."""
    value = parse(body, values=values)
    bad = unkeepable(value)
    if bad:
        raise InputInvalid("The body has text that cannot be kept.", [FieldError(f"{bad.strip('. ')}.")])
    return value


def unkeepable(value: object) -> str | None:
    """Return a description of the first string that databases cannot store, or None if there is none."""
    for trail, text in _strings(value):
        if "\0" in text:
            return f"{_place(trail)} has a NUL character; text must not have one"
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return f"{_place(trail)} has a lone surrogate; text must be valid Unicode"
    return None


def shown(value: object) -> str:
    """Return a parsed value for a message: JSON, truncated if long; arrays and objects by their type."""
    if isinstance(value, dict | list):
        return kind(value)
    text = value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def text(value: object, *, indented: bool = False) -> str:
    """Return a parsed value as JSON with its numbers as they were sent, indented on request if possible."""
    options = orjson.OPT_INDENT_2 if indented else 0
    try:
        return orjson.dumps(value, lambda number: orjson.Fragment(number.text), options).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, or nested beyond orjson's limit
        return _escaped(value)


def kind(value: object) -> str:
    """Return the JSON type of a parsed value in words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", Number: "a number"}
    return names.get(type(value), "null")


class _Members:
    """Members of an object, including those with duplicate keys."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


def _keys(value: object, before: str, levels: int) -> Iterator[str]:
    for key, inner in value.pairs if isinstance(value, _Members) and levels else ():
        yield before + key
        yield from _keys(inner, f"{before}{key}.", levels - 1)


def _decoded(decoder: json.JSONDecoder, body: bytes, depth: int) -> object:
    try:
        text = body.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise BodyMalformed(f"The body is not UTF-8: byte {error.start + 1} does not belong there.") from None
    try:
        value = _scan(decoder, text)
    except RecursionError:
        raise BodyMalformed(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BodyMalformed(f"The body is not valid JSON: {error.msg} at {where}.") from None
    if len(body) > depth and _count(body, b"[{") > depth and _is_deep(value, depth):
        raise BodyMalformed(TOO_DEEP)
    return value


def _scan(decoder: json.JSONDecoder, text: str) -> object:
    """Decode a text, without the search for blanks around it where there are none: a third of the time of an event."""
    if text.startswith("{") and text.endswith("}"):
        value, end = decoder.raw_decode(text)
        if end == len(text):
            return value
    return decoder.decode(text)


def _count(body: bytes, marks: bytes) -> int:
    """Count certain bytes in a text. Every value of an array or object except the first follows a comma."""
    return sum([body.count(mark) for mark in marks])


def _escaped(value: object) -> str:
    """Return JSON like `text`, with all characters beyond ASCII escaped, for any depth that `parse` allows."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join([f"{json.dumps(key)}:{_escaped(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_escaped(inner) for inner in value]) + "]"
    return json.dumps(value)


def _refuse_constant(name: str) -> None:
    raise BodyMalformed(f"The body is not valid JSON: {name} is not a JSON number.")


def _count_outside_strings(body: bytes, marks: bytes, most: int) -> int:
    """Count certain bytes outside strings, piece by piece, and stop once there are more than `most`."""
    found = start = 0
    while found <= most and start < len(body):
        piece = _STRINGS.match(body, start)
        end = piece.end() if piece else len(body)
        found += _count(_STRING.sub(b"", body[start:end]), marks)
        start = end
    return found


def _is_deep(value: object, depth: int) -> bool:
    level: list[object] = [[value]]
    for _ in range(depth + 1):
        items = (inner for item in level for _, inner in _inside(item))
        level = [item for item in items if isinstance(item, dict | list | _Members)]
        if not level:
            return False
    return True


# The patterns do not backtrack, and an unclosed string extends to the end. Otherwise a crafted text would take minutes.
_INSIDE = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_STRING = re.compile(rb'"%s"?' % _INSIDE, re.DOTALL)
_STRINGS = re.compile(rb'(?:[^"]*+"%s"){1,5000}+' % _INSIDE, re.DOTALL)
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
_MEMBERS_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_refuse_constant, object_pairs_hook=_Members
)


def _strings(value: object) -> Iterator[tuple[Trail, str]]:
    """Yield every string inside a value, including keys, with its place. It uses no recursion, because of deep nesting.

    A place is converted to words only for a message. Otherwise a long key of a long array would be copied for each
    item.
    """
    waiting: list[tuple[Trail, object]] = [(None, value)]
    while waiting:
        trail, item = waiting.pop()
        if isinstance(item, str):
            yield trail, item
        elif isinstance(item, dict):
            yield from (((trail, "(a key)"), key) for key in item)
        for step, inner in _inside(item):
            if isinstance(inner, str):  # at once, because a list of millions would take memory
                yield (trail, step), inner
            elif isinstance(inner, dict | list):
                waiting.append(((trail, step), inner))


def _inside(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, _Members):
        return iter(value.pairs)
    return enumerate(value) if isinstance(value, list) else ()


def _place(trail: Trail) -> str:
    """Return a trail in words, such as `.output.bucketKey` or `.context[2]`."""
    steps = []
    while trail:
        trail, step = trail
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:SHOWN]}")
    return "".join(reversed(steps))
