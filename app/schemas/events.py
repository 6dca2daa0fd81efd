"""Schema of events. marshmallow is authoritative, but plainly valid lists use a fast path that is 40 times as fast.

The fast path (msgspec) accepts only plain events: exactly the known fields, whole numbers written as integers, and
strings and nulls in the context. If it rejects a batch, each event is validated separately, so that a few unusual ones
do not slow down the rest. Events that are unusual but valid (numbers in the context, unknown keys) are normalized
first and then use the fast path. The slow path validates the remaining events and explains what is invalid. The two
paths can differ only if the fast path accepts too much, which a property test checks.

Before parsing, the values are counted (`json.check_values`), and a batch is split into its events. The cost of a
request therefore depends on the limits, not on what a client sends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from io import BytesIO
from itertools import islice
from typing import Annotated, NamedTuple

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError

from app.exceptions import BodyMalformed, BodyTooLarge, FieldError
from app.schemas import json
from app.schemas.field_errors import flatten, to_input_error, validation_error
from app.schemas.fields import (
    CONTROL,
    MAX_CODE,
    MAX_CONTEXT_ITEMS,
    MAX_CONTEXT_TEXT,
    MAX_TIME,
    MAX_VERSION,
    Code,
    Context,
    Described,
    Time,
    Version,
    item_text,
    whole,
)

CodeText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE)]
VersionText = Annotated[str, msgspec.Meta(max_length=MAX_VERSION)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
Item = Annotated[str, msgspec.Meta(max_length=MAX_CONTEXT_TEXT)]
Items = Annotated[list[Item | None], msgspec.Meta(max_length=MAX_CONTEXT_ITEMS)]

ESCAPED_NUL = b"\\u0000"
# Without such an escape, a text in UTF-8 has neither a NUL character nor a lone surrogate.
SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
MAX_VALUES = 1_000_000  # of one request, such as 100,000 events with ten values each
MAX_EVENT_VALUES = 20_000  # of one event, including unknown keys; a valid event needs 106
MAX_EXPLAINED = 2_000  # invalid events of a request whose faults are reported
MAX_IGNORED = 100  # names of unknown keys that are recorded for a request
CHECKED_BYTES = 1_000_000  # a shorter text cannot contain MAX_VALUES values
RETRIED_EVENTS = 10  # after an unusual event, one in this many events tries the fast path, until one succeeds
PIECE_EVENTS = 1_000  # events of a longer text that are parsed at a time
ROOM_FOR_KEYS = len('{"events":,"":0}')


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Valid event as the product sent it, with fields in the order of the response."""

    customer: CodeText
    product: CodeText
    type: CodeText
    version: VersionText | msgspec.UnsetType = msgspec.UNSET
    timestamp: Milliseconds
    context: Items


class StoredEvent(msgspec.Struct, gc=False):
    """Event as stored and returned, with keys in this order. `version` is absent if it was not sent.

    Attributes:
        sequence: its position in the request, from 1.
        batch: the UUID of the request.
    """

    customer: str
    product: str
    type: str
    version: str | msgspec.UnsetType
    timestamp: int
    context: list[str | None]
    sequence: int
    batch: str


class FullEvent(StoredEvent, gc=False):
    """Event as read back. `received` is the time of acceptance in milliseconds."""

    received: int


class Envelope(msgspec.Struct):
    """Object form of a batch, with unparsed events."""

    events: msgspec.Raw


class Unparsed(NamedTuple):
    """Unparsed events of a batch: a JSON array, or one event per line with `lines`. `ignored` are unknown keys."""

    body: bytes
    lines: bool = False
    ignored: Collection[str] = ()


class BrokenLine(NamedTuple):
    """Line that is not valid in its format."""

    text: str
    reason: str
    form: str = "JSON"


encode_stored = msgspec.json.Encoder().encode  # encodes stored events as the JSON of a response


FIELDS = frozenset(Event.__struct_fields__)


def readable(event: StoredEvent) -> str:
    """Return a stored event as indented JSON, for display."""
    return msgspec.json.format(encode_stored(event), indent=2).decode()


def encode_event(event: Event) -> str:
    """Return a valid event as JSON."""
    return encode_stored(event).decode()


_fast_list = msgspec.json.Decoder(list[Event]).decode
_fast_event = msgspec.json.Decoder(Event).decode
_fast_cut = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fast_envelope = msgspec.json.Decoder(Envelope).decode


class EventSchema(Schema):
    """One event, as a product sends it."""

    class Meta:
        """marshmallow's settings: unknown fields are ignored."""

        unknown = EXCLUDE

    customer = Code(required=True, metadata={"description": "Whose event it is.", "example": "BARCHART"})
    product = Code(required=True, metadata={"description": "In which product it happened.", "example": "PORTFOLIO"})
    type = Code(required=True, metadata={"description": "What happened.", "example": "PORTFOLIO-APPLICATION-LOADED"})
    version = Version(metadata={"description": "The product's version.", "example": "4.2.0"})
    timestamp = Time(required=True, metadata={"description": "When it happened.", "example": 1793000000000})
    context = Context(required=True, metadata={"description": "Details, in the order that the type names them."})


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """Invalid event of a request.

    Attributes:
        place: its position in the request, from 1.
        text: the whole event as JSON, or as received if it is not JSON.
        field_errors: its faults.
    """

    place: int
    text: str
    field_errors: list[FieldError]


@dataclass(frozen=True)
class Batch:
    """Events of a request: the valid ones with their positions in the request, from 1, and the invalid ones.

    Attributes:
        ignored: unknown keys of the request or of its events, at most MAX_IGNORED.
    """

    events: list[Event]
    places: Sequence[int]
    rejected: list[Rejected] = dataclass_field(default_factory=list)
    ignored: set[str] = dataclass_field(default_factory=set)


def unexplained(place: int, text: str) -> Rejected:
    """Return an invalid event without an explanation, which costs time and memory, because there are MAX_EXPLAINED."""
    fault = FieldError(f"events[{place - 1}] is invalid; of a request the first {MAX_EXPLAINED:,} are explained.")
    return Rejected(place, text, [fault])


class EventList(Described):
    """Field for a batch's events: an unparsed JSON array or lines (fast path first), or parsed values.

    If any events are invalid, the ValidationError has a `Batch` as its valid data.
    """

    allowed = "an array of events"

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.one = EventSchema()

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> Batch:
        if isinstance(value, Unparsed):
            if len(value.body) > CHECKED_BYTES:
                json.check_values(value.body, MAX_VALUES, lines=value.lines)
            events = _fast(value.body, lines=value.lines)
            if events is not None:
                self._bound(events)
                return Batch(events, range(1, len(events) + 1))
            value = list(_lines(value.body)) if value.lines else _cut(value.body)
        if not isinstance(value, list):
            raise self.refuse(value, f"is {json.kind(value)}")
        self._bound(value)
        return self._one_by_one(value)

    def _bound(self, events: Sequence[object]) -> None:
        limit = self.parent.limit
        if len(events) > limit:
            raise BodyTooLarge(f"events has {len(events)} events; one request may have at most {limit}.")

    def _one_by_one(self, items: Sequence[object]) -> Batch:
        """Return a batch of events, each of which is parsed or unparsed (bytes hold a line)."""
        batch, codes = Batch([], []), {}
        is_plain = True  # whether the previous event was; the fast path costs time even if it rejects an event
        for index, item in enumerate(items):
            text = bytes(item) if isinstance(item, bytes | msgspec.Raw) else None
            event = _fast_one(text) if text is not None and (is_plain or index % RETRIED_EVENTS == 0) else None
            is_plain = event is not None
            if event is None:
                value = item if text is None else _parse_item(text, index, is_line=text is item)
                event = _made_plain(value, batch.ignored, is_clean=text is not None and not SUSPICIOUS.search(text))
            if event is None and text is not None and len(batch.rejected) >= MAX_EXPLAINED:
                batch.rejected.append(unexplained(index + 1, text.decode(errors="backslashreplace")))
                continue
            if event is None:
                try:
                    event = load_event(value, self.one)
                except ValidationError as error:
                    faults = list(flatten(error.messages, f"events[{index}]"))
                    batch.rejected.append(Rejected(index + 1, _as_sent(value), faults))
                    continue
            _share_codes(event, codes)
            batch.events.append(event)
            batch.places.append(index + 1)
        if batch.rejected:
            raise ValidationError("has invalid events", valid_data=batch)
        return batch


class BatchSchema(Schema):
    """The events of one request.

    Args:
        limit: how many there may be.
    """

    class Meta:
        """marshmallow's settings: keys other than `events` are ignored."""

        unknown = EXCLUDE

    events = EventList(required=True)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def load_body(self, body: bytes, *, lines: bool = False) -> list[Event]:
        """Return the events of a request's body: `{"events": […]}`, an array, or with `lines` one event per line.

        Raises:
            BodyMalformed: the body is not JSON.
            BodyTooLarge: it has more events than one request may have.
            InputInvalid: an event is invalid. It contains the faults of every invalid event.
        """
        batch = self.split_body(body, lines=lines)
        if batch.rejected:
            raise to_input_error([fault for one in batch.rejected for fault in one.field_errors])
        return batch.events

    def split_body(self, body: bytes, *, lines: bool = False) -> Batch:
        """Return a batch like `load_body`, but with invalid events in `rejected` instead of an error."""
        return self._split(Unparsed(body, lines=True) if lines else _open(body))

    def split_values(self, values: list[object]) -> Batch:
        """Return the same as `split_body` for values parsed by `json.parse`."""
        return self._split({"events": values})

    def _split(self, opened: Unparsed | Mapping[str, object]) -> Batch:
        batch = self._loaded(opened)
        if isinstance(opened, Unparsed):
            batch.ignored.update(opened.ignored)
        return batch

    def _loaded(self, opened: Unparsed | Mapping[str, object]) -> Batch:
        try:
            if isinstance(opened, Unparsed):
                # Use the field directly, because the rest of `load` adds nothing here and takes as long again.
                return self.fields["events"].deserialize(opened)
            return self.load(opened)["events"]
        except ValidationError as error:
            batch = _valid_part(error)
            if batch is None:
                raise validation_error(_placed(error)) from None
            return batch


def _valid_part(error: ValidationError) -> Batch | None:
    """Return the batch with the valid events of an error that the field or its schema raised, if any."""
    data = error.valid_data
    part = data.get("events") if isinstance(data, dict) else data
    return part if isinstance(part, Batch) else None


def _placed(error: ValidationError) -> ValidationError:
    """Return an error in the form in which the schema raises it, with the field's name around the field's messages."""
    messages = error.messages
    return error if isinstance(messages, dict) and "events" in messages else ValidationError({"events": messages})


def convert(values: list[dict[str, object]]) -> list[Event] | None:
    """Return the events of plain values, such as CSV rows, by the fast path, or None if the fast path rejects them."""
    try:
        events = msgspec.convert(values, list[Event])
    except msgspec.ValidationError:
        return None
    if "\0" in "".join([item for event in events for item in event.context if item]):
        return None
    return _checked(events)


def load_event(item: object, schema: Schema) -> Event:
    """Return one event from a parsed value by the slow path.

    Raises:
        ValidationError: marshmallow's error with a message for each invalid field.
    """
    if isinstance(item, BrokenLine):
        raise ValidationError(f"is not valid {item.form} ({item.reason}); it must be an object")
    if not isinstance(item, dict):
        raise ValidationError(f"is {json.kind(item)}; it must be an object")
    bad = json.unkeepable(item)
    if bad:
        raise ValidationError(bad)
    return Event(**schema.load(item))


def _fast(body: bytes, *, lines: bool = False) -> list[Event] | None:
    """Return the events of a JSON array (or of lines), or None if the fast path rejects them."""
    if ESCAPED_NUL in body:
        return None
    try:
        if lines:
            events = _joined(_line_pieces(body))
        else:
            events = _fast_list(body) if len(body) < CHECKED_BYTES else _joined(_array_pieces(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _checked(events)


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


def _joined(pieces: Iterator[list[Event]]) -> list[Event]:
    events, codes = [], {}
    for piece in pieces:
        for event in piece:
            _share_codes(event, codes)
        events += piece
    return events


def _share_codes(event: Event, codes: dict[str, str]) -> None:
    """Make events with equal codes share one string each, because a string takes more memory than a number."""
    event.customer = codes.setdefault(event.customer, event.customer)
    event.product = codes.setdefault(event.product, event.product)
    event.type = codes.setdefault(event.type, event.type)


def _checked(events: list[Event]) -> list[Event] | None:
    """Return the events, or None if one of their codes has a control character."""
    codes = {event.customer for event in events}
    codes |= {event.product for event in events}
    codes |= {event.type for event in events}
    return None if CONTROL.search("".join(codes)) else events


def _checked_one(event: Event) -> Event | None:
    return None if CONTROL.search(f"{event.customer}{event.product}{event.type}") else event


def _fast_one(item: bytes) -> Event | None:
    """Return one event parsed by the fast path, or None if the fast path rejects it."""
    if ESCAPED_NUL in item:
        return None
    try:
        return _checked_one(_fast_event(item))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _made_plain(value: object, ignored: set[str], *, is_clean: bool) -> Event | None:
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
        event = _checked_one(msgspec.convert(plain, Event))
    except msgspec.ValidationError:
        return None
    return event if event and (is_clean or not json.unkeepable(value)) else None


def _cut(body: bytes) -> object:
    """Return the unparsed events of a JSON array, or the parsed value of any other body.

    Raises:
        BodyMalformed: the body is not JSON.
    """
    try:
        return _fast_cut(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return json.parse(body)


def _parse_item(item: bytes, index: int, *, is_line: bool) -> object:
    try:
        if is_line:
            return _parse_line(item)
        return json.parse(item, depth=json.MAX_DEPTH - 1, values=MAX_EVENT_VALUES)
    except BodyTooLarge:
        raise BodyTooLarge(f"events[{index}] has more than {MAX_EVENT_VALUES:,} values.") from None
    except BodyMalformed as error:  # msgspec does not validate the raw values that it splits off
        raise BodyMalformed(f"{str(error).rstrip('.')}, in events[{index}].") from None


def _open(body: bytes) -> Unparsed | Mapping[str, object]:
    """Return the batch with its events unparsed if possible, otherwise the parsed batch in its object form."""
    body = body.removeprefix(json.BYTE_ORDER_MARK)
    if body.startswith(json.BYTE_ORDER_MARK):
        raise BodyMalformed("The body is not valid JSON: it begins with two byte order marks.")
    start = body[:64].lstrip()[:1]
    if start == b"[":
        return Unparsed(body)
    try:
        events = bytes(_fast_envelope(body).events)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = json.parse(body)
    else:
        # Parse the text around the events only if it is long enough to contain another key.
        return Unparsed(events, ignored=() if len(body) - len(events) < ROOM_FOR_KEYS else _beside(body, events))
    if isinstance(value, dict):
        _check_beside(value)
        return value
    if isinstance(value, list):
        return {"events": value}
    raise BodyMalformed(f"The body is {json.kind(value)}; it must be an object with events, or an array of events.")


def _beside(body: bytes, events: bytes) -> list[str]:
    """Return the unknown keys of a batch in its object form.

    Raises:
        BodyMalformed: their values are not JSON, or contain text that cannot be stored.
        BodyTooLarge: they have too many values.
        InputInvalid: the key of the events occurs twice.
    """
    rest = body.replace(events, b"0", 1) if events.startswith(b"[") else body
    names = json.keys(rest, values=MAX_EVENT_VALUES)
    if names.count("events") > 1:
        raise to_input_error([FieldError("events comes twice; a request may have it once.")])
    _check_beside(json.parse(rest))
    return [name for name in names if name != "events"][:MAX_IGNORED]


def _check_beside(value: Mapping[str, object]) -> None:
    bad = json.unkeepable({name: inner for name, inner in value.items() if name != "events"})
    if bad:
        raise BodyMalformed(f"The body has text that cannot be kept: {bad.strip('. ')}.")


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines that are not blank.

    msgspec's own decode_lines accepts an event over two lines, or two on one line.
    """
    return (line.rstrip(b"\n") for line in BytesIO(body) if line.strip())


def _parse_line(line: bytes) -> object:
    try:
        return json.parse(line, values=MAX_EVENT_VALUES)
    except BodyMalformed as error:
        reason = str(error).partition(": ")[2].rstrip(".")
        return BrokenLine(line.decode(errors="backslashreplace").replace("\0", "\\0"), reason)


def _as_sent(item: object) -> str:
    return item.text if isinstance(item, BrokenLine) else json.text(item)
