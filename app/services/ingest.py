"""Recording events: all of a request's or none, on disk before anyone is told so, and once however often it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from random import getrandbits

import zstandard

from app.exceptions import KeyReused, StoreUnavailable
from app.schemas.events import Batch, BatchSchema, Event, StoredEvent, encode_stored
from app.schemas.faults import refusal
from app.services.catalog import Catalog
from app.services.clock import now
from app.services.keys import IngestKey
from app.services.rejected import Origin, RefusedRequest, RejectedEvents
from app.store import catalog as seen
from app.store import events as store
from app.store import idempotency
from app.store.backends.row import Row
from app.store.database import release
from app.store.writer import TWIN, Entry, Writer

ENCODED_EVENTS = 1_000  # at a time


@dataclass(frozen=True)
class Receipt:
    """What a request is answered.

    Attributes:
        answer: JSON, the events as stored.
        rejected: how many events were left out; None unless the request was lenient.
        replayed: whether this is the answer to an earlier request with the same key.
        ignored: keys of this request's JSON that nobody knows.
    """

    answer: bytes
    rejected: int | None = None
    replayed: bool = False
    ignored: Collection[str] = ()


class Ingest:
    """The way in. One for a process; threads share it.

    Args:
        limit: how many events a request may have.
        store_valid: what `lenient` is for a request that does not say.
    """

    def __init__(
        self, catalog: Catalog, writer: Writer, rejected: RejectedEvents, limit: int, *, store_valid: bool = False
    ) -> None:
        self._catalog = catalog
        self._writer = writer
        self._rejected = rejected
        self._schema = BatchSchema(limit)
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
            body: JSON, or with `lines` an event a line.
            origin: who sent it, for the rejected events; None: they are kept already.
            lenient: store the valid events although others are invalid; None: as the settings say.
            key: an idempotency key; a repeat with the same body is answered the same, and stores nothing.
            sender: the ingest key that it came with, where one is asked for.
            also: called with the answer in the transaction that stores the events; an error of its keeps them out.

        Raises:
            BodyMalformed, BodyTooLarge, InputInvalid: see `BatchSchema`; nothing was stored.
            Forbidden: the sender may not send one of them; nothing was stored.
            KeyReused: the key came before with another body.
            StoreUnavailable: the database is away; nothing was stored.
        """
        batch = self._schema.split_body(body, lines=lines)
        ignored = batch.ignored
        if sender:
            sender.check(batch)  # before anything is told: of an earlier request, or of the catalog
        digest = _digest(body, lenient=bool(lenient)) if key else b""  # as it was sent: settings may have changed
        if lenient is None:
            lenient = self._store_valid
        earlier = self._earlier(key, digest) if key else None
        if earlier:
            return replace(earlier, ignored=ignored)
        batch = self._catalog.checked(batch)
        if batch.rejected:
            if origin:
                whole = None if lenient or not batch.events else RefusedRequest(body, lines, key, batch.events)
                self._rejected.keep(batch.rejected, origin, sender, whole)
            if not lenient:
                raise refusal([fault for one in batch.rejected for fault in one.faults])
        entry, answer = _encoded(batch)
        receipt = Receipt(answer, len(batch.rejected) if lenient else None, ignored=ignored)
        if key:
            entry.key = _claim(key, digest, receipt)
        if also:
            entry.also = lambda: also(receipt.answer)
        if entry.count or key:
            self._writer.write(entry)
        return receipt if entry.state != TWIN else replace(self._first(key, digest), ignored=ignored)

    def answer(self, key: str) -> bytes | None:
        """What the first request with a key was answered; None where there was none."""
        found = self._find(key)
        return _kept(found[1])[1] if found else None

    def count(self) -> int:
        """How many events are stored."""
        return store.count()

    def _earlier(self, key: str, digest: bytes) -> Receipt | None:
        """Like `_replay`, but where the database is away there is none.

        The writer waits for it, or sets the events aside; the key is claimed in the transaction that stores them, so
        whoever comes second stores nothing either way.
        """
        try:
            return self._replay(key, digest)
        except StoreUnavailable:
            return None

    def _first(self, key: str, digest: bytes) -> Receipt:
        """Like `_replay`, of a request that lost to another one."""
        first = self._replay(key, digest)
        if first is None:
            raise StoreUnavailable("The answer to the first request with this Idempotency-Key cannot be read now.")
        return first

    def _replay(self, key: str, digest: bytes) -> Receipt | None:
        """The first answer under a key, or None where there was none.

        Raises:
            KeyReused: it was to another body.
        """
        found = self._find(key)
        if found is None:
            return None
        if found[0] != digest:
            raise KeyReused("Idempotency-Key was sent before with another body. Use a new key for a new batch.")
        rejected, answer = _kept(found[1])
        return Receipt(answer, int(rejected) if rejected else None, replayed=True)

    def _find(self, key: str) -> tuple[bytes, bytes] | None:
        """The digest and the answer that are kept under a key: in the database, or else beside it until it is back.

        In this order, as what is set aside moves to the database.
        """
        try:
            return idempotency.find(key) or self._writer.find_aside(key)
        except StoreUnavailable:
            found = self._writer.find_aside(key)
            if found is None:
                raise
            return found
        finally:
            release()  # the request goes on to wait for the writer, who may need a connection


def _encoded(batch: Batch) -> tuple[Entry, bytes]:
    """A batch as the writer takes it, and the answer: its events as stored.

    It takes the events out of the batch, a few at a time: each is three times as large as its text, and there may be a
    hundred thousand.
    """
    received, name, count = now(), batch_name(), len(batch.events)
    answer, seen_here = BytesIO(), set()

    def rows() -> Iterator[Row]:
        for start in range(0, count, ENCODED_EVENTS):
            stored = _stored(batch.events[:ENCODED_EVENTS], batch.places[start : start + ENCODED_EVENTS], name)
            del batch.events[:ENCODED_EVENTS]
            answer.write(b"[" if start == 0 else b",")
            answer.write(encode_stored(stored)[1:-1])
            seen_here.update(sightings(stored))
            yield from [as_row(event, received) for event in stored]

    payload = store.encode(rows())
    answer.write(b"]" if count else b"[]")
    return Entry(payload, count, received, seen_here), answer.getvalue()


def as_stored(batch: Batch) -> list[StoredEvent]:
    """A batch's events with their sequences, under a name of its own."""
    return _stored(batch.events, batch.places, batch_name())


def _stored(events: Sequence[Event], places: Sequence[int], name: str) -> list[StoredEvent]:
    return [
        StoredEvent(e.customer, e.product, e.type, e.version, e.timestamp, e.context, place, name)
        for e, place in zip(events, places, strict=True)
    ]


def batch_name() -> str:
    """A random UUID (RFC 9562, version 4). See `app.ops.requests` for why not from the system's random numbers."""
    first, rest = divmod(getrandbits(122), 1 << 120)
    digits = f"{rest:030x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-{'89ab'[first]}{digits[15:18]}-{digits[18:]}"


def sightings(events: Sequence[StoredEvent | Event]) -> set[seen.Sighting]:
    """What is remembered of events' codes and contexts."""
    return {(event.customer, event.product, event.type, len(event.context)) for event in events}


def as_row(event: StoredEvent, received: int) -> Row:
    """An event as the store takes it."""
    e = event
    version = e.version if isinstance(e.version, str) else None  # absent is not the same as ""
    return (e.customer, e.product, e.type, version, e.timestamp, e.context, e.sequence, e.batch, received)


def _digest(body: bytes, *, lenient: bool) -> bytes:
    """What makes two requests the same: the body, and how it is to be handled."""
    digest = hashlib.sha256(body)
    digest.update(b"lenient" if lenient else b"strict")
    return digest.digest()


def _claim(key: str, digest: bytes, receipt: Receipt) -> idempotency.Claim:
    rejected = b"" if receipt.rejected is None else str(receipt.rejected).encode()
    kept = zstandard.ZstdCompressor(level=1).compress(rejected + b"\n" + receipt.answer)
    return idempotency.Claim(key, digest, kept, now())


def _kept(answer: bytes) -> tuple[bytes, bytes]:
    """What `_claim` kept: the number of rejected events, empty where none was told, and the answer."""
    rejected, _, events = zstandard.decompress(answer).partition(b"\n")
    return rejected, events
