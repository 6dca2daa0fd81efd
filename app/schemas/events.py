"""What an event is. marshmallow is the authority; a list that is plainly valid takes a road forty times as fast.

The fast road (msgspec) accepts only what needs no second thought: exactly the known fields, whole numbers written as
such, strings and nulls in the context. Whatever it refuses goes the slow road, which accepts it after all or explains
what is wrong; so the two can only differ if the fast road accepts too much, and a property test looks for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError

from app.exceptions import BodyMalformed, BodyTooLarge
from app.schemas import json
from app.schemas.faults import refuse
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


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The object form of a batch, its events not looked at yet."""

    events: msgspec.Raw


class BrokenLine:
    """A line of NDJSON that is not JSON."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


_fast_list = msgspec.json.Decoder(list[Event])
_fast_envelope = msgspec.json.Decoder(Envelope)


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


class EventList(Described):
    """A batch's events: an unparsed JSON array (fast road first), or parsed values."""

    allowed = "an array of events"

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.one = EventSchema()

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[Event]:
        if isinstance(value, msgspec.Raw):
            events = _fast(bytes(value))
            if events is not None:
                self._bound(events)
                return events
            value = json.parse(bytes(value))
        if not isinstance(value, list):
            raise self.refuse(value, f"is {json.kind(value)}")
        self._bound(value)
        return self._slow(value)

    def _bound(self, events: Sequence[object]) -> None:
        limit = self.parent.limit
        if len(events) > limit:
            raise BodyTooLarge(f"events has {len(events)} events; one request may have at most {limit}.")

    def _slow(self, items: Sequence[object]) -> list[Event]:
        events, errors = [], {}
        for index, item in enumerate(items):
            try:
                events.append(load_event(item, self.one))
            except ValidationError as error:
                errors[index] = error.messages
        if errors:
            raise ValidationError(errors)
        return events


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
        try:
            return self.load({"events": _parse_lines(body)} if lines else _open(body))["events"]
        except ValidationError as error:
            raise refuse(error) from None


def load_event(item: object, schema: Schema) -> Event:
    """One event from a parsed value, by the slow road.

    Raises:
        ValidationError: marshmallow's, with a message for each wrong field.
    """
    if isinstance(item, BrokenLine):
        raise ValidationError(f"is not valid JSON ({item.reason}); it must be an object")
    if not isinstance(item, dict):
        raise ValidationError(f"is {json.kind(item)}; it must be an object")
    bad = json.unkeepable(item)
    if bad:
        raise ValidationError(bad)
    return Event(**schema.load(item))


def _fast(array: bytes) -> list[Event] | None:
    """The events of a JSON array that are plainly valid; None where it takes a closer look."""
    if ESCAPED_NUL in array:
        return None
    try:
        events = _fast_list.decode(array)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    codes = {event.customer for event in events} | {event.product for event in events} | {e.type for e in events}
    return None if any(CONTROL.search(code) for code in codes) else events


def _open(body: bytes) -> Mapping[str, object]:
    """The batch in its object form, the events still unparsed where that is possible."""
    start = body[:64].lstrip()[:1]
    if start == b"[":
        return {"events": msgspec.Raw(body)}
    try:
        return {"events": _fast_envelope.decode(body).events}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = json.parse(body)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {"events": value}
    raise BodyMalformed(f"The body is {json.kind(value)}; it must be an object with events, or an array of events.")


def _parse_lines(body: bytes) -> list[object]:
    return [_parse_line(line) for line in body.split(b"\n") if line.strip()]


def _parse_line(line: bytes) -> object:
    try:
        return json.parse(line)
    except BodyMalformed as error:
        return BrokenLine(str(error).removeprefix("The body is not ").rstrip("."))
