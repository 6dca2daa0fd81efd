"""Serialization of write requests for the spool, and their delivery to the database, exactly once.

Each record has a unique mark, claimed like an idempotency key in the transaction that stores the record. If the
process dies between the commit and the removal of the record, the next delivery finds the mark claimed. A record whose
commit was interrupted also has the transaction's id, which is looked up first.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from app.store.catalog import catalog
from app.store.database import database
from app.store.events import idempotency
from app.store.events.writer import WriteRequest, write_requests
from app.store.step_size import Pace, pause

GROUP = 200  # maximum number of records per transaction
FIRST_EVENTS, MOST_EVENTS = 500, 10_000  # events per transaction, unless a single record has more
MARK = "\x01aside:"  # a client's key cannot contain a control character


class Record(msgspec.Struct, array_like=True):
    """Spooled write request."""

    mark: str
    transaction_id: str | None
    payload: bytes
    count: int
    received: int
    sightings: list[catalog.Sighting]
    claim: tuple[str, bytes, bytes, int] | None


def encode(entry: WriteRequest, transaction_id: str | None) -> tuple[bytes, int]:
    """Return a write request as bytes, and its number of events.

    Args:
        transaction_id: id of the transaction whose commit was interrupted, or None.
    """
    key = entry.key
    claim = (key.key, key.digest, key.answer, key.created_at) if key else None
    record = Record(
        MARK + uuid.uuid4().hex,
        transaction_id,
        database.dump_payload(entry.payload),
        entry.count,
        entry.received,
        sorted(entry.sightings),
        claim,
    )
    return msgspec.msgpack.encode(record), entry.count


def claim_of(data: bytes) -> idempotency.Claim | None:
    """Return the claim of a spooled write request to its idempotency key."""
    claim = msgspec.msgpack.decode(data, type=Record).claim
    return idempotency.Claim(*claim) if claim else None


def deliver(records: Iterable[bytes]) -> None:
    """Store spooled write requests, many per transaction. Each is stored once, even if it is delivered repeatedly.

    Raises:
        StoreUnavailable: the database is unavailable. Some may be stored, and are skipped next time.
    """
    pace = Pace(FIRST_EVENTS, MOST_EVENTS)
    for group in _groups(records, pace):
        began = time.monotonic()
        left = [
            record
            for record in group
            if record.transaction_id is None
            or not database.was_committed(record.transaction_id, database.load_payload(record.payload))
        ]
        if left:
            _store(left, pace)
        pause(began)


def _groups(records: Iterable[bytes], pace: Pace) -> Iterator[list[Record]]:
    """Yield groups of records to store together, each with about as many events as the pace allows."""
    group: list[Record] = []
    events = 0
    for record in (msgspec.msgpack.decode(data, type=Record) for data in records):
        if group and (len(group) >= GROUP or events + record.count > pace.size):
            yield group
            group, events = [], 0
        group.append(record)
        events += record.count
    if group:
        yield group


def _store(records: Sequence[Record], pace: Pace) -> None:
    now = time.time_ns() // 1_000_000
    marks = {idempotency.Claim(record.mark, b"", b"", now): record for record in records}
    database.begin_group()
    try:
        with pace.step():
            free = idempotency.claim(list(marks))
            late = write_requests([_to_request(marks[mark]) for mark in marks if mark in free])
            others = [entry for entry in late if not _is_repeat(entry)]
            for entry in others:
                entry.key = None
            write_requests(others)
            database.commit_group()
    except BaseException:
        database.abandon_group()
        raise


def _is_repeat(entry: WriteRequest) -> bool:
    """Return whether the same request was first under its key.

    A different request may have been first if the key could not be checked. Both clients received a response that
    their events are stored, so both are stored.
    """
    first = idempotency.find(entry.key.key) if entry.key else None
    return bool(first and entry.key and first[0] == entry.key.digest)


def _to_request(record: Record) -> WriteRequest:
    claim = idempotency.Claim(*record.claim) if record.claim else None
    payload = database.load_payload(record.payload)
    return WriteRequest(payload, record.count, record.received, set(record.sightings), claim)
