"""Events of a request. marshmallow is authoritative, but plainly valid lists use a fast path that is 40 times as fast.

The fast path (msgspec) accepts only plain events: exactly the known fields, whole numbers written as integers, and
strings and nulls in the context. If it rejects a batch, each event is validated separately, so that a few unusual ones
do not slow down the rest. Events that are plain but for unknown keys have a path that is almost as fast. Other unusual
but valid ones (such as numbers in the context) are normalized first and then use the fast path. The slow path validates
the remaining events and explains what is invalid. The two paths can differ only if the fast path accepts too much,
which a property test checks.

Before parsing, the values are counted (`json.check_values`), and a batch is split into its events. The cost of a
request therefore depends on the limits, not on what a client sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
from marshmallow import ValidationError

from app.exceptions import MISSING, BodyMalformed, BodyTooLarge, FieldError
from app.schemas import json
from app.schemas.events import MAX_EXPLAINED, Batch, BrokenLine, Event, EventSchema, Rejected, unexplained
from app.schemas.field_errors import flatten, to_input_error
from app.schemas.fields import CONTROL, item_text, whole

ESCAPED_NUL = b"\\u0000"
# Without such an escape, a text in UTF-8 has neither a NUL character nor a lone surrogate.
SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
MAX_VALUES = 1_000_000  # of one request, such as 100,000 events with ten values each
MAX_EVENT_VALUES = 20_000  # of one event, including unknown keys; a valid event needs 106
MAX_KEYS_BYTES = 20_000  # of an event with unknown keys on the fast path; it cannot have more values
MAX_IGNORED = 100  # names of unknown keys that are recorded for a request
CHECKED_BYTES = 1_000_000  # a shorter text cannot contain MAX_VALUES values
RETRIED_EVENTS = 10  # after an unusual event, one in this many events tries the fast path, until one succeeds
PIECE_EVENTS = 1_000  # events of a longer text that are parsed at a time
ROOM_FOR_KEYS = len('{"events":,"":0}')
FIELDS = frozenset(Event.__struct_fields__)
NOT_FAST = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what msgspec's decoders raise


class EventWithKeys(Event, forbid_unknown_fields=False, gc=False):
    """Event whose unknown keys are ignored."""


class Envelope(msgspec.Struct):
    """Object form of a batch, with unparsed events."""

    events: msgspec.Raw


_fast_list = msgspec.json.Decoder(list[Event]).decode
_fast_event = msgspec.json.Decoder(Event).decode
_fast_event_with_keys = msgspec.json.Decoder(EventWithKeys).decode
_fast_members = msgspec.json.Decoder(dict[str, Any]).decode
_fast_cut = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fast_envelope = msgspec.json.Decoder(Envelope).decode
_schema = EventSchema()


def split_body(body: bytes, limit: int, *, lines: bool = False) -> Batch:
    """Return the events of a body: `{"events": […]}`, an array, or with `lines` one event per line.

    Raises:
        BodyMalformed: the body is not JSON.
        BodyTooLarge: it has more events than the limit, or too many values.
        InputInvalid: it has no array of events. Invalid events are no error; they are in the batch's `rejected`.
    """
    ignored: list[str] = []
    if not lines:
        body = body.removeprefix(json.BYTE_ORDER_MARK)
        if body.startswith(json.BYTE_ORDER_MARK):
            raise BodyMalformed("The body is not valid JSON: it begins with two byte order marks.")
        if body[:64].lstrip()[:1] != b"[":
            try:
                events_text = bytes(_fast_envelope(body).events)
            except NOT_FAST:
                return split_values(_events_in(json.parse(body)), limit)
            # Parse the text around the events only if it is long enough to contain another key.
            if len(body) - len(events_text) >= ROOM_FOR_KEYS:
                ignored = _keys_beside(body, events_text)
            body = events_text
    if len(body) > CHECKED_BYTES:
        json.check_values(body, MAX_VALUES, lines=lines)
    events = read_plain(body, lines=lines)
    if events is not None:
        _check_number(events, limit)
        return Batch(events, range(1, len(events) + 1), ignored=set(ignored))
    values: object
    try:
        values = list(_lines(body)) if lines else _fast_cut(body)
    except NOT_FAST:
        values = json.parse(body)
    batch = split_values(values, limit)
    batch.ignored.update(ignored)
    return batch


def split_values(values: object, limit: int) -> Batch:
    """Return the events of a list of parsed or unparsed values (bytes hold a line); see `split_body`."""
    if not isinstance(values, list):
        raise to_input_error([FieldError(f"events is {json.kind(values)}; it must be an array of events.")])
    _check_number(values, limit)
    events: list[Event] = []
    places: list[int] = []
    batch = Batch(events, places)
    codes: dict[str, str] = {}
    # Whether the previous event was read by the fast path or, with unknown keys, by the next: trying costs time, too.
    is_plain = has_keys = True
    for index, item in enumerate(values):
        text = bytes(item) if isinstance(item, bytes | msgspec.Raw) else None
        event = _read_plain_event(text) if text is not None and (is_plain or index % RETRIED_EVENTS == 0) else None
        is_plain = event is not None
        if event is None and text is not None and (has_keys or index % RETRIED_EVENTS == 0):
            event = _read_event_with_keys(text, batch.ignored)
            has_keys = event is not None
        if event is None:
            value = item if text is None else _parse_item(text, index, is_line=text is item)
            event = _normalize(value, batch.ignored, is_clean=text is not None and not SUSPICIOUS.search(text))
            if event is None and text is not None and len(batch.rejected) >= MAX_EXPLAINED:
                batch.rejected.append(unexplained(index + 1, text.decode(errors="backslashreplace")))
                continue
            try:
                event = event or load_event(value)
            except ValidationError as error:
                sent = value.text if isinstance(value, BrokenLine) else json.text(value)
                batch.rejected.append(Rejected(index + 1, sent, list(flatten(error.messages, f"events[{index}]"))))
                continue
        _share_codes(event, codes)
        events.append(event)
        places.append(index + 1)
    return batch


def read_plain(body: bytes, *, lines: bool = False) -> list[Event] | None:
    """Return the events of a JSON array (or of lines) by the fast path, or None if it rejects them."""
    if ESCAPED_NUL in body:
        return None
    try:
        if lines or len(body) >= CHECKED_BYTES:
            events: list[Event] = []
            codes: dict[str, str] = {}
            for piece in _line_pieces(body) if lines else _array_pieces(body):
                for event in piece:
                    _share_codes(event, codes)
                events += piece
        else:
            events = _fast_list(body)
    except NOT_FAST:
        return None
    return _without_control(events)


def load_event(item: object) -> Event:
    """Return the event of a parsed value, or raise marshmallow's ValidationError with a message for each field."""
    if isinstance(item, BrokenLine):
        raise ValidationError(f"is not valid {item.form} ({item.reason}); it must be an object")
    if not isinstance(item, dict):
        raise ValidationError(f"is {json.kind(item)}; it must be an object")
    if bad := json.unkeepable(item):
        raise ValidationError(bad)
    return Event(**_schema.load(item))


def convert(values: Sequence[Mapping[str, object] | BrokenLine]) -> list[Event] | None:
    """Return the events of plain values, such as CSV rows, by the fast path, or None if the fast path rejects them."""
    try:
        events = msgspec.convert(values, list[Event])
    except msgspec.ValidationError:
        return None
    if "\0" in "".join([item for event in events for item in event.context if item]):
        return None
    return _without_control(events)


def _check_number(events: Sequence[object], limit: int) -> None:
    if len(events) > limit:
        raise BodyTooLarge(f"events has {len(events)} events; one request may have at most {limit}.")


def _array_pieces(body: bytes) -> Iterator[list[Event]]:
    """Yield the same as `_fast_list`, some events at a time, with half the memory."""
    cut = _fast_cut(body)
    while cut:
        yield _fast_list(b"[%b]" % b",".join(cut[:PIECE_EVENTS]))
        del cut[:PIECE_EVENTS]


def _line_pieces(body: bytes) -> Iterator[list[Event]]:
    lines = _lines(body)
    while piece := [_fast_event(line) for line in islice(lines, PIECE_EVENTS)]:
        yield piece


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines that are not blank.

    msgspec's own decode_lines accepts an event over two lines, or two on one line.
    """
    return (line.rstrip(b"\n") for line in BytesIO(body) if line.strip())


def _share_codes(event: Event, codes: dict[str, str]) -> None:
    """Make events with equal codes share one string each, because a string takes more memory than a number."""
    event.customer = codes.setdefault(event.customer, event.customer)
    event.product = codes.setdefault(event.product, event.product)
    event.type = codes.setdefault(event.type, event.type)


def _without_control(events: list[Event]) -> list[Event] | None:
    """Return the events, or None if one of their codes has a control character."""
    codes = {event.customer for event in events}
    codes |= {event.product for event in events}
    codes |= {event.type for event in events}
    return None if CONTROL.search("".join(codes)) else events


def _read_plain_event(text: bytes) -> Event | None:
    """Return one event parsed by the fast path, or None if the fast path rejects it."""
    if ESCAPED_NUL in text:
        return None
    try:
        event = _fast_event(text)
    except NOT_FAST:
        return None
    return None if CONTROL.search(f"{event.customer}{event.product}{event.type}") else event


def _read_event_with_keys(text: bytes, ignored: set[str]) -> Event | None:
    """Return one event that is plain but for unknown keys, which are collected, or None for any other event."""
    if (
        len(text) > MAX_KEYS_BYTES
        or text.count(b"[") + text.count(b"{") > json.MAX_DEPTH // 2
        or SUSPICIOUS.search(text)
    ):
        return None
    try:
        event, members = _fast_event_with_keys(text), _fast_members(text)  # the latter checks the unknown values, too
    except NOT_FAST:
        return None
    if CONTROL.search(f"{event.customer}{event.product}{event.type}"):
        return None
    if len(ignored) < MAX_IGNORED:
        ignored.update(islice(members.keys() - FIELDS, MAX_IGNORED - len(ignored)))
    return event


def _normalize(value: object, ignored: set[str], *, is_clean: bool) -> Event | None:
    """Return the event of a parsed value that is unusual but valid, or None if the slow path must validate it.

    Args:
        ignored: collects the unknown keys.
        is_clean: whether all of its text can be stored, because it is known to contain no suspicious escapes.
    """
    if not isinstance(value, dict):
        return None
    plain = {name: value[name] for name in FIELDS if name in value}
    if len(plain) < len(value) and len(ignored) < MAX_IGNORED:
        ignored.update(islice(value.keys() - FIELDS, MAX_IGNORED - len(ignored)))
    if isinstance(plain.get("context"), list):
        plain["context"] = [item_text(item) for item in plain["context"]]
    if isinstance(plain.get("timestamp"), json.Number):
        plain["timestamp"] = whole(plain["timestamp"].text)
    try:
        event = msgspec.convert(plain, Event)
    except msgspec.ValidationError:
        return None
    if CONTROL.search(f"{event.customer}{event.product}{event.type}"):
        return None
    return event if is_clean or not json.unkeepable(value) else None


def _parse_item(item: bytes, index: int, *, is_line: bool) -> object:
    try:
        return json.parse(item, depth=json.MAX_DEPTH if is_line else json.MAX_DEPTH - 1, values=MAX_EVENT_VALUES)
    except BodyTooLarge:
        raise BodyTooLarge(f"events[{index}] has more than {MAX_EVENT_VALUES:,} values.") from None
    except BodyMalformed as error:  # msgspec does not validate the raw values that it splits off
        if is_line:
            text = item.decode(errors="backslashreplace").replace("\0", "\\0")
            return BrokenLine(text, str(error).partition(": ")[2].rstrip("."))
        raise BodyMalformed(f"{str(error).rstrip('.')}, in events[{index}].") from None


def _events_in(value: object) -> object:
    """Return the events of a parsed body."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        kind = json.kind(value)
        raise BodyMalformed(f"The body is {kind}; it must be an object with events, or an array of events.")
    _check_beside(value)
    if "events" not in value:
        raise to_input_error([FieldError("events is missing; it must be an array of events.", MISSING)])
    return value["events"]


def _keys_beside(body: bytes, events: bytes) -> list[str]:
    """Return the unknown keys of a batch in its object form. Raise an error if they cannot be stored."""
    rest = body.replace(events, b"0", 1) if events.startswith(b"[") else body
    names = json.keys(rest, values=MAX_EVENT_VALUES)
    if names.count("events") > 1:
        raise to_input_error([FieldError("events comes twice; a request may have it once.")])
    _check_beside(json.parse(rest))
    return [name for name in names if name != "events"][:MAX_IGNORED]


def _check_beside(value: object) -> None:
    beside = {name: inner for name, inner in value.items() if name != "events"} if isinstance(value, dict) else {}
    if bad := json.unkeepable(beside):
        raise BodyMalformed(f"The body has text that cannot be kept: {bad.strip('. ')}.")
