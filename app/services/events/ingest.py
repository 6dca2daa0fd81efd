"""Ingestion of events: stores all events of a request or none, and stores a repeated request only once.

A request is answered only after its events are on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from random import getrandbits

from app.event_columns import EventRow
from app.exceptions import KeyReused, StoreUnavailable
from app.schemas.batches import split_body
from app.schemas.events import Batch, StoredEvent, encode_stored
from app.schemas.field_errors import to_input_error
from app.services.access.ingest_keys import IngestKey
from app.services.catalog.code_limit import CodeLimit
from app.services.catalog.lookup import Catalog
from app.services.events import answers
from app.services.events.rejected import Origin, RefusedRequest, RejectedEvents
from app.store.catalog.catalog import Sighting
from app.store.database import database, release
from app.store.events import idempotency
from app.store.events import select as store
from app.store.events.writer import DUPLICATE, GroupCommitWriter, WriteRequest
from app.support.clock import now

ENCODED_EVENTS = 1_000  # events per step


@dataclass(frozen=True)
class Receipt:
    """Result of a request."""

    answer: bytes  # the response as JSON, with the stored events
    rejected: int | None = None  # number of rejected events, or None unless the request was lenient
    replayed: bool = False  # whether this is the response to an earlier request with the same key
    ignored: Collection[str] = ()  # unknown keys of this request's JSON


class Ingest:
    """Ingestion of events. The threads of a process share an instance.

    Args:
        limit: the maximum number of events in a request.
        store_valid: the default of `lenient` for requests that do not specify it.
    """

    def __init__(
        self,
        catalog: Catalog,
        code_limit: CodeLimit,
        writer: GroupCommitWriter,
        rejected: RejectedEvents,
        limit: int,
        *,
        store_valid: bool = False,
    ) -> None:
        self._catalog = catalog
        self._code_limit = code_limit
        self._writer = writer
        self._rejected = rejected
        self._limit = limit
        self._store_valid = store_valid

    def accept(
        self,
        body: bytes,
        origin: Origin | None,
        *,
        lines: bool = False,
        lenient: bool | None = None,
        key: str | None = None,
        sender: IngestKey | None = None,
        also: Callable[[bytes], None] | None = None,
    ) -> Receipt:
        """Commit a request's events as one batch.

        Args:
            body: JSON, or one event per line with `lines`.
            origin: the sender to record with rejected events. None means that they are stored already.
            lenient: store the valid events even if others are invalid. None means to follow the settings.
            key: an idempotency key. A repeated request with the same body gets the same response and stores nothing.
            sender: the ingest key of the request, if one is required.
            also: called with the response in the transaction that stores the events. If it raises, nothing is stored.

        Raises:
            BodyMalformed, BodyTooLarge, InputInvalid: see `split_body`; nothing was stored.
            Forbidden: the sender may not send one of the events; nothing was stored.
            KeyReused: the key was used before with another body.
            StoreUnavailable: the database is unavailable; nothing was stored.
        """
        batch = split_body(body, self._limit, lines=lines)
        ignored = batch.ignored
        if sender:
            sender.check(batch)  # first, so that nothing is revealed about earlier requests or the catalog
        digest = b""
        if key:  # the digest identifies the same body with the same header, regardless of the settings
            hashed = hashlib.sha256(body)
            hashed.update(b"lenient" if lenient else b"strict")
            digest = hashed.digest()
            # While the database is unavailable, the writer waits for it or spools the events. The transaction that
            # stores them also claims the key, so a repeated request stores nothing in either case.
            with suppress(StoreUnavailable):
                if earlier := self._replay(key, digest):
                    return replace(earlier, ignored=ignored)
        if lenient is None:
            lenient = self._store_valid
        batch = self._catalog.checked(batch) if self._catalog.strict else self._code_limit.checked(batch)
        if batch.rejected:
            if origin:
                whole = None if lenient or not batch.events else RefusedRequest(body, lines, key, batch.events)
                self._rejected.keep(batch.rejected, origin, sender, whole)
            if not lenient:
                raise to_input_error([fault for one in batch.rejected for fault in one.field_errors])
        entry, answer = write_request(batch, now())
        receipt = Receipt(answer, len(batch.rejected) if lenient else None, ignored=ignored)
        if key:
            kept = answers.pack(receipt.rejected, answer)
            entry.key = idempotency.Claim(key, digest, kept, now())
        if also:
            entry.also = lambda: also(receipt.answer)
        if entry.count or key:
            self._writer.write(entry)
        if not key or entry.state != DUPLICATE:
            return receipt
        first = self._replay(key, digest)  # the other request with this key was faster
        if first is None:
            raise StoreUnavailable("The answer to the first request with this Idempotency-Key cannot be read now.")
        return replace(first, ignored=ignored)

    def answer(self, key: str) -> bytes | None:
        """Return the response to the first request with a key, or None if there was none."""
        found = self._find(key)
        return answers.unpack(found[1])[1] if found else None

    def count(self) -> int:
        """Return the number of stored events."""
        return store.count()

    def _replay(self, key: str, digest: bytes) -> Receipt | None:
        """Return the first response under a key, or None. Raise KeyReused if that request had another body."""
        found = self._find(key)
        if found is None:
            return None
        if found[0] != digest:
            raise KeyReused("Idempotency-Key was sent before with another body. Use a new key for a new batch.")
        rejected, answer = answers.unpack(found[1])
        return Receipt(answer, rejected, replayed=True)

    def _find(self, key: str) -> tuple[bytes, bytes] | None:
        """Return the digest and response stored under a key, in the database or otherwise in the spool.

        The order matters, because spooled events move into the database.
        """
        try:
            return idempotency.find(key) or self._writer.find_spooled(key)
        except StoreUnavailable:
            found = self._writer.find_spooled(key)
            if found is None:
                raise
            return found
        finally:
            release()  # the request next waits for the writer, which may need a connection


def write_request(batch: Batch, received: int) -> tuple[WriteRequest, bytes]:
    """Return a batch as a write request, and the response with its events as stored.

    The function removes the events from the batch a few at a time. Each event uses three times the memory of its text,
    and there may be 100,000.
    """
    count, answer = len(batch.events), BytesIO()
    sightings: set[Sighting] = set()
    name = batch_name(received)

    def rows() -> Iterator[EventRow]:
        for start in range(0, count, ENCODED_EVENTS):
            places = batch.places[start : start + ENCODED_EVENTS]
            stored = [
                StoredEvent(e.customer, e.product, e.type, e.version, e.timestamp, e.context, place, name)
                for e, place in zip(batch.events[:ENCODED_EVENTS], places, strict=True)
            ]
            answer.write(b"[" if start == 0 else b",")
            answer.write(encode_stored(stored)[1:-1])
            sightings.update([(e.customer, e.product, e.type, len(e.context)) for e in stored])
            yield from [as_row(event, received) for event in stored]
            del batch.events[:ENCODED_EVENTS]  # not earlier, or the rows fill the gaps and keep every page of memory

    payload = database.encode_events(rows())
    answer.write(b"]" if count else b"[]")
    return WriteRequest(payload, count, received, sightings), answer.getvalue()


def batch_name(received: int) -> str:
    """Return a UUID with the time of receipt (RFC 9562, version 7), by which `store.events.batches` finds its events.

    See `app.ops.requests` for why it does not use the system's random numbers.
    """
    variant, rest = divmod(getrandbits(74), 1 << 72)
    time, random = f"{received:012x}", f"{rest:018x}"
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{'89ab'[variant]}{random[3:6]}-{random[6:]}"


def as_row(event: StoredEvent, received: int) -> EventRow:
    """Return an event as a row of the store."""
    e = event
    version = e.version if isinstance(e.version, str) else None  # absent is not the same as ""
    return (e.customer, e.product, e.type, version, e.timestamp, e.context, e.sequence, e.batch, received)
