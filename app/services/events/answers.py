"""Stored form of the responses under idempotency keys, and removal of the contexts of erased events from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import orjson
import zstandard


def pack(rejected: int | None, events: bytes) -> bytes:
    """Return a response in its stored form.

    Args:
        rejected: number of rejected events, or None unless the request was lenient.
        events: the stored events as JSON.
    """
    number = b"" if rejected is None else str(rejected).encode()
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=len(number) + 1 + len(events))
    return packer.compress(number + b"\n") + packer.compress(events) + packer.flush()


def unpack(stored: bytes) -> tuple[int | None, bytes]:
    """Return what `pack` was given."""
    number, _, events = zstandard.decompress(stored).partition(b"\n")
    return int(number) if number else None, events


def without(stored: bytes, erased: Mapping[str, Collection[int]]) -> bytes | None:
    """Return a stored response with an empty context in place of erased ones, or None if it has none of these events.

    The events stay in the response, because a client that repeats the request expects as many as it sent.

    Args:
        erased: the sequence numbers of the erased events by their batch.
    """
    rejected, body = unpack(stored)
    events = orjson.loads(body)
    gone = erased.get(events[0]["batch"], ()) if events else ()  # a response has the events of one batch
    if not any(event["sequence"] in gone and event["context"] for event in events):
        return None
    cleared = [event | {"context": []} if event["sequence"] in gone else event for event in events]
    return pack(rejected, orjson.dumps(cleared))
