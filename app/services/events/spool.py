"""Spool (SPOOL=on): stores events on this machine's disk while the database is unavailable."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import structlog

from app.exceptions import StoreUnavailable
from app.storage.spool import SpoolFiles
from app.store.events import spool_records
from app.store.events.idempotency import Claim
from app.store.events.writer import WriteRequest

log = structlog.get_logger(__name__)


class EventSpool:
    """Spool of this machine, which moves its events into the database once that is available.

    All processes of the machine together accept each idempotency key only once, because they all read the keys from the
    spool's files.
    """

    def __init__(self, spool: SpoolFiles) -> None:
        self._spool = spool
        self._places: dict[Path, dict[int, int]] = {}  # by file, then by hash of a key: the offset of its record
        self._reading = threading.Lock()

    def append(self, group: Sequence[WriteRequest], transaction_id: str | None) -> set[WriteRequest]:
        """Store write requests; see `app.store.events.writer.Spool`."""
        twins: set[WriteRequest] = set()  # those whose key an earlier write request has
        keys: set[str] = set()
        try:
            with self._spool.alone() if any(entry.key for entry in group) else nullcontext():
                for entry in group:
                    if entry.key:
                        if entry.key.key in keys or self._kept(entry.key.key):
                            twins.add(entry)
                        keys.add(entry.key.key)
                self._spool.append(
                    [spool_records.encode(entry, transaction_id) for entry in group if entry not in twins]
                )
        except OSError as error:
            raise StoreUnavailable(
                f"The database is away, and the spool cannot be written: {error.strerror}."
            ) from error
        return twins

    def find(self, key: str) -> tuple[bytes, bytes] | None:
        """Return the digest and the response stored under an idempotency key."""
        if self._kept(key) is None:
            return None
        with self._spool.alone():  # a record that is still being written may be withdrawn
            claim = self._kept(key)
        return (claim.digest, claim.answer) if claim else None

    def release(self) -> None:
        """Release the spool's file, so that it can be delivered."""
        self._spool.close()

    def why_not(self) -> str | None:
        """Return why events cannot be spooled now, or None if they can."""
        try:
            self._spool.probe()
        except OSError as error:
            return error.strerror or str(error)
        return None

    def waiting(self) -> int:
        """Return the number of events that wait for the database."""
        return self._spool.waiting()

    def damaged(self) -> list[str]:
        """Return the names of damaged files, which a person must look at."""
        return self._spool.damaged()

    def deliver(self) -> None:
        """Move the spooled events into the database. Raise StoreUnavailable while it is unavailable."""
        before = self.waiting()
        for path in self._spool.drain(spool_records.deliver):
            log.error("a file of the spool is damaged; the rest of it is kept, for a person to look at", file=str(path))
        delivered = before - self.waiting()
        if delivered > 0:
            log.info("spooled events delivered", events=delivered)

    def _kept(self, key: str) -> Claim | None:
        with self._reading:
            files, news = self._spool.news()
            self._places = {path: self._places.get(path, {}) for path in files}
            for path, place, data in news:
                claim = spool_records.claim_of(data)
                if claim:
                    self._places[path][hash(claim.key)] = place
            places = [(path, known[hash(key)]) for path, known in self._places.items() if hash(key) in known]
        for path, place in places:
            record = self._spool.read(path, place)
            claim = spool_records.claim_of(record) if record else None
            if claim and claim.key == key:
                return claim
        return None
