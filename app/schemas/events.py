"""What an event is. marshmallow is the authority; a list that is plainly valid takes a road forty times as fast.

The fast road (msgspec) accepts only what needs no second thought: exactly the known fields, whole numbers written as
such, strings and nulls in the context. Whatever it refuses goes the slow road, which accepts it after all or explains
what is wrong; so the two can only differ if the fast road accepts too much, and a property test looks for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, NamedTuple

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError

from app.exceptions import BodyMalformed, BodyTooLarge, Fault
from app.schemas import json
from app.schemas.faults import flatten, refusal, refuse
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
)

CodeText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE)]
VersionText = Annotated[str, msgspec.Meta(max_length=MAX_VERSION)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
Item = Annotated[str, msgspec.Meta(max_length=MAX_CONTEXT_TEXT)]
Items = Annotated[list[Item | None], msgspec.Meta(max_length=MAX_CONTEXT_ITEMS)]

ESCAPED_NUL = b"\\u0000"


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A valid event, as the product sent it; its fields in the order of the answer."""

    customer: CodeText
    product: CodeText
    type: CodeText
    version: VersionText | msgspec.UnsetType = msgspec.UNSET
    timestamp: Milliseconds
    context: Items


class StoredEvent(msgspec.Struct):
    """An event as it is stored and answered: keys in this order, `version` only where one was sent.

    Attributes:
        sequence: its place in the request, from 1.
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


class FullEvent(StoredEvent):
    """An event as it is read back: `received` is when it was accepted, in milliseconds."""

    received: int


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The object form of a batch, its events not looked at yet."""

    events: msgspec.Raw


class Unparsed(NamedTuple):
    """The JSON of a batch's events: an array, or with `lines` an event a line."""

    body: bytes
    lines: bool = False


class BrokenLine(NamedTuple):
    """A line that is not what it must be."""

    text: str
    reason: str
    form: str = "JSON"


encode_stored = msgspec.json.Encoder().encode  # stored events as the JSON of an answer


def readable(event: StoredEvent) -> str:
    """A stored event as JSON, for people: a line for each key."""
    return msgspec.json.format(encode_stored(event), indent=2).decode()


def encode_event(event: Event) -> str:
    """A valid event as JSON."""
    return encode_stored(event).decode()


_fast_list = msgspec.json.Decoder(list[Event]).decode
_fast_one = msgspec.json.Decoder(Event).decode
_fast_envelope = msgspec.json.Decoder(Envelope).decode


class EventSchema(Schema):
    """One event, as a product sends it."""

    class Meta:
        """Fields that nobody asked for are ignored."""

        unknown = EXCLUDE

    customer = Code(required=True, metadata={"description": "Whose event it is.", "example": "BARCHART"})
    product = Code(required=True, metadata={"description": "In which product it happened.", "example": "PORTFOLIO"})
    type = Code(required=True, metadata={"description": "What happened.", "example": "PORTFOLIO-APPLICATION-LOADED"})
    version = Version(metadata={"description": "The product's version.", "example": "4.2.0"})
    timestamp = Time(required=True, metadata={"description": "When it happened.", "example": 1793000000000})
    context = Context(required=True, metadata={"description": "Details, in the order that the type names them."})


@dataclass(frozen=True)
class Rejected:
    """An invalid event of a request.

    Attributes:
        place: its place in the request, from 1.
        text: the event whole, as JSON (or as it came, where it is none).
        faults: what is wrong with it.
    """

    place: int
    text: str
    faults: list[Fault]


@dataclass(frozen=True)
class Batch:
    """A request's events: the valid ones with their places in the request, from 1, and the invalid ones."""

    events: list[Event]
    places: Sequence[int]
    rejected: list[Rejected] = dataclass_field(default_factory=list)


class EventList(Described):
    """A batch's events: an unparsed JSON array (fast road first), or parsed values.

    Where some are invalid, the ValidationError has a `Batch` as its valid data.
    """

    allowed = "an array of events"

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.one = EventSchema()

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> Batch:
        if isinstance(value, Unparsed):
            events = _fast(value.body, lines=value.lines)
            if events is not None:
                self._bound(events)
                return Batch(events, range(1, len(events) + 1))
            if value.lines:
                self._bound(list(_lines(value.body)))  # before each of them is parsed
            value = _parse_lines(value.body) if value.lines else json.parse(value.body)
        if not isinstance(value, list):
            raise self.refuse(value, f"is {json.kind(value)}")
        self._bound(value)
        return self._slow(value)

    def _bound(self, events: Sequence[object]) -> None:
        limit = self.parent.limit
        if len(events) > limit:
            raise BodyTooLarge(f"events has {len(events)} events; one request may have at most {limit}.")

    def _slow(self, items: Sequence[object]) -> Batch:
        batch, errors = Batch([], []), {}
        for index, item in enumerate(items):
            try:
                batch.events.append(load_event(item, self.one))
                batch.places.append(index + 1)
            except ValidationError as error:
                errors[index] = error.messages
                faults = list(flatten(error.messages, f"events[{index}]"))
                batch.rejected.append(Rejected(index + 1, _as_sent(item), faults))
        if errors:
            raise ValidationError(errors, valid_data=batch)
        return batch


class BatchSchema(Schema):
    """The events of one request.

    Args:
        limit: how many there may be.
    """

    class Meta:
        """Keys beside `events` are ignored."""

        unknown = EXCLUDE

    events = EventList(required=True)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def load_body(self, body: bytes, *, lines: bool = False) -> list[Event]:
        """The events of a request's body: `{"events": […]}`, a bare array, or with `lines` one event a line.

        Raises:
            BodyMalformed: the body is not JSON.
            BodyTooLarge: it has more events than one request may have.
            InputInvalid: an event is invalid; every one that is has its faults.
        """
        batch = self.split_body(body, lines=lines)
        if batch.rejected:
            raise refusal([fault for one in batch.rejected for fault in one.faults])
        return batch.events

    def split_body(self, body: bytes, *, lines: bool = False) -> Batch:
        """Like `load_body`, but invalid events are no error: they stand apart in the batch."""
        return self._split(Unparsed(body, lines=True) if lines else _open(body))

    def split_values(self, values: list[object]) -> Batch:
        """The same for values that are parsed already, as `json.parse` does it."""
        return self._split({"events": values})

    def _split(self, opened: Unparsed | Mapping[str, object]) -> Batch:
        try:
            if isinstance(opened, Unparsed):
                # The schema's own field, without the rest of `load`, which has nothing to add and costs as much.
                return self.fields["events"].deserialize(opened)
            return self.load(opened)["events"]
        except ValidationError as error:
            batch = _valid_part(error)
            if batch is None:
                raise refuse(_placed(error)) from None
            return batch


def _valid_part(error: ValidationError) -> Batch | None:
    """What an error of the field, or of the schema around it, says is valid after all."""
    data = error.valid_data
    part = data.get("events") if isinstance(data, dict) else data
    return part if isinstance(part, Batch) else None


def _placed(error: ValidationError) -> ValidationError:
    """An error as the schema raises it: with the field's name around the field's own messages."""
    messages = error.messages
    return error if isinstance(messages, dict) and "events" in messages else ValidationError({"events": messages})


def convert(values: list[dict[str, object]]) -> list[Event] | None:
    """Events of plain values, as a CSV file's rows are, by the fast road; None where it takes a closer look."""
    try:
        events = msgspec.convert(values, list[Event])
    except msgspec.ValidationError:
        return None
    if "\0" in "".join([item for event in events for item in event.context if item]):
        return None
    return _checked(events)


def load_event(item: object, schema: Schema) -> Event:
    """One event from a parsed value, by the slow road.

    Raises:
        ValidationError: marshmallow's, with a message for each wrong field.
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
    """The events of a JSON array (or of lines) that are plainly valid; None where it takes a closer look."""
    if ESCAPED_NUL in body:
        return None
    try:
        events = [_fast_one(line) for line in _lines(body)] if lines else _fast_list(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _checked(events)


def _checked(events: list[Event]) -> list[Event] | None:
    """Events whose codes have no control character; None where one has."""
    codes = {event.customer for event in events} | {event.product for event in events} | {e.type for e in events}
    return None if CONTROL.search("".join(codes)) else events


def _open(body: bytes) -> Unparsed | Mapping[str, object]:
    """The events still unparsed where that is possible, else the batch in its object form."""
    start = body[:64].lstrip()[:1]
    if start == b"[":
        return Unparsed(body)
    try:
        body.decode()  # msgspec does not look into what it skips, such as the first of two keys
        return Unparsed(bytes(_fast_envelope(body).events))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = json.parse(body)
    if isinstance(value, dict):
        bad = json.unkeepable({key: inner for key, inner in value.items() if key != "events"})
        if bad:
            raise BodyMalformed(f"The body has text that cannot be kept: {bad.strip('. ')}.")
        return value
    if isinstance(value, list):
        return {"events": value}
    raise BodyMalformed(f"The body is {json.kind(value)}; it must be an object with events, or an array of events.")


def _parse_lines(body: bytes) -> list[object]:
    return [_parse_line(line) for line in _lines(body)]


def _lines(body: bytes) -> Iterator[bytes]:
    """The lines that are not blank. (msgspec's own decode_lines takes an event over two lines, or two on one.)"""
    return (line for line in body.split(b"\n") if line.strip())


def _parse_line(line: bytes) -> object:
    try:
        return json.parse(line)
    except BodyMalformed as error:
        reason = str(error).partition(": ")[2].rstrip(".")
        return BrokenLine(line.decode(errors="backslashreplace").replace("\0", "\\0"), reason)


def _as_sent(item: object) -> str:
    return item.text if isinstance(item, BrokenLine) else json.text(item)
