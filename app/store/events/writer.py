"""Group commit: write requests that wait at the same time are written in one transaction.

A commit waits for the disk as long for one event as for a thousand, so one thread per process writes for all requests.
While it waits for one commit, the next group gathers. Each request's thread blocks until its events are on disk, or an
error is known. When a process shuts down, it first finishes the requests in progress, which drains the queue.

Guarantees for a waiting request: it is reported as stored only after the commit. An invalid row of another request does
not affect it. While the database is unavailable, the writer retries until the request's timeout. It never stores the
request twice, because it looks up a transaction with an interrupted commit before it repeats it. After the timeout is
reported, the request is no longer stored, unless its commit was already in progress at that moment.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from app.exceptions import OutcomeUnknown, StoreUnavailable
from app.store.backends.backend import Payload
from app.store.catalog import catalog
from app.store.database import database
from app.store.events import idempotency
from app.store.step_size import Pace

SMALL_EVENTS = 100  # maximum number of events of a small write request; larger ones form separate groups
GROUP_SECONDS = 0.05  # target duration of a transaction of large write requests
MAX_GROUP_EVENTS = 10_000  # a larger group gains nothing and delays its first request
MAX_WAITING_EVENTS = 100_000  # bounds memory; beyond it, a request waits before it is queued
PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0)  # seconds between retries while the database is unavailable
LINGER_SECONDS = 0.001  # wait for more requests if the last group had several; see docs/performance.md
AWAY_SECONDS = 1.0  # from a failure to the next try of the database; meanwhile requests are spooled at once
NOTED_SECONDS = 60.0  # time until sightings are written again; see `CommittedSightings`
MAX_NOTED = 100_000  # the most cached sightings, because codes are free text
IDLE_SECONDS = 1.0  # without a write request, until the spool is released
GRACE_SECONDS = 5.0  # for a request in progress after its timeout

WAITING, TAKEN, COMMITTING = "waiting", "taken", "committing"
STORED, DUPLICATE, GIVEN_UP = "stored", "duplicate", "given up"


@dataclass(eq=False)
class WriteRequest:
    """Write request of one client request.

    Attributes:
        payload: its events, encoded by the backend's `encode_events`.
        count: number of events.
        received: time of receipt in milliseconds.
        sightings: the codes of its events and the number of their context items; see `catalog.note_seen`.
        key: the idempotency key of the request, if any.
        also: called to write more in the same transaction. If it raises, the request is not stored.
        state: current state. STORED, DUPLICATE (another request with the same key came first) and GIVEN_UP are final.
        error: why it was not stored.
    """

    payload: Payload
    count: int
    received: int
    sightings: set[catalog.Sighting] = field(default_factory=set)
    key: idempotency.Claim | None = None
    also: Callable[[], None] | None = None
    state: str = WAITING
    error: Exception | None = None
    deadline: float = 0.0
    _done: threading.Lock = field(default_factory=threading.Lock)
    _moving: ClassVar[threading.Lock] = threading.Lock()

    def __post_init__(self) -> None:
        self._done.acquire()

    def move(self, to: str, *since: str) -> str | None:
        """Change the state if it is one of `since`, and return the previous state.

        Otherwise change nothing and return None.
        """
        with self._moving:
            was = self.state
            if was not in since:
                return None
            self.state = to
            return was

    def finish(self, state: str, error: Exception | None = None) -> None:
        """Set the final state, and wake the waiting thread."""
        self.state, self.error = state, error
        self._done.release()

    def wait(self, seconds: float) -> bool:
        """Wait for `finish`, and return whether it was called in time."""
        return self._done.acquire(timeout=max(0.0, seconds))


class Spool(Protocol):
    """Local store for write requests that the database cannot accept now; see `spool`."""

    def append(self, group: Sequence[WriteRequest], transaction_id: str | None) -> set[WriteRequest]:
        """Store write requests durably, and return those whose idempotency key already exists, which are not stored.

        Raises:
            StoreUnavailable: there is no space.
        """

    def find(self, key: str) -> tuple[bytes, bytes] | None:
        """Return the digest and the response stored under an idempotency key; see `idempotency.find`."""

    def release(self) -> None:
        """Release the spool's file for delivery, because the database accepts requests again or no new one arrived."""


class GroupCommitWriter:
    """Group-commit writer: the only writing thread of a process. It starts with the first write request.

    Args:
        wait_seconds: how long a request waits for an unavailable database.
        spool: the spool for its events in that case. None means that they are rejected.
    """

    def __init__(self, wait_seconds: float, spool: Spool | None = None) -> None:
        self._wait_seconds = wait_seconds
        self._spool = spool
        self._noted = CommittedSightings()
        self._away_until = 0.0
        self._crowded = False
        self._queue: queue.SimpleQueue[WriteRequest] = queue.SimpleQueue()
        self._small: deque[WriteRequest] = deque()  # waiting small write requests
        self._large: deque[WriteRequest] = deque()
        self._is_large = False  # whether the last group had large write requests
        self._pace = Pace(MAX_GROUP_EVENTS, MAX_GROUP_EVENTS, GROUP_SECONDS)
        self._room = threading.Condition()
        self._waiting_events = 0
        self._thread: threading.Thread | None = None

    def write(self, entry: WriteRequest) -> None:
        """Block until a write request is committed (STORED), or its key is found to exist already (DUPLICATE).

        Raises:
            OutcomeUnknown: the commit was sent, but no response arrived.
            StoreUnavailable: the database was unavailable until the timeout; nothing was stored.
            Exception: any other database error that concerns this request alone.
        """
        entry.deadline = time.monotonic() + self._wait_seconds
        with self._room:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
                self._thread.start()
            has_room = self._room.wait_for(
                lambda: not self._waiting_events or self._waiting_events + entry.count <= MAX_WAITING_EVENTS,
                self._wait_seconds,
            )
            if not has_room:
                raise StoreUnavailable("More events are waiting for the database than may wait.")
            self._waiting_events += entry.count
        try:
            self._queue.put(entry)
            if not entry.wait(entry.deadline - time.monotonic()):
                self._withdraw(entry)
        finally:
            with self._room:
                self._waiting_events -= entry.count
                self._room.notify_all()  # a small request may fit where a large one does not
        if entry.error:
            raise entry.error

    def find_spooled(self, key: str) -> tuple[bytes, bytes] | None:
        """Return the digest and the response of a spooled write request by its idempotency key."""
        return self._spool.find(key) if self._spool else None

    def _withdraw(self, entry: WriteRequest) -> None:
        """Withdraw a request after its timeout if it is still queued, or wait a little longer for one in progress."""
        if not entry.move(GIVEN_UP, WAITING) and entry.wait(GRACE_SECONDS):
            return
        if entry.move(GIVEN_UP, TAKEN, COMMITTING) == COMMITTING:
            raise OutcomeUnknown("The database did not answer in time whether it took the events.")
        if entry.state == GIVEN_UP:
            raise entry.error or StoreUnavailable("The database did not take the events in time.")

    def _run(self) -> None:
        while True:
            if group := self._gather():
                self._crowded = len(group) > 1
                self._write_group(group)

    def _gather(self) -> list[WriteRequest]:
        """Return all requests that wait, large ones only up to a short transaction, or none if all are withdrawn.

        If both small and large ones wait, groups of them alternate. A single event therefore waits neither behind all
        earlier batches nor in a transaction with one of them.
        """
        if not (self._small or self._large):
            self._sort(self._wait_for_request())
        if self._crowded:
            time.sleep(LINGER_SECONDS)
        with suppress(queue.Empty):
            while True:
                self._sort(self._queue.get_nowait())
        self._is_large = bool(self._large) and not (self._small and self._is_large)
        waiting, most = (self._large, self._pace.size) if self._is_large else (self._small, MAX_GROUP_EVENTS)
        group: list[WriteRequest] = []
        events = 0
        while waiting and (not group or events + waiting[0].count <= most):
            entry = waiting.popleft()
            if entry.move(TAKEN, WAITING):
                group.append(entry)
                events += entry.count
        return group

    def _wait_for_request(self) -> WriteRequest:
        while self._spool:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._spool.release()
        return self._queue.get()

    def _sort(self, entry: WriteRequest) -> None:
        (self._large if entry.count > SMALL_EVENTS else self._small).append(entry)

    def _write_group(self, group: Sequence[WriteRequest]) -> None:
        """Write a group, and retry while the database is unavailable and a request still waits."""
        attempt = CommitAttempt(self._noted)
        if time.monotonic() < self._away_until and self._spool_group(group, attempt):
            return
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                if attempt.has_committed():
                    break
                group = _move_waiting(group, TAKEN)
                if not group:
                    return
                began = time.monotonic()
                attempt.commit(group)
                if self._is_large:
                    self._pace.note(time.monotonic() - began)
                break
            except Withdrawn:
                continue
            except StoreUnavailable as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                if self._spool_group(group, attempt):
                    return
                if not attempt.in_doubt:
                    now = time.monotonic()
                    for entry in group:
                        if entry.deadline <= now:
                            entry.finish(GIVEN_UP, error)
                    group = [entry for entry in group if entry.deadline > now]
                if not group:
                    return
                time.sleep(pause)
            except Exception as error:  # noqa: BLE001 - reported only to the request that caused it
                if len(group) == 1:
                    group[0].finish(GIVEN_UP, error)
                else:  # separately, so that a request that cannot be written does not affect the others
                    for entry in group:
                        self._write_group([entry])
                return
        for entry in group:
            entry.finish(DUPLICATE if entry in attempt.duplicates else STORED)
        if self._spool:
            self._spool.release()

    def _spool_group(self, group: Sequence[WriteRequest], attempt: CommitAttempt) -> bool:
        """Spool a group if there is a spool with space. Later groups are then spooled without trying the database.

        Requests that write more than events cannot be spooled. Such a request alone waits for the database. In a group
        with others it is rejected.
        """
        if self._spool is None or all(entry.also for entry in group):
            return False
        group = _move_waiting(group, COMMITTING)
        rejected = {entry for entry in group if entry.also and entry not in attempt.duplicates}
        left = [entry for entry in group if entry not in attempt.duplicates | rejected]
        try:
            in_doubt = attempt.transaction_id if attempt.in_doubt else None
            duplicates = attempt.duplicates | self._spool.append(left, in_doubt)
        except StoreUnavailable:
            return False
        error = OutcomeUnknown if attempt.in_doubt else StoreUnavailable
        for entry in group:
            if entry in rejected:
                entry.finish(GIVEN_UP, error("The database is away."))
            else:
                entry.finish(DUPLICATE if entry in duplicates else STORED)
        return True


class Withdrawn(Exception):
    """A request timed out before the commit, so the group is written again without it."""


class CommittedSightings(set[catalog.Sighting]):
    """Cache of the sightings that the writer's connection has committed and need not write again.

    Readers trust the table `observed_code`, so the cache must not contain a sighting that the database lacks. A cached
    sighting is valid only for the connection that committed it. A new connection may reach a server that lost the
    commit in a failover or by a restored backup, so each failure clears the cache. Entries also expire, because a
    restore may break no connection (SQLite, a connection pooler).
    """

    _until = 0.0

    def expire(self) -> None:
        """Clear the cache if it is too old or too large."""
        if time.monotonic() > self._until or len(self) > MAX_NOTED:
            self.clear()
            self._until = time.monotonic() + NOTED_SECONDS


class CommitAttempt:
    """Transaction that stores one group.

    Args:
        noted: the sightings that need not be written again.

    Attributes:
        in_doubt: whether a commit was sent but the connection broke before its response.
        transaction_id: id of the transaction in the database.
        duplicates: the write requests whose key already exists.
    """

    def __init__(self, noted: CommittedSightings) -> None:
        self._noted = noted
        self.in_doubt = False
        self.transaction_id: str | None = None
        self.duplicates: set[WriteRequest] = set()
        self._payload: Payload = b""  # of one request of the group

    def has_committed(self) -> bool:
        """Return whether an earlier `commit` took effect although it raised.

        Raises:
            StoreUnavailable: the database is unavailable, so this is unknown.
        """
        try:
            return self.in_doubt and database.was_committed(self.transaction_id, self._payload)
        except BaseException:
            self._abandon()
            raise

    def commit(self, group: Sequence[WriteRequest]) -> None:
        """Write and commit the group.

        Raises:
            StoreUnavailable: the database is unavailable. Nothing is committed, unless `in_doubt` is set.
            Withdrawn: a request timed out; nothing is committed.
        """
        self.in_doubt, self.duplicates = False, set()
        try:
            self._noted.expire()
            has_more = any(entry.key or entry.also or not entry.sightings <= self._noted for entry in group)
            self.transaction_id = database.begin_group(events_only=not has_more)
            self.duplicates = write_requests(group, self._noted)
            if len(_move_waiting(group, COMMITTING)) < len(group):
                raise Withdrawn
            written = (entry.payload for entry in group if entry.count and entry not in self.duplicates)
            self._payload = next(written, b"")
            self.in_doubt = self.transaction_id is not None
            database.commit_group()
        except BaseException:
            self._abandon()
            raise
        self._noted.update(*(entry.sightings for entry in group if entry not in self.duplicates))

    def _abandon(self) -> None:
        self._noted.clear()
        database.abandon_group()


def write_requests(group: Sequence[WriteRequest], known: Set[catalog.Sighting] = frozenset()) -> set[WriteRequest]:
    """Write requests inside a transaction, and return those whose key already exists, which write nothing.

    Args:
        known: the sightings that the database already has.
    """
    keyed = [(entry, entry.key) for entry in group if entry.key]
    free = idempotency.claim([key for _, key in keyed]) if keyed else set()
    duplicates = {entry for entry, key in keyed if key not in free}
    written = [entry for entry in group if entry not in duplicates] if duplicates else group
    database.insert_encoded([entry.payload for entry in written])
    sightings = set[catalog.Sighting]().union(*(entry.sightings for entry in written)) - known
    if sightings:
        catalog.note_seen(sightings, written[0].received)
    for entry in written:
        if entry.also:
            entry.also()
    return duplicates


def _move_waiting(group: Sequence[WriteRequest], state: str) -> list[WriteRequest]:
    """Return the requests in progress that still wait, after moving them to a state."""
    return [entry for entry in group if entry.move(state, TAKEN, COMMITTING)]
