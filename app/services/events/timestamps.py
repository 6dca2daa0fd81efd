"""Timestamps of rejected events that were sent in ISO 8601 instead of milliseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.exceptions import BodyMalformed
from app.schemas import json
from app.schemas.times import parse_moment
from app.store.models import RejectedEvent

SAMPLES = 5
SHOWN_CHARACTERS = 60  # of a timestamp that cannot be read
_ZONE = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)$")


class _Stamped(msgspec.Struct):
    timestamp: str


class _AnyStamped(msgspec.Struct):
    timestamp: Any


@dataclass
class TimestampPreview:
    """What parsing the timestamps of some events would change."""

    samples: list[tuple[str, int]] = field(default_factory=list)  # the first timestamps, as text and in milliseconds
    readable: int = 0  # number of events
    unreadable: int = 0
    without_zone: int = 0  # number of readable timestamps without a zone, which are taken as UTC
    unreadable_samples: list[str] = field(default_factory=list)  # the first, or the events without a timestamp

    @property
    def number(self) -> int:
        """Return the number of examined events."""
        return self.readable + self.unreadable


def preview(events: Iterable[RejectedEvent]) -> TimestampPreview:
    """Return what parsing the timestamps of some events would change."""
    found = TimestampPreview()
    for one in events:
        read = _read(one.event)
        if read is None:
            found.unreadable += 1
            if len(found.unreadable_samples) < SAMPLES:
                found.unreadable_samples.append(_shorten(one.event))
            continue
        found.readable += 1
        found.without_zone += not _ZONE.search(read[0])
        if len(found.samples) < SAMPLES:
            found.samples.append(read)
    return found


def with_milliseconds(text: str) -> str:
    """Return an event's text with its timestamp in milliseconds, or unchanged if it is not in ISO 8601."""
    read = _read(text)
    if read is None:
        return text
    try:
        event = json.parse(text.encode())
    except BodyMalformed:  # `_read` is less strict
        return text
    return json.text({**event, "timestamp": json.Number(str(read[1]))}) if isinstance(event, dict) else text


_decode = msgspec.json.Decoder(_Stamped).decode


def _read(text: str) -> tuple[str, int] | None:
    """Return an event's timestamp as text and in milliseconds, or None if it is not in ISO 8601."""
    try:
        timestamp = _decode(text).timestamp
        return timestamp, parse_moment(timestamp)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _shorten(text: str) -> str:
    """Return the start of an event's timestamp, or of the event if it has none."""
    try:
        timestamp = msgspec.json.decode(text, type=_AnyStamped).timestamp
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text[:SHOWN_CHARACTERS]
    return (timestamp if isinstance(timestamp, str) else json.text(timestamp))[:SHOWN_CHARACTERS]
