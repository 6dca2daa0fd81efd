"""An event as JSON, checked by the rules of the service, so that a mistake is noticed where it is made."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from json.encoder import encode_basestring
from typing import Union

from tally_client.errors import InvalidEvent

Item = Union[str, int, float, bool, None]
Timestamp = Union[int, float, datetime]

MAX_CODE = 128
MAX_VERSION = 64
MAX_ITEMS = 100
MAX_TEXT = 4096
MAX_TIME = 253_402_300_799_999  # the last millisecond of the year 9999
MAX_HEADS = 4096  # distinct codes that are kept encoded

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_NUL = "\\u0000"

CODE_RULE = f"a string of 1 to {MAX_CODE} characters without control characters"
VERSION_RULE = f"a string of at most {MAX_VERSION} characters, or None"
TIME_RULE = f"whole milliseconds since 1970 from 0 to {MAX_TIME}, or a datetime with a time zone"
ITEM_RULE = "a string, number, boolean or None"


class Encoder:
    """Turns events into JSON. It keeps the encoded codes, because they recur."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str, str, str | None], str] = {}

    def encode(
        self,
        customer: str,
        product: str,
        type: str,
        context: Sequence[Item],
        timestamp: Timestamp | None,
        version: str | None,
    ) -> bytes:
        """Return an event as one line of JSON.

        Raises:
            InvalidEvent: a field is invalid.
        """
        try:
            head = self._heads[customer, product, type, version]
        except (KeyError, TypeError):
            head = self._head(customer, product, type, version)
        milliseconds = time.time_ns() // 1_000_000 if timestamp is None else to_milliseconds(timestamp, "timestamp")
        try:
            items = ",".join(map(encode_basestring, context))  # type: ignore[arg-type]  # others raise TypeError
        except TypeError:
            items = ",".join([_encode_item(item, place) for place, item in enumerate(context)])
        if len(items) > MAX_TEXT or ESCAPED_NUL in items or len(context) > MAX_ITEMS:
            _check_context(context)
        try:
            return f'{head}{milliseconds},"context":[{items}]}}'.encode()
        except UnicodeEncodeError:
            place = next(
                place for place, item in enumerate(context) if isinstance(item, str) and SURROGATE.search(item)
            )
            message = f"context[{place}] has a lone surrogate, which UTF-8 cannot represent; it must be valid text."
            raise InvalidEvent(message) from None

    def _head(self, customer: str, product: str, type: str, version: str | None) -> str:
        for name, code in (("customer", customer), ("product", product), ("type", type)):
            _check_code(name, code)
        if version is not None:
            _check_version(version)
        fields = {"customer": customer, "product": product, "type": type, "version": version}
        named = [f'"{name}":{encode_basestring(text)}' for name, text in fields.items() if text is not None]
        head = "{" + ",".join(named) + ',"timestamp":'
        if len(self._heads) < MAX_HEADS:
            self._heads[customer, product, type, version] = head
        return head


def to_milliseconds(moment: Timestamp, field: str, rule: str = TIME_RULE) -> int:
    """Return a time as milliseconds since 1970. `rule` says in messages what it must be.

    Raises:
        InvalidEvent: it is not a time, has no time zone, or is out of range.
    """
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise InvalidEvent(f"{field} is {moment!r} without a time zone; it must be {rule}.")
        number = (moment - EPOCH) // timedelta(milliseconds=1)
    elif isinstance(moment, bool) or not isinstance(moment, (int, float)) or moment != moment // 1:
        raise InvalidEvent(f"{field} is {_shown(moment)}; it must be {rule}.")
    else:
        number = int(moment)
    if not 0 <= number <= MAX_TIME:
        raise InvalidEvent(f"{field} is {_shown(moment)}; it must be {rule}.")
    return number


def _encode_item(item: object, place: int) -> str:
    if item is None:
        return "null"
    if isinstance(item, str):
        return encode_basestring(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int) and item.bit_length() <= 2 * MAX_TEXT:
        return int.__repr__(item)
    if isinstance(item, float) and item - item == 0:  # neither infinite nor NaN
        return float.__repr__(item)
    raise InvalidEvent(
        f"context[{place}] is {_shown(item)}; it must be {ITEM_RULE}. Convert it, for example with str()."
    )


def _check_context(context: Sequence[Item]) -> None:
    if len(context) > MAX_ITEMS:
        raise InvalidEvent(f"context has {len(context)} items; at most {MAX_ITEMS} are allowed.")
    for place, item in enumerate(context):
        if isinstance(item, str) and len(item) > MAX_TEXT:
            raise InvalidEvent(f"context[{place}] has {len(item):,} characters; at most {MAX_TEXT:,} are allowed.")
        if isinstance(item, str) and "\0" in item:
            raise InvalidEvent(f"context[{place}] has a NUL character, which is not allowed.")


def _check_code(field: str, code: object) -> None:
    if not isinstance(code, str):
        raise InvalidEvent(f"{field} is {_shown(code)}; it must be {CODE_RULE}.")
    if not 1 <= len(code) <= MAX_CODE:
        raise InvalidEvent(f"{field} has {len(code)} characters; it must be {CODE_RULE}.")
    if CONTROL.search(code) or SURROGATE.search(code):
        raise InvalidEvent(f"{field} is {_shown(code)}; it must be {CODE_RULE}.")


def _check_version(version: object) -> None:
    if not isinstance(version, str):
        raise InvalidEvent(f"version is {_shown(version)}; it must be {VERSION_RULE}.")
    if len(version) > MAX_VERSION:
        raise InvalidEvent(f"version has {len(version)} characters; it must be {VERSION_RULE}.")
    if "\0" in version or SURROGATE.search(version):
        raise InvalidEvent(f"version is {_shown(version)}; it must be {VERSION_RULE}.")


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 256 else "a huge number"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
