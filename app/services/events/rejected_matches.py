"""Rejected events and refused requests that contain a value, such as a person's id.

An event may have been rejected because the value is in the wrong place. Therefore an event matches if it contains the
value anywhere, at any depth, except as its customer, product, type, version or timestamp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

import orjson
import zstandard

from app.exceptions import BodyMalformed, BodyTooLarge
from app.schemas import json
from app.schemas.fields import item_text
from app.services.events.rejected import codes_of, texts_of
from app.store.events import rejected as store
from app.store.events.filters import NamedItem
from app.store.events.rejected_filter import ALL
from app.store.models import RejectedEvent, RejectedRequest

AT_ONCE = 500
NOT_SEARCHED = frozenset({"customer", "product", "type", "version", "timestamp"})
NO_OWNER = ""  # owner of an event that names no customer, or a customer that its ingest key may not send


@dataclass(frozen=True)
class ValueSearch:
    """Search for a value among rejected events."""

    value: str
    places: Sequence[NamedItem] | None  # the context items that may contain the value. None means anywhere
    customers: Sequence[str] | None  # those whose events are searched. None means all, and events without an owner
    is_limited: bool  # whether the caller may not see events without an owner

    @property
    def owners(self) -> Sequence[str] | None:
        """Return the owners of rejected events that may match. None means all."""
        return self.customers if self.customers is None or self.is_limited else (*self.customers, NO_OWNER)


class Codes(NamedTuple):
    """Customer and product of an event; empty if it has none."""

    customer: str
    product: str


@dataclass(frozen=True)
class RequestMatch:
    """Refused request that matches, perhaps only outside its events, or in a field that Tally ignores."""

    request: RejectedRequest
    events: dict[int, tuple[str, Codes]]  # the matching events as JSON, with their codes, by their places
    counted: set[int]  # places of those that are not also rejected events, among them some removed from the request

    def counted_codes(self) -> list[Codes]:
        """Return the codes of each counted event, or empty codes if only the request itself matches."""
        return [self.events[place][1] for place in self.counted] if self.events else [Codes("", "")]


def events(sought: ValueSearch) -> Iterator[tuple[RejectedEvent, Codes]]:
    """Yield the rejected events that match, oldest first."""
    last = 0
    while page := store.of_customers(sought.owners, AT_ONCE, after=last):
        last = page[-1].id
        for one in page:
            if _matches(sought, one.event):
                codes = _codes(one.event)
                if sought.customers is None or (one.customer or codes.customer) in sought.customers:
                    yield one, codes


def requests(sought: ValueSearch) -> Iterator[RequestMatch]:
    """Yield the refused requests that match, newest first.

    A request with events of several customers has no owner, but each of its events has.
    """
    wanted = ALL.visible_to(None if sought.customers is None else (*sought.customers, NO_OWNER))
    before = None
    while page := store.requests(AT_ONCE, before=before, wanted=wanted):
        before = page[-1].id
        for listed in page:
            request = store.request(listed.uuid)
            if request is not None and (match := _match_request(sought, request)):
                yield match


def _match_request(sought: ValueSearch, request: RejectedRequest) -> RequestMatch | None:
    body = zstandard.decompress(request.body)
    if not _may_contain(sought.value, body):
        return None
    texts, invalid = texts_of(request)
    found = {}
    for place, text in texts.items():
        has_no_owner = sought.is_limited and place in request.forbidden_places
        if not has_no_owner and _matches(sought, text):
            codes = _codes(text)
            if sought.customers is None or codes.customer in sought.customers:
                found[place] = (text, codes)
    if not found and not (sought.customers is None and sought.places is None and _is_beside(sought.value, body, texts)):
        return None
    return RequestMatch(request, found, {*found} - (invalid - {*request.excluded_places}))


def _may_contain(value: str, body: bytes) -> bool:
    """Return whether JSON can contain a value, literally or with escaped characters."""
    return value.encode() in body or b"\\" in body


def _is_beside(value: str, body: bytes, texts: Mapping[int, str]) -> bool:
    """Return whether the body of a request contains a value, but none of its events, as Tally reads them, does."""
    try:
        parts = [json.parse(body)]
    except (BodyMalformed, BodyTooLarge):  # the body has one event per line, or is too long to have been accepted
        parts = [part for line in body.splitlines() if (part := _parse(line.decode(errors="replace"))) is not None]
    return _has_value(parts, value) and not any(_has_value([_parse(text)], value) for text in texts.values())


def _parse(text: str) -> object:
    try:
        return json.parse(text.encode())
    except (BodyMalformed, BodyTooLarge):
        return None


def _codes(text: str) -> Codes:
    codes = codes_of(text)
    return Codes(codes["customer"], codes["product"])


def _matches(sought: ValueSearch, text: str) -> bool:
    if not _may_contain(sought.value, text.encode()):
        return False
    event = _parse(text)
    if event is None:  # an invalid line, or the beginning of a very long event
        quoted = orjson.dumps(sought.value).decode(), encode_basestring_ascii(sought.value)
        return sought.places is None and any(form in text for form in quoted)
    if not isinstance(event, dict):
        return sought.places is None and _has_value([event], sought.value)
    if sought.places is not None:
        context, product = event.get("context"), event.get("product")
        items = context if isinstance(context, list) else []
        return any(
            place.type == event.get("type")
            and isinstance(product, str)
            and place.may_be_of(product)
            and place.place < len(items)
            and item_text(items[place.place]) == sought.value
            for place in sought.places
        )
    return _has_value([part for name, part in event.items() if name not in NOT_SEARCHED], sought.value)


def _has_value(waiting: list[object], value: str) -> bool:
    """Return whether any of the parsed values is or contains a value, without recursion, because they may be deep."""
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if value in part:
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
        elif part is not None and item_text(part) == value:
            return True
    return False
