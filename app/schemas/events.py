"""Events: what a product may send, and what is stored and returned. `batches` reads the events of a request."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, Any, NamedTuple

import msgspec
from marshmallow import fields

from app.exceptions import FieldError
from app.schemas.fields import (
    MAX_CODE,
    MAX_CONTEXT_ITEMS,
    MAX_CONTEXT_TEXT,
    MAX_TIME,
    MAX_VERSION,
    Code,
    Context,
    Described,
    Lenient,
    Time,
    Version,
)

CodeText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE)]
VersionText = Annotated[str, msgspec.Meta(max_length=MAX_VERSION)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
Item = Annotated[str, msgspec.Meta(max_length=MAX_CONTEXT_TEXT)]
Items = Annotated[list[Item | None], msgspec.Meta(max_length=MAX_CONTEXT_ITEMS)]

MAX_EXPLAINED = 2_000  # invalid events of a request whose faults are reported


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Valid event as the product sent it, with fields in the order of the response."""

    customer: CodeText
    product: CodeText
    type: CodeText
    version: VersionText | msgspec.UnsetType = msgspec.UNSET
    timestamp: Milliseconds
    context: Items


class StoredEvent(msgspec.Struct, gc=False):
    """Event as stored and returned, with keys in this order. `version` is absent if it was not sent."""

    customer: str
    product: str
    type: str
    version: str | msgspec.UnsetType
    timestamp: int
    context: list[str | None]
    sequence: int  # its position in the request, from 1
    batch: str  # the UUID of the request


class FullEvent(StoredEvent, gc=False):
    """Event as read back. `received` is the time of acceptance in milliseconds."""

    received: int


class BrokenLine(NamedTuple):
    """Line that is not valid in its format."""

    text: str
    reason: str
    form: str = "JSON"


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """Invalid event of a request."""

    place: int  # its position in the request, from 1
    text: str  # the whole event as JSON, or as received if it is not JSON
    field_errors: list[FieldError]


@dataclass(frozen=True)
class Batch:
    """Events of a request: the valid ones with their positions in the request, from 1, and the invalid ones."""

    events: list[Event]
    places: list[int] | range
    rejected: list[Rejected] = dataclass_field(default_factory=list)
    ignored: set[str] = dataclass_field(default_factory=set)  # unknown keys of the request or of its events


class EventSchema(Lenient):
    """One event, as a product sends it."""

    customer = Code(required=True, metadata={"description": "Whose event it is.", "example": "BARCHART"})
    product = Code(required=True, metadata={"description": "In which product it happened.", "example": "PORTFOLIO"})
    type = Code(required=True, metadata={"description": "What happened.", "example": "PORTFOLIO-APPLICATION-LOADED"})
    version = Version(metadata={"description": "The product's version.", "example": "4.2.0"})
    timestamp = Time(required=True, metadata={"description": "When it happened.", "example": 1793000000000})
    context: fields.Field[Any] = Context(
        required=True, metadata={"description": "Details, in the order that the type names them."}
    )


class EventList(Described):
    """Field that describes the events of a request for `/openapi.json`; `batches` reads them."""

    allowed = "an array of events"
    one = EventSchema()


class BatchSchema(Lenient):
    """The events of one request."""

    events = EventList(required=True)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit


encode_stored = msgspec.json.Encoder().encode  # encodes stored events as the JSON of a response


def encode_event(event: Event) -> str:
    """Return a valid event as JSON."""
    return encode_stored(event).decode()


def readable(event: StoredEvent) -> str:
    """Return a stored event as indented JSON, for display."""
    return msgspec.json.format(encode_stored(event), indent=2).decode()


def unexplained(place: int, text: str) -> Rejected:
    """Return an invalid event without an explanation, which costs time and memory, because there are MAX_EXPLAINED."""
    fault = FieldError(f"events[{place - 1}] is invalid; of a request the first {MAX_EXPLAINED:,} are explained.")
    return Rejected(place, text, [fault])
